// What programs expect around them, and QuickJS does not bring: made of WASI, and only where it is missing.
//
// Its own Math.random is seeded while the component is built, and would be the same in every instance.

import { getStderr } from "wasi:cli/stderr@0.2.0";
import { getStdout } from "wasi:cli/stdout@0.2.0";
import { getRandomBytes } from "wasi:random/random@0.2.0";

import "./nesting.js";
import { described } from "./describing.js";
import { isStarted } from "./starting.js";

const define = (name, value) => {
  if (globalThis[name] === undefined) {
    Object.defineProperty(globalThis, name, { value, writable: true, enumerable: false, configurable: true });
  }
};

/** What one write may hold. */
const MOST_BYTES = 4096;

const INVALID = "\ufffd";

class TextEncoder {
  get encoding() {
    return "utf-8";
  }

  encode(text = "") {
    const string = String(text);
    const bytes = new Uint8Array(string.length * 3);
    return bytes.slice(0, write(string, bytes).written);
  }

  encodeInto(text, bytes) {
    return write(String(text), bytes);
  }
}

function write(string, bytes) {
  let written = 0;
  let read = 0;
  while (read < string.length) {
    let code = string.codePointAt(read);
    if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd;
    const length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (written + length > bytes.length) break;
    if (length === 1) {
      bytes[written] = code;
    } else {
      bytes[written] = (0xf00 >> length) & 0xff | (code >> (6 * (length - 1)));
      for (let at = 1; at < length; at++) bytes[written + at] = 0x80 | ((code >> (6 * (length - 1 - at))) & 0x3f);
    }
    written += length;
    read += code > 0xffff ? 2 : 1;
  }
  return { read, written };
}

class TextDecoder {
  #fatal;
  #ignoreBOM;
  /** Of a stream: the beginning of a character whose rest has not come, and whether anything has come. */
  #pending = new Uint8Array();
  #begun = false;

  constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
    if (!/^\s*(utf-?8|unicode-1-1-utf-8)\s*$/i.test(label)) throw new RangeError(`there is UTF-8, not ${label}`);
    this.#fatal = fatal;
    this.#ignoreBOM = ignoreBOM;
  }

  get encoding() {
    return "utf-8";
  }

  decode(input = new Uint8Array(), { stream = false } = {}) {
    const fresh = ArrayBuffer.isView(input) ? new Uint8Array(input.buffer, input.byteOffset, input.byteLength) : new Uint8Array(input);
    const bytes = new Uint8Array(this.#pending.length + fresh.length);
    bytes.set(this.#pending);
    bytes.set(fresh, this.#pending.length);
    const begun = this.#begun;
    // Also where the next line throws, the stream is over.
    [this.#pending, this.#begun] = [new Uint8Array(), false];
    const { text, rest } = read(bytes, this.#fatal, stream);
    if (stream) [this.#pending, this.#begun] = [bytes.slice(bytes.length - rest), begun || text !== ""];
    return !begun && !this.#ignoreBOM && text.startsWith("\ufeff") ? text.slice(1) : text;
  }
}

/** The WHATWG decoder's states: how many bytes follow, and between which bounds the first of them must be. `rest`: how many bytes at the end begin a
 * character that the next piece of a stream may complete. */
function read(bytes, fatal, stream) {
  const pieces = [];
  let codes = [];
  let code = 0;
  let needed = 0;
  let begin = 0;
  let [lower, upper] = [0x80, 0xbf];
  const push = (point) => {
    codes.push(point);
    if (codes.length >= 4096) {
      pieces.push(String.fromCodePoint(...codes));
      codes = [];
    }
  };
  const bad = () => {
    if (fatal) throw new TypeError("this is not UTF-8");
    push(0xfffd);
  };
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (needed === 0) {
      begin = at;
      if (byte < 0x80) push(byte);
      else if (byte >= 0xc2 && byte <= 0xdf) [needed, code] = [1, byte & 0x1f];
      else if (byte >= 0xe0 && byte <= 0xef) {
        if (byte === 0xe0) lower = 0xa0;
        if (byte === 0xed) upper = 0x9f;
        [needed, code] = [2, byte & 0xf];
      } else if (byte >= 0xf0 && byte <= 0xf4) {
        if (byte === 0xf0) lower = 0x90;
        if (byte === 0xf4) upper = 0x8f;
        [needed, code] = [3, byte & 7];
      } else bad();
    } else if (byte < lower || byte > upper) {
      [needed, lower, upper] = [0, 0x80, 0xbf];
      bad();
      at--;
    } else {
      [lower, upper] = [0x80, 0xbf];
      code = (code << 6) | (byte & 0x3f);
      if (--needed === 0) push(code);
    }
  }
  const rest = stream && needed > 0 ? bytes.length - begin : 0;
  if (needed > 0 && !stream) bad();
  pieces.push(String.fromCodePoint(...codes));
  return { text: pieces.join(""), rest };
}

define("TextEncoder", TextEncoder);
define("TextDecoder", TextDecoder);

/** Of an error the stack, of other objects what JSON says, as far as it can. */
function shown(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return described(value);
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value !== "object" || value === null) return String(value);
  if (value instanceof Uint8Array) return `Uint8Array(${value.length}) [${value.slice(0, 100).join(", ")}${value.length > 100 ? ", ..." : ""}]`;
  try {
    return JSON.stringify(value, (_, item) => {
      if (item instanceof Map) return { Map: [...item] };
      if (item instanceof Set) return { Set: [...item] };
      if (typeof item === "bigint") return `${item}n`;
      return item instanceof Uint8Array ? [...item] : item;
    }) ?? String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}

/** Of `console.group`. */
let indent = "";

function printer(stream) {
  return (...values) => {
    const text = values.map(shown).join(" ");
    const bytes = new TextEncoder().encode(`${indent}${indent === "" ? text : text.replaceAll("\n", `\n${indent}`)}\n`);
    const output = stream();
    try {
      for (let at = 0; at < bytes.length; at += MOST_BYTES) output.blockingWriteAndFlush(bytes.slice(at, at + MOST_BYTES));
    } finally {
      output[Symbol.dispose]();
    }
  };
}

const [print, warn] = [printer(getStdout), printer(getStderr)];

/** When each of `console.time` began, and how often each of `console.count` was called. */
const [times, counts] = [new Map(), new Map()];

function elapsed(label) {
  const begun = times.get(label);
  return begun === undefined ? "no timer of that name" : `${Date.now() - begun} ms`;
}

function group(...values) {
  if (values.length > 0) print(...values);
  indent += "  ";
}

define("console", {
  log: print,
  info: print,
  debug: print,
  dir: (value) => print(value),
  table: (value) => print(value),
  group,
  groupCollapsed: group,
  groupEnd: () => {
    indent = indent.slice(2);
  },
  time: (label = "default") => {
    times.set(label, Date.now());
  },
  timeLog: (label = "default", ...values) => print(`${label}: ${elapsed(label)}`, ...values),
  timeEnd: (label = "default") => {
    print(`${label}: ${elapsed(label)}`);
    times.delete(label);
  },
  count: (label = "default") => {
    counts.set(label, (counts.get(label) ?? 0) + 1);
    print(`${label}: ${counts.get(label)}`);
  },
  countReset: (label = "default") => {
    counts.delete(label);
  },
  warn,
  error: warn,
  trace: (...values) => warn(described(Object.assign(new Error(values.map(shown).join(" ")), { name: "Trace" }))),
  assert: (condition, ...values) => {
    if (!condition) warn("Assertion failed:", ...values);
  },
});

const crypto = {
  getRandomValues(array) {
    if (!ArrayBuffer.isView(array) || array instanceof Float32Array || array instanceof Float64Array || array instanceof DataView) {
      throw new TypeError("getRandomValues fills an array of whole numbers");
    }
    if (array.byteLength > 65536) throw new RangeError(`getRandomValues fills at most 65536 bytes, not ${array.byteLength}`);
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(getRandomBytes(array.byteLength));
    return array;
  },

  randomUUID() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
  },
};
define("crypto", crypto);

const whileBuilt = Math.random;

/** xoshiro128**, as fast as the engine's own, from a seed that an instance's first call takes. */
let words = null;
Math.random = () => {
  // The seed would be every instance's.
  if (!isStarted()) return whileBuilt();
  words ??= crypto.getRandomValues(new Uint32Array(4));
  const turned = (word, by) => (word << by) | (word >>> (32 - by));
  const next = () => {
    const result = Math.imul(turned(Math.imul(words[1], 5), 7), 9) >>> 0;
    const shifted = words[1] << 9;
    words[2] ^= words[0];
    words[3] ^= words[1];
    words[1] ^= words[2];
    words[0] ^= words[3];
    words[2] ^= shifted;
    words[3] = turned(words[3], 11);
    return result;
  };
  return ((next() >>> 6) * 2 ** 27 + (next() >>> 5)) / 2 ** 53;
};

class URLSearchParams {
  #pairs = [];

  constructor(init = "") {
    if (typeof init === "string") {
      for (const pair of init.replace(/^\?/, "").split("&")) {
        if (pair === "") continue;
        const [name, ...rest] = pair.split("=");
        this.#pairs.push([unescaped(name), unescaped(rest.join("="))]);
      }
    } else {
      const pairs = Symbol.iterator in init ? [...init] : Object.entries(init);
      this.#pairs = pairs.map(([name, value]) => [String(name), String(value)]);
    }
  }

  get size() {
    return this.#pairs.length;
  }

  get(name) {
    return this.#pairs.find(([key]) => key === name)?.[1] ?? null;
  }

  getAll(name) {
    return this.#pairs.filter(([key]) => key === name).map(([, value]) => value);
  }

  has(name) {
    return this.#pairs.some(([key]) => key === name);
  }

  append(name, value) {
    this.#pairs.push([String(name), String(value)]);
  }

  set(name, value) {
    const at = this.#pairs.findIndex(([key]) => key === name);
    this.#pairs = this.#pairs.filter(([key], index) => key !== name || index === at);
    if (at < 0) this.append(name, value);
    else this.#pairs[this.#pairs.findIndex(([key]) => key === name)] = [String(name), String(value)];
  }

  delete(name) {
    this.#pairs = this.#pairs.filter(([key]) => key !== name);
  }

  sort() {
    this.#pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  }

  forEach(call) {
    for (const [name, value] of this) call(value, name, this);
  }

  *keys() {
    for (const [name] of this.#pairs) yield name;
  }

  *values() {
    for (const [, value] of this.#pairs) yield value;
  }

  *[Symbol.iterator]() {
    for (const [name, value] of this.#pairs) yield [name, value];
  }

  entries() {
    return this[Symbol.iterator]();
  }

  toString() {
    const escaped = (part) =>
      encodeURIComponent(part).replace(/[!'()~]|%20/g, (c) => (c === "%20" ? "+" : `%${c.charCodeAt(0).toString(16).toUpperCase()}`));
    return this.#pairs.map(([name, value]) => `${escaped(name)}=${escaped(value)}`).join("&");
  }
}

function unescaped(part) {
  return part.replaceAll("+", " ").replace(/(?:%[0-9a-f]{2})+/gi, (run) =>
    new TextDecoder().decode(Uint8Array.from({ length: run.length / 3 }, (_, at) => parseInt(run.slice(3 * at + 1, 3 * at + 3), 16))));
}

define("URLSearchParams", URLSearchParams);

for (const name of ["setTimeout", "setInterval", "setImmediate"]) {
  define(name, () => {
    throw new TypeError(`there is no ${name}, because there is no event loop: this.setTimer(token, ms), then onTimer(token)`);
  });
}
