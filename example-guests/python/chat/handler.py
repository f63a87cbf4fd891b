"""A chat: a room is an instance. With `--path '/chat/{room}' --instance '{room}'` the host makes one instance for each value of `{room}`, and
all of a room's connections share its memory: `room` knows who is here and what was said, and writes to everybody.

The page and the handler speak JSON: the page asks `{"type": "join", "name": "Ada"}` and `{"type": "say", "text": "Hello"}`.
"""

import json
import time
from collections import deque

from waterspout import BufferFullError, WebSocketClosedError, WebSocketHandler, shared

# Long enough for a name, short enough for the list of people.
MAX_NAME_CHARS = 32

# Bounds, with MAX_HISTORY, what a room keeps and a newcomer is sent.
MAX_TEXT_CHARS = 500

# How many lines a newcomer sees.
MAX_HISTORY = 50


class Refused(Exception):
    """What cannot be, told to whoever asked for it."""


class Room:
    """What all connections of a room share. It moves along when the handler is replaced by a new version: nobody leaves, and nothing that was
    said is forgotten."""

    def __init__(self):
        self.history = deque(maxlen=MAX_HISTORY)
        # Who has joined, by name.
        self.people = {}

    def join(self, person, name):
        name = bounded(name, MAX_NAME_CHARS, "A name has 1 to 32 characters.")
        if person.name is not None:
            raise Refused("You are here already.")
        if any(name.casefold() == other.casefold() for other in self.people):
            raise Refused("Somebody here has that name.")
        person.name = name
        self.people[name] = person
        person.tell({"type": "welcome", "name": name, "history": list(self.history)})
        self.tell_everybody({"type": "joined", "name": name, "people": sorted(self.people)})

    def say(self, person, text):
        text = bounded(text, MAX_TEXT_CHARS, "A text has 1 to 500 characters.")
        if person.name is None:
            raise Refused("Join first.")
        line = {"name": person.name, "text": text, "at": int(time.time())}
        self.tell_everybody({"type": "said", **line})
        self.history.append(line)

    def leave(self, person):
        if self.people.pop(person.name, None):
            self.tell_everybody({"type": "left", "name": person.name, "people": sorted(self.people)})

    def tell_everybody(self, event):
        """One message, made once, for all."""
        message = json.dumps(event, ensure_ascii=False)
        for person in self.people.values():
            person.tell(message)


room = shared(Room())


class Chat(WebSocketHandler):
    """One connection's handler: the room does the work."""

    def initialize(self):
        self.name = None

    def get_compression_options(self):
        # What is said repeats itself: names, keys of JSON, the history.
        return {}

    def on_message(self, message):
        try:
            match json.loads(message):
                case {"type": "join", "name": str(name)}:
                    room.join(self, name)
                case {"type": "say", "text": str(text)}:
                    room.say(self, text)
                case _:
                    raise ValueError
        except (ValueError, RecursionError):
            self.tell({"type": "error", "text": "That was neither a join nor a say."})
        except Refused as refused:
            self.tell({"type": "error", "text": str(refused)})

    def on_close(self):
        room.leave(self)

    def tell(self, event):
        """Writes to one of the room's connections. One that cannot take it must not hold up the others: nobody waits here."""
        try:
            self.write_message(event)
        except WebSocketClosedError:
            pass  # Its own on_close is on its way, and takes it off the list.
        except BufferFullError:
            # It reads more slowly than the room talks. Rather than miss a line unnoticed it comes back, and finds the history.
            self.close(1008, "You read too slowly.")


def bounded(text, max_chars, otherwise):
    """The text without surrounding space, if there is any, but not too much."""
    text = text.strip()
    # JSON can say lone surrogates. They are no text, and nobody could be told of them: a ValueError.
    text.encode()
    if not 1 <= len(text) <= max_chars:
        raise Refused(otherwise)
    return text
