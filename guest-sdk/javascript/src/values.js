// Values on their way to the host. What it cannot take is an exception here: in the bindings it would end the instance.

import { InvalidError } from "./errors.js";

/** Of a time or a size. */
const MOST = 2 ** 31 - 1;

/** Of a timer's token; StarlingMonkey's bindings garble larger numbers. */
const MOST_TOKEN = typeof WATERSPOUT_ENGINE === "string" && WATERSPOUT_ENGINE === "starlingmonkey" ? MOST : 2 ** 32 - 1;

/** The interface's message for text, bytes, or a value that is sent as JSON. */
export function message(value) {
  if (typeof value === "string") return { tag: "text", val: text(value, "a message") };
  const binary = bytesOf(value);
  if (binary !== undefined) return { tag: "binary", val: binary };
  const unsaid = ["undefined", "function", "symbol", "bigint"].includes(typeof value);
  if (value === null || unsaid) {
    throw new TypeError(`a message is a string, bytes or a value for JSON, not ${value === null ? "null" : typeof value}`);
  }
  const json = JSON.stringify(value);
  if (json === undefined) throw new TypeError("a message is a string, bytes or a value for JSON: this one's toJSON gives nothing");
  return { tag: "text", val: json };
}

/** A message as it arrived. */
export function received({ tag, val }) {
  return tag === "text" ? val : bytes(val);
}

/** A Uint8Array of its own, whatever an engine's bindings make of a list. */
export function bytes(list) {
  return list instanceof Uint8Array ? list : Uint8Array.from(list);
}

function bytesOf(value) {
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  return undefined;
}

/** Data of a ping: text as UTF-8, or bytes. */
export function payload(data, what) {
  if (typeof data === "string") return new TextEncoder().encode(text(data, what));
  const binary = bytesOf(data);
  if (binary === undefined) throw new TypeError(`${what} is a string or bytes, not ${typeof data}`);
  return binary;
}

/** A string that UTF-8 can say: a lone surrogate is no text. */
export function text(value, what) {
  if (typeof value !== "string") throw new TypeError(`${what} is a string, not ${typeof value}`);
  if (!isWellFormed(value)) throw new InvalidError(`${what} has a lone surrogate, which is no text`);
  return value;
}

function isWellFormed(value) {
  if (value.isWellFormed !== undefined) return value.isWellFormed();
  return !/[\ud800-\udfff]/u.test(value);
}

export function closeArguments(code, reason) {
  if (code !== undefined && code !== null && !(whole(code, "a close code") >= 0 && code <= 0xffff)) {
    throw new InvalidError(`close code ${code}`);
  }
  return [code ?? null, reason === undefined || reason === null ? null : text(reason, "a reason")];
}

/** As the signed number of the same bits, for which QuickJS's bindings take an unsigned one; `token >>> 0` is what it was. */
export function token(value) {
  if (!(whole(value, "a timer's token") >= 0 && value <= MOST_TOKEN)) {
    throw new InvalidError(`a timer's token is 0 to ${MOST_TOKEN}, not ${value}`);
  }
  return value | 0;
}

function whole(value, what) {
  if (!Number.isInteger(value)) throw new TypeError(`${what} is a whole number, not ${String(value)}`);
  return value;
}

/** Rounded up, so that nothing comes early. */
export function milliseconds(time, what) {
  if (typeof time !== "number") throw new TypeError(`${what} is a number of milliseconds, not ${typeof time}`);
  const ms = Math.ceil(time);
  if (!(ms >= 0 && ms <= MOST)) throw new InvalidError(`${what} of ${time} ms: 0 to ${MOST} ms are possible`);
  // Not minus zero.
  return ms + 0;
}

export function optional(value, convert, what) {
  return value === undefined || value === null ? null : convert(value, what);
}

export function size(value, what) {
  if (!(whole(value, what) >= 0)) throw new InvalidError(`${what} ${value}`);
  return Math.min(value, MOST);
}

/** `{ level, memLevel }`; both may be missing. */
export function compressionOptions(options) {
  if (options === undefined || options === null) return null;
  if (typeof options !== "object") throw new TypeError(`compression options are an object or null, not ${typeof options}`);
  const known = { level: null, memLevel: null };
  for (const [name, value] of Object.entries(options)) {
    if (!(name in known)) throw new InvalidError(`compression option ${name}: there are level and memLevel`);
    if (value === undefined || value === null) continue;
    if (!(whole(value, name) >= 0 && value <= 9)) throw new InvalidError(`${name} is 0 to 9, not ${value}`);
    known[name] = value;
  }
  return known;
}

export function pairs(headers) {
  const list = Symbol.iterator in headers ? [...headers] : Object.entries(headers);
  return list.map(([name, value]) => [text(name, "a header's name"), text(value, "a header's value")]);
}
