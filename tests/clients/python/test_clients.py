"""Talks to Waterspout with Python's `websockets` and with Tornado's own client.

    python test_clients.py [--echo ws://HOST:PORT/websocket] [--gate ws://HOST:PORT/gate/{area}] [--chat ws://HOST:PORT/chat/{room}]

Each address turns on the checks of the handler behind it: the embedded echo, the example guests gatekeeper and chat. One
line for each check, `ok NAME` or `not ok NAME: why`; exit code 1 if one failed.
"""

import argparse
import asyncio
import json
import random
import sys
import traceback
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import quote, urlsplit

import tornado
import websockets
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClosedError, websocket_connect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

# Nothing here waits for more than a round trip on loopback: the rest is for a loaded machine.
CHECK_TIMEOUT_SECONDS = 20

# Waterspout's default for max-message-bytes, which is Tornado's.
MAX_MESSAGE_BYTES = 10 * 1024 * 1024

UNICODE = "hello é, 水の竜巻, 🌪 and a NUL: \0"
EVERY_BYTE = bytes(range(256))


class Checks:
    """The checks of one handler. A check is an async function of that handler's address; its name is its sentence."""

    def __init__(self, subject):
        self.subject = subject
        self.functions = []

    def __call__(self, function):
        self.functions.append(function)
        return function

    async def run(self, url):
        """How many passed and how many failed."""
        failed = 0
        for function in self.functions:
            name = f"{self.subject}: {function.__name__.replace('_', ' ')}"
            try:
                async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                    await function(url)
                print(f"ok {name}", flush=True)
            except Exception as error:  # however a check ends, the others run
                failed += 1
                print(f"not ok {name}: {in_one_line(error)}", flush=True)
        return len(self.functions) - failed, failed


def in_one_line(error):
    here = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == __file__]
    # The first is Checks.run, the second the check.
    return f"{type(error).__name__} {' '.join(str(error).split())} (line {here[1] if len(here) > 1 else here[0]})"


def expect(what, actual, expected):
    """An assertion that shows its values."""
    if actual != expected:
        raise AssertionError(f"{what}: expected {shortened(expected)}, got {shortened(actual)}")


def shortened(value):
    words = repr(value)
    return words if len(words) <= 120 else f"{words[:100]}… ({len(words)} characters)"


def dial(url, **options):
    """`websockets.connect` without pings of its own, limits, or a proxy from the environment.

    Without a limit of the queue, too: a full one stops the reading, and so the end of a connection whose messages nobody
    wants any more.
    """
    return connect(url, **{"ping_interval": None, "proxy": None, "max_size": None, "max_queue": None, **options})


async def refusal(url, **options):
    """The HTTP answer to a handshake that is to be refused."""
    try:
        async with dial(url, **options):
            raise AssertionError("the handshake was accepted")
    except InvalidStatus as error:
        return error.response


async def close_frame_received(connection):
    """Waits for the end. The server's close frame as (code, reason), or None."""
    await asyncio.wait_for(connection.wait_closed(), CHECK_TIMEOUT_SECONDS)
    frame = connection.protocol.close_rcvd
    return frame and (int(frame.code), frame.reason)


def fill(url, **captures):
    """`…/chat/{room}` with the room in its place."""
    for name, value in captures.items():
        url = url.replace(f"{{{name}}}", quote(value, safe=""))
    return url


def http_address(url, path=""):
    parts = urlsplit(url)
    return f"http://{parts.netloc}{path or parts.path}"


async def get(url, headers=None, method="GET"):
    request = HTTPRequest(url, method=method, headers=headers or {}, allow_nonstandard_methods=True, follow_redirects=False)
    return await AsyncHTTPClient().fetch(request, raise_error=False)


# ---- The embedded echo, with websockets ---------------------------------------------------------------------------

websockets_echo = Checks("websockets, echo")


@websockets_echo
async def text_comes_back_as_text(url):
    async with dial(url) as connection:
        for text in ["hello", "", UNICODE, "x" * 125, "x" * 126, "x" * 65535, "x" * 65536]:
            await connection.send(text)
            expect("echo", await connection.recv(), text)


