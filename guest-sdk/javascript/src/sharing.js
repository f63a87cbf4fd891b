// What the handlers of one instance have in common.

import * as state from "./state.js";

export function shared(value, name = "shared") {
  if (value === null || typeof value !== "object") throw new TypeError("what is shared is an object, an array, a Map or a Set");
  if (state.shared.has(name)) throw new TypeError(`two shared objects are called ${name}: give each a name`);
  state.shared.set(name, value);
  return value;
}

/** The interface shared-state, where the component has it. */
export function suspendShared() {
  const pieces = [];
  for (const [name, value] of state.shared) {
    const bytes = state.dumpFields(`shared ${name}`, { content: content(value) });
    if (bytes === null) return null;
    pieces.push([name, kindOf(value), bytes]);
  }
  return state.dump(pieces);
}

export function resumeShared(bytes) {
  const pieces = state.load(bytes);
  // Before anything is replaced: what cannot go over whole stays.
  for (const [name, kind] of pieces) {
    const value = state.shared.get(name);
    if (value === undefined) {
      throw new TypeError(`the old version shares "${name}", which this one does not: give what takes it over that name, shared(value, "${name}")`);
    }
    if (kindOf(value) !== kind) {
      throw new TypeError(`shared "${name}" was ${kind}, and is ${kindOf(value)}: give the new one another name, and fill it from one that is still ${kind}`);
    }
  }
  for (const [name, , piece] of pieces) replace(state.shared.get(name), state.load(piece).content);
}

/** What only another of its kind can take over. */
function kindOf(value) {
  if (Array.isArray(value)) return "an array";
  if (value instanceof Map) return "a Map";
  return value instanceof Set ? "a Set" : "an object";
}

function content(value) {
  if (value instanceof Map || value instanceof Set || Array.isArray(value)) return [...value];
  return { ...value };
}

/** It stays the object that it is. */
function replace(value, content) {
  if (Array.isArray(value)) {
    value.splice(0, value.length, ...content);
  } else if (value instanceof Map) {
    value.clear();
    for (const [key, item] of content) value.set(key, item);
  } else if (value instanceof Set) {
    value.clear();
    for (const item of content) value.add(item);
  } else {
    Object.assign(value, content);
  }
}
