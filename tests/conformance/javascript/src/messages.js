// Messages both ways.

import { BufferFullError, publish, WebSocketHandler } from "waterspout-guest";

class Echo extends WebSocketHandler {
  onMessage(message) {
    this.writeMessage(message);
  }
}

class Json extends WebSocketHandler {
  onMessage(message) {
    let got;
    try {
      got = JSON.parse(message);
    } catch {
      this.writeMessage("not json");
      return;
    }
    this.writeMessage({ got, kind: "json" });
  }
}

const decoder = new TextDecoder();

class Ping extends WebSocketHandler {
  onMessage(message) {
    if (message === "big") {
      try {
        this.ping(new Uint8Array(126));
      } catch (error) {
        this.writeMessage(error.kind);
      }
    } else {
      this.ping(message.slice("ping ".length));
    }
  }

  onPing(data) {
    this.writeMessage(`ping ${decoder.decode(data)}`);
  }

  onPong(data) {
    this.writeMessage(`pong ${decoder.decode(data)}`);
  }
}

/** Writes until the queue is full, and says so. */
export function fill(handler, size) {
  const bytes = new Uint8Array(size);
  try {
    for (;;) handler.writeMessage(bytes);
  } catch (error) {
    if (!(error instanceof BufferFullError)) throw error;
  }
  publish("conformance-full", "full");
}

class Queue extends WebSocketHandler {
  onMessage(message) {
    const [what, size] = message.split(" ");
    if (what === "fill") fill(this, Number(size));
    if (what === "amount") this.writeMessage(String(this.bufferedAmount));
    if (what === "flush") {
      this.flush();
      this.writeMessage("flushed");
    }
  }

  onWritable() {
    this.writeMessage("writable");
  }
}

class NoDelay extends WebSocketHandler {
  onMessage(message) {
    this.setNodelay(message === "on");
    this.writeMessage("ok");
  }
}

export const features = { echo: Echo, json: Json, ping: Ping, queue: Queue, nodelay: NoDelay };
