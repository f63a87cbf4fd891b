// Connections that a handler opens itself: Tornado's `websocket_connect`.

import { connect, get as find, start } from "waterspout:websocket/client@0.1.0";

import { asking, connectError, WebSocketClosedError } from "./errors.js";
import * as state from "./state.js";
import * as values from "./values.js";

state.register("client", {
  name: (value) => (value instanceof ClientConnection ? value.id : undefined),
  find: (id) => new ClientConnection(null, id),
});

/** Whose event is handled, and so who asks. */
let current = null;

/** By handler the connections that have a handle of the host's, as long as the handler has them itself. */
const holding = new WeakMap();

/** References are looked through from so many on: most are to what has gone. */
const MANY = 16;

/** For component.js, which calls handlers. */
export const clients = {
  calling(handler) {
    current = handler;
  },

  /** Gives back what the host keeps for the connections of a handler that has ended. */
  ended(handler) {
    current = null;
    for (const reference of holding.get(handler) ?? []) reference.deref()?.[END]();
    holding.delete(handler);
  },
};

const END = Symbol("end");

export class ClientConnection {
  #handle = null;
  #id;

  constructor(handle, id = null) {
    // Without a handle: known by its id only, and not found yet.
    if (handle !== null) this.#hold(handle);
    this.#id = id;
  }

  #hold(handle) {
    this.#handle = handle;
    if (current === null) return;
    let references = holding.get(current) ?? [];
    if (references.length >= MANY) references = references.filter((reference) => reference.deref() !== undefined);
    references.push(new WeakRef(this));
    holding.set(current, references);
  }

  #host() {
    if (this.#handle === null) {
      const handle = find(this.#id) ?? null;
      if (handle === null) throw new WebSocketClosedError();
      this.#hold(handle);
    }
    return this.#handle;
  }

  [END]() {
    // Asked for while it can be.
    this.#id ??= this.#handle.id();
    this.#handle?.[Symbol.dispose]?.();
    this.#handle = null;
  }

  /** Of a connection that has gone: `otherwise`. */
  #unlessGone(otherwise, ask) {
    try {
      return ask(this.#host());
    } catch (error) {
      if (error instanceof WebSocketClosedError) return otherwise;
      throw error;
    }
  }

  get id() {
    this.#id ??= this.#handle.id();
    return this.#id;
  }

  get selectedSubprotocol() {
    return this.#unlessGone(null, (host) => host.selectedSubprotocol() ?? null);
  }

  get closeFrame() {
    return this.#unlessGone(null, (host) => host.closeFrame() ?? null);
  }

  readMessage(timeout) {
    const timeoutMs = values.optional(timeout, values.milliseconds, "a time-out");
    const host = this.#unlessGone(null, (host) => host);
    if (host === null) return null;
    const message = asking(() => host.readMessage(timeoutMs)) ?? null;
    return message === null ? null : values.received(message);
  }

  writeMessage(message) {
    const value = values.message(message);
    asking(() => this.#host().writeMessage(value));
  }

  flush() {
    asking(() => this.#host().flush());
  }

  ping(data = new Uint8Array()) {
    const bytes = values.payload(data, "a ping's data");
    asking(() => this.#host().ping(bytes));
  }

  close(code, reason) {
    const [wireCode, wireReason] = values.closeArguments(code, reason);
    this.#unlessGone(undefined, (host) => asking(() => host.close(wireCode, wireReason)));
  }
}

export function websocketConnect(url, options = {}) {
  return made(connect, url, options);
}

export function websocketStart(url, options = {}) {
  return made(start, url, options);
}

export function getClientConnection(id) {
  const handle = find(values.text(id, "an id")) ?? null;
  return handle === null ? null : new ClientConnection(handle, id);
}

function made(call, url, options) {
  const wire = {
    headers: values.pairs(options.headers ?? []),
    subprotocols: Array.from(options.subprotocols ?? [], (name) => values.text(name, "a subprotocol")),
    connectTimeoutMs: values.optional(options.connectTimeout, values.milliseconds, "connectTimeout"),
    maxMessageSize: values.optional(options.maxMessageSize, values.size, "maxMessageSize"),
    pingIntervalMs: values.optional(options.pingInterval, values.milliseconds, "pingInterval"),
    pingTimeoutMs: values.optional(options.pingTimeout, values.milliseconds, "pingTimeout"),
    compression: values.compressionOptions(options.compression),
  };
  values.text(url, "a URL");
  try {
    return new ClientConnection(call(url, wire));
  } catch (thrown) {
    throw connectError(thrown);
  }
}

/** An event as handlers are told. */
export function clientEvent({ tag, val }) {
  switch (tag) {
    case "failed":
      return { type: tag, error: connectError(val) };
    case "message":
      return { type: tag, message: values.received(val) };
    case "pong":
      return { type: tag, data: values.bytes(val) };
    case "closed":
      return { type: tag, frame: val ?? null };
    default:
      return { type: tag };
  }
}
