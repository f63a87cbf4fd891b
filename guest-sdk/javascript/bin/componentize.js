#!/usr/bin/env node
// `waterspout-componentize src/handler.js -o echo.wasm`

import { writeFile } from "node:fs/promises";
import { basename, extname } from "node:path";
import { parseArgs } from "node:util";

import { BuildError, componentize, ENGINES } from "../src/build.js";

const USAGE = `Make a component of a module whose default export is a WebSocketHandler

Usage: waterspout-componentize FILE [-o NAME.wasm] [--engine ${ENGINES.join("|")}]

  FILE            the module: JavaScript or TypeScript; what it imports is bundled with it
  -o, --output    the component [default: FILE with .wasm]
      --engine    what runs it [default: ${ENGINES[0]}]
  -h, --help      print help`;

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      output: { type: "string", short: "o" },
      engine: { type: "string", default: ENGINES[0] },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return console.log(USAGE);
  if (positionals.length !== 1) throw new BuildError(`one module is made a component, not ${positionals.length}\n\n${USAGE}`);
  const [source] = positionals;
  const output = values.output ?? `${basename(source, extname(source))}.wasm`;
  const component = await componentize(source, { engine: values.engine });
  await writeFile(output, component).catch((error) => {
    throw new BuildError(`cannot write ${output}: ${error.message}`);
  });
}

main().catch((error) => {
  // Node's own mistakes in options have a code, ours are BuildErrors; anything else is a defect, and shows its stack.
  const expected = error instanceof BuildError || String(error.code).startsWith("ERR_PARSE_ARGS");
  console.error(error.isShown ? error.message : `error: ${expected ? error.message : error.stack}`);
  process.exitCode = 1;
});
