// index.d.ts: what it declares is there, and examples are what it says.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import * as sdk from "../src/index.js";

const declared = fileURLToPath(new URL("../index.d.ts", import.meta.url));
const folder = fileURLToPath(new URL("..", import.meta.url));

test("what is declared is what is exported", () => {
  const names = [...readFileSync(declared, "utf8").matchAll(/^export (?:class|function|const) (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(names.sort(), Object.keys(sdk).sort());
});

test("every public name has a docstring", () => {
  const lines = readFileSync(declared, "utf8").split("\n");
  const bare = lines.filter((line, at) => /^export /.test(line) && !lines[at - 1].endsWith("*/"));
  assert.deepEqual(bare, []);
});

test("the declared classes have what their classes have", () => {
  const text = readFileSync(declared, "utf8");
  for (const name of ["WebSocketHandler", "Request", "ClientConnection"]) {
    const [, body] = new RegExp(`export class ${name} \\{\n([^]*?)\n\\}`).exec(text);
    const members = [...body.matchAll(/^ {2}(?:readonly )?(\w+)(?:<\w+>)?[(:]/gm)].map(([, member]) => member);
    const there = Object.getOwnPropertyNames(sdk[name].prototype).filter((member) => member !== "constructor");
    assert.deepEqual([...new Set(members)].filter((member) => member !== "constructor").sort(), there.sort(), name);
  }
});

test("a typed handler type-checks, and a mistaken one does not", (t) => {
  let compiler;
  try {
    compiler = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  } catch {
    return t.skip("typescript is not installed");
  }
  const check = (file) => {
    const options = ["--noEmit", "--strict", "--skipLibCheck", "false", "--target", "es2023", "--module", "nodenext"];
    execFileSync(process.execPath, [compiler, ...options, "--lib", "es2023,esnext.disposable", file], { cwd: folder, encoding: "utf8" });
  };
  check("tests/types/good.ts");
  assert.throws(() => check("tests/types/bad.ts"), ({ stdout }) => {
    assert.deepEqual([...stdout.matchAll(/bad\.ts\((\d+),/g)].map(([, line]) => Number(line)), [5, 6, 9]);
    return true;
  });
});
