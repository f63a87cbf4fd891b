"""Tornado's echo: the first handler of its documentation, with another import, and an answer to binary messages."""

from waterspout import WebSocketHandler


class EchoWebSocket(WebSocketHandler):
    def open(self):
        print("WebSocket opened")

    def on_message(self, message):
        if isinstance(message, bytes):
            self.write_message(message, binary=True)
        else:
            self.write_message("You said: " + message)

    def on_close(self):
        print("WebSocket closed")
