// JSON that is nested too deeply for a component's stack.

import assert from "node:assert/strict";
import { test } from "node:test";

import { DEEPEST } from "../src/nesting.js";

test("JSON may be nested so deeply, and not a level more", () => {
  for (const [opening, closing, inner] of [["[", "]", ""], ['{"a":', "}", "1"]]) {
    const deepest = opening.repeat(DEEPEST) + inner + closing.repeat(DEEPEST);
    JSON.parse(deepest);
    assert.throws(() => JSON.parse(opening + deepest + closing), /nested more deeply/);
  }
});

test("what is long and not deep is read, and brackets in strings are text", () => {
  const many = Array.from({ length: 1000 }, () => ({ text: "[{".repeat(100), quote: '"[', slash: "\\" }));
  assert.deepEqual(JSON.parse(JSON.stringify(many)), many);
  assert.deepEqual(JSON.parse("[1, 2]", (key, value) => (typeof value === "number" ? value + 1 : value)), [2, 3]);
  assert.equal(JSON.parse({ toString: () => "1" }), 1);
});

test("a text that is no JSON is looked through once", () => {
  const hostile = "[".repeat(DEEPEST + 1);
  for (const start of ["]".repeat(1000), '"', '\\"'.repeat(100_000), '"' + '\\"'.repeat(100_000)]) {
    assert.throws(() => JSON.parse(start + hostile), SyntaxError);
  }
});
