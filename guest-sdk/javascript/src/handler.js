// The class that a handler is made of.

import { asking, WebSocketClosedError } from "./errors.js";
import { Request } from "./request.js";
import * as state from "./state.js";
import * as values from "./values.js";

/** What is the SDK's own is under this key, and not enumerable: the other properties are what a handler leaves to its next version. */
const PARTS = Symbol("waterspout");

/** By connection: those that were named in a snapshot, and may not have been resumed themselves yet. */
const awaited = new Map();

/** Set while the adapter makes a handler: its request, and whose successor it is, if it takes over from an older version. */
let making = null;

state.register("handler", {
  name: (value) => (value instanceof WebSocketHandler ? value.id : undefined),
  find: named,
});

export class WebSocketHandler {
  constructor(given) {
    // Not only from the class that extends this one, whose constructor may have left it out.
    const { request, connection, id } = making ?? { request: given, connection: null, id: null };
    making = null;
    if (id === null) {
      Object.defineProperty(this, PARTS, { value: { request, connection, id, frame: null } });
      return;
    }
    // The object that others know by now, if they do: what a base class's constructor returns is `this` from then on.
    const handler = named(id);
    Object.setPrototypeOf(handler, new.target.prototype);
    Object.assign(handler[PARTS], { request, connection, id, frame: null });
    return handler;
  }

  get request() {
    return this[PARTS].request;
  }

  get id() {
    const parts = this[PARTS];
    parts.id ??= parts.connection?.id() ?? null;
    return parts.id ?? "";
  }

  get selectedSubprotocol() {
    return this[PARTS].connection?.selectedSubprotocol() ?? null;
  }

  get bufferedAmount() {
    return this[PARTS].connection?.bufferedAmount() ?? 0;
  }

  get closeCode() {
    return this[PARTS].frame?.code ?? null;
  }

  get closeReason() {
    return this[PARTS].frame?.reason ?? null;
  }

  prepare() {}

  checkOrigin(origin) {
    return this.request.originAllowed(origin);
  }

  selectSubprotocol(_offered) {
    return null;
  }

  getCompressionOptions() {
    return null;
  }

  open() {}

  onMessage(_message) {}

  onPing(_data) {}

  onPong(_data) {}

  onWritable() {}

  onTimer(_token) {}

  onClientEvent(_id, _event) {}

  onClose(_frame) {}

  suspend() {
    return state.dumpFields(this.constructor.name, { ...this }, this);
  }

  resume(bytes) {
    Object.assign(this, state.load(bytes));
  }

  writeMessage(message) {
    const value = values.message(message);
    asking(() => host(this).writeMessage(value));
  }

  flush() {
    asking(() => host(this).flush());
  }

  ping(data = new Uint8Array()) {
    const bytes = values.payload(data, "a ping's data");
    asking(() => host(this).ping(bytes));
  }

  close(code, reason) {
    const [wireCode, wireReason] = values.closeArguments(code, reason);
    try {
      asking(() => host(this).close(wireCode, wireReason));
    } catch (error) {
      if (!(error instanceof WebSocketClosedError)) throw error;
    }
  }

  setNodelay(value) {
    asking(() => host(this).setNodelay(Boolean(value)));
  }

  subscribe(topic) {
    values.text(topic, "a topic");
    asking(() => host(this).subscribe(topic));
  }

  unsubscribe(topic) {
    this[PARTS].connection?.unsubscribe(values.text(topic, "a topic"));
  }

  setTimer(token, delay) {
    const [wireToken, delayMs] = [values.token(token), values.milliseconds(delay, "a delay")];
    asking(() => host(this).setTimer(wireToken, delayMs));
  }

  clearTimer(token) {
    this[PARTS].connection?.clearTimer(values.token(token));
  }

  getArgument(name, otherwise) {
    return this.request.getArgument(name, otherwise);
  }

  setResponseHeader(name, value) {
    this.request.setResponseHeader(name, value);
  }
}

/** The handler of the connection with this id, which may not have been resumed yet. */
function named(id) {
  if (!awaited.has(id)) {
    const handler = Object.create(WebSocketHandler.prototype);
    Object.defineProperty(handler, PARTS, { value: { request: null, connection: null, id } });
    awaited.set(id, handler);
  }
  return awaited.get(id);
}

/** What the base class's constructor finds while `make` runs. */
function during(what, make) {
  making = what;
  try {
    return make();
  } finally {
    making = null;
  }
}

function host(handler) {
  const { connection } = handler[PARTS];
  if (connection === null) throw new WebSocketClosedError();
  return connection;
}

/** For component.js, which calls handlers. */
export const lifecycle = {
  /** Makes a handler that is nobody's successor. */
  made(request, make) {
    awaited.clear();
    return during({ request, connection: null, id: null }, make);
  },

  opened(handler, connection) {
    handler[PARTS].connection = connection;
  },

  /** Makes the successor of a handler, the object that `named` gives; its constructor finds it. */
  resumed(request, connection, make) {
    return during({ request, connection, id: connection.id() }, make);
  },

  named,

  closed(handler, frame) {
    handler[PARTS].frame = frame;
  },

  /** Gives back what the host keeps for this connection. */
  ended(handler) {
    const parts = handler[PARTS];
    // Asked for while it can be.
    parts.id ??= parts.connection?.id() ?? null;
    parts.connection?.[Symbol.dispose]?.();
    parts.connection = null;
    Request.end(parts.request);
  },
};
