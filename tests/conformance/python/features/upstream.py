"""Connections that a handler opens itself, in both styles."""

import json

import waterspout.client
from waterspout import (
    ClientClosed,
    ClientFailed,
    ClientMessage,
    ClientOpened,
    ClientPong,
    ConnectError,
    WaitTimeoutError,
    WebSocketError,
    WebSocketHandler,
    websocket_connect,
    websocket_start,
)


def options(asked):
    def seconds(name):
        return None if name not in asked else asked[name] / 1000

    compression = asked.get("compression")
    return {
        "headers": asked.get("headers", {}),
        "subprotocols": asked.get("subprotocols", []),
        "connect_timeout": seconds("timeout_ms"),
        "max_message_size": asked.get("max_message_size"),
        "ping_interval": seconds("ping_interval_ms"),
        "ping_timeout": seconds("ping_timeout_ms"),
        "compression_options": compression
        and {"compression_level": compression.get("level"), "mem_level": compression.get("mem_level")},
    }


def failed(error):
    return f"failed {error.kind}" + (f" {error.detail}" if error.detail else "")


def told(message):
    return f"text {message}" if isinstance(message, str) else f"binary {message.decode()}"


def closed(frame):
    return "none" if frame is None else f"{frame.code} {frame.reason}".rstrip()


class Upstream(WebSocketHandler):
    """What both styles can be told."""

    def initialize(self):
        self.upstream = None

    def on_message(self, message):
        try:
            if message.startswith("{"):
                self.connect(json.loads(message))
            else:
                self.order(*message.split(" ", 1))
        except ConnectError as error:
            self.write_message(failed(error))
        except WebSocketError as error:
            self.write_message(error.kind)

    def order(self, what, rest=""):
        match what:
            case "send":
                self.upstream.write_message(rest)
            case "send-binary":
                self.upstream.write_message(rest.encode())
            case "ping":
                self.upstream.ping(rest)
            case "flush":
                self.upstream.flush()
            case "close":
                code, _, reason = rest.partition(" ")
                self.upstream.close(None if code == "-" else int(code), reason or None)


class Connect(Upstream):
    def connect(self, asked):
        self.upstream = websocket_connect(asked["url"], **options(asked))
        self.write_message(f"connected {self.upstream.selected_subprotocol or 'none'}")

    def order(self, what, rest=""):
        match what:
            case "read":
                self.read(None)
            case "read-within":
                self.read(int(rest) / 1000)
            case "id":
                same = waterspout.client.get(self.upstream.id)
                self.write_message("same" if same is not None and same.id == self.upstream.id else "other")
            case _:
                super().order(what, rest)

    def read(self, timeout):
        try:
            message = self.upstream.read_message(timeout)
        except WaitTimeoutError:
            self.write_message("timeout")
        else:
            self.write_message(f"end {closed(self.upstream.close_frame)}" if message is None else told(message))


class Start(Upstream):
    def connect(self, asked):
        self.upstream = websocket_start(asked["url"], **options(asked))

    def on_client_event(self, id, event):
        match event:
            case ClientOpened():
                self.write_message("opened")
            case ClientFailed(error):
                self.write_message(failed(error))
            case ClientMessage(message):
                self.write_message(told(message))
            case ClientPong(data):
                self.write_message(f"pong {data.decode()}")
            case ClientClosed(frame):
                self.write_message(f"closed {closed(frame)}")


FEATURES = {"connect": Connect, "start": Start}
