// Runs named checks one after the other and prints a line for each: `ok NAME` or `not ok NAME: why`.

import { createRequire } from "node:module";
import { join } from "node:path";
import { parseArgs } from "node:util";

// Nothing here waits for more than a round trip on loopback: the rest is for a loaded machine.
const CHECK_TIMEOUT_MS = 20_000;

/**
 * npm's packages come from the working directory, so that `cargo xtask setup` can install them under target/ instead of
 * among the sources.
 */
export const fromWorkingDirectory = createRequire(join(process.cwd(), "package.json"));

/** The values of `--NAME VALUE` for the given names; those not given are undefined. */
export function commandLine(...names) {
  const options = Object.fromEntries(names.map((name) => [name, { type: "string" }]));
  return parseArgs({ options }).values;
}

/** An assertion that shows its values. */
export function expect(what, actual, expected) {
  const shown = shortened(actual);
  const wanted = shortened(expected);
  if (JSON.stringify(actual) !== JSON.stringify(expected)) throw new Error(`${what}: expected ${wanted}, got ${shown}`);
}

function shortened(value) {
  const words = JSON.stringify(value) ?? "undefined";
  return words.length <= 120 ? words : `${words.slice(0, 100)}… (${words.length} characters)`;
}

/** Checks by name. */
export class Checks {
  #checks = [];

  add(name, check) {
    this.#checks.push({ name, check });
  }

  /** Calls the checks in order, however each ends, then `cleanUp`, and ends the process: with 1 if one failed. */
  async run(cleanUp = async () => {}) {
    let failed = 0;
    for (const { name, check } of this.#checks) {
      let timer;
      const timeout = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no end after ${CHECK_TIMEOUT_MS} ms`)), CHECK_TIMEOUT_MS);
      });
      try {
        await Promise.race([check(), timeout]);
        console.log(`ok ${name}`);
      } catch (error) {
        failed += 1;
        console.log(`not ok ${name}: ${error.message.replace(/\s+/g, " ")}`);
      } finally {
        clearTimeout(timer);
      }
    }
    console.log(`${this.#checks.length - failed} passed, ${failed} failed`);
    await cleanUp();
    // A failed check may have left a connection open, which would keep the process alive.
    process.exit(failed === 0 ? 0 : 1);
  }
}
