"""Why something could not be done."""

from __future__ import annotations

from typing import ClassVar, NoReturn


class WebSocketError(Exception):
    """What every failed call to the host raises. Which class it is, or :attr:`kind`, says why."""

    kind: ClassVar[str] = "error"
    """The reason in one word, the same in every language: ``closed``, ``buffer-full``, ``timeout``, ``limit``,
    ``denied`` or ``invalid``."""


class WebSocketClosedError(WebSocketError):
    """The connection is closed or closing."""

    kind = "closed"

    def __init__(self, message: str = "the connection is closed"):
        super().__init__(message)


class BufferFullError(WebSocketError):
    """The outbound queue is full and nothing was queued. ``on_writable`` tells when to go on; ``flush`` waits for it."""

    kind = "buffer-full"

    def __init__(self, message: str = "the outbound queue is full, nothing was queued"):
        super().__init__(message)


class WaitTimeoutError(WebSocketError, TimeoutError):
    """Waiting took longer than it may."""

    kind = "timeout"

    def __init__(self, message: str = "waited longer than it may"):
        super().__init__(message)


class LimitReachedError(WebSocketError):
    """Over a limit that the operator set; the message names it."""

    kind = "limit"


class DeniedError(WebSocketError):
    """The operator's policy, or this moment (``suspend``, ``resume``), does not allow it."""

    kind = "denied"

    def __init__(self, message: str = "not allowed, or not at this moment"):
        super().__init__(message)


class InvalidError(WebSocketError, ValueError):
    """The argument is not what the protocol allows; the message says why."""

    kind = "invalid"


class ConnectError(WebSocketError):
    """Why there is no connection to a server."""

    kind: str  # type: ignore[misc]
    """``denied``: not on the operator's list, or asked for before ``open``. ``closed``: the handler's own connection has
    ended, or this one was closed before it was open. ``limit``, ``invalid-url``, ``network``, ``timeout``, ``http``
    (answered, but not with 101) or ``protocol`` (an answer that the protocol does not know)."""

    detail: str | None
    """What is known beside the kind."""

    status: int | None
    """The server's HTTP status, where :attr:`kind` is ``http``. Redirects are not followed."""

    def __init__(self, kind: str, detail: str | None = None, status: int | None = None):
        super().__init__(kind if detail is None else f"{kind}: {detail}")
        self.kind, self.detail, self.status = kind, detail, status

    def __reduce__(self) -> tuple[object, ...]:
        return ConnectError, (self.kind, self.detail, self.status)


_BY_CASE = {
    "Error_Closed": WebSocketClosedError,
    "Error_BufferFull": BufferFullError,
    "Error_Timeout": WaitTimeoutError,
    "Error_Limit": LimitReachedError,
    "Error_Denied": DeniedError,
    "Error_Invalid": InvalidError,
}


def raise_error(error: object) -> NoReturn:
    """Raises what the host answered."""
    family = _BY_CASE[type(error).__name__]
    value = getattr(error, "value", None)
    raise (family() if value is None else family(value)) from None


def connect_error(error: object) -> ConnectError:
    """The exception for what the host answered."""
    value = getattr(error, "value", None)
    match type(error).__name__.removeprefix("ConnectError_"):
        case "Http":
            return ConnectError("http", str(value), value)
        case "InvalidUrl":
            return ConnectError("invalid-url", value)
        case case:
            return ConnectError(case.lower(), value)
