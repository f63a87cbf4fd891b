// What survives a swap.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { component } from "../src/component.js";
import { shared, WebSocketHandler } from "../src/index.js";
import { resumeShared, suspendShared } from "../src/sharing.js";
import { shared as known } from "../src/state.js";
import { connection, request } from "./host.js";

let logged;

beforeEach((t) => {
  logged = [];
  t.mock.method(console, "error", (text) => logged.push(text));
});

function opened(kind, id) {
  const handler = new (component(kind, "a test"))(request());
  handler.open(connection(id));
  return handler;
}

test("fields of every kind are what they were, and fields that are new have their default", () => {
  let seen;
  class Old extends WebSocketHandler {
    open() {
      this.text = "\0 🌍";
      this.numbers = [0, -0, 1.5, NaN, -Infinity, 2n ** 70n];
      this.nothing = [null, undefined, true];
      this.bytes = Uint8Array.from({ length: 256 }, (_, at) => at);
      this.when = new Date(86_400_000);
      this.map = new Map([[{ $: "odd", __proto__key: 1 }, new Set([1, "b"])]]);
      this["$strange"] = { $: "map", v: 3 };
      this.odd = Object.fromEntries([["__proto__", 1]]);
    }
  }
  class New extends WebSocketHandler {
    added = 7;

    onMessage() {
      seen = { ...this };
    }
  }
  const state = opened(Old).suspend();
  const successor = component(New, "a test").resume(request(), connection(), [...state]);
  successor.onMessage({ tag: "text", val: "" });
  const old = {};
  Old.prototype.open.call(old);
  assert.deepEqual(seen, { added: 7, ...old });
});

test("a field that cannot be kept is named in the log, and there is no state", () => {
  class Fields extends WebSocketHandler {
    callback = () => {};
  }
  assert.equal(opened(Fields).suspend(), null);
  assert.match(logged[0], /Fields cannot be suspended \(`callback`\): a function stays where it is/);
  class Loop extends WebSocketHandler {
    loop = [];
  }
  const handler = opened(class extends Loop {
    open() {
      this.loop.push(this.loop);
    }
  });
  assert.equal(handler.suspend(), null);
  assert.match(logged[1], /`loop`.*contains itself/);
  const [inside, of] = [{ [Symbol("x")]: 1 }, Symbol("y")];
  for (const properties of [{ inside }, { [of]: 1 }]) {
    const symbols = opened(class extends WebSocketHandler {
      open() {
        Object.assign(this, properties);
      }
    });
    assert.equal(symbols.suspend(), null);
  }
  assert.match(logged[2], /`inside`.*a symbol names \(Symbol\(x\)\)/);
  assert.match(logged[3], /`Symbol\(y\)`/);
});

test("handlers that know each other still do, whichever is resumed first", () => {
  const people = shared(new Map(), "people");
  class Person extends WebSocketHandler {
    open() {
      people.set(this.id, this);
    }

    onMessage() {
      for (const person of people.values()) person.writeMessage("hello");
    }
  }
  const old = ["c1", "c2"].map((id) => opened(Person, id));
  const states = old.map((handler) => handler.suspend());
  const common = suspendShared();
  people.clear();
  resumeShared(common);
  const hosts = [connection("c2"), connection("c1")];
  const [two] = hosts.map((host, at) => component(Person, "a test").resume(request(), host, states[1 - at]));
  two.onMessage({ tag: "text", val: "" });
  for (const host of hosts) assert.deepEqual(host.calls, [["writeMessage", { tag: "text", val: "hello" }]]);
});

test("resume may refuse with an exception, which the host is told in words", () => {
  class Stubborn extends WebSocketHandler {
    resume() {
      throw new Error("not this state");
    }
  }
  const state = opened(Stubborn).suspend();
  assert.throws(() => component(Stubborn, "a test").resume(request(), connection(), state), { payload: "Error: not this state" });
  const garbage = () => component(class extends WebSocketHandler {}, "a test").resume(request(), connection(), [1, 2]);
  assert.throws(garbage, ({ payload }) => payload.includes("was not written by the JavaScript SDK"));
});

test("a shared object may contain itself and others", () => {
  const [one, two] = [shared({}, "one"), shared(new Map(), "two")];
  Object.assign(one, { self: one, two });
  two.set("one", one);
  const state = suspendShared();
  for (const name of Object.keys(one)) delete one[name];
  two.clear();
  resumeShared(state);
  assert.ok(one.self === one && one.two === two && two.get("one") === one);
});

test("what is shared is not taken over under another name, or as something else, and nothing has happened", () => {
  const first = shared({ a: 1 }, "first");
  shared([1, 2], "list");
  const state = suspendShared();
  first.a = 2;
  known.delete("list");
  const list = shared(new Map([["kept", 1]]), "list");
  assert.throws(() => resumeShared(state), /shared "list" was an array, and is a Map/);
  known.delete("list");
  assert.throws(() => resumeShared(state), /the old version shares "list", which this one does not/);
  assert.deepEqual([first.a, ...list], [2, ["kept", 1]]);
});

test("two shared objects of one name are a mistake", () => {
  shared([], "twice");
  assert.throws(() => shared([], "twice"), /two shared objects are called twice/);
  assert.throws(() => shared(1, "number"), TypeError);
});
