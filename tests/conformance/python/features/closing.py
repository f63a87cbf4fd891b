"""How connections end."""

from waterspout import WebSocketError, WebSocketHandler, publish

ENDS = "conformance-ends"


class Close(WebSocketHandler):
    def on_message(self, message):
        code, _, reason = message.partition(" ")
        self.close(None if code == "-" else int(code), reason or None)
        try:
            self.write_message("late")
        except WebSocketError as error:
            publish(ENDS, error.kind)

    def on_close(self):
        frame = "none" if self.close_code is None else f"{self.close_code} {self.close_reason}".rstrip()
        publish(ENDS, f"closed {frame}")


class Observe(WebSocketHandler):
    def open(self):
        self.subscribe(self.get_argument("topic"))
        self.write_message("ready")


class Invalid(WebSocketHandler):
    def on_message(self, message):
        what, number = message.split()
        try:
            if what == "code":
                self.close(int(number))
            else:
                self.close(1000, "r" * int(number))
        except WebSocketError as error:
            self.write_message(error.kind)


FEATURES = {"close": Close, "observe": Observe, "invalid": Invalid}
