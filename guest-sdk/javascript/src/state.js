// What a handler, or what handlers share, leaves to the next version: its own properties, as JSON with what JSON lacks.
//
// A handler in it, a connection of the client's and a shared object are written as what they are called, and read as the ones that have that
// name there: handlers that know each other still do.

const HEADER = "WSJ1";

/** How what uses this module names what it knows, and finds it: `{ name(value), find(type, name) }`. */
const kinds = new Map();

export function register(type, kind) {
  kinds.set(type, kind);
}

export const shared = new Map();

register("shared", {
  name: (value) => [...shared].find(([, object]) => object === value)?.[0],
  find: (name) => shared.get(name),
});

class Unsuitable extends TypeError {}

/** As bytes for the host; throws where something cannot be said. */
export function dump(value, root) {
  return new TextEncoder().encode(HEADER + JSON.stringify(encode(value, root, [])));
}

export function load(bytes) {
  const text = new TextDecoder().decode(bytes);
  if (!text.startsWith(HEADER)) throw new TypeError("its state was not written by the JavaScript SDK: define resume");
  return decode(JSON.parse(text.slice(HEADER.length)));
}

/** Null where one of them cannot be said; the log says which, because the host can only see that there is no state. */
export function dumpFields(what, fields, root) {
  for (const name of Reflect.ownKeys(fields)) {
    try {
      if (typeof name === "symbol") throw new Unsuitable("a property that a symbol names stays where it is");
      encode(fields[name], root, []);
    } catch (error) {
      console.error(`${what} cannot be suspended (\`${String(name)}\`): ${error.message}`);
      return null;
    }
  }
  return dump(fields, root);
}

function encode(value, root, above) {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0) ? value : { $: "number", v: Object.is(value, -0) ? "-0" : String(value) };
    case "undefined":
      return { $: "undefined" };
    case "bigint":
      return { $: "bigint", v: String(value) };
    case "object":
      break;
    default:
      throw new Unsuitable(`a ${typeof value} stays where it is`);
  }
  if (value === null) return null;
  if (value !== root) {
    for (const [type, kind] of kinds) {
      const name = kind.name(value);
      if (name !== undefined) return { $: type, v: name };
    }
  }
  if (above.includes(value)) throw new Unsuitable("it contains itself");
  const inside = [...above, value];
  const all = (values) => Array.from(values, (item) => encode(item, root, inside));
  if (Array.isArray(value)) return all(value);
  if (value instanceof Uint8Array) return { $: "bytes", v: toHex(value) };
  if (value instanceof Date) return { $: "date", v: encode(value.getTime(), root, inside) };
  if (value instanceof Map) return { $: "map", v: Array.from(value, all) };
  if (value instanceof Set) return { $: "set", v: all(value) };
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype && value !== root) {
    throw new Unsuitable(`a ${prototype.constructor?.name ?? "object with a prototype"} is none of: plain objects, arrays, Map, Set, Date, Uint8Array`);
  }
  const symbol = Object.getOwnPropertySymbols(value).find((name) => Object.prototype.propertyIsEnumerable.call(value, name));
  if (symbol !== undefined) throw new Unsuitable(`a property that a symbol names (${String(symbol)}) stays where it is`);
  // A property that is called so itself. Not by assignment, to which "__proto__" would be something else.
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name.startsWith("$") ? `$${name}` : name, encode(item, root, inside)]));
}

function decode(value) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(decode);
  const { $: type, v } = value;
  switch (type) {
    case undefined:
      break;
    case "undefined":
      return undefined;
    case "number":
      return Number(v);
    case "bigint":
      return BigInt(v);
    case "bytes":
      return fromHex(v);
    case "date":
      return new Date(decode(v));
    case "map":
      return new Map(decode(v));
    case "set":
      return new Set(decode(v));
    default: {
      const kind = kinds.get(type);
      if (kind === undefined) throw new TypeError(`its state has a ${type}, which is not known here`);
      return kind.find(v);
    }
  }
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name.startsWith("$$") ? name.slice(1) : name, decode(item)]));
}

function toHex(bytes) {
  let hex = "";
  for (const byte of bytes) hex += (byte < 16 ? "0" : "") + byte.toString(16);
  return hex;
}

function fromHex(hex) {
  return Uint8Array.from({ length: hex.length / 2 }, (_, at) => parseInt(hex.slice(2 * at, 2 * at + 2), 16));
}
