// An echo with Node's `ws`, for `waterspout-bench compare --compressed`. Run it where `npm ci` has been (target/clients/node).

import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.cwd(), "package.json"));
const { WebSocketServer } = require("ws");
const { version } = require("ws/package.json");

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  perMessageDeflate: {
    // Windows of 15 bits and context takeover are the defaults.
    zlibDeflateOptions: { level: 6, memLevel: 8 },
    threshold: 0,
  },
});

// `ws` sets TCP_NODELAY itself.
server.on("connection", (socket) => {
  socket.on("message", (message, isBinary) => socket.send(message, { binary: isBinary }));
  // A connection that is cut off ends itself; the load generator notices.
  socket.on("error", () => {});
});

server.on("listening", () => {
  const { node, zlib } = process.versions;
  console.log(`ws ${version}, Node.js ${node}, zlib ${zlib} on ws://127.0.0.1:${server.address().port}/`);
});
