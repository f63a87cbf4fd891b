"""The embedded echo, with `websockets`."""

import asyncio
import random
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from checks import COMPRESSIBLE, EVERY_BYTE, MAX_MESSAGE_BYTES, UNICODE, Checks, close_frame_received, dial, expect, http_address, refusal

suite = Checks("websockets, echo")


@suite
async def text_comes_back_as_text(url):
    async with dial(url) as connection:
        for text in ["hello", "", UNICODE, "x" * 125, "x" * 126, "x" * 65535, "x" * 65536]:
            await connection.send(text)
            expect("echo", await connection.recv(), text)


@suite
async def binary_comes_back_as_binary(url):
    async with dial(url) as connection:
        for data in [b"hello \xe9", b"", EVERY_BYTE, b"valid UTF-8", b"x" * 65536]:
            await connection.send(data)
            expect("echo", await connection.recv(), data)


@suite
async def many_messages_in_flight_keep_their_order_and_kind(url):
    messages = [f"text {i}" if i % 2 else f"binary {i}".encode() for i in range(2000)]
    async with dial(url) as connection:
        async def send_all():
            for message in messages:
                await connection.send(message)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send_all())
            for message in messages:
                expect("echo", await connection.recv(), message)


@suite
async def a_fragmented_message_comes_back_whole(url):
    async with dial(url) as connection:
        # The second cut is inside a character.
        euro = "€".encode()
        await connection.send([b"10 ", euro[:1], euro[1:], b"", b" please"], text=True)
        expect("text", await connection.recv(), "10 € please")
        await connection.send([EVERY_BYTE] * 10)
        expect("binary", await connection.recv(), EVERY_BYTE * 10)


@suite
async def pings_are_answered_with_their_own_payload(url):
    async with dial(url) as connection:
        # The future resolves only for a pong with the same payload.
        for payload in [b"", "text", EVERY_BYTE[:125]]:
            await (await connection.ping(payload))


@suite
async def a_ping_between_fragments_is_answered(url):
    async with dial(url) as connection:
        answered = asyncio.Event()

        async def fragments():
            yield "first "
            await (await connection.ping(b"between"))
            answered.set()
            yield "second"

        await connection.send(fragments())
        expect("echo", await connection.recv(), "first second")
        expect("answered before the message was complete", answered.is_set(), True)


@suite
async def an_unasked_pong_is_ignored(url):
    async with dial(url) as connection:
        await connection.pong(b"nobody asked")
        await connection.send("still here")
        expect("echo", await connection.recv(), "still here")


@suite
async def the_clients_close_code_is_answered(url):
    for code, reason in [(1000, ""), (1001, "goodbye"), (3000, "é" * 61), (4999, "x" * 123)]:
        async with dial(url) as connection:
            await connection.close(code, reason)
            received = await close_frame_received(connection)
            expect("answered code", received and received[0], code)


@suite
async def invalid_utf8_is_answered_with_1007(url):
    for fragments in [b"\xff", b"\xed\xa0\x80", [b"\xe2\x82", b"(", b")"]]:
        async with dial(url) as connection:
            await connection.send(fragments, text=True)
            received = await close_frame_received(connection)
            expect(f"close code for {fragments}", received and received[0], 1007)


@suite
async def a_message_at_the_limit_comes_back(url):
    async with dial(url) as connection:
        message = bytes(MAX_MESSAGE_BYTES)
        await connection.send(message)
        expect("echo", await connection.recv(), message)


@suite
async def a_message_past_the_limit_is_answered_with_1009(url):
    # The same size as one frame, and in fragments of which none is too large.
    for message in [bytes(MAX_MESSAGE_BYTES + 1), [bytes(MAX_MESSAGE_BYTES // 2)] * 2 + [b"x"]]:
        # Not closed by `async with`: websockets 17.4 then aborts a transport that asyncio of Python 3.11 has let go of already.
        connection = await dial(url)
        try:
            await connection.send(message)
        except ConnectionClosed:
            pass  # the server need not read all of it
        received = await close_frame_received(connection)
        expect("close code", received and received[0], 1009)


@suite
async def a_hundred_connections_at_once_hear_only_themselves(url):
    async def talk(number):
        async with dial(url) as connection:
            for turn in range(10):
                await connection.send(f"{number}.{turn}")
                expect("echo", await connection.recv(), f"{number}.{turn}")

    async with asyncio.TaskGroup() as tasks:
        for number in range(100):
            tasks.create_task(talk(number))


def agreed_extensions(connection):
    return connection.response.headers.get("Sec-WebSocket-Extensions")


@suite
async def compression_is_agreed_on_by_default_and_not_without_an_offer(url):
    for compression, agreed in [("deflate", "permessage-deflate"), (None, None)]:
        async with dial(url, compression=compression) as connection:
            expect("extensions", agreed_extensions(connection), agreed)
            for message in [COMPRESSIBLE, COMPRESSIBLE.encode(), "", UNICODE]:
                await connection.send(message)
                expect("echo", await connection.recv(), message)


@suite
async def every_window_with_and_without_takeover_is_compressed_right(url):
    for bits in range(9, 16):
        for alone in [False, True]:
            offer = ClientPerMessageDeflateFactory(
                server_no_context_takeover=alone,
                client_no_context_takeover=alone,
                server_max_window_bits=bits,
                client_max_window_bits=bits,
            )
            async with dial(url, compression=None, extensions=[offer]) as connection:
                expect("extension", [extension.name for extension in connection.protocol.extensions], ["permessage-deflate"])
                # Repeats at distances around and beyond each window.
                for distance in [100, 2**bits - 300, 2**bits, 2**bits + 1, 40_000]:
                    message = random.Random(distance).randbytes(distance) * 3
                    await connection.send(message)
                    expect("echo", await connection.recv(), message)


@suite
async def a_compressed_message_past_the_limit_is_answered_with_1009(url):
    async with dial(url) as connection:
        await connection.send(bytes(MAX_MESSAGE_BYTES))
        expect("echo", len(await connection.recv()), MAX_MESSAGE_BYTES)
        # A few kilobytes on the wire.
        await connection.send(bytes(MAX_MESSAGE_BYTES + 1))
        received = await close_frame_received(connection)
        expect("close code", received and received[0], 1009)


@suite
async def a_subprotocol_that_the_handler_does_not_choose_is_not_selected(url):
    async with dial(url, subprotocols=["unknown", "other"]) as connection:
        expect("subprotocol", connection.subprotocol, None)


@suite
async def the_same_origin_is_accepted(url):
    async with dial(url, origin=http_address(url, "/").rstrip("/")) as connection:
        await connection.send("hello")
        expect("echo", await connection.recv(), "hello")


@suite
async def other_origins_are_refused_with_403(url):
    parts = urlsplit(url)
    for origin in [
        "http://example.com",
        f"http://sub.{parts.netloc}",
        f"http://{parts.hostname}:1",
        f"http://{parts.netloc}.example.com",
        parts.netloc,
        "null",
    ]:
        response = await refusal(url, origin=origin)
        expect(f"status for {origin}", response.status_code, 403)
        expect("body", response.body.decode().strip(), "Cross origin websockets not allowed")


@suite
async def an_unknown_path_is_404(url):
    expect("status", (await refusal(http_address(url, "/nowhere").replace("http", "ws", 1))).status_code, 404)
