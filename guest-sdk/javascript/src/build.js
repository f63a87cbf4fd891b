// From a module with a handler to a component: esbuild makes one file of it, with the prelude; an engine's builder makes a component of that.

import { SourceMap } from "node:module";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { build as bundle, formatMessages } from "esbuild";

const SDK = dirname(dirname(fileURLToPath(import.meta.url)));
const WIT = join(SDK, "wit");

export const ENGINES = ["quickjs", "starlingmonkey"];

/** Why there is no component; told in words for who builds. */
export class BuildError extends Error {}

/**
 * Makes a component of the module `source`; returns its bytes.
 *
 * @param {string} source
 * @param {{ engine?: "quickjs" | "starlingmonkey", minify?: boolean }} [options]
 * @returns {Promise<Uint8Array>}
 */
export async function componentize(source, { engine = "quickjs", minify = false } = {}) {
  if (!ENGINES.includes(engine)) throw new BuildError(`there is no engine ${engine}: ${ENGINES.join(" or ")}`);
  const file = resolve(source);
  await stat(file).catch(() => {
    throw new BuildError(`there is no file ${source}`);
  });
  const { code, shares } = await bundled(file, source, engine, minify);
  const world = `${engine === "quickjs" ? "quickjs-" : ""}${shares ? "sharing-" : ""}guest`;
  return engine === "quickjs" ? withQuickJs(code, world) : withStarlingMonkey(code, world);
}

async function bundled(file, source, engine, minify) {
  const made = (shares) =>
    bundle({
      stdin: { contents: entry(file, source, engine, shares), resolveDir: dirname(file), sourcefile: "waterspout:entry", loader: "js" },
      bundle: true,
      format: "esm",
      platform: "neutral",
      mainFields: ["module", "main"],
      target: "es2023",
      external: ["waterspout:*", "wasi:*"],
      alias: { "waterspout-guest": join(SDK, "src/index.js") },
      minify,
      sourcemap: "external",
      metafile: true,
      write: false,
      outfile: "handler.bundle.js",
      absWorkingDir: process.cwd(),
      logLevel: "silent",
    }).catch(async (failure) => {
      if (failure.errors === undefined) throw failure;
      const told = await formatMessages(failure.errors, { kind: "error", color: process.stderr.isTTY });
      throw new BuildError(told.join("").trim());
    });
  // Only what is shared is handed over with an instance; without it, a shared instance drains.
  const first = await made(false);
  const inputs = Object.entries(Object.values(first.metafile.outputs).find((output) => output.entryPoint !== undefined).inputs);
  const sharing = inputs.find(([name]) => resolve(name) === join(SDK, "src/sharing.js"));
  const shares = sharing !== undefined && sharing[1].bytesInOutput > 0;
  const { outputFiles } = shares ? await made(true) : first;
  const map = outputFiles.find(({ path }) => path.endsWith(".map"));
  const code = outputFiles.find(({ path }) => path.endsWith(".js"));
  return { code: code.text + places(code.text, JSON.parse(map.text)), shares };
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

/** Code that turns places in the bundle into those of the sources, for the stacks of errors: a line of the bundle is one of a file. */
function places(code, map) {
  const sources = new SourceMap(map);
  const files = [];
  const lines = code.split("\n").map((text, line) => {
    const column = text.search(/\S/);
    const { originalSource, originalLine } = sources.findEntry(line, Math.max(column, 0));
    if (originalSource === undefined) return 0;
    const name = relative(process.cwd(), resolve(originalSource));
    const inside = resolve(originalSource).startsWith(SDK + "/") ? "" : name;
    if (!files.includes(inside)) files.push(inside);
    return [files.indexOf(inside), originalLine + 1];
  });
  // What one line has in common with the one before it is left out: runs of [first line of the bundle, file, first line there].
  const runs = [];
  lines.forEach((place, at) => {
    const before = lines[at - 1];
    const goesOn = place !== 0 && before !== 0 && before !== undefined && before[0] === place[0] && before[1] + 1 === place[1];
    if (!goesOn) runs.push(place === 0 ? [at + 1] : [at + 1, ...place]);
  });
  return `
globalThis.__waterspoutPlaces = ((files, runs) => (stack) => stack.split("\\n").flatMap((text) => {
  const found = /^(.*?)\\(?[^\\s()]*?(?:componentize-qjs:user\\.js|handler\\.bundle\\.js|source\\.js|initializer\\.js):(\\d+)(?::(\\d+))?\\)?\\s*$/.exec(text);
  if (found === null) return [text];
  const line = Number(found[2]);
  const run = runs.findLast(([first]) => first <= line);
  if (run === undefined || run[1] === undefined || files[run[1]] === "") return [];
  const name = found[1].replace(/^\\s*at\\s+|@?\\s*$/g, "");
  return [\`    at \${name === "" || name.startsWith("<") ? "" : name + " "}(\${files[run[1]]}:\${run[2] + line - run[0]})\`];
}).join("\\n"))(${JSON.stringify(files)}, ${JSON.stringify(runs)});
`;
}

async function withQuickJs(code, world) {
  const { componentize } = await import("componentize-qjs");
  try {
    const { component } = await componentize({ witPath: WIT, world, jsSource: code, sync: true });
    return component;
  } catch (error) {
    throw new BuildError(told(error.message));
  }
}

async function withStarlingMonkey(code, world) {
  const builder = await import("@bytecodealliance/componentize-js").catch(() => {
    throw new BuildError("StarlingMonkey's builder is missing: npm install --save-dev @bytecodealliance/componentize-js@0.22.0");
  });
  const folder = await mkdtemp(join(tmpdir(), "waterspout-"));
  try {
    const sourcePath = join(folder, "handler.bundle.js");
    await writeFile(sourcePath, code);
    const { component } = await builder.componentize({
      sourcePath,
      witPath: WIT,
      worldName: world,
      disableFeatures: ["http", "fetch-event"],
    });
    return component;
  } catch (error) {
    throw new BuildError(told(error.message));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** What the author can do something about. */
function told(message) {
  return message.trim();
}

