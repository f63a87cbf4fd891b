// In place of the host: what the components' imports are, for tests in Node. `node --import ./tests/host.js`

import { register } from "node:module";

const imports = {
  "waterspout:websocket/client@0.1.0": `
    const asked = (name) => (...args) => globalThis.fakeHost[name](...args);
    export const [connect, start, get] = ["connect", "start", "get"].map(asked);`,
  "waterspout:websocket/topics@0.1.0": "export const publish = (...args) => globalThis.fakeHost.publish(...args);",
  "wasi:config/store@0.2.0-rc.1": "export const get = (key) => globalThis.fakeHost.config(key); export const getAll = () => [];",
  "wasi:cli/stdout@0.2.0": 'export const getStdout = () => globalThis.fakeHost.stream("stdout");',
  "wasi:cli/stderr@0.2.0": 'export const getStderr = () => globalThis.fakeHost.stream("stderr");',
  "wasi:random/random@0.2.0": "export const getRandomBytes = (length) => globalThis.fakeHost.random(Number(length));",
};

const hooks = `
  const imports = new Map(${JSON.stringify(Object.entries(imports))});
  export const resolve = (name, context, next) =>
    imports.has(name) ? { url: "fake:" + name, shortCircuit: true } : next(name, context);
  export const load = (url, context, next) =>
    url.startsWith("fake:") ? { format: "module", source: imports.get(url.slice(5)), shortCircuit: true } : next(url, context);
`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);

/** What a call of the host's is refused with, as the engines' bindings throw it. */
export function refusal(tag, val) {
  return Object.assign(new Error(tag), { payload: { tag, val } });
}

/** A connection of the host's, which writes down what is asked of it; `refuse` says what is refused. */
export function connection(id = "c1", refuse = {}) {
  const calls = [];
  const method = (name, answer) => (...args) => {
    calls.push([name, ...args]);
    if (refuse[name] !== undefined) throw refuse[name];
    return answer;
  };
  const names = ["writeMessage", "flush", "ping", "close", "setNodelay", "subscribe", "unsubscribe", "setTimer", "clearTimer"];
  return {
    calls,
    id: () => id,
    selectedSubprotocol: () => undefined,
    bufferedAmount: () => 7,
    ...Object.fromEntries(names.map((name) => [name, method(name)])),
    [Symbol.dispose]: method("dispose"),
  };
}

/** A request of the host's. */
export function request({ query, headers = [], pathArgs = [] } = {}) {
  const calls = [];
  return {
    calls,
    uri: () => `/path${query === undefined ? "" : `?${query}`}`,
    path: () => "/path",
    query: () => query,
    pathArgs: () => pathArgs,
    headers: () => headers.map(([name, value]) => [name, new TextEncoder().encode(value)]),
    remoteAddress: () => "192.0.2.7",
    originAllowed: (origin) => origin === "https://good.example",
    setResponseHeader: (...args) => calls.push(["setResponseHeader", ...args]),
    [Symbol.dispose]: () => calls.push(["dispose"]),
  };
}
