// How an exception is shown.

/** Message and stack, whose places are those of the sources. */
export function described(error) {
  if (!(error instanceof Error)) return String(error);
  const stack = globalThis.__waterspoutPlaces?.(error.stack ?? "") ?? error.stack ?? "";
  const cause = error.cause === undefined ? "" : `\nCaused by: ${described(error.cause)}`;
  return (stack.startsWith(String(error)) ? stack : `${String(error)}\n${stack}`).trimEnd() + cause;
}