@websockets_echo
async def binary_comes_back_as_binary(url):
    async with dial(url) as connection:
        for data in [b"hello \xe9", b"", EVERY_BYTE, b"valid UTF-8", b"x" * 65536]:
            await connection.send(data)
            expect("echo", await connection.recv(), data)


@websockets_echo
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


@websockets_echo
async def a_fragmented_message_comes_back_whole(url):
    async with dial(url) as connection:
        # The second cut is inside a character.
        euro = "€".encode()
        await connection.send([b"10 ", euro[:1], euro[1:], b"", b" please"], text=True)
        expect("text", await connection.recv(), "10 € please")
        await connection.send([EVERY_BYTE] * 10)
        expect("binary", await connection.recv(), EVERY_BYTE * 10)


@websockets_echo
async def pings_are_answered_with_their_own_payload(url):
    async with dial(url) as connection:
        # The future resolves only for a pong with the same payload.
        for payload in [b"", "text", EVERY_BYTE[:125]]:
            await (await connection.ping(payload))


@websockets_echo
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


@websockets_echo
async def an_unasked_pong_is_ignored(url):
    async with dial(url) as connection:
        await connection.pong(b"nobody asked")
        await connection.send("still here")
        expect("echo", await connection.recv(), "still here")


@websockets_echo
async def the_clients_close_code_is_answered(url):
    for code, reason in [(1000, ""), (1001, "goodbye"), (3000, "é" * 61), (4999, "x" * 123)]:
        async with dial(url) as connection:
            await connection.close(code, reason)
            received = await close_frame_received(connection)
            expect("answered code", received and received[0], code)


@websockets_echo
async def invalid_utf8_is_answered_with_1007(url):
    for fragments in [b"\xff", b"\xed\xa0\x80", [b"\xe2\x82", b"(", b")"]]:
        async with dial(url) as connection:
            await connection.send(fragments, text=True)
            received = await close_frame_received(connection)
            expect(f"close code for {fragments}", received and received[0], 1007)


@websockets_echo
async def a_message_at_the_limit_comes_back(url):
    async with dial(url) as connection:
        message = bytes(MAX_MESSAGE_BYTES)
        await connection.send(message)
        expect("echo", await connection.recv(), message)


@websockets_echo
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


@websockets_echo
async def a_hundred_connections_at_once_hear_only_themselves(url):
    async def talk(number):
        async with dial(url) as connection:
            for turn in range(10):
                await connection.send(f"{number}.{turn}")
                expect("echo", await connection.recv(), f"{number}.{turn}")

    async with asyncio.TaskGroup() as tasks:
        for number in range(100):
            tasks.create_task(talk(number))


COMPRESSIBLE = "the same words, and once more the same words; " * 50


def agreed_extensions(connection):
    return connection.response.headers.get("Sec-WebSocket-Extensions")


@websockets_echo
async def compression_is_agreed_on_by_default_and_not_without_an_offer(url):
    for compression, agreed in [("deflate", "permessage-deflate"), (None, None)]:
        async with dial(url, compression=compression) as connection:
            expect("extensions", agreed_extensions(connection), agreed)
            for message in [COMPRESSIBLE, COMPRESSIBLE.encode(), "", UNICODE]:
                await connection.send(message)
                expect("echo", await connection.recv(), message)


@websockets_echo
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


@websockets_echo
async def a_compressed_message_past_the_limit_is_answered_with_1009(url):
    async with dial(url) as connection:
        await connection.send(bytes(MAX_MESSAGE_BYTES))
        expect("echo", len(await connection.recv()), MAX_MESSAGE_BYTES)
        # A few kilobytes on the wire.
        await connection.send(bytes(MAX_MESSAGE_BYTES + 1))
        received = await close_frame_received(connection)
        expect("close code", received and received[0], 1009)


@websockets_echo
async def a_subprotocol_that_the_handler_does_not_choose_is_not_selected(url):
    async with dial(url, subprotocols=["unknown", "other"]) as connection:
        expect("subprotocol", connection.subprotocol, None)


@websockets_echo
async def the_same_origin_is_accepted(url):
    async with dial(url, origin=http_address(url, "/").rstrip("/")) as connection:
        await connection.send("hello")
        expect("echo", await connection.recv(), "hello")


@websockets_echo
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


