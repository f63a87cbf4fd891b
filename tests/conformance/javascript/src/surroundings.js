// What is there beside the connection.

import { config, WebSocketHandler } from "waterspout-guest";

class Print extends WebSocketHandler {
  onMessage(message) {
    const [, text] = /^eprint (.*)$/s.exec(message) ?? [];
    if (text !== undefined) console.error(text);
    else console.log(message);
  }
}

class Clock extends WebSocketHandler {
  onMessage() {
    this.writeMessage({ now: Date.now() / 1000, random: Math.random() });
  }
}

class Config extends WebSocketHandler {
  onMessage(message) {
    this.writeMessage(config.get(message) ?? "none");
  }
}

export const features = { print: Print, clock: Clock, config: Config };
