// Modules are run once, while the component is built; what they made is in every instance. Only what an export calls runs in one instance.

let runs = false;

/** Called by every export that may be an instance's first. */
export function started() {
  runs = true;
}

export function isStarted() {
  return runs;
}