@websockets_echo
async def an_unknown_path_is_404(url):
    expect("status", (await refusal(http_address(url, "/nowhere").replace("http", "ws", 1))).status_code, 404)


# ---- The embedded echo, with Tornado's client ---------------------------------------------------------------------

tornado_echo = Checks("tornado, echo")


@tornado_echo
async def text_and_binary_come_back(url):
    connection = await websocket_connect(url)
    for message in ["hello", "", UNICODE, b"hello \xe9", b"", EVERY_BYTE]:
        await connection.write_message(message, binary=isinstance(message, bytes))
        expect("echo", await connection.read_message(), message)
    connection.close()


@tornado_echo
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


@tornado_echo
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


@tornado_echo
async def a_manual_ping_comes_back_with_its_payload(url):
    connection = await websocket_connect(url)
    pongs = asyncio.Queue()
    connection.on_pong = pongs.put_nowait
    for payload in [b"", b"hello", EVERY_BYTE[:125]]:
        connection.ping(payload)
        expect("pong", await pongs.get(), payload)
    connection.close()


@tornado_echo
async def its_close_ends_the_connection_with_the_same_code(url):
    connection = await websocket_connect(url)
    connection.close(4001, "goodbye")
    expect("message", await connection.read_message(), None)
    expect("close code", connection.close_code, 4001)


@tornado_echo
async def a_write_after_close_is_an_error(url):
    connection = await websocket_connect(url)
    connection.close()
    expect("message", await connection.read_message(), None)
    try:
        await connection.write_message("too late")
        raise AssertionError("the write succeeded")
    except WebSocketClosedError:
        pass


@tornado_echo
async def a_message_past_the_limit_closes_with_1009_too_big(url):
    connection = await websocket_connect(url)
    write = connection.write_message(bytes(MAX_MESSAGE_BYTES + 1), binary=True)
    expect("message", await connection.read_message(), None)
    await asyncio.gather(write, return_exceptions=True)  # the server need not read all of it
    expect("close", (connection.close_code, connection.close_reason), (1009, "message too big"))


@tornado_echo
async def an_origin_with_a_path_is_the_same_origin(url):
    connection = await websocket_connect(HTTPRequest(url, headers={"Origin": http_address(url, "/some/where")}))
    await connection.write_message("hello")
    expect("echo", await connection.read_message(), "hello")
    connection.close()


@tornado_echo
async def another_origin_is_403(url):
    expect("status", await refused_status(url, {"Origin": "http://example.com"}), 403)


@tornado_echo
async def an_unknown_path_is_404_to_tornado_too(url):
    expect("status", await refused_status(http_address(url, "/nowhere").replace("http", "ws", 1)), 404)


async def refused_status(url, headers=None):
    try:
        await websocket_connect(HTTPRequest(url, headers=headers or {}))
    except HTTPClientError as error:
        return error.code
    raise AssertionError("the handshake was accepted")


HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


@tornado_echo
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


@tornado_echo
async def health_answers_200(url):
    expect("status", (await get(http_address(url, "/healthz"))).code, 200)


# ---- The example guest gatekeeper ---------------------------------------------------------------------------------

# What its configuration lets in (example-guests/gatekeeper).
TOKEN = "sesame"
SHOWN = {"Authorization": f"Bearer {TOKEN}"}
DOMAIN = "example.com"

gate = Checks("gatekeeper")


@gate
async def without_the_token_it_answers_401(url):
    for headers in [{}, {"Authorization": "Bearer open"}, {"Authorization": f"Basic {TOKEN}"}]:
        response = await refusal(fill(url, area="garden"), additional_headers=headers)
        expect(f"status for {headers}", response.status_code, 401)
        expect("challenge", response.headers.get("WWW-Authenticate"), 'Bearer realm="gate"')
        expect("body", response.body.decode().strip(), "Show a valid token.")
    expect("status for tornado", await refused_status(fill(url, area="garden")), 401)


@gate
async def the_token_is_taken_from_the_header_or_the_query(url):
    url = fill(url, area="garden")
    for address, headers in [(url, SHOWN), (url, {"Authorization": f"bearer {TOKEN}"}), (f"{url}?token={TOKEN}", {})]:
        async with dial(address, additional_headers=headers) as connection:
            expect("welcome", json.loads(await connection.recv())["welcome"], "garden")


