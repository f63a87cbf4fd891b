"""Topics and timers."""

from waterspout import WebSocketError, WebSocketHandler, publish


class Topics(WebSocketHandler):
    def on_message(self, message):
        try:
            match message.split(" ", 2):
                case ["subscribe", topic]:
                    self.subscribe(topic)
                case ["unsubscribe", topic]:
                    self.unsubscribe(topic)
                case ["publish", topic, text]:
                    publish(topic, text)
                case ["publish-binary", topic, text]:
                    publish(topic, text.encode())
        except WebSocketError as error:
            self.write_message(error.kind)
        else:
            self.write_message("ok")


class Timers(WebSocketHandler):
    def on_message(self, message):
        for command in message.split("; "):
            match command.split():
                case ["set", token, ms]:
                    self.set_timer(int(token), int(ms) / 1000)
                case ["clear", token]:
                    self.clear_timer(int(token))

    def on_timer(self, token):
        self.write_message(f"timer {token}")


FEATURES = {"topics": Topics, "timers": Timers}
