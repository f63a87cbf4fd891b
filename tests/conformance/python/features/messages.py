"""Messages both ways."""

import json

from waterspout import BufferFullError, WebSocketError, WebSocketHandler, publish


class Echo(WebSocketHandler):
    def on_message(self, message):
        self.write_message(message)


class Json(WebSocketHandler):
    def on_message(self, message):
        try:
            got = json.loads(message)
        except ValueError:
            self.write_message("not json")
        else:
            self.write_message({"got": got, "kind": "json"})


class Ping(WebSocketHandler):
    def on_message(self, message):
        if message == "big":
            try:
                self.ping(bytes(126))
            except WebSocketError as error:
                self.write_message(error.kind)
        else:
            self.ping(message.removeprefix("ping "))

    def on_ping(self, data):
        self.write_message("ping " + data.decode())

    def on_pong(self, data):
        self.write_message("pong " + data.decode())


def fill(handler, size):
    """Writes so many bytes again and again until the queue is full, and tells who observes that."""
    try:
        while True:
            handler.write_message(bytes(size))
    except BufferFullError:
        publish("conformance-full", "full")


class Queue(WebSocketHandler):
    def on_message(self, message):
        match message.split():
            case ["fill", size]:
                fill(self, int(size))
            case ["amount"]:
                self.write_message(str(self.buffered_amount))
            case ["flush"]:
                self.flush()
                self.write_message("flushed")

    def on_writable(self):
        self.write_message("writable")


class NoDelay(WebSocketHandler):
    def on_message(self, message):
        self.set_nodelay(message == "on")
        self.write_message("ok")


FEATURES = {"echo": Echo, "json": Json, "ping": Ping, "queue": Queue, "nodelay": NoDelay}
