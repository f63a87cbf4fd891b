// From sources to a component, and how mistakes are told.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const COMPONENTIZE = fileURLToPath(new URL("../bin/componentize.js", import.meta.url));

/** What `waterspout-componentize` makes of a module, in a folder of its own. */
async function built(t, source, ...options) {
  const folder = await realpath(await mkdtemp(join(tmpdir(), "waterspout-test-")));
  t.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, "handler.ts"), source);
  return new Promise((resolve) => {
    execFile(process.execPath, [COMPONENTIZE, "handler.ts", ...options], { cwd: folder }, async (error, stdout, stderr) => {
      resolve({ code: error?.code ?? 0, stdout, stderr, component: await readFile(join(folder, "handler.wasm")).catch(() => null) });
    });
  });
}

test("a module becomes a component of the world, which has shared state only if something is shared", async (t) => {
  const handler = "export default class extends WebSocketHandler { private text: string = ''; }";
  const plain = await built(t, `import { WebSocketHandler } from "waterspout-guest"; ${handler}`);
  assert.deepEqual([plain.code, plain.stderr], [0, ""]);
  assert.deepEqual([...plain.component.subarray(0, 8)], [0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]);
  const shares = (component) => component.includes("waterspout:websocket/shared-state@0.1.0");
  assert.equal(shares(plain.component), false);
  const sharing = await built(t, `import { shared, WebSocketHandler } from "waterspout-guest"; shared([]); ${handler}`);
  assert.equal(shares(sharing.component), true);
});

test("mistakes name the file and the line", async (t) => {
  for (const [source, ...wanted] of [
    ["export default\nclass = {};", /handler\.ts:2:6/, /\[ERROR\] Expected "\{"/],
    ['import "left-pad";', /handler\.ts:1:7/, /npm install left-pad/],
    ['import "node:fs";', /A handler has no files/],
    ['export default 1;\n\nthrow new RangeError("at once");', /Error: at once\n {4}at handler\.ts:3/],
    ['import { WebSocketHandler } from "waterspout-guest"; export default class Echo extends WebSocketHandler { async open() {} }', /handler\.ts: Echo's open is async/],
    ["export const nothing = 1;", /handler\.ts has no handler/],
  ]) {
    const { code, stdout, stderr, component } = await built(t, source);
    assert.deepEqual([code, stdout, component], [1, "", null], source);
    for (const part of wanted) assert.match(stderr, part);
    assert.doesNotMatch(stderr, /user\.js|waterspout:entry/, "places are those of the sources");
  }
});

test("mistaken arguments are told without a stack", async (t) => {
  for (const [options, wanted] of [
    [["--engine", "v8"], /^error: there is no engine v8: quickjs or starlingmonkey$/m],
    [["--engin"], /^error: Unknown option '--engin'/m],
    [["other.js"], /^error: one module is made a component, not 2/m],
    [["-o", "no/such/folder.wasm"], /^error: cannot write no\/such\/folder\.wasm: /m],
  ]) {
    const { code, stderr } = await built(t, 'import { WebSocketHandler } from "waterspout-guest"; export default class extends WebSocketHandler {}', ...options);
    assert.equal(code, 1);
    assert.match(stderr, wanted);
    assert.doesNotMatch(stderr, /^\s+at /m);
  }
});
