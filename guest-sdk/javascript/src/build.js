// From a module with a handler to a component: esbuild makes one file of it, with the prelude; an engine's builder makes a component of that.

import { readFileSync } from "node:fs";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { isBuiltin, SourceMap } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

import { build as bundle, formatMessages } from "esbuild";

import { translator } from "./places.js";

const SDK = dirname(dirname(fileURLToPath(import.meta.url)));
const WIT = join(SDK, "wit");

/** The module that is written here. */
const ENTRY = "waterspout:entry";

export const ENGINES = ["quickjs", "starlingmonkey"];

/** Why there is no component; told in words for who builds. */
export class BuildError extends Error {
  /** @param {string} message @param {{ isShown?: boolean }} [how] `isShown`: the message says itself that it is an error */
  constructor(message, { isShown = false } = {}) {
    super(message);
    this.isShown = isShown;
  }
}

/**
 * Makes a component of the module `source`; returns its bytes.
 *
 * @param {string} source
 * @param {{ engine?: "quickjs" | "starlingmonkey" }} [options]
 * @returns {Promise<Uint8Array>}
 */
export async function componentize(source, { engine = "quickjs" } = {}) {
  if (!ENGINES.includes(engine)) throw new BuildError(`there is no engine ${engine}: ${ENGINES.join(" or ")}`);
  const file = resolve(source);
  await stat(file).catch(() => {
    throw new BuildError(`there is no file ${source}`);
  });
  const { code, shares, toSources } = await bundled(file, source, engine);
  const world = `${engine === "quickjs" ? "quickjs-" : ""}${shares ? "sharing-" : ""}guest`;
  try {
    return await (engine === "quickjs" ? withQuickJs(code, world) : withStarlingMonkey(code, world));
  } catch (error) {
    if (error instanceof BuildError) throw error;
    throw new BuildError(`${source} cannot be made a component: ${toSources(told(error.message))}`);
  }
}

async function bundled(file, source, engine) {
  const made = (shares) =>
    bundle({
      stdin: { contents: entry(file, source, engine, shares), resolveDir: dirname(file), sourcefile: ENTRY, loader: "js" },
      bundle: true,
      format: "esm",
      platform: "neutral",
      mainFields: ["module", "main"],
      target: "es2023",
      external: ["waterspout:*", "wasi:*"],
      alias: { "waterspout-guest": join(SDK, "src/index.js") },
      define: { WATERSPOUT_ENGINE: JSON.stringify(engine) },
      sourcemap: "external",
      metafile: true,
      write: false,
      outfile: "handler.bundle.js",
      absWorkingDir: process.cwd(),
      logLevel: "silent",
    }).catch(async (failure) => {
      if (failure.errors === undefined) throw failure;
      const errors = failure.errors.map(withAdvice);
      const shown = await formatMessages(errors, { kind: "error", color: process.stderr.isTTY });
      throw new BuildError(shown.join("").trim(), { isShown: true });
    });
  // Only what is shared is handed over with an instance; without it, a shared instance drains.
  const first = await made(false);
  const inputs = Object.entries(Object.values(first.metafile.outputs).find((output) => output.entryPoint !== undefined).inputs);
  const sharing = inputs.find(([name]) => resolve(name) === join(SDK, "src/sharing.js"));
  const shares = sharing !== undefined && sharing[1].bytesInOutput > 0;
  const { outputFiles } = shares ? await made(true) : first;
  const map = outputFiles.find(({ path }) => path.endsWith(".map"));
  const code = outputFiles.find(({ path }) => path.endsWith(".js"));
  const known = places(code.text, JSON.parse(map.text));
  const translation = `(${translator})(${known.map((part) => JSON.stringify(part)).join(", ")})`;
  return { code: `${code.text}\nglobalThis.__waterspoutPlaces = ${translation};\n`, shares, toSources: translator(...known) };
}

function entry(file, source, engine, shares) {
  const from = (name) => JSON.stringify(join(SDK, "src", name));
  return `${engine === "quickjs" ? `import ${from("prelude.js")};` : ""}
import { component } from ${from("component.js")};
import * as chosen from ${JSON.stringify(file)};
export const handler = { Handler: component(chosen.default, ${JSON.stringify(source)}) };
${shares ? `export { sharedState } from ${from("shared-state.js")};` : ""}
`;
}

/** esbuild's advice is meant for pages and for Node. */
function withAdvice(error) {
  const [, name] = /^Could not resolve "([^"]*)"$/.exec(error.text) ?? [];
  if (name === undefined || /^[./]/.test(name)) return error;
  const advice = isBuiltin(name)
    ? "That is a part of Node. A handler has no files, processes or sockets, and a package that needs them does not work in one."
    : `Is it installed? \`npm install ${name}\``;
  return { ...error, notes: [{ text: advice }] };
}

/** What `translator` takes. */
function places(code, map) {
  const sources = new SourceMap(map);
  const files = [];
  const runs = [];
  let before;
  code.split("\n").forEach((text, line) => {
    const { originalSource, originalLine } = sources.findEntry(line, Math.max(text.search(/\S/), 0));
    let place = [];
    if (originalSource !== undefined) {
      const path = resolve(originalSource);
      const name = path.startsWith(SDK + sep) || path.endsWith(ENTRY) ? "" : relative(process.cwd(), path);
      if (!files.includes(name)) files.push(name);
      place = [files.indexOf(name), originalLine + 1];
    }
    const goesOn = before !== undefined && before[0] === place[0] && (place[0] === undefined || before[1] + 1 === place[1]);
    if (!goesOn) runs.push([line + 1, ...place]);
    before = place;
  });
  return [files, runs];
}

async function withQuickJs(code, world) {
  const { componentize } = await import("componentize-qjs");
  const { component } = await componentize({ witPath: WIT, world, jsSource: code, sync: true });
  return component;
}

async function withStarlingMonkey(code, world) {
  const builder = await import("@bytecodealliance/componentize-js").catch((error) => {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    const [name, version] = Object.entries(manifest().peerDependencies)[0];
    throw new BuildError(`StarlingMonkey's builder is missing: npm install --save-dev ${name}@${version}`);
  });
  const folder = await mkdtemp(join(tmpdir(), "waterspout-"));
  try {
    const sourcePath = join(folder, "handler.bundle.js");
    await writeFile(sourcePath, code);
    const { component } = await builder.componentize({ sourcePath, witPath: WIT, worldName: world, disableFeatures: ["http", "fetch-event"] });
    return component;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Without what the builders say of themselves. */
function told(message) {
  return message
    .replace(/^[\s:]*(?:Failed to (?:evaluate user JavaScript module|finish JavaScript module evaluation): )*/, "")
    .replace(/^Failed to initialize component \(wizer.*\n/, "")
    .trimEnd();
}

function manifest() {
  return JSON.parse(readFileSync(join(SDK, "package.json"), "utf8"));
}
