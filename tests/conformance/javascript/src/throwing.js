// A handler that fails in the method that the query names.

import { WebSocketHandler, websocketStart } from "waterspout-guest";

import { fill } from "./messages.js";

class Throw extends WebSocketHandler {
  constructor(request) {
    super(request);
    this.failIn("construct");
  }

  isMeant(method) {
    return this.getArgument("in") === method;
  }

  failIn(method) {
    if (this.isMeant(method)) throw new Error(`conformance: ${method}`);
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
  }

  onMessage(message) {
    this.failIn("on_message");
    if (this.isMeant("on_pong")) this.ping();
    else if (this.isMeant("on_timer")) this.setTimer(1, 1);
    else if (this.isMeant("on_writable")) fill(this, 65536);
    else if (this.isMeant("on_client_event")) websocketStart(this.getArgument("url"));
    else this.writeMessage(message);
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
