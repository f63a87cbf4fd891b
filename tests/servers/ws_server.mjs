// The server of Node's `ws`; see README.md.

import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { parseArgs } from "node:util";

import { fromWorkingDirectory } from "../clients/checks.mjs";

const { WebSocketServer } = fromWorkingDirectory("ws");
const { values: options } = parseArgs({
  options: { certificate: { type: "string" }, key: { type: "string" }, compress: { type: "boolean" } },
});

function page(request, response) {
  if (request.url === "/page") response.end("a page");
  else if (request.url === "/redirect") response.writeHead(302, { Location: "/echo" }).end();
  else response.writeHead(404).end("not there");
}

const server = options.certificate
  ? https.createServer({ cert: readFileSync(options.certificate), key: readFileSync(options.key) }, page)
  : http.createServer(page);
const sockets = new WebSocketServer({
  noServer: true,
  perMessageDeflate: options.compress ? { threshold: 0 } : false,
  handleProtocols: (offered) => ["v2", "v1"].find((name) => offered.has(name)) ?? false,
});

// Node gives every request with an Upgrade to this event, also those for a page.
server.on("upgrade", (request, socket, head) => {
  if (request.url === "/echo") {
    sockets.handleUpgrade(request, socket, head, (connection) => serve(connection, request));
  } else {
    const response = new http.ServerResponse(request);
    response.assignSocket(socket);
    response.shouldKeepAlive = false;
    response.on("finish", () => socket.end());
    page(request, response);
  }
});

function serve(connection, request) {
  connection.on("pong", (data) => connection.send(`pong ${data}`));
  connection.on("error", () => {});
  connection.on("message", (data, isBinary) => {
    const [, command, rest] = (!isBinary && /^(\/\w+) ?(.*)$/s.exec(data.toString())) || [];
    if (command === "/close") {
      const [code, ...reason] = rest.split(" ");
      connection.close(Number(code), reason.join(" "));
    } else if (command === "/ping") connection.ping(rest);
    else if (command === "/large") connection.send(Buffer.alloc(Number(rest), 7));
    else if (command === "/subprotocol") connection.send(connection.protocol || "none");
    else if (command === "/header") connection.send(request.headers[rest] ?? "none");
    else connection.send(data, { binary: isBinary });
  });
}

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume();
