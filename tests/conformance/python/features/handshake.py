"""The opening handshake."""

from waterspout import Rejection, WebSocketError, WebSocketHandler


class Request(WebSocketHandler):
    def open(self):
        request = self.request
        self.write_message({
            "uri": request.uri,
            "path": request.path,
            "query": request.query if request.has_query else None,
            "path_args": self.path_kwargs,
            "remote_address": request.remote_ip,
            "x_test": request.headers.get("X-Test"),
            "x_many": request.headers.get_list("x-many"),
            "arg": self.get_argument("name", None),
        })


class ResponseHeader(WebSocketHandler):
    def prepare(self):
        self.set_header("x-conformance", "yes")
        self.refused = "nothing"
        try:
            self.set_header("connection", "close")
        except WebSocketError as error:
            self.refused = error.kind

    def open(self):
        self.write_message(self.refused)


class Reject(WebSocketHandler):
    def prepare(self):
        raise Rejection(418, "short and stout", {"x-why": "teapot"})


class Origin(WebSocketHandler):
    def check_origin(self, origin):
        return origin == "https://good.example"


class Subprotocol(WebSocketHandler):
    def select_subprotocol(self, subprotocols):
        return "second" if "second" in subprotocols else None

    def open(self):
        self.write_message(self.selected_subprotocol or "none")


class SubprotocolDefault(WebSocketHandler):
    def open(self):
        self.write_message(self.selected_subprotocol or "none")


class Compression(WebSocketHandler):
    def get_compression_options(self):
        return {"compression_level": 6}

    def on_message(self, message):
        self.write_message(message)


class CompressionDefault(WebSocketHandler):
    def on_message(self, message):
        self.write_message(message)


class Open(WebSocketHandler):
    def open(self):
        self.write_message(f"opened {self.id}")

    def on_message(self, message):
        self.write_message(self.id)


FEATURES = {
    "request": Request,
    "response-header": ResponseHeader,
    "reject": Reject,
    "origin": Origin,
    "origin-default": WebSocketHandler,
    "subprotocol": Subprotocol,
    "subprotocol-default": SubprotocolDefault,
    "compression": Compression,
    "compression-default": CompressionDefault,
    "open": Open,
}
