"""The class that a handler is made of."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from . import _state, _wit, errors, values
from .request import Request
from .values import CloseFrame, Message, Written

if TYPE_CHECKING:
    import http.cookies

    from .client import ClientEvent
    from .request import Rejection

_MISSING: Any = object()


class WebSocketHandler:
    """One connection's handler, as Tornado's ``WebSocketHandler``. Each method has a default; an empty class accepts a connection
    and ignores it.

    For each connection, in this order: ``__init__``, :meth:`prepare`, :meth:`check_origin` if the request names an origin,
    :meth:`select_subprotocol`, :meth:`get_compression_options`, the 101 answer, :meth:`open`, then events as they come, one at a
    time, and :meth:`on_close` once.

    An exception that leaves a method ends every connection of this instance with 1011; its traceback goes to the host's log.
    A method may be ``async`` and wait for what it writes; there is no event loop, and nothing else to wait for.

    >>> class EchoWebSocket(WebSocketHandler):
    ...     def open(self):
    ...         print("WebSocket opened")
    ...
    ...     def on_message(self, message):
    ...         self.write_message("You said: " + message)
    ...
    ...     def on_close(self):
    ...         print("WebSocket closed")
    """

    # What is the SDK's own stays out of __dict__, which is what a handler leaves to its next version.
    __slots__ = ("request", "close_code", "close_reason", "_connection", "_id", "__dict__", "__weakref__")

    request: Request
    """What asked for the connection."""

    close_code: int | None
    """In ``on_close``: the code that the peer sent, 1005 if its close frame had none; None if no close frame came."""

    close_reason: str | None
    """In ``on_close``: the reason that the peer sent; None if no close frame came."""

    def __init__(self, request: Request):
        self.request = request
        self.close_code = self.close_reason = None
        self._connection: Any = getattr(self, "_connection", None)
        self._id: str | None = getattr(self, "_id", None)
        self.initialize()

    # What the host asks and tells.

    def initialize(self) -> None:
        """Called when the handler is made, also when it takes over from an older version: the place for fields and their first
        values."""

    def set_default_headers(self) -> Awaitable[None] | None:
        """Called before :meth:`prepare`: the place for :meth:`set_header`."""

    def prepare(self) -> Rejection | Awaitable[Rejection | None] | None:
        """Called first. A :class:`Rejection` that is raised or returned ends the handshake with that HTTP answer."""

    def check_origin(self, origin: str) -> bool:
        """Whether pages of this origin may connect; if not, the answer is 403. Asked only when the request names an origin, and the
        operator's list, if there is one, allows it. By default: the same host and port."""
        return self.request.origin_allowed(origin)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Which of the offered subprotocols is spoken, if any. Asked once, also when none is offered."""

    def get_compression_options(self) -> dict[str, Any] | None:
        """Whether and how messages are compressed, if the peer offers it: ``{}`` for the host's defaults, or with
        ``compression_level`` (0 to 9) and ``mem_level`` (1 to 9). By default they are not."""

    def open(self, *args: Any, **kwargs: Any) -> Awaitable[None] | None:
        """The connection is open. No message is delivered before this returns. What the route's pattern captured comes as arguments,
        as far as the method names them."""

    def on_message(self, message: Message) -> Awaitable[None] | None:
        """A message came: ``str`` if it is text, ``bytes`` if it is binary."""

    def on_ping(self, data: bytes) -> Awaitable[None] | None:
        """A ping came; the pong has been sent."""

    def on_pong(self, data: bytes) -> Awaitable[None] | None:
        """A pong came, usually for a :meth:`ping` of ours."""

    def on_writable(self) -> Awaitable[None] | None:
        """Once after a :class:`BufferFullError`, when half the queue is free again."""

    def on_timer(self, token: int) -> Awaitable[None] | None:
        """A timer that was set with this token (:meth:`set_timer`) ran out."""

    def on_client_event(self, id: str, event: ClientEvent) -> Awaitable[None] | None:
        """Something happened on the connection with this id, which this handler started (:func:`websocket_start`)."""

    def on_close(self) -> Awaitable[None] | None:
        """The connection has ended; :attr:`close_code` and :attr:`close_reason` say how."""

    def suspend(self) -> bytes | None:
        """What a new version of the handler needs to go on with this connection, or None if it cannot be moved. By default all
        attributes of ``self``, pickled. Nothing can be sent meanwhile."""
        return _state.suspend(self)

    def resume(self, state: bytes) -> None:
        """Takes over what :meth:`suspend` of another version gave, instead of :meth:`open`. An exception refuses it: then nothing
        has happened, and the connection stays with the other version. By default attributes that ``state`` has replace those that
        :meth:`initialize` made."""
        _state.resume(self, state)

    # What a handler can do.

    def write_message(self, message: str | bytes | dict[str, Any], binary: bool = False) -> Written:
        """Queues a message and returns at once: text, or with `binary` its UTF-8; bytes as binary, which Tornado sends as text without
        `binary`; a dict as JSON text. Messages arrive whole and in order. To know that it has been handed to the network, :meth:`flush`, or
        ``await`` what is returned.

        Raises WebSocketClosedError; BufferFullError, nothing was queued; LimitReachedError, it is larger than a message, or the
        whole queue, may be.
        """
        value = values.message(message, binary)
        try:
            self._open_connection().write_message(value)
        except _wit.Err as error:
            errors.raise_error(error.value)
        return Written(self.flush)

    def flush(self) -> None:
        """Waits until everything queued has been handed to the network. In a shared instance, all wait.

        Raises WebSocketClosedError; WaitTimeoutError shortly before the event's time is up.
        """
        try:
            self._open_connection().flush()
        except _wit.Err as error:
            errors.raise_error(error.value)

    @property
    def buffered_amount(self) -> int:
        """Bytes queued and not yet handed to the network."""
        return 0 if self._connection is None else self._connection.buffered_amount()

    def ping(self, data: str | bytes = b"") -> None:
        """Sends a ping with at most 125 bytes; :meth:`on_pong` brings them back.

        Raises WebSocketClosedError, BufferFullError, InvalidError.
        """
        data = values.payload(data, "a ping's data")
        try:
            self._open_connection().ping(data)
        except _wit.Err as error:
            errors.raise_error(error.value)

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Starts the closing handshake, after what is queued. A reason without a code means 1000; neither means a frame without a code.
        A second call changes nothing, nor does one after the end.

        From now on writes raise WebSocketClosedError, messages still arrive, and :meth:`on_close` brings the peer's answer.

        Raises InvalidError: a code below 1000, above 4999, or 1005, 1006 or 1015, or a reason over 123 bytes.
        """
        code, reason = values.close_arguments(code, reason)
        try:
            self._open_connection().close(code, reason)
        except _wit.Err as error:
            if not isinstance(error.value, _wit.types.Error_Closed):
                errors.raise_error(error.value)
        except errors.WebSocketClosedError:
            pass

    def set_nodelay(self, value: bool) -> None:
        """Whether small frames are sent at once (TCP_NODELAY), or may wait for more. On from the start.

        Raises WebSocketClosedError.
        """
        try:
            self._open_connection().set_nodelay(bool(value))
        except _wit.Err as error:
            errors.raise_error(error.value)

    def subscribe(self, topic: str) -> None:
        """From now on this connection is sent what anybody publishes (:func:`publish`) under `topic`.

        Raises WebSocketClosedError; LimitReachedError, of topics; DeniedError; InvalidError.
        """
        topic = values.text(topic, "a topic")
        try:
            self._open_connection().subscribe(topic)
        except _wit.Err as error:
            errors.raise_error(error.value)

    def unsubscribe(self, topic: str) -> None:
        """Takes back :meth:`subscribe`."""
        if self._connection is not None:
            self._connection.unsubscribe(values.text(topic, "a topic"))

    def set_timer(self, token: int, delay: float | timedelta) -> None:
        """Calls :meth:`on_timer` with `token` (0 to 4294967295), once, after `delay` (seconds, rounded up to milliseconds). An earlier timer
        with that token is replaced.

        Raises WebSocketClosedError; LimitReachedError, of timers; InvalidError, over 24 days.
        """
        token, delay_ms = values.token(token), values.milliseconds(delay, "a delay")
        try:
            self._open_connection().set_timer(token, delay_ms)
        except _wit.Err as error:
            errors.raise_error(error.value)

    def clear_timer(self, token: int) -> None:
        """Takes back :meth:`set_timer`."""
        if self._connection is not None:
            self._connection.clear_timer(values.token(token))

    def set_header(self, name: str, value: str) -> None:
        """Adds a header to the 101 answer: :meth:`Request.set_response_header`, whose errors it raises."""
        self.request.set_response_header(name, value)

    set_response_header = set_header

    @property
    def id(self) -> str:
        """Unguessable, unique in the cluster, the same for the connection's whole life, also when its handler is replaced. Empty before
        :meth:`open`."""
        if self._id is None:
            if self._connection is None:
                return ""
            self._id = self._connection.id()
        return self._id

    @property
    def selected_subprotocol(self) -> str | None:
        """What :meth:`select_subprotocol` selected."""
        return None if self._connection is None else self._connection.selected_subprotocol()

    @property
    def path_args(self) -> list[str]:
        """What the groups without a name in the route's pattern captured."""
        return self.request.path_args

    @property
    def path_kwargs(self) -> dict[str, str]:
        """What the named groups in the route's pattern captured."""
        return self.request.path_kwargs

    def get_argument(self, name: str, default: Any = _MISSING, strip: bool = True) -> Any:
        """The last value of an argument in the query, without control characters and surrounding space. Without one: `default`; if there is
        none either, :class:`HTTPError` 400, which in :meth:`prepare` is the answer."""
        arguments = self.get_arguments(name, strip)
        if arguments:
            return arguments[-1]
        if default is _MISSING:
            from .request import HTTPError

            raise HTTPError(400, "Missing argument %s", name)
        return default

    def get_arguments(self, name: str, strip: bool = True) -> list[str]:
        """All values of an argument in the query, in order; see :meth:`get_argument`."""
        return self.request.get_arguments(name, strip)

    @property
    def cookies(self) -> dict[str, http.cookies.Morsel[str]]:
        """The request's cookies, by name; see :attr:`Request.cookies`."""
        return self.request.cookies

    def get_cookie(self, name: str, default: str | None = None) -> str | None:
        """The value of a cookie that came with the request, or `default`."""
        return self.request.cookies[name].value if name in self.request.cookies else default

    def redirect(self, url: str, permanent: bool = False, status: int | None = None) -> NoReturn:
        """In :meth:`prepare`: raises :meth:`Rejection.redirect`, to another address instead of the upgrade."""
        from .request import Rejection

        raise Rejection.redirect(url, permanent, status)

    def send_error(self, status_code: int = 500, reason: str | None = None) -> NoReturn:
        """In :meth:`prepare`: raises :class:`HTTPError`, an answer that says no more than its status."""
        from .request import HTTPError

        raise HTTPError(status_code, reason=reason)

    get_query_argument = get_argument
    get_query_arguments = get_arguments

    def _open_connection(self) -> Any:
        if self._connection is None:
            raise errors.WebSocketClosedError
        return self._connection

    def _end(self) -> None:
        """Gives back what the host keeps for this connection. A collector would do it late, and this one never does: the table of exported
        handlers holds on to them."""
        self.id  # Asked for while it can be.
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.__exit__(None, None, None)
        self.request._end()


__all__ = ["CloseFrame", "WebSocketHandler", "Written"]
