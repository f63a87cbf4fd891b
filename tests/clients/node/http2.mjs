// Talks WebSocket over HTTP/2 (RFC 8441) by Node's own http2 module; frames by hand, because no library of Node's does it.
//
//     node http2.mjs --echo https://localhost:PORT/websocket --ca chain.pem

import { readFileSync } from "node:fs";
import { connect, constants } from "node:http2";

import { Checks, commandLine, expect } from "../checks.mjs";

const options = commandLine("echo", "ca");
if (options.echo === undefined || options.ca === undefined) throw new Error("--echo URL and --ca FILE are needed");
const { origin, pathname } = new URL(options.echo);

const MASK = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);
const TEXT = 1;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

/** One frame as a client sends it, of less than 64 KiB. */
function frame(opcode, payload) {
  const length =
    payload.length < 126
      ? Buffer.from([0x80 | payload.length])
      : Buffer.from([0x80 | 126, payload.length >> 8, payload.length & 0xff]);
  const masked = Buffer.from(payload.map((byte, at) => byte ^ MASK[at % 4]));
  return Buffer.concat([Buffer.from([0x80 | opcode]), length, MASK, masked]);
}

/** The frames of a server's stream. */
async function* frames(stream) {
  let buffer = Buffer.alloc(0);
  for await (const chunk of stream) {
    buffer = Buffer.concat([buffer, chunk]);
    for (;;) {
      if (buffer.length < 2) break;
      const short = buffer[1] & 0x7f;
      const head = short < 126 ? 2 : 4;
      if (buffer.length < head) break;
      const length = short < 126 ? short : buffer.readUInt16BE(2);
      if (buffer.length < head + length) break;
      yield { opcode: buffer[0] & 0x0f, payload: buffer.subarray(head, head + length) };
      buffer = buffer.subarray(head + length);
    }
  }
}

const session = connect(origin, { ca: readFileSync(options.ca) });
await new Promise((resolve, reject) => session.once("remoteSettings", resolve).once("error", reject));

/** A stream after the answer, with its status. */
async function request(headers) {
  const stream = session.request(headers, { endStream: headers[constants.HTTP2_HEADER_METHOD] !== "CONNECT" });
  const answer = await new Promise((resolve, reject) => stream.once("response", resolve).once("error", reject));
  return { stream, status: answer[constants.HTTP2_HEADER_STATUS] };
}

const handshake = (path, protocol = "websocket") => ({
  ":method": "CONNECT",
  ":protocol": protocol,
  ":path": path,
  "sec-websocket-version": "13",
});

const checks = new Checks();

checks.add("the server allows extended CONNECT", async () => {
  expect("SETTINGS_ENABLE_CONNECT_PROTOCOL", session.remoteSettings.enableConnectProtocol, true);
  expect("ALPN", session.alpnProtocol, "h2");
});

checks.add("messages and pings are answered on two streams of one socket", async () => {
  const open = await Promise.all([request(handshake(pathname)), request(handshake(pathname))]);
  for (const { stream, status } of open) {
    expect("status", status, 200);
    const incoming = frames(stream);
    const next = async () => (await incoming.next()).value;
    for (const text of ["hé", "", "x".repeat(60_000)]) {
      stream.write(frame(TEXT, Buffer.from(text)));
      const { opcode, payload } = await next();
      expect("echo", [opcode, payload.toString()], [TEXT, text]);
    }
    stream.write(frame(PING, Buffer.from("p")));
    expect("pong", (await next()).opcode, PONG);
    stream.write(frame(CLOSE, Buffer.from([3, 232])));
    const { opcode, payload } = await next();
    expect("close", [opcode, payload.readUInt16BE(0)], [CLOSE, 1000]);
    expect("end of the stream", await next(), undefined);
    stream.end();
  }
});

checks.add("pages come over the same socket", async () => {
  const { stream, status } = await request({ ":path": "/healthz" });
  expect("status", status, 200);
  let body = "";
  for await (const chunk of stream) body += chunk;
  expect("body", body, "ok\n");
});

checks.add("other protocols are not implemented", async () => {
  expect("status", (await request(handshake(pathname, "connect-udp"))).status, 501);
});

await checks.run(async () => session.destroy());
