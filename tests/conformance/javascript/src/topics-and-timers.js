// Topics and timers.

import { publish, WebSocketHandler } from "waterspout-guest";

class Topics extends WebSocketHandler {
  onMessage(message) {
    const [, what, topic, text] = /^(\S+) (\S+) ?(.*)$/s.exec(message);
    try {
      if (what === "subscribe") this.subscribe(topic);
      if (what === "unsubscribe") this.unsubscribe(topic);
      if (what === "publish") publish(topic, text);
      if (what === "publish-binary") publish(topic, new TextEncoder().encode(text));
    } catch (error) {
      this.writeMessage(error.kind);
      return;
    }
    this.writeMessage("ok");
  }
}

class Timers extends WebSocketHandler {
  onMessage(message) {
    for (const command of message.split("; ")) {
      const [what, token, ms] = command.split(" ");
      if (what === "set") this.setTimer(Number(token), Number(ms));
      if (what === "clear") this.clearTimer(Number(token));
    }
  }

  onTimer(token) {
    this.writeMessage(`timer ${token}`);
  }
}

export const features = { topics: Topics, timers: Timers };
