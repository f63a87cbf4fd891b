"""Connections that a handler opens itself: Tornado's ``websocket_connect``.

The operator lists where a route may connect to (the key ``connect``); everything else is denied. A connection belongs to the
handler whose method opened it: it ends by :meth:`ClientConnection.close`, by the server, or with that handler (1001).

Two styles, as in Tornado. In the first the handler asks and waits; nothing else is called meanwhile, so it is for handlers that have an
instance of their own:

>>> class Mirror(WebSocketHandler):
...     def open(self):
...         upstream = websocket_connect("ws://news.example.com/feed")
...         while (message := upstream.read_message()) is not None:
...             self.write_message(message)

In the second, :func:`websocket_start` returns at once, and ``on_client_event`` brings everything else: for shared instances, and for
handlers that listen to both sides.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Union

from . import _state, _wit, errors, values
from .errors import ConnectError
from .values import CloseFrame, Message, Written


@dataclass(frozen=True)
class ClientOpened:
    """The connection is open."""


@dataclass(frozen=True)
class ClientFailed:
    """The connection will never be open."""

    error: ConnectError


@dataclass(frozen=True)
class ClientMessage:
    """A message came."""

    message: Message


@dataclass(frozen=True)
class ClientPong:
    """A pong came, usually for a :meth:`ClientConnection.ping`."""

    data: bytes


@dataclass(frozen=True)
class ClientClosed:
    """The connection has ended; no frame when the server vanished without one."""

    frame: CloseFrame | None


ClientEvent = Union[ClientOpened, ClientFailed, ClientMessage, ClientPong, ClientClosed]
"""What happens on a connection made by :func:`websocket_start`, in order."""


def client_event(event: Any) -> ClientEvent:
    """What the bindings call an event, by our name."""
    match type(event).__name__:
        case "ClientEvent_Opened":
            return ClientOpened()
        case "ClientEvent_Failed":
            return ClientFailed(errors.connect_error(event.value))
        case "ClientEvent_Message":
            return ClientMessage(values.received(event.value))
        case "ClientEvent_Pong":
            return ClientPong(event.value)
        case _:
            return ClientClosed(values.close_frame(event.value))


class ClientConnection:
    """A connection to a server. It can be kept in a handler's attributes over a swap, and is the same connection there."""

    __slots__ = ("_handle", "_id", "__weakref__")

    def __init__(self, handle: Any, id: str | None = None):
        # None: known by its id only, and not found yet.
        self._handle, self._id = handle, id

    def _host(self) -> Any:
        if self._handle is None:
            self._handle = _wit.client.get(self._id)
            if self._handle is None:
                raise errors.WebSocketClosedError
        return self._handle

    @property
    def id(self) -> str:
        """What ``on_client_event`` and :func:`get` call it."""
        if self._id is None:
            self._id = self._handle.id()
        return self._id

    @property
    def selected_subprotocol(self) -> str | None:
        """The subprotocol that the server selected of those that were offered."""
        try:
            return self._host().selected_subprotocol()
        except errors.WebSocketClosedError:
            return None

    def read_message(self, timeout: float | timedelta | None = None) -> Message | None:
        """Waits for the next message, at most for `timeout` seconds; None once the connection is closed, and :attr:`close_frame` says how.

        Raises WebSocketClosedError: the handler's own connection has ended. WaitTimeoutError. InvalidError: made by :func:`websocket_start`.
        """
        timeout_ms = values.optional_milliseconds(timeout, "a time-out")
        try:
            host = self._host()
        except errors.WebSocketClosedError:
            return None
        try:
            message = host.read_message(timeout_ms)
        except _wit.Err as error:
            errors.raise_error(error.value)
        return None if message is None else values.received(message)

    def write_message(self, message: str | bytes | dict[str, Any], binary: bool = False) -> Written:
        """Queues a message and returns at once, as ``WebSocketHandler.write_message``: ``await`` waits as :meth:`flush` does.

        Raises WebSocketClosedError, BufferFullError, LimitReachedError.
        """
        value = values.message(message, binary)
        try:
            self._host().write_message(value)
        except _wit.Err as error:
            errors.raise_error(error.value)
        return Written(self.flush)

    def flush(self) -> None:
        """Waits until everything queued has been handed to the network. In a shared instance, all wait.

        Raises WebSocketClosedError, WaitTimeoutError.
        """
        try:
            self._host().flush()
        except _wit.Err as error:
            errors.raise_error(error.value)

    def ping(self, data: str | bytes = b"") -> None:
        """Sends a ping with at most 125 bytes; in callback style :class:`ClientPong` brings them back.

        Raises WebSocketClosedError, BufferFullError, InvalidError.
        """
        data = values.payload(data, "a ping's data")
        try:
            self._host().ping(data)
        except _wit.Err as error:
            errors.raise_error(error.value)

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Starts the closing handshake, after what is queued. A connection that is not open yet is given up; one that has ended stays so.

        Raises InvalidError.
        """
        code, reason = values.close_arguments(code, reason)
        try:
            self._host().close(code, reason)
        except _wit.Err as error:
            if not isinstance(error.value, _wit.types.Error_Closed):
                errors.raise_error(error.value)
        except errors.WebSocketClosedError:
            pass

    @property
    def close_frame(self) -> CloseFrame | None:
        """What the server closed with, once it has."""
        try:
            return values.close_frame(self._host().close_frame())
        except errors.WebSocketClosedError:
            return None

    @property
    def close_code(self) -> int | None:
        """The code of :attr:`close_frame`."""
        frame = self.close_frame
        return None if frame is None else frame.code

    @property
    def close_reason(self) -> str | None:
        """The reason of :attr:`close_frame`."""
        frame = self.close_frame
        return None if frame is None else frame.reason

    def __await__(self) -> Generator[Any, None, ClientConnection]:
        """Itself, at once: ``await websocket_connect(url)``, as in Tornado, is ``websocket_connect(url)``."""
        return self
        yield

    def __repr__(self) -> str:
        return f"ClientConnection({self.id!r})"


_state.ClientConnection = ClientConnection


def websocket_connect(
    url: str,
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    subprotocols: Iterable[str] = (),
    connect_timeout: float | timedelta | None = None,
    max_message_size: int | None = None,
    ping_interval: float | timedelta | None = None,
    ping_timeout: float | timedelta | None = None,
    compression_options: dict[str, Any] | None = None,
) -> ClientConnection:
    """Connects, and waits until the connection is open: :meth:`ClientConnection.read_message` follows.

    `headers` are added to the request; `subprotocols` are offered, the preferred one first; times are in seconds. `connect_timeout`: 20 s by
    default. `max_message_size`: in bytes, if that is less than the operator allows. `ping_interval`: by default no pings; `ping_timeout` is at
    most, and by default, as long. `compression_options`: offered if given, ``{}`` takes the host's defaults.

    Raises ConnectError.
    """
    options = _options(
        headers, subprotocols, connect_timeout, max_message_size, ping_interval, ping_timeout, compression_options
    )
    return _connect(_wit.client.connect, url, options)


def websocket_start(
    url: str,
    *,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    subprotocols: Iterable[str] = (),
    connect_timeout: float | timedelta | None = None,
    max_message_size: int | None = None,
    ping_interval: float | timedelta | None = None,
    ping_timeout: float | timedelta | None = None,
    compression_options: dict[str, Any] | None = None,
) -> ClientConnection:
    """Begins to connect, and returns at once: ``on_client_event`` tells what happens. Until :class:`ClientOpened` writes raise
    WebSocketClosedError. The arguments are those of :func:`websocket_connect`.

    Raises ConnectError: what is known at once.
    """
    options = _options(
        headers, subprotocols, connect_timeout, max_message_size, ping_interval, ping_timeout, compression_options
    )
    return _connect(_wit.client.start, url, options)


def get(id: str) -> ClientConnection | None:
    """This handler's own connection by its id, also after a swap."""
    handle = _wit.client.get(values.text(id, "an id"))
    return None if handle is None else ClientConnection(handle, id)


def _connect(call: Any, url: str, options: Any) -> ClientConnection:
    try:
        return ClientConnection(call(values.text(url, "a URL"), options))
    except _wit.Err as error:
        raise errors.connect_error(error.value) from None


def _options(
    headers: Any,
    subprotocols: Any,
    connect_timeout: Any,
    max_message_size: int | None,
    ping_interval: Any,
    ping_timeout: Any,
    compression_options: Any,
) -> Any:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    if isinstance(subprotocols, str):
        raise TypeError("subprotocols is a list of str")
    if max_message_size is not None:
        if values.whole(max_message_size, "max_message_size") < 0:
            raise errors.InvalidError(f"max_message_size {max_message_size}")
        max_message_size = min(max_message_size, 2**31 - 1)
    return _wit.client.ConnectOptions(
        [(values.text(name, "a header's name"), values.text(value, "a header's value")) for name, value in pairs],
        [values.text(name, "a subprotocol") for name in subprotocols],
        values.optional_milliseconds(connect_timeout, "connect_timeout"),
        max_message_size,
        values.optional_milliseconds(ping_interval, "ping_interval"),
        values.optional_milliseconds(ping_timeout, "ping_timeout"),
        values.compression_options(compression_options),
    )
