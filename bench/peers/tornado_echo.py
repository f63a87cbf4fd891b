"""An echo with Tornado, for `waterspout-bench compare --compressed`. Run it with the Python in target/clients/python/bin."""

import asyncio
import platform
import zlib

import tornado
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler


class Echo(WebSocketHandler):
    def get_compression_options(self):
        # Windows of 15 bits and context takeover are what there is; so is compressing every message, however short.
        return {"compression_level": 6, "mem_level": 8}

    def open(self):
        self.set_nodelay(True)

    def on_message(self, message):
        self.write_message(message, binary=isinstance(message, bytes))


async def main():
    sockets = bind_sockets(0, "127.0.0.1")
    HTTPServer(Application([("/", Echo)])).add_sockets(sockets)
    port = sockets[0].getsockname()[1]
    print(
        f"Tornado {tornado.version}, Python {platform.python_version()}, zlib {zlib.ZLIB_RUNTIME_VERSION} "
        f"on ws://127.0.0.1:{port}/",
        flush=True,
    )
    await asyncio.Event().wait()


asyncio.run(main())
