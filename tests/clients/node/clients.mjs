// Talks to Waterspout with Node's `ws`.
//
//     node clients.mjs [--echo ws://HOST:PORT/websocket] [--gate ws://HOST:PORT/gate/{area}] [--chat ws://HOST:PORT/chat/{room}]
//
// Each address turns on the checks of the handler behind it. Run it where `npm ci` has been (../package.json).

import { randomUUID } from "node:crypto";
import { once } from "node:events";

import { Checks, commandLine, expect, fromWorkingDirectory } from "../checks.mjs";

const { WebSocket } = fromWorkingDirectory("ws");

// Waterspout's default for max-message-bytes, which is Tornado's.
const MAX_MESSAGE_BYTES = 10 * 1024 * 1024;

const UNICODE = "hello é, 水の竜巻, 🌪 and a NUL: \0";
const EVERY_BYTE = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));

/** A connection whose messages and end can be waited for. */
class Client {
  #messages = [];
  #waiting = [];

  /** Rejects with a Refusal if the server answers the handshake with anything but 101. */
  static async connect(url, { subprotocols = [], ...options } = {}) {
    const socket = new WebSocket(url, subprotocols, options);
    const client = new Client(socket);
    socket.once("upgrade", ({ headers }) => { client.handshakeHeaders = headers; });
    await new Promise((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("error", reject);
      socket.once("unexpected-response", (_, response) => reject(new Refusal(response)));
    });
    return client;
  }

