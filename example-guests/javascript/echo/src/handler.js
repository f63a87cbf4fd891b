// Tornado's echo: the first handler of its documentation.

import { WebSocketHandler } from "waterspout-guest";

export default class EchoWebSocket extends WebSocketHandler {
  open() {
    console.log("WebSocket opened");
  }

  onMessage(message) {
    this.writeMessage(typeof message === "string" ? `You said: ${message}` : message);
  }

  onClose() {
    console.log("WebSocket closed");
  }
}
