"""What every suite of checks needs: how they are run and told, and clients that wait for nothing of their own."""

import asyncio
import traceback
from pathlib import Path
from urllib.parse import quote, urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

# Nothing here waits for more than a round trip on loopback: the rest is for a loaded machine.
CHECK_TIMEOUT_SECONDS = 20

# Waterspout's default for max-message-bytes, which is Tornado's.
MAX_MESSAGE_BYTES = 10 * 1024 * 1024

UNICODE = "hello é, 水の竜巻, 🌪 and a NUL: \0"
EVERY_BYTE = bytes(range(256))
COMPRESSIBLE = "the same words, and once more the same words; " * 50


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
    frames = traceback.extract_tb(error.__traceback__)
    here = [frame for frame in frames if Path(frame.filename).parent == Path(__file__).parent and frame.filename != __file__]
    place = f" ({Path(here[0].filename).name}:{here[0].lineno})" if here else ""
    return f"{type(error).__name__} {' '.join(str(error).split())}{place}"


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


async def refused_status(url, headers=None):
    try:
        await websocket_connect(HTTPRequest(url, headers=headers or {}))
    except HTTPClientError as error:
        return error.code
    raise AssertionError("the handshake was accepted")


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
