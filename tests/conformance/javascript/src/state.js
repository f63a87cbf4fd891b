// What survives a swap.

import { shared, WebSocketHandler } from "waterspout-guest";

class Counter extends WebSocketHandler {
  messages = 0;

  onMessage() {
    this.messages += 1;
    this.writeMessage(String(this.messages));
  }
}

/** Fields of every kind, with what the suite sends. */
class Keep extends WebSocketHandler {
  text = null;
  bytes = null;
  number = null;
  list = null;
  map = null;
  set = null;

  onMessage(message) {
    if (message.startsWith("set ")) {
      const asked = JSON.parse(message.slice("set ".length));
      this.text = asked.text;
      this.bytes = Uint8Array.from(asked.bytes);
      this.number = asked.number;
      this.list = asked.list;
      this.map = new Map(Object.entries(asked.map).map(([name, inner]) => [name, new Map(Object.entries(inner))]));
      this.set = new Set(asked.set);
      return;
    }
    this.writeMessage({
      text: this.text,
      bytes: [...this.bytes],
      number: this.number,
      list: this.list,
      map: Object.fromEntries([...this.map].map(([name, inner]) => [name, Object.fromEntries(inner)])),
      set: [...this.set].sort(),
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

const room = shared(
  {
    messages: 0,
    people: new Set(),
    refuses: null,
    /** Of what is shared a new version reads all properties, and sets them. */
    get reluctant() {
      // No function goes over.
      return this.refuses === "suspend" ? () => {} : this.refuses;
    },
    set reluctant(method) {
      if (method === "resume") throw new Error("not this room");
    },
  },
  "room",
);

class InRoom extends WebSocketHandler {
  open() {
    room.people.add(this);
  }

  onMessage(message) {
    if (message.startsWith("refuse ")) {
      room.refuses = message.slice("refuse ".length);
      return;
    }
    room.messages += 1;
    for (const person of room.people) person.writeMessage(`${room.messages} ${message}`);
  }

  onClose() {
    room.people.delete(this);
  }
}

export const features = { counter: Counter, keep: Keep, refuse: Refuse, room: InRoom };