@gate
async def the_handlers_header_is_in_the_101_answer(url):
    async with dial(fill(url, area="garden"), additional_headers=SHOWN) as connection:
        expect("header", connection.response.headers.get("X-Gate"), "open")
    connection = await websocket_connect(HTTPRequest(fill(url, area="garden"), headers=SHOWN))
    expect("header for tornado", connection.headers.get("X-Gate"), "open")
    connection.close()


@gate
async def the_path_argument_arrives_decoded(url):
    for area in ["garden", "two words", "é/水", "100%", "a+b"]:
        async with dial(fill(url, area=area), additional_headers=SHOWN) as connection:
            expect("welcome", json.loads(await connection.recv())["welcome"], area)
            await connection.send("hello")
            expect("answer", await connection.recv(), f"{area}: hello")


@gate
async def the_best_subprotocol_of_those_offered_is_chosen(url):
    for offered, chosen in [
        (["v1.gate", "v2.gate"], "v2.gate"),
        (["badproto", "v1.gate"], "v1.gate"),
        (["badproto"], None),
        (None, None),
    ]:
        async with dial(fill(url, area="garden"), additional_headers=SHOWN, subprotocols=offered) as connection:
            expect(f"chosen of {offered}", connection.subprotocol, chosen)
            expect("handler's own view", json.loads(await connection.recv())["subprotocol"], chosen)
        connection = await websocket_connect(
            HTTPRequest(fill(url, area="garden"), headers=SHOWN), subprotocols=offered
        )
        expect(f"chosen of {offered} for tornado", connection.selected_subprotocol, chosen)
        connection.close()


@gate
async def its_domain_and_subdomains_may_connect_and_others_not(url):
    url = fill(url, area="garden")
    for origin in [f"https://{DOMAIN}", f"https://a.b.{DOMAIN}", http_address(url, "/").rstrip("/")]:
        async with dial(url, additional_headers=SHOWN, origin=origin) as connection:
            expect(f"welcome from {origin}", json.loads(await connection.recv())["welcome"], "garden")
    for origin in [f"https://evil-{DOMAIN}", f"https://{DOMAIN}.evil.net", "null"]:
        response = await refusal(url, additional_headers=SHOWN, origin=origin)
        expect(f"status for {origin}", response.status_code, 403)


@gate
async def the_token_is_asked_for_before_the_origin_is_checked(url):
    response = await refusal(fill(url, area="garden"), origin="https://evil.net")
    expect("status", response.status_code, 401)


# ---- The example guest chat ---------------------------------------------------------------------------------------

chat = Checks("chat")

# Rooms outlive their last person for a while: those of another run are other rooms.
THIS_RUN = uuid.uuid4().hex[:8]


def room_address(url, room):
    return fill(url, room=f"{THIS_RUN} {room}")


class Person:
    """Somebody in a room. `events` are what the room says, in order."""

    def __init__(self, connection):
        self.connection = connection

    @classmethod
    @asynccontextmanager
    async def in_room(cls, url, room, name):
        """Joins with `websockets`; welcome and the own arrival are taken off the events."""
        async with dial(room_address(url, room)) as connection:
            person = cls(connection)
            await person.send(type="join", name=name)
            person.history = (await person.event("welcome"))["history"]
            person.people = (await person.event("joined"))["people"]
            yield person

    async def send(self, **request):
        await self.connection.send(json.dumps(request))

    async def event(self, kind):
        event = json.loads(await self.connection.recv())
        expect("event", event["type"], kind)
        return event


@chat
async def two_in_a_room_see_each_other(url):
    async with Person.in_room(url, "two in a room", "Ada") as ada:
        expect("people", ada.people, ["Ada"])
        async with Person.in_room(url, "two in a room", "Bob") as bob:
            expect("people", bob.people, ["Ada", "Bob"])
            expect("who came", (await ada.event("joined"))["name"], "Bob")
            await bob.send(type="say", text=UNICODE)
            for person in [ada, bob]:
                said = await person.event("said")
                expect("said", (said["name"], said["text"]), ("Bob", UNICODE))
        left = await ada.event("left")
        expect("who left, who stays", (left["name"], left["people"]), ("Bob", ["Ada"]))


