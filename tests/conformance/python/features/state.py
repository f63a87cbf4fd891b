"""What survives a swap."""

from waterspout import WebSocketHandler, shared, websocket_start


class Counter(WebSocketHandler):
    def initialize(self):
        self.messages = 0

    def on_message(self, message):
        self.messages += 1
        self.write_message(str(self.messages))


class Keep(WebSocketHandler):
    def initialize(self):
        self.text = self.bytes = self.number = self.list = self.map = self.set = self.upstream = None

    def on_message(self, message):
        if message == "set":
            self.text, self.bytes, self.number = "grüß dich \0 🌍", bytes(range(256)), 1.5
            self.list, self.map, self.set = [1, "two", None, [True]], {"one": 1, "zwei": {"drei": 3}}, {"b", "a"}
            if url := self.get_argument("url", None):
                self.upstream = websocket_start(url)
        self.write_message({
            "text": self.text,
            "bytes": None if self.bytes is None else list(self.bytes),
            "number": self.number,
            "list": self.list,
            "map": self.map,
            "set": None if self.set is None else sorted(self.set),
            "upstream": None if self.upstream is None else self.upstream.id,
        })


class Refuse(WebSocketHandler):
    def on_message(self, message):
        self.write_message(message)

    def resume(self, state):
        raise ValueError("not this state")


class Room:
    def __init__(self):
        self.messages = 0
        self.people = []


room = shared(Room())


class InRoom(WebSocketHandler):
    def open(self):
        room.people.append(self)

    def on_message(self, message):
        room.messages += 1
        for person in room.people:
            person.write_message(f"{room.messages} {message}")

    def on_close(self):
        room.people.remove(self)


FEATURES = {"counter": Counter, "keep": Keep, "refuse": Refuse, "room": InRoom}
