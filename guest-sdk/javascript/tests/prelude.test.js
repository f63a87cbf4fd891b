// What QuickJS does not bring: here in the place of what Node has.

import assert from "node:assert/strict";
import { test } from "node:test";

const nodes = { TextDecoder };
for (const name of ["console", "TextDecoder", "TextEncoder"]) delete globalThis[name];
await import("../src/prelude.js");

/** What `print` writes to either stream. */
function printed(print) {
  let bytes = [];
  const stream = { blockingWriteAndFlush: (piece) => (bytes = [...bytes, ...piece]), [Symbol.dispose]() {} };
  globalThis.fakeHost = { stream: () => stream };
  print();
  return new nodes.TextDecoder().decode(Uint8Array.from(bytes));
}

test("text that comes in pieces is decoded as in Node, wherever it is cut", () => {
  assert.notEqual(TextDecoder, nodes.TextDecoder);
  const bytes = Uint8Array.of(0xef, 0xbb, 0xbf, ...new TextEncoder().encode("a€😀"), 0xf0, 0x9f, 0x41, 0xe2, 0x82);
  for (let cut = 0; cut <= bytes.length; cut++) {
    const both = [new TextDecoder(), new nodes.TextDecoder()].map((decoder) => [
      decoder.decode(bytes.subarray(0, cut), { stream: true }),
      decoder.decode(bytes.subarray(cut), { stream: true }),
      decoder.decode(),
      decoder.decode(bytes),
    ]);
    assert.deepEqual(both[0], both[1], `cut at ${cut}`);
  }
  const fatal = new TextDecoder("utf-8", { fatal: true });
  assert.equal(fatal.decode(Uint8Array.of(0xe2), { stream: true }), "");
  assert.throws(() => fatal.decode(), TypeError);
  assert.equal(fatal.decode(Uint8Array.of(0x41)), "A", "a mistake ends the stream");
});

test("groups are indented, and the rest of the console says something", () => {
  const text = printed(() => {
    console.group("outer");
    console.log("two\nlines");
    console.groupEnd();
    console.dir({ a: 1 });
    console.table([1]);
    console.count();
    console.count();
    console.time("work");
    console.timeEnd("work");
    console.groupEnd();
    console.log("end");
  });
  assert.match(text, /^outer\n  two\n  lines\n\{"a":1\}\n\[1\]\ndefault: 1\ndefault: 2\nwork: \d+ ms\nend\n$/);
});
