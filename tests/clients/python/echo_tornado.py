"""The embedded echo, with Tornado's client."""

import asyncio

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClosedError, websocket_connect

from checks import COMPRESSIBLE, EVERY_BYTE, MAX_MESSAGE_BYTES, UNICODE, Checks, expect, get, http_address, refused_status

suite = Checks("tornado, echo")


@suite
async def text_and_binary_come_back(url):
    connection = await websocket_connect(url)
    for message in ["hello", "", UNICODE, b"hello \xe9", b"", EVERY_BYTE]:
        await connection.write_message(message, binary=isinstance(message, bytes))
        expect("echo", await connection.read_message(), message)
    connection.close()


@suite
async def compression_is_agreed_on_if_it_is_offered_and_only_then(url):
    for options in [None, {}, {"compression_level": 9, "mem_level": 1}]:
        connection = await websocket_connect(url, compression_options=options)
        expect("extensions", connection.headers.get("Sec-WebSocket-Extensions"), None if options is None else "permessage-deflate")
        plain = sum(len(message) for message in [COMPRESSIBLE] * 3)
        for message in [COMPRESSIBLE] * 3:
            await connection.write_message(message)
            expect("echo", await connection.read_message(), message)
        # Tornado's own counters of what crossed the wire, as in its tests.
        for what, bytes_on_wire in [("sent", connection.protocol._wire_bytes_out), ("received", connection.protocol._wire_bytes_in)]:
            expect(f"{what} {bytes_on_wire} bytes: smaller", bytes_on_wire < plain // 4, options is not None)
        connection.close()


@suite
async def its_periodic_pings_are_answered(url):
    # The time-out is at most the interval (Tornado 6.5): long enough for a busy machine.
    connection = await websocket_connect(url, ping_interval=1, ping_timeout=1)
    pongs = asyncio.Queue()
    connection.on_pong = pongs.put_nowait
    for _ in range(2):
        await pongs.get()
    # Had a pong been late, Tornado would have closed.
    await connection.write_message("still here")
    expect("echo", await connection.read_message(), "still here")
    connection.close()


@suite
async def a_manual_ping_comes_back_with_its_payload(url):
    connection = await websocket_connect(url)
    pongs = asyncio.Queue()
    connection.on_pong = pongs.put_nowait
    for payload in [b"", b"hello", EVERY_BYTE[:125]]:
        connection.ping(payload)
        expect("pong", await pongs.get(), payload)
    connection.close()


@suite
async def its_close_ends_the_connection_with_the_same_code(url):
    connection = await websocket_connect(url)
    connection.close(4001, "goodbye")
    expect("message", await connection.read_message(), None)
    expect("close code", connection.close_code, 4001)


@suite
async def a_write_after_close_is_an_error(url):
    connection = await websocket_connect(url)
    connection.close()
    expect("message", await connection.read_message(), None)
    try:
        await connection.write_message("too late")
        raise AssertionError("the write succeeded")
    except WebSocketClosedError:
        pass


@suite
async def a_message_past_the_limit_closes_with_1009_too_big(url):
    connection = await websocket_connect(url)
    write = connection.write_message(bytes(MAX_MESSAGE_BYTES + 1), binary=True)
    expect("message", await connection.read_message(), None)
    await asyncio.gather(write, return_exceptions=True)  # the server need not read all of it
    expect("close", (connection.close_code, connection.close_reason), (1009, "message too big"))


@suite
async def an_origin_with_a_path_is_the_same_origin(url):
    connection = await websocket_connect(HTTPRequest(url, headers={"Origin": http_address(url, "/some/where")}))
    await connection.write_message("hello")
    expect("echo", await connection.read_message(), "hello")
    connection.close()


@suite
async def another_origin_is_403(url):
    expect("status", await refused_status(url, {"Origin": "http://example.com"}), 403)


@suite
async def an_unknown_path_is_404_to_tornado_too(url):
    expect("status", await refused_status(http_address(url, "/nowhere").replace("http", "ws", 1)), 404)


HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


@suite
async def malformed_handshakes_get_tornados_answers(url):
    def without(name):
        return {key: value for key, value in HANDSHAKE.items() if key != name}

    for headers, status, body in [
        ({}, 400, 'Can "Upgrade" only to "WebSocket".'),
        ({**HANDSHAKE, "Upgrade": "h2c"}, 400, 'Can "Upgrade" only to "WebSocket".'),
        (without("Connection"), 400, '"Connection" must be "Upgrade".'),
        ({**HANDSHAKE, "Origin": "http://example.com"}, 403, "Cross origin websockets not allowed"),
        (without("Sec-WebSocket-Key"), 400, None),
        ({**HANDSHAKE, "Sec-WebSocket-Version": "12"}, 426, None),
    ]:
        response = await get(http_address(url), headers)
        expect(f"status for {headers}", response.code, status)
        if body is not None:
            expect(f"body for {headers}", response.body.decode().strip(), body)
        if status == 426:
            expect("versions offered", response.headers.get("Sec-WebSocket-Version"), "7, 8, 13")


@suite
async def health_answers_200(url):
    expect("status", (await get(http_address(url, "/healthz"))).code, 200)
