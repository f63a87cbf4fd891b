// What is nested too deeply is refused by JSON.parse, as engines refuse it elsewhere: the engine knows nothing of the stack that a component has, and a
// message of some thousand brackets would end the instance, and with it everybody whom it serves.

/** So deep a value may be nested. Twice as much is still safe. */
export const DEEPEST = 1000;

const { parse } = JSON;

function count(text, character) {
  return text.split(character).length - 1;
}

function isTooDeep(text) {
  // Few brackets cannot be. Counting them is the engine's own work, and takes no time.
  if (text.length <= DEEPEST || count(text, "[") + count(text, "{") <= DEEPEST) return false;
  let depth = 0;
  // A string that does not end is one to the end, so that no text is looked through more than once.
  for (const bracket of text.replace(/"(?:[^"\\]|\\[^])*(?:"|\\?$)|[^"[\]{}]+/g, "")) {
    depth += bracket === "[" || bracket === "{" ? 1 : -1;
    if (depth > DEEPEST) return true;
  }
  return false;
}

Object.defineProperty(JSON, "parse", {
  value: {
    parse(text, reviver) {
      const string = String(text);
      if (isTooDeep(string)) throw new SyntaxError(`JSON is nested more deeply than ${DEEPEST} levels`);
      return parse(string, reviver);
    },
  }.parse,
  writable: true,
  enumerable: false,
  configurable: true,
});
