// What the host calls, and what handlers see of it.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { component } from "../src/component.js";
import {
  BufferFullError,
  getClientConnection,
  InvalidError,
  publish,
  Rejection,
  WebSocketClosedError,
  WebSocketError,
  WebSocketHandler,
  websocketStart,
} from "../src/index.js";
import { connection, refusal, request } from "./host.js";

let logged;

beforeEach((t) => {
  logged = [];
  t.mock.method(console, "error", (text) => logged.push(text));
});

/** An open connection of a class. */
function opened(kind, host = connection(), asked = request()) {
  const handler = new (component(kind, "a test"))(asked);
  handler.open(host);
  return handler;
}

test("every method has a default, and the default origin policy is the host's", () => {
  const handler = new (component(class extends WebSocketHandler {}, "a test"))(request());
  assert.equal(handler.prepare(), undefined);
  assert.equal(handler.checkOrigin("https://good.example"), true);
  assert.equal(handler.checkOrigin("https://evil.example"), false);
  assert.equal(handler.selectSubprotocol(["one"]), null);
  assert.equal(handler.getCompressionOptions(), null);
  handler.open(connection());
  handler.onMessage({ tag: "text", val: "" });
  handler.onPing([]);
  handler.onPong([]);
  handler.onWritable();
  handler.onTimer(1);
  handler.onClientEvent("id", { tag: "opened" });
  handler.onClose(undefined);
});

test("text arrives as a string and bytes as a Uint8Array, whatever the engine makes of a list", () => {
  const seen = [];
  const handler = opened(class extends WebSocketHandler {
    onMessage(message) {
      seen.push(message);
    }
  });
  handler.onMessage({ tag: "text", val: "grüß" });
  handler.onMessage({ tag: "binary", val: [0, 255] });
  assert.deepEqual(seen, ["grüß", Uint8Array.of(0, 255)]);
});

test("strings are sent as text, bytes as binary, anything else as JSON, and what is none of them is refused", () => {
  const host = connection();
  const handler = opened(class extends WebSocketHandler {
    onMessage() {
      this.writeMessage("text");
      this.writeMessage(Uint8Array.of(1));
      this.writeMessage(Uint16Array.of(258).buffer);
      this.writeMessage({ a: [1, null] });
      for (const nothing of [undefined, null, () => {}, 1n, { toJSON() {} }]) assert.throws(() => this.writeMessage(nothing), TypeError);
      assert.throws(() => this.writeMessage("\ud800"), InvalidError);
    }
  }, host);
  handler.onMessage({ tag: "text", val: "" });
  assert.deepEqual(host.calls.map(([, message]) => message), [
    { tag: "text", val: "text" },
    { tag: "binary", val: Uint8Array.of(1) },
    { tag: "binary", val: Uint8Array.of(2, 1) },
    { tag: "text", val: '{"a":[1,null]}' },
  ]);
});

test("the host's refusals are exceptions of one family, and publishing has them, too", () => {
  const host = connection("c1", { writeMessage: refusal("buffer-full"), subscribe: refusal("limit", "max-topics") });
  globalThis.fakeHost = {
    publish() {
      throw refusal("denied");
    },
  };
  const handler = opened(class extends WebSocketHandler {
    onMessage() {
      assert.throws(() => this.writeMessage("x"), (error) => error instanceof BufferFullError && error.kind === "buffer-full");
      assert.throws(() => this.subscribe("x"), (error) => error instanceof WebSocketError && error.message === "max-topics");
      assert.throws(() => publish("x", "y"), { kind: "denied" });
    }
  }, host);
  handler.onMessage({ tag: "text", val: "" });
});

test("before open and after onClose a connection is closed, and closing it again is no mistake", () => {
  let kept;
  const handler = new (component(class extends WebSocketHandler {
    constructor(request) {
      super(request);
      kept = this;
    }
  }, "a test"))(request());
  assert.throws(() => kept.writeMessage("early"), WebSocketClosedError);
  handler.open(connection());
  handler.onClose({ code: 1000, reason: "bye" });
  assert.deepEqual([kept.closeCode, kept.closeReason, kept.id], [1000, "bye", "c1"]);
  assert.throws(() => kept.writeMessage("late"), WebSocketClosedError);
});

