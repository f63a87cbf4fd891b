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
  const pieces = {};
  for (const [name, value] of state.shared) {
    const bytes = state.dumpFields(`shared ${name}`, { content: content(value) }, value);
    if (bytes === null) return null;
    pieces[name] = bytes;
  }
  return state.dump(pieces);
}

export function resumeShared(bytes) {
  for (const [name, piece] of Object.entries(state.load(bytes))) {
    const value = state.shared.get(name);
    if (value === undefined) {
      console.warn(`shared ${name} of the old version has no successor, and is left behind`);
      continue;
    }
    replace(value, state.load(piece).content);
  }
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