@chat
async def a_newcomer_is_sent_the_history(url):
    async with Person.in_room(url, "history", "Ada") as ada:
        for text in ["one", "two", "three"]:
            await ada.send(type="say", text=text)
            await ada.event("said")
        async with Person.in_room(url, "history", "Bob") as bob:
            expect("history", [line["text"] for line in bob.history], ["one", "two", "three"])


@chat
async def rooms_do_not_hear_each_other(url):
    async with Person.in_room(url, "upstairs", "Ada") as ada, Person.in_room(url, "downstairs", "Ada") as other:
        await ada.send(type="say", text="anybody?")
        await ada.event("said")
        await other.send(type="say", text="hello")
        expect("said", (await other.event("said"))["text"], "hello")


@chat
async def one_room_however_its_name_is_encoded(url):
    async with Person.in_room(url, "café", "Ada"):
        assert "caf%C3%A9" in room_address(url, "café")
        async with dial(room_address(url, "café").replace("caf%C3%A9", "%63af%c3%a9")) as connection:
            bob = Person(connection)
            await bob.send(type="join", name="Bob")
            await bob.event("welcome")
            expect("people", (await bob.event("joined"))["people"], ["Ada", "Bob"])


@chat
async def a_name_that_is_taken_and_nonsense_are_errors_not_ends(url):
    async with Person.in_room(url, "errors", "Ada") as ada, dial(room_address(url, "errors")) as connection:
        other = Person(connection)
        await other.send(type="say", text="too early")
        expect("error", (await other.event("error"))["text"], "Join first.")
        await other.send(type="join", name="ada")
        expect("error", (await other.event("error"))["text"], "Somebody here has that name.")
        await connection.send("{")
        expect("error", (await other.event("error"))["text"], "That was neither a join nor a say.")
        await other.send(type="join", name="Bob")
        await other.event("welcome")
        expect("who came", (await ada.event("joined"))["name"], "Bob")


@chat
async def somebody_whose_connection_is_cut_has_left(url):
    async with Person.in_room(url, "cut", "Ada") as ada:
        async with Person.in_room(url, "cut", "Bob") as bob:
            await ada.event("joined")
            bob.connection.transport.abort()
            expect("who left", (await ada.event("left"))["name"], "Bob")


@chat
async def tornados_client_talks_to_websockets(url):
    async with Person.in_room(url, "interop", "Ada") as ada:
        tornado_client = await websocket_connect(room_address(url, "interop"))
        await tornado_client.write_message({"type": "join", "name": "Tom"})
        expect("event", json.loads(await tornado_client.read_message())["type"], "welcome")
        expect("event", json.loads(await tornado_client.read_message())["type"], "joined")
        expect("who came", (await ada.event("joined"))["name"], "Tom")
        await ada.send(type="say", text="hello, Tom")
        await ada.event("said")
        expect("said", json.loads(await tornado_client.read_message())["text"], "hello, Tom")
        tornado_client.close()
        expect("who left", (await ada.event("left"))["name"], "Tom")


@chat
async def fifty_people_all_hear_every_line(url):
    async with AsyncExitStack() as stack:
        people = []
        for number in range(50):
            people.append(await stack.enter_async_context(Person.in_room(url, "crowd", f"Person {number}")))
            for earlier in people[:-1]:
                await earlier.event("joined")
        for speaker in people[:5]:
            await speaker.send(type="say", text=f"{speaker.people[0]} hears me")
        for person in people:
            texts = [(await person.event("said"))["text"] for _ in range(5)]
            expect("lines", texts, ["Person 0 hears me"] * 5)


SUITES = {
    "echo": [websockets_echo, tornado_echo],
    "gate": [gate],
    "chat": [chat],
}


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for handler in SUITES:
        parser.add_argument(f"--{handler}", metavar="URL")
    urls = {handler: url for handler, url in vars(parser.parse_args()).items() if url is not None}
    if not urls:
        parser.error("no address: nothing to check")
    print(f"# Python {sys.version.split()[0]}, websockets {websockets.__version__}, tornado {tornado.version}")
    passed = failed = 0
    for handler, url in urls.items():
        for suite in SUITES[handler]:
            more_passed, more_failed = await suite.run(url)
            passed += more_passed
            failed += more_failed
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
