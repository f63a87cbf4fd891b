// What becomes of exceptions that leave a handler.

import { described } from "./describing.js";

/** An exception ends the instance; before that its message and stack go to the log, which the engine's own report leaves out. */
export function guarded(work) {
  try {
    return work();
  } catch (error) {
    throw told(error);
  }
}

/** An exception is an answer, which the log explains. */
export function answering(work) {
  try {
    return work();
  } catch (error) {
    told(error);
    throw refused(String(error).toWellFormed?.() ?? String(error));
  }
}

/** Writes an exception to the log; what is to be thrown in its place has no stack, because the engine would print that, with places in the bundle. */
export function told(error) {
  console.error(`Uncaught ${described(error)}`);
  return Object.defineProperty(new Error(String(error)), "stack", { value: "" });
}

/** The error of a `result`, as the bindings of both engines take it. */
export function refused(payload) {
  return Object.assign(new Error("refused"), { payload });
}
