"""What is there beside the connection."""

import random
import sys
import time

from waterspout import WebSocketHandler, config


class Print(WebSocketHandler):
    def on_message(self, message):
        if message.startswith("eprint "):
            print(message.removeprefix("eprint "), file=sys.stderr)
        else:
            print(message)


class Clock(WebSocketHandler):
    def on_message(self, message):
        self.write_message({"now": time.time(), "random": random.random()})


class Config(WebSocketHandler):
    def on_message(self, message):
        self.write_message(config.get(message, "none"))


FEATURES = {"print": Print, "clock": Clock, "config": Config}