test("a constructor that gives super nothing, or something else, has the request all the same", () => {
  for (const given of [[], [{}]]) {
    class Forgetful extends WebSocketHandler {
      constructor() {
        super(...given);
        this.path = this.request.path;
      }

      onMessage() {
        this.writeMessage(this.path);
      }
    }
    const host = connection();
    const handler = opened(Forgetful, host);
    handler.onMessage({ tag: "text", val: "" });
    handler.onClose(null);
    const successor = component(Forgetful, "a test").resume(request(), connection(), opened(Forgetful).suspend());
    successor.onClose(null);
    assert.deepEqual(host.calls, [["writeMessage", { tag: "text", val: "/path" }], ["dispose"]]);
  }
  assert.deepEqual(logged, []);
});

test("after onClose the host's handles are given back once, and onClose itself can still ask", () => {
  const [host, asked] = [connection(), request({ query: "name=Ada" })];
  let seen;
  const handler = opened(class extends WebSocketHandler {
    onClose() {
      seen = [this.getArgument("name"), this.id, host.calls.length];
    }
  }, host, asked);
  handler.onClose(null);
  assert.deepEqual(seen, ["Ada", "c1", 0]);
  assert.deepEqual([host.calls, asked.calls], [[["dispose"]], [["dispose"]]]);
});

test("prepare rejects by an exception or by an answer, with headers and body", () => {
  for (const refuse of [
    (rejection) => {
      throw rejection;
    },
    (rejection) => rejection,
  ]) {
    const handler = new (component(class extends WebSocketHandler {
      prepare() {
        return refuse(new Rejection(418, "short", { "x-why": "teapot" }));
      }
    }, "a test"))(request());
    assert.throws(() => handler.prepare(), ({ payload }) => {
      assert.deepEqual({ ...payload, body: new TextDecoder().decode(payload.body) }, {
        status: 418,
        headers: [["content-type", "text/plain; charset=utf-8"], ["x-why", "teapot"]],
        body: "short",
      });
      return true;
    });
  }
  assert.equal(Rejection.redirect("/elsewhere").status, 302);
});

test("an exception goes to the log with its message and stack before it ends the instance", () => {
  const handler = opened(class extends WebSocketHandler {
    onMessage() {
      throw new RangeError("too far", { cause: "the map" });
    }
  });
  assert.throws(() => handler.onMessage({ tag: "text", val: "" }));
  assert.match(logged.join("\n"), /^Uncaught RangeError: too far\n.*handler\.test\.js:\d+(.|\n)*Caused by: the map$/);
});

