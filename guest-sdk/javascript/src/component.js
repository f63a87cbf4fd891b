// From a WebSocketHandler to the exports of a component: what the builder's entry uses.

import { clientEvent, clients } from "./client.js";
import { lifecycle, WebSocketHandler } from "./handler.js";
import { answering, guarded, refused, told } from "./reporting.js";
import { Rejection, Request } from "./request.js";
import { started } from "./starting.js";
import * as values from "./values.js";

/** What the host calls. */
const CALLED = [
  "prepare", "checkOrigin", "selectSubprotocol", "getCompressionOptions", "open", "onMessage", "onPing", "onPong",
  "onWritable", "onTimer", "onClientEvent", "onClose", "suspend", "resume",
];

const AsyncFunction = (async () => {}).constructor;

const whyNotAsync = "nothing would ever run what comes after an await; writing and flushing need none";

/** `chosen` is a handler class, or a function that returns one for a request. */
export function component(chosen, what) {
  const isHandler = (value) => typeof value === "function" && value.prototype instanceof WebSocketHandler;
  if (typeof chosen !== "function") {
    throw new TypeError(`${what} has no handler: \`export default class extends WebSocketHandler\`, or a function that returns one for a request`);
  }
  const withoutAsync = (kind) => {
    const method = CALLED.find((name) => kind.prototype[name] instanceof AsyncFunction);
    if (method === undefined) return kind;
    throw new TypeError(`${what}: ${kind.name || "its class"}'s ${method} is async: ${whyNotAsync}`);
  };
  const choose = (request) => {
    if (isHandler(chosen)) return chosen;
    const kind = chosen(request);
    if (!isHandler(kind)) throw new TypeError("what the module exports returned no class that extends WebSocketHandler");
    return withoutAsync(kind);
  };
  // While the component is built: nobody is connected to what is refused.
  if (isHandler(chosen)) withoutAsync(chosen);
  if (!isHandler(chosen) && /^class\b/.test(Function.prototype.toString.call(chosen))) {
    throw new TypeError(`${what}: ${chosen.name || "its class"} does not extend WebSocketHandler`);
  }

  return class Handler {
    #handler;

    constructor(request, handler) {
      if (handler !== undefined) {
        this.#handler = handler;
        return;
      }
      started();
      clients.calling(null);
      this.#handler = guarded(() => {
        const asked = Request.of(request);
        const kind = choose(asked);
        return lifecycle.made(asked, () => new kind(asked));
      });
    }

    #call(method, ...args) {
      clients.calling(this.#handler);
      return guarded(() => settled(method, this.#handler[method](...args)));
    }

    prepare() {
      clients.calling(this.#handler);
      let rejection;
      try {
        rejection = settled("prepare", this.#handler.prepare());
      } catch (thrown) {
        if (!(thrown instanceof Rejection)) throw told(thrown);
        rejection = thrown;
      }
      if (rejection === undefined || rejection === null) return;
      throw refused(guarded(() => wireRejection(rejection)));
    }

    checkOrigin(origin) {
      return Boolean(this.#call("checkOrigin", origin));
    }

    selectSubprotocol(offered) {
      const selected = this.#call("selectSubprotocol", offered) ?? null;
      return selected === null ? null : guarded(() => values.text(selected, "a subprotocol"));
    }

    getCompressionOptions() {
      const options = this.#call("getCompressionOptions");
      return guarded(() => values.compressionOptions(options));
    }

    open(connection) {
      lifecycle.opened(this.#handler, connection);
      this.#call("open");
    }

    onMessage(message) {
      this.#call("onMessage", values.received(message));
    }

    onPing(data) {
      this.#call("onPing", values.bytes(data));
    }

    onPong(data) {
      this.#call("onPong", values.bytes(data));
    }

    onWritable() {
      this.#call("onWritable");
    }

    onTimer(token) {
      this.#call("onTimer", token >>> 0);
    }

    onClientEvent(id, event) {
      this.#call("onClientEvent", id, clientEvent(event));
    }

    onClose(frame) {
      const handler = this.#handler;
      lifecycle.closed(handler, frame ?? null);
      this.#call("onClose", frame ?? null);
      clients.ended(handler);
      lifecycle.ended(handler);
      // The exported object may outlive the connection, but nothing in it.
      this.#handler = null;
    }

    suspend() {
      const state = this.#call("suspend") ?? null;
      return state === null ? null : guarded(() => values.payload(state, "a state"));
    }

    static resume(request, connection, bytes) {
      started();
      return answering(() => {
        const asked = Request.of(request);
        const kind = choose(asked);
        clients.calling(lifecycle.named(connection.id()));
        const handler = lifecycle.resumed(asked, connection, () => new kind(asked));
        settled("resume", handler.resume(values.bytes(bytes)));
        return new Handler(request, handler);
      });
    }
  };
}

/** What a method gave. */
function settled(method, result) {
  if (typeof result?.then === "function") {
    throw new TypeError(`${method} returned a promise: ${whyNotAsync}`);
  }
  return result;
}

function wireRejection(rejection) {
  if (!(rejection instanceof Rejection)) throw new TypeError("prepare returns a Rejection or nothing");
  const headers = values.pairs(rejection.headers);
  const body = values.payload(rejection.body, "a rejection's body");
  if (body.length > 0 && !headers.some(([name]) => name.toLowerCase() === "content-type")) {
    headers.unshift(["content-type", "text/plain; charset=utf-8"]);
  }
  if (!Number.isInteger(rejection.status) || rejection.status < 0 || rejection.status > 0xffff) {
    throw new TypeError(`HTTP status ${rejection.status}: 200 to 599 are possible`);
  }
  return { status: rejection.status, headers, body };
}
