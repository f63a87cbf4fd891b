"""The server of Python's `websockets`; see README.md."""

import argparse
import asyncio
import http
import ssl
import sys

import websockets
from websockets.asyncio.server import serve


async def echo(connection):
    async def ping(text):
        await (await connection.ping(text))
        await connection.send(f"pong {text}")

    pings = []
    async for message in connection:
        command, _, rest = message.partition(" ") if isinstance(message, str) else ("", "", "")
        if command == "/close":
            code, _, reason = rest.partition(" ")
            await connection.close(int(code), reason)
        elif command == "/ping":
            pings.append(asyncio.create_task(ping(rest)))
        elif command == "/large":
            await connection.send(b"\x07" * int(rest))
        elif command == "/subprotocol":
            await connection.send(connection.subprotocol or "none")
        elif command == "/header":
            await connection.send(connection.request.headers.get(rest, "none"))
        else:
            await connection.send(message)


def route(connection, request):
    if request.path == "/echo":
        return None
    if request.path == "/page":
        return connection.respond(http.HTTPStatus.OK, "a page")
    if request.path == "/redirect":
        answer = connection.respond(http.HTTPStatus.FOUND, "")
        answer.headers["Location"] = "/echo"
        return answer
    return connection.respond(http.HTTPStatus.NOT_FOUND, "not there")


def choose(connection, offered):
    return next((name for name in ("v2", "v1") if name in offered), None)


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
    server = serve(
        echo,
        "127.0.0.1",
        0,
        ssl=tls,
        compression="deflate" if options.compress else None,
        select_subprotocol=choose,
        process_request=route,
        max_size=None,
    )
    async with server as listening:
        print(listening.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
