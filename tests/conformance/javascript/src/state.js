// What survives a swap.

import { shared, WebSocketHandler, websocketStart } from "waterspout-guest";

class Counter extends WebSocketHandler {
  messages = 0;

  onMessage() {
    this.messages += 1;
    this.writeMessage(String(this.messages));
  }
}

class Keep extends WebSocketHandler {
  text = null;
  bytes = null;
  number = null;
  list = null;
  map = null;
  set = null;
  upstream = null;

  onMessage(message) {
    if (message === "set") {
      this.text = "grüß dich \0 🌍";
      this.bytes = Uint8Array.from({ length: 256 }, (_, byte) => byte);
      this.number = 1.5;
      this.list = [1, "two", null, [true]];
      this.map = new Map([["one", 1], ["zwei", new Map([["drei", 3]])]]);
      this.set = new Set(["b", "a"]);
      const url = this.getArgument("url");
      if (url !== undefined) this.upstream = websocketStart(url);
      return;
    }
    this.writeMessage({
      text: this.text,
      bytes: this.bytes && [...this.bytes],
      number: this.number,
      list: this.list,
      map: this.map && { one: this.map.get("one"), zwei: Object.fromEntries(this.map.get("zwei")) },
      set: this.set && [...this.set].sort(),
      upstream: this.upstream && this.upstream.id,
    });
  }
}

class Refuse extends WebSocketHandler {
  onMessage(message) {
    this.writeMessage(message);
  }

  resume() {
    throw new Error("not this state");
  }
}

const room = shared({ messages: 0, people: new Set() }, "room");

class InRoom extends WebSocketHandler {
  open() {
    room.people.add(this);
  }

  onMessage(message) {
    room.messages += 1;
    for (const person of room.people) person.writeMessage(`${room.messages} ${message}`);
  }

  onClose() {
    room.people.delete(this);
  }
}

export const features = { counter: Counter, keep: Keep, refuse: Refuse, room: InRoom };
