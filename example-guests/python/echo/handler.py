"""Tornado's echo: the first handler of its documentation, with another import."""

from waterspout import WebSocketHandler


class EchoWebSocket(WebSocketHandler):
    def open(self):
        print("WebSocket opened")

    def on_message(self, message):
        self.write_message("You said: " + message)

    def on_close(self):
        print("WebSocket closed")