test("an async method is refused before anything of it has run, because nobody would wait for it", () => {
  class Echo extends WebSocketHandler {
    async onMessage() {}
  }
  class Derived extends Echo {}
  for (const kind of [Echo, Derived]) {
    assert.throws(() => component(kind, "src/handler.js"), /src\/handler\.js: \w+'s onMessage is async/);
  }
  // One that is chosen for a request, when it is.
  assert.throws(() => opened(() => Derived), /Derived's onMessage is async/);
  const handler = opened(class extends WebSocketHandler {
    onMessage() {
      return Promise.resolve();
    }
  });
  assert.throws(() => handler.onMessage({ tag: "text", val: "" }), /onMessage returned a promise/);
  const preparing = new (component(class extends WebSocketHandler {
    prepare() {
      return Promise.resolve();
    }
  }, "a test"))(request());
  assert.throws(() => preparing.prepare(), /prepare returned a promise/);
});

test("what is no handler is told when the component is made", () => {
  assert.throws(() => component(undefined, "src/handler.js"), /src\/handler\.js has no handler/);
  assert.throws(() => component(class Echo {}, "src/handler.js"), /Echo does not extend WebSocketHandler/);
  assert.throws(() => new (component(() => null, "src/handler.js"))(request()), /returned no class/);
});

test("whole numbers that the host cannot take are refused, and a token is the one that it was", () => {
  const host = connection();
  let rang;
  const handler = opened(class extends WebSocketHandler {
    open() {
      this.setTimer(2 ** 32 - 1, 0.5);
      for (const token of [-1, 2 ** 32]) assert.throws(() => this.setTimer(token, 1), InvalidError);
      for (const token of [1.5, "1"]) assert.throws(() => this.setTimer(token, 1), TypeError);
      for (const delay of [-1, NaN, 2 ** 31]) assert.throws(() => this.setTimer(1, delay), InvalidError);
      for (const code of [-1, 65_536]) assert.throws(() => this.close(code), InvalidError);
    }

    onTimer(token) {
      rang = token;
    }
  }, host);
  assert.deepEqual(host.calls, [["setTimer", -1, 1]]);
  handler.onTimer(-1);
  assert.equal(rang, 2 ** 32 - 1);
});

test("a connection of one's own has all that the interface wants, and its events are told in JavaScript's way", () => {
  const events = [];
  let wire;
  globalThis.fakeHost = {
    start(url, options) {
      wire = [url, options];
      return { id: () => "u1" };
    },
  };
  const handler = opened(class extends WebSocketHandler {
    open() {
      assert.equal(websocketStart("ws://a/", { headers: { x: "y" }, connectTimeout: 1.2 }).id, "u1");
    }

    onClientEvent(id, event) {
      events.push([id, event.type, event.message ?? event.error?.kind ?? event.frame]);
    }
  });
  assert.deepEqual(wire, ["ws://a/", {
    headers: [["x", "y"]],
    subprotocols: [],
    connectTimeoutMs: 2,
    maxMessageSize: null,
    pingIntervalMs: null,
    pingTimeoutMs: null,
    compression: null,
  }]);
  handler.onClientEvent("u1", { tag: "message", val: { tag: "text", val: "hello" } });
  handler.onClientEvent("u1", { tag: "failed", val: { tag: "http", val: 404 } });
  handler.onClientEvent("u1", { tag: "closed", val: undefined });
  assert.deepEqual(events, [["u1", "message", "hello"], ["u1", "failed", "http"], ["u1", "closed", null]]);
});

test("when a handler ends, handles of its own connections are given back; their ids are known still", () => {
  const disposed = [];
  const handle = (id) => ({ id: () => id, [Symbol.dispose]: () => disposed.push(id) });
  globalThis.fakeHost = { start: (url) => handle(url), get: (id) => (id === "gone" ? undefined : handle(id)) };
  const kept = [];
  class Holder extends WebSocketHandler {
    open() {
      for (let at = 0; at < 40; at++) kept.push(websocketStart(`ws://${this.id}/${at}`));
    }
  }
  const [one, two] = ["one", "two"].map((id) => opened(Holder, connection(id)));
  two.onMessage({ tag: "text", val: "" });
  one.onClose(null);
  assert.deepEqual(disposed, Array.from({ length: 40 }, (_, at) => `ws://one/${at}`));
  assert.equal(kept[0].id, "ws://one/0");
  globalThis.fakeHost.get = () => undefined;
  assert.throws(() => kept[0].flush(), WebSocketClosedError);
  assert.equal(disposed.length, 40, "another handler's stay");
});

test("a connection that is looked for while another handler was called last is its own handler's", () => {
  const disposed = [];
  globalThis.fakeHost = { get: (id) => ({ id: () => id, [Symbol.dispose]: () => disposed.push(id) }) };
  const kept = [];
  class Finder extends WebSocketHandler {
    constructor(request) {
      super(request);
      if (this.id !== "") kept.push(getClientConnection(`${this.id} in the constructor`));
    }

    resume() {
      kept.push(getClientConnection(`${this.id} in resume`));
    }
  }
  const [other, two] = [opened(Finder, connection("other")), component(Finder, "a test").resume(request(), connection("two"), [])];
  other.onClose(null);
  assert.deepEqual(disposed, []);
  two.onClose(null);
  assert.deepEqual(disposed, ["two in the constructor", "two in resume"]);
});
