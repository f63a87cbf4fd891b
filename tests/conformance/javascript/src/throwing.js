// A handler that fails in the method that the query names.

import { BufferFullError, WebSocketHandler, websocketStart } from "waterspout-guest";

class Throw extends WebSocketHandler {
  constructor(request) {
    super(request);
    this.failIn("construct");
  }

  failIn(method) {
    if (this.getArgument("in") === method) throw new Error(`conformance: ${method}`);
  }

  prepare() {
    this.failIn("prepare");
  }

  checkOrigin() {
    this.failIn("check_origin");
    return true;
  }

  selectSubprotocol() {
    this.failIn("select_subprotocol");
  }

  getCompressionOptions() {
    this.failIn("get_compression_options");
  }

  open() {
    this.failIn("open");
    const url = this.getArgument("url");
    if (url !== undefined) websocketStart(url);
  }

  onMessage(message) {
    this.failIn("on_message");
    if (message === "ping") this.ping();
    else if (message === "timer") this.setTimer(1, 0);
    else if (message === "fill") this.fill();
    else this.writeMessage(message);
  }

  fill() {
    const bytes = new Uint8Array(1 << 18);
    try {
      for (;;) this.writeMessage(bytes);
    } catch (error) {
      if (!(error instanceof BufferFullError)) throw error;
    }
  }

  onPing() {
    this.failIn("on_ping");
  }

  onPong() {
    this.failIn("on_pong");
  }

  onWritable() {
    this.failIn("on_writable");
  }

  onTimer() {
    this.failIn("on_timer");
  }

  onClientEvent() {
    this.failIn("on_client_event");
  }

  onClose() {
    this.failIn("on_close");
  }

  suspend() {
    this.failIn("suspend");
    return new Uint8Array();
  }

  resume() {
    this.failIn("resume");
  }
}

export const features = { throw: Throw };
