// Bun's own server; see README.md.

import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: { certificate: { type: "string" }, key: { type: "string" }, compress: { type: "boolean" } },
});

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  ...(options.certificate && { tls: { cert: Bun.file(options.certificate), key: Bun.file(options.key) } }),
  fetch(request, server) {
    const { pathname } = new URL(request.url);
    if (pathname === "/page") return new Response("a page");
    if (pathname === "/redirect") return new Response("", { status: 302, headers: { Location: "/echo" } });
    if (pathname !== "/echo") return new Response("not there", { status: 404 });
    const offered = (request.headers.get("sec-websocket-protocol") ?? "").split(",").map((name) => name.trim());
    const chosen = ["v2", "v1"].find((name) => offered.includes(name));
    const headers = chosen && { "Sec-WebSocket-Protocol": chosen };
    const asked = Object.fromEntries(request.headers);
    return server.upgrade(request, { headers, data: { chosen, asked } }) ? undefined : new Response("no", { status: 400 });
  },
  websocket: {
    perMessageDeflate: options.compress ?? false,
    maxPayloadLength: 64 << 20,
    sendPings: false,
    message(connection, message) {
      const { chosen, asked } = connection.data;
      const [, command, rest] = (typeof message === "string" && /^(\/\w+) ?(.*)$/s.exec(message)) || [];
      if (command === "/close") {
        const [code, ...reason] = rest.split(" ");
        connection.close(Number(code), reason.join(" "));
      } else if (command === "/ping") connection.ping(rest);
      else if (command === "/large") connection.send(new Uint8Array(Number(rest)).fill(7), options.compress);
      else if (command === "/subprotocol") connection.send(chosen ?? "none");
      else if (command === "/header") connection.send(asked[rest] ?? "none");
      else connection.send(message, options.compress);
    },
    pong(connection, data) {
      connection.send(`pong ${data}`);
    },
  },
});

console.log(server.port);
for await (const _ of Bun.stdin.stream());
process.exit(0);
