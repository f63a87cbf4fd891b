"""What survives a swap."""

import json

from waterspout import WebSocketHandler, shared


class Counter(WebSocketHandler):
    def initialize(self):
        self.messages = 0

    def on_message(self, message):
        self.messages += 1
        self.write_message(str(self.messages))


class Keep(WebSocketHandler):
    """Fields of every kind, with what the suite sends."""

    def initialize(self):
        self.text = self.bytes = self.number = self.list = self.map = self.set = None

    def on_message(self, message):
        if message.startswith("set "):
            asked = json.loads(message.removeprefix("set "))
            self.text, self.bytes, self.number = asked["text"], bytes(asked["bytes"]), asked["number"]
            self.list, self.map, self.set = asked["list"], asked["map"], set(asked["set"])
            return
        self.write_message({
            "text": self.text,
            "bytes": list(self.bytes),
            "number": self.number,
            "list": self.list,
            "map": self.map,
            "set": sorted(self.set),
        })


class Refuse(WebSocketHandler):
    def on_message(self, message):
        self.write_message(message)

    def resume(self, state):
        raise ValueError("not this state")


def refuse():
    raise ValueError("not this room")


class Reluctant:
    """Not written if it is "suspend", and not read if it is "resume"."""

    def __init__(self, method):
        self.method = method

    def __reduce__(self):
        if self.method == "suspend":
            raise TypeError("this room stays")
        return refuse, ()


class Room:
    def __init__(self):
        self.messages = 0
        self.people = []
        self.reluctant = None


room = shared(Room())


class InRoom(WebSocketHandler):
    def open(self):
        room.people.append(self)

    def on_message(self, message):
        if message.startswith("refuse "):
            room.reluctant = Reluctant(message.removeprefix("refuse "))
            return
        room.messages += 1
        for person in room.people:
            person.write_message(f"{room.messages} {message}")

    def on_close(self):
        room.people.remove(self)


FEATURES = {"counter": Counter, "keep": Keep, "refuse": Refuse, "room": InRoom}
