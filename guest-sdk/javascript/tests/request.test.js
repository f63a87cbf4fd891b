// The handshake's request.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Request } from "../src/index.js";
import { request } from "./host.js";

test("arguments of the query are decoded as Tornado decodes them", () => {
  const of = (query) => Request.of(request({ query }));
  assert.equal(of("name=gr%C3%BC%C3%9F+dich").getArgument("name"), "grüß dich");
  assert.equal(of("a=1&a=2").getArgument("a"), "2");
  assert.deepEqual(of("a=1&b=&a=2&c").getArguments("a"), ["1", "2"]);
  assert.equal(of("b").getArgument("b"), "");
  assert.equal(of("a=%zz%").getArgument("a"), "%zz%");
  assert.equal(of("a=%ff").getArgument("a"), "\ufffd");
  assert.equal(of("a=%20x%00y%20").getArgument("a"), "x y");
  assert.equal(of(undefined).getArgument("a", "default"), "default");
  assert.equal(of("%61=1").getArgument("a"), "1");
});

test("headers are found whatever their case, and all of their values", () => {
  const asked = Request.of(request({ headers: [["X-Many", "1"], ["x-many", "2"], ["Other", "é"]] }));
  assert.equal(asked.header("x-MANY"), "1");
  assert.deepEqual(asked.headerValues("x-many"), ["1", "2"]);
  assert.equal(asked.header("none"), undefined);
  assert.deepEqual(asked.header("other"), "Ã©", "bytes of a header are kept one by one");
});

test("what was asked for once stays after the end; nobody but the SDK makes a request", () => {
  const asked = Request.of(request({ query: "q", pathArgs: [["room", "a"]] }));
  assert.deepEqual([asked.query, asked.pathArgs.room], ["q", "a"]);
  Request.end(asked);
  assert.deepEqual([asked.query, asked.pathArgs.room, asked.uri], ["q", "a", ""]);
  assert.throws(() => new Request(), TypeError);
});