  constructor(socket) {
    this.socket = socket;
    /** Of the server's 101 answer. */
    this.handshakeHeaders = {};
    /** Resolves to the server's close frame as [code, reason]. */
    this.closed = new Promise((resolve) => socket.once("close", (code, reason) => resolve([code, String(reason)])));
    // `once("error")` of connect is gone by then, and an error without a listener would end the process.
    socket.on("error", () => {});
    socket.on("message", (data, isBinary) => {
      const message = isBinary ? data : String(data);
      if (this.#waiting.length > 0) this.#waiting.shift().resolve(message);
      else this.#messages.push(message);
    });
    socket.on("close", (code) => {
      for (const { reject } of this.#waiting) reject(new Error(`closed with ${code} while a message was awaited`));
    });
  }

  /** The next message: a string for text, a Buffer for binary. */
  message() {
    if (this.#messages.length > 0) return Promise.resolve(this.#messages.shift());
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** The next message, which is to be JSON. */
  async json() {
    return JSON.parse(await this.message());
  }

  send(data, options) {
    this.socket.send(data, options);
  }

  sendJson(value) {
    this.send(JSON.stringify(value));
  }

  async close(code, reason) {
    this.socket.close(code, reason);
    return this.closed;
  }
}

/** The server's answer to a handshake that it refused. */
class Refusal extends Error {
  constructor(response) {
    super(`the handshake was answered with ${response.statusCode}`);
    this.status = response.statusCode;
    this.headers = response.headers;
    response.resume();
  }
}

async function refusal(url, options) {
  try {
    (await Client.connect(url, options)).socket.terminate();
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
  throw new Error("the handshake was accepted");
}

async function echoes(client, message, options) {
  client.send(message, options);
  expect("echo", await client.message(), message);
}

function httpOrigin(url) {
  return new URL(url.replace(/^ws/, "http")).origin;
}

/** `…/chat/{room}` with the room in its place. */
function fill(url, captures) {
  return url.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(captures[name]));
}

const checks = new Checks();
const urls = commandLine("echo", "gate", "chat");

if (urls.echo !== undefined) {
  const url = urls.echo;
  const add = (name, check) => checks.add(`ws, echo: ${name}`, check);

  add("text comes back as text", async () => {
    const client = await Client.connect(url);
    for (const text of ["hello", "", UNICODE, "x".repeat(125), "x".repeat(126), "x".repeat(65_536)]) await echoes(client, text);
    await client.close();
  });

  add("binary comes back as binary", async () => {
    const client = await Client.connect(url);
    for (const data of [EVERY_BYTE, Buffer.alloc(0), Buffer.from("valid UTF-8"), Buffer.alloc(65_536, 7)]) await echoes(client, data);
    await client.close();
  });

  add("many messages in flight keep their order", async () => {
    const client = await Client.connect(url);
    const messages = Array.from({ length: 2000 }, (_, i) => `message ${i}`);
    for (const message of messages) client.send(message);
    for (const message of messages) expect("echo", await client.message(), message);
    await client.close();
  });

  add("a fragmented message comes back whole, with a ping between", async () => {
    const client = await Client.connect(url);
    const pong = once(client.socket, "pong");
    client.send("first ", { fin: false });
    client.socket.ping("between");
    expect("pong", String((await pong)[0]), "between");
    client.send("", { fin: false });
    client.send("second", { fin: true });
    expect("echo", await client.message(), "first second");
    await client.close();
  });

  add("pings are answered with their own payload", async () => {
    const client = await Client.connect(url);
    for (const payload of [Buffer.alloc(0), Buffer.from("hello"), EVERY_BYTE.subarray(0, 125)]) {
      const pong = once(client.socket, "pong");
      client.socket.ping(payload);
      expect("pong", (await pong)[0], payload);
    }
    await client.close();
  });

  add("the client's close code is answered", async () => {
    for (const [code, reason] of [[1000, ""], [1001, "goodbye"], [3000, "é".repeat(61)], [4999, "x".repeat(123)]]) {
      const client = await Client.connect(url);
      expect("code", (await client.close(code, reason))[0], code);
    }
  });

  add("a close without a code is answered", async () => {
    const client = await Client.connect(url);
    expect("code", (await client.close())[0], 1005);
  });

  add("invalid UTF-8 is answered with 1007", async () => {
    const client = await Client.connect(url);
    client.send(Buffer.from([0xff]), { binary: false });
    expect("code", (await client.closed)[0], 1007);
  });

  add("a frame without a mask is answered with 1002", async () => {
    const client = await Client.connect(url);
    client.send("hello", { mask: false });
    expect("code", (await client.closed)[0], 1002);
  });

  add("a message at the limit comes back", async () => {
    const client = await Client.connect(url);
    const message = Buffer.alloc(MAX_MESSAGE_BYTES, 7);
    client.send(message);
    expect("echo is equal", message.equals(await client.message()), true);
    await client.close();
  });

  add("a message past the limit is answered with 1009", async () => {
    const client = await Client.connect(url);
    client.send(Buffer.alloc(MAX_MESSAGE_BYTES + 1));
    expect("code", (await client.closed)[0], 1009);
  });

  add("a hundred connections at once hear only themselves", async () => {
    await Promise.all(Array.from({ length: 100 }, async (_, number) => {
      const client = await Client.connect(url);
      for (let turn = 0; turn < 10; turn += 1) await echoes(client, `${number}.${turn}`);
      await client.close();
    }));
  });

  const COMPRESSIBLE = "the same words, and once more the same words; ".repeat(50);

  add("compression is agreed on by default, and not without an offer", async () => {
    for (const [perMessageDeflate, agreed] of [[true, "permessage-deflate"], [false, ""]]) {
      const client = await Client.connect(url, { perMessageDeflate });
      expect("extensions", client.socket.extensions, agreed);
      for (let turn = 0; turn < 3; turn += 1) await echoes(client, COMPRESSIBLE);
      await client.close();
    }
  });

  add("every window, with and without takeover, is compressed right", async () => {
    for (let bits = 9; bits <= 15; bits += 1) {
      for (const alone of [false, true]) {
        const client = await Client.connect(url, {
          perMessageDeflate: {
            threshold: 0,
            serverMaxWindowBits: bits,
            clientMaxWindowBits: bits,
            serverNoContextTakeover: alone,
            clientNoContextTakeover: alone,
          },
        });
        expect("extensions", client.socket.extensions, "permessage-deflate");
        for (const distance of [0, 1, 100, 2 ** bits, 2 ** bits + 1, 40_000]) {
          // Bytes without a pattern, so that only the repeat of all of them can be compressed.
          const random = Buffer.from(Array.from({ length: distance }, (_, n) => (n * n * 2654435761 / 65536) & 255));
          await echoes(client, Buffer.concat([random, random, random]));
        }
        await client.close();
      }
    }
  });

  add("a compressed message past the limit is answered with 1009", async () => {
    const client = await Client.connect(url);
    client.send(Buffer.alloc(MAX_MESSAGE_BYTES + 1), { compress: true });
    expect("code", (await client.closed)[0], 1009);
  });

  add("the same origin is accepted", async () => {
    const client = await Client.connect(url, { origin: httpOrigin(url) });
    await echoes(client, "hello");
    await client.close();
  });

  add("another origin is 403", async () => {
    expect("status", (await refusal(url, { origin: "http://example.com" })).status, 403);
  });

  add("an unknown path is 404", async () => {
    expect("status", (await refusal(new URL("/nowhere", url).href)).status, 404);
  });

  add("a connection that is cut leaves the others alone", async () => {
    const [cut, other] = await Promise.all([Client.connect(url), Client.connect(url)]);
    cut.send("x".repeat(100_000));
    cut.socket.terminate();
    await echoes(other, "still here");
    await other.close();
  });
}

if (urls.gate !== undefined) {
  const url = fill(urls.gate, { area: "é/水" });
  // What the example's configuration lets in.
  const headers = { Authorization: "Bearer sesame" };
  const add = (name, check) => checks.add(`ws, gatekeeper: ${name}`, check);

  add("without the token it answers 401", async () => {
    const answer = await refusal(url);
    expect("status", answer.status, 401);
    expect("challenge", answer.headers["www-authenticate"], 'Bearer realm="gate"');
    expect("status for a wrong one", (await refusal(`${url}?token=open`)).status, 401);
  });

  add("with it the path's argument comes back, and the handler's header", async () => {
    for (const [address, options] of [[url, { headers }], [`${url}?token=sesame`, {}]]) {
      const client = await Client.connect(address, options);
      expect("header", client.handshakeHeaders["x-gate"], "open");
      expect("welcome", (await client.json()).welcome, "é/水");
      client.send("hello");
      expect("answer", await client.message(), "é/水: hello");
      await client.close();
    }
  });

  add("the best subprotocol of those offered is chosen", async () => {
    for (const [offered, chosen] of [[["v1.gate", "v2.gate"], "v2.gate"], [["badproto", "v1.gate"], "v1.gate"], [[], ""]]) {
      const client = await Client.connect(url, { headers, subprotocols: offered });
      expect(`chosen of ${offered}`, client.socket.protocol, chosen);
      await client.close();
    }
  });

  add("a subprotocol that is not chosen ends the connection on this side", async () => {
    // `ws` asks of a server that it choose one of those offered: the handler chose none.
    const refused = await Client.connect(url, { headers, subprotocols: ["badproto"] }).catch((error) => error);
    expect("error", refused.message, "Server sent no subprotocol");
  });

  add("subdomains of its domain may connect and others not", async () => {
    const client = await Client.connect(url, { headers, origin: "https://a.example.com" });
    await client.close();
    expect("status", (await refusal(url, { headers, origin: "https://evil-example.com" })).status, 403);
  });
}

if (urls.chat !== undefined) {
  // Rooms outlive their last person for a while: those of another run are other rooms.
  const url = fill(urls.chat, { room: `ws ${randomUUID()}` });
  const add = (name, check) => checks.add(`ws, chat: ${name}`, check);

  add("two people hear each other and a third finds the history", async () => {
    const [ada, bob, eve] = await Promise.all([Client.connect(url), Client.connect(url), Client.connect(url)]);
    const join = async (client, name) => {
      client.sendJson({ type: "join", name });
      const { history } = await client.json();
      expect("arrival", (await client.json()).name, name);
      return history;
    };
    expect("history", await join(ada, "Ada"), []);
    expect("history", await join(bob, "Bob"), []);
    expect("people", (await ada.json()).people, ["Ada", "Bob"]);
    bob.sendJson({ type: "say", text: UNICODE });
    for (const client of [ada, bob]) {
      const { type, name, text } = await client.json();
      expect("said", { type, name, text }, { type: "said", name: "Bob", text: UNICODE });
    }
    expect("history", (await join(eve, "Eve")).map((line) => line.text), [UNICODE]);
    expect("people", (await ada.json()).people, ["Ada", "Bob", "Eve"]);
    bob.socket.terminate();
    const { type, name } = await ada.json();
    expect("left", { type, name }, { type: "left", name: "Bob" });
    await Promise.all([ada.close(), eve.close()]);
  });
}

await checks.run();
