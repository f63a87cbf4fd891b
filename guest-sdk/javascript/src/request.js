// The opening handshake (RFC 6455 section 4): what was asked, and how to refuse it.

import { asking, WebSocketClosedError } from "./errors.js";
import { bytes, text } from "./values.js";

const MAKE = Symbol("make");

/** In place of the host's handle, once it is given back. */
const ENDED = {
  uri: () => "",
  path: () => "",
  query: () => null,
  pathArgs: () => [],
  headers: () => [],
  remoteAddress: () => "",
  originAllowed: () => false,
  setResponseHeader() {
    throw new WebSocketClosedError();
  },
};

export class Request {
  #handle;
  #known = new Map();

  constructor(make, handle) {
    if (make !== MAKE) throw new TypeError("a Request is what a handler is given");
    this.#handle = handle;
  }

  /** Asks the host once: what was asked for stays when the connection has ended. */
  #ask(what, ask) {
    if (!this.#known.has(what)) this.#known.set(what, ask(this.#handle));
    return this.#known.get(what);
  }

  get uri() {
    return this.#ask("uri", (handle) => handle.uri());
  }

  get path() {
    return this.#ask("path", (handle) => handle.path());
  }

  get query() {
    return this.#ask("query", (handle) => handle.query() ?? null);
  }

  get pathArgs() {
    return this.#ask("pathArgs", (handle) => Object.fromEntries(handle.pathArgs()));
  }

  get remoteAddress() {
    return this.#ask("remoteAddress", (handle) => handle.remoteAddress());
  }

  get headers() {
    return this.#ask("headers", (handle) => handle.headers().map(([name, value]) => [name, latin1(bytes(value))]));
  }

  header(name) {
    return this.headerValues(name)[0];
  }

  headerValues(name) {
    const wanted = name.toLowerCase();
    return this.headers.filter(([name]) => name.toLowerCase() === wanted).map(([, value]) => value);
  }

  getArgument(name, otherwise) {
    return this.getArguments(name).at(-1) ?? otherwise;
  }

  getArguments(name) {
    return queryValues(this.query ?? "", name);
  }

  originAllowed(origin) {
    return this.#handle.originAllowed(text(origin, "an origin"));
  }

  setResponseHeader(name, value) {
    text(name, "a header's name");
    text(value, "a header's value");
    asking(() => this.#handle.setResponseHeader(name, value));
  }

  static of(handle) {
    return new Request(MAKE, handle);
  }

  /** Gives back the host's handle. */
  static end(request) {
    const handle = request.#handle;
    request.#handle = ENDED;
    handle[Symbol.dispose]?.();
  }
}

/** Header values are bytes, and this keeps them all. */
function latin1(bytes) {
  let value = "";
  for (const byte of bytes) value += String.fromCharCode(byte);
  return value;
}

/** The values of an argument in a query string, decoded as Tornado's `get_arguments` does. */
export function queryValues(query, name) {
  const values = [];
  for (const pair of query.split("&")) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    const [key, value] = equals < 0 ? [pair, ""] : [pair.slice(0, equals), pair.slice(equals + 1)];
    // Control characters become spaces, and the ends are trimmed.
    if (decode(key) === name) values.push(decode(value).replace(/[\0-\x08\x0e-\x1f]/g, " ").trim());
  }
  return values;
}

/** `+` is a space, `%XX` a byte; a `%` that no two digits follow stays; bytes that are no UTF-8 become U+FFFD. */
function decode(encoded) {
  const spaced = encoded.replaceAll("+", " ");
  if (!spaced.includes("%")) return spaced;
  return spaced.replace(/(?:%[0-9a-f]{2})+/gi, (run) => {
    const bytes = Uint8Array.from({ length: run.length / 3 }, (_, at) => parseInt(run.slice(3 * at + 1, 3 * at + 3), 16));
    return new TextDecoder().decode(bytes);
  });
}

export class Rejection {
  constructor(status, body = "", headers = {}) {
    this.status = status;
    this.body = body;
    this.headers = headers;
  }

  static redirect(url, status = 302) {
    return new Rejection(status, "", { Location: url });
  }
}
