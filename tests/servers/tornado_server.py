"""Tornado's server; see README.md."""

import argparse
import asyncio
import ssl
import sys

import tornado.httpserver
import tornado.netutil
import tornado.web
import tornado.websocket


class Echo(tornado.websocket.WebSocketHandler):
    def get_compression_options(self):
        return {} if self.settings["compress"] else None

    def select_subprotocol(self, subprotocols):
        return next((name for name in ("v2", "v1") if name in subprotocols), None)

    async def on_message(self, message):
        command, _, rest = message.partition(" ") if isinstance(message, str) else ("", "", "")
        if command == "/close":
            code, _, reason = rest.partition(" ")
            self.close(int(code), reason)
        elif command == "/ping":
            self.ping(rest)
        elif command == "/large":
            await self.write_message(b"\x07" * int(rest), binary=True)
        elif command == "/subprotocol":
            await self.write_message(self.selected_subprotocol or "none")
        elif command == "/header":
            await self.write_message(self.request.headers.get(rest, "none"))
        else:
            await self.write_message(message, binary=isinstance(message, bytes))

    def on_pong(self, data):
        self.write_message(f"pong {data.decode()}")


class Page(tornado.web.RequestHandler):
    def get(self):
        self.write("a page")


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--compress", action="store_true")
    options = parser.parse_args()
    tls = None
    if options.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.certificate, options.key)
    routes = [("/echo", Echo), ("/page", Page), ("/redirect", tornado.web.RedirectHandler, {"url": "/echo", "permanent": False})]
    application = tornado.web.Application(routes, compress=options.compress)
    server = tornado.httpserver.HTTPServer(application, ssl_options=tls)
    sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    print(sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
