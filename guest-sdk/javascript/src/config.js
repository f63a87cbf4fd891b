// What the operator's configuration tells this handler: `wasi:config/store`.

import { get as getFromHost, getAll } from "wasi:config/store@0.2.0-rc.1";

import { text } from "./values.js";

export const config = {
  get: (key) => getFromHost(text(key, "a key")) ?? undefined,
  all: () => Object.fromEntries(getAll()),
};
