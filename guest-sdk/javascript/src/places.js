// From places in the bundle to those of the sources. Handlers know them, too: this function's text is part of each component.

/**
 * Replaces what a stack says of the bundle by what the sources say; calls of the SDK are left out.
 *
 * @param {string[]} files the sources; the SDK's own have no name
 * @param {number[][]} runs lines of the bundle that follow one another in a source, too: the first one, which file, and its line there
 * @returns {(stack: string) => string}
 */
export function translator(files, runs) {
  return (stack) =>
    stack
      .split("\n")
      .flatMap((text) => {
        // `at name (file:line:column)` of QuickJS, `name@file:line:column` of StarlingMonkey.
        const found = /^(.*?)\(?[^\s()@]*?(?:componentize-qjs:user\.js|handler\.bundle\.js|initializer\.js):(\d+)(?::\d+)?\)?\s*$/.exec(text);
        if (found === null) return [text];
        const line = Number(found[2]);
        const [first, file, there] = runs.findLast(([first]) => first <= line) ?? [];
        if (file === undefined || files[file] === "") return [];
        const name = found[1].replace(/^\s*at\s+/, "").replace(/[@\s]+$/, "");
        const place = `${files[file]}:${there + line - first}`;
        return [`    at ${name === "" || name.startsWith("<") ? place : `${name} (${place})`}`];
      })
      .join("\n");
}
