// A chat: a room is an instance. With `--path '/chat/{room}' --instance '{room}'` the host makes one instance for each value of `{room}`, and
// all of a room's connections share its memory: `room` knows who is here and what was said, and writes to everybody.
//
// The page and the handler speak JSON: the page asks `{"type": "join", "name": "Ada"}` and `{"type": "say", "text": "Hello"}`.

import { BufferFullError, shared, WebSocketClosedError, WebSocketHandler } from "waterspout-guest";

// Long enough for a name, short enough for the list of people.
const MAX_NAME_CHARS = 32;

// Bounds, with MAX_HISTORY, what a room keeps and a newcomer is sent.
const MAX_TEXT_CHARS = 500;

// How many lines a newcomer sees.
const MAX_HISTORY = 50;

/** What cannot be, told to whoever asked for it. */
class Refused extends Error {}

/**
 * What all connections of a room share: who has joined, by name, and what was said. It moves along when the handler is replaced by a new
 * version: nobody leaves, and nothing that was said is forgotten.
 *
 * @type {{ people: Map<string, Chat>, history: { name: string, text: string, at: number }[] }}
 */
const room = shared({ people: new Map(), history: [] });

/** One connection's handler. */
export default class Chat extends WebSocketHandler {
  /** @type {string | null} */
  name = null;

  getCompressionOptions() {
    // What is said repeats itself: names, keys of JSON, the history.
    return {};
  }

  onMessage(message) {
    try {
      const { type, name, text } = parsed(message);
      if (type === "join" && typeof name === "string") this.join(name);
      else if (type === "say" && typeof text === "string") this.say(text);
      else throw new Refused("That was neither a join nor a say.");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.tell({ type: "error", text: error.message });
    }
  }

  onClose() {
    if (this.name === null) return;
    room.people.delete(this.name);
    tellEverybody({ type: "left", name: this.name, people: names() });
  }

  join(wanted) {
    const name = bounded(wanted, MAX_NAME_CHARS, "A name has 1 to 32 characters.");
    if (this.name !== null) throw new Refused("You are here already.");
    if (names().some((other) => other.toLowerCase() === name.toLowerCase())) throw new Refused("Somebody here has that name.");
    this.name = name;
    room.people.set(name, this);
    this.tell({ type: "welcome", name, history: room.history });
    tellEverybody({ type: "joined", name, people: names() });
  }

  say(said) {
    const text = bounded(said, MAX_TEXT_CHARS, "A text has 1 to 500 characters.");
    if (this.name === null) throw new Refused("Join first.");
    const line = { name: this.name, text, at: Math.floor(Date.now() / 1000) };
    tellEverybody({ type: "said", ...line });
    room.history.push(line);
    if (room.history.length > MAX_HISTORY) room.history.shift();
  }

  /** Writes to one of the room's connections. One that cannot take it must not hold up the others: nobody waits here. */
  tell(event) {
    try {
      this.writeMessage(event);
    } catch (error) {
      if (error instanceof BufferFullError) {
        // It reads more slowly than the room talks. Rather than miss a line unnoticed it comes back, and finds the history.
        this.close(1008, "You read too slowly.");
      } else if (!(error instanceof WebSocketClosedError)) {
        // Closed: its own onClose is on its way, and takes it off the list.
        throw error;
      }
    }
  }
}

function names() {
  return [...room.people.keys()].sort();
}

/** One message, made once, for all. */
function tellEverybody(event) {
  const message = JSON.stringify(event);
  for (const person of room.people.values()) person.tell(message);
}

/** What a message asks for; an empty object if it is no JSON object. */
function parsed(message) {
  try {
    return Object(JSON.parse(message));
  } catch {
    return {};
  }
}

/** The text without surrounding space, if there is any, but not too much. */
function bounded(text, maxChars, otherwise) {
  const trimmed = text.trim();
  const chars = [...trimmed].length;
  if (chars < 1 || chars > maxChars) throw new Refused(otherwise);
  return trimmed;
}
