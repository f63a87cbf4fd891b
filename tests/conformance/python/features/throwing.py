"""A handler that fails in the method that the query names."""

from waterspout import WebSocketHandler, websocket_start

from .messages import fill


class Throw(WebSocketHandler):
    def __init__(self, request):
        super().__init__(request)
        self.fail_in("construct")

    def fail_in(self, method):
        if self.get_argument("in", None) == method:
            raise RuntimeError(f"conformance: {method}")

    def prepare(self):
        self.fail_in("prepare")

    def check_origin(self, origin):
        self.fail_in("check_origin")
        return True

    def select_subprotocol(self, subprotocols):
        self.fail_in("select_subprotocol")

    def get_compression_options(self):
        self.fail_in("get_compression_options")

    def open(self):
        self.fail_in("open")

    def on_message(self, message):
        self.fail_in("on_message")
        match self.get_argument("in", None):
            case "on_pong":
                self.ping()
            case "on_writable":
                fill(self, 1 << 16)
            case "on_timer":
                self.set_timer(1, 0.001)
            case "on_client_event":
                websocket_start(self.get_argument("url"))
            case _:
                self.write_message(message)

    def on_ping(self, data):
        self.fail_in("on_ping")

    def on_pong(self, data):
        self.fail_in("on_pong")

    def on_writable(self):
        self.fail_in("on_writable")

    def on_timer(self, token):
        self.fail_in("on_timer")

    def on_client_event(self, id, event):
        self.fail_in("on_client_event")

    def on_close(self):
        self.fail_in("on_close")

    def suspend(self):
        self.fail_in("suspend")
        return b""

    def resume(self, state):
        self.fail_in("resume")


FEATURES = {"throw": Throw}
