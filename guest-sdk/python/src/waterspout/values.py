"""Values on their way to the host. What it cannot take is an exception here: in the bindings it would end the instance."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from datetime import timedelta
from math import ceil, isfinite
from typing import Any, NamedTuple, Union

from . import _wit
from .errors import InvalidError

Message = Union[str, bytes]
"""A WebSocket message as it arrives: text as ``str``, binary as ``bytes``."""

_MAX_MS = 2**31 - 1


class CloseFrame(NamedTuple):
    """How a connection was closed. A frame without a code is 1005 with an empty reason."""

    code: int
    reason: str


class Written:
    """What ``write_message`` returns: nothing to look at, but ``await`` waits as ``flush`` does."""

    __slots__ = ("_flush",)

    def __init__(self, flush: Callable[[], None]):
        self._flush = flush

    def __await__(self) -> Generator[Any, None, None]:
        self._flush()
        return
        yield


def close_frame(frame: Any) -> CloseFrame | None:
    return None if frame is None else CloseFrame(frame.code, frame.reason)


def message(value: str | bytes | bytearray | memoryview | dict[str, Any], binary: bool = False) -> Any:
    """A dict is sent as JSON; text is text, or binary if `binary`, as in Tornado. Bytes are binary always; Tornado sends them as text unless
    `binary`, and ends the connection if they are none."""
    if isinstance(value, str):
        if binary:
            return _wit.types.Message_Binary(encoded(value, "a message"))
        return _wit.types.Message_Text(text(value, "a message"))
    if isinstance(value, bytes):
        return _wit.types.Message_Binary(value)
    if isinstance(value, dict):
        return message(json_text(value), binary)
    if isinstance(value, (bytearray, memoryview)):
        return _wit.types.Message_Binary(bytes(value))
    raise TypeError(f"a message is str, bytes or a dict, not {type(value).__name__} (other values: json.dumps)")


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def received(message: Any) -> Message:
    return message.value


def text(value: str, what: str) -> str:
    """A str that UTF-8 can say: lone surrogates are no text."""
    if not isinstance(value, str):
        raise TypeError(f"{what} is a str, not {type(value).__name__}")
    if not value.isascii():
        encoded(value, what)
    return str(value) if type(value) is not str else value


def encoded(value: str, what: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise InvalidError(f"{what} has a lone surrogate at {error.start}, which is no text") from None


def payload(data: str | bytes, what: str) -> bytes:
    return encoded(data, what) if isinstance(data, str) else bytes(data)


def close_arguments(code: int | None, reason: str | None) -> tuple[int | None, str | None]:
    if code is not None and not 0 <= whole(code, "a close code") <= 0xFFFF:
        raise InvalidError(f"close code {code}")
    return code, None if reason is None else text(reason, "a reason")


def token(value: int) -> int:
    if not 0 <= whole(value, "a timer's token") < 2**32:
        raise InvalidError(f"a timer's token is 0 to 4294967295, not {value}")
    return value


def whole(value: int, what: str) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{what} is an int, not {type(value).__name__}")
    return value


def milliseconds(time: float | timedelta, what: str) -> int:
    """Of seconds; rounded up, so that nothing comes early."""
    seconds = time.total_seconds() if isinstance(time, timedelta) else time
    # The rounding forgives what a float cannot say: 0.007 * 1000 is a little over 7.
    if not isfinite(seconds) or not 0 <= (ms := ceil(round(seconds * 1000, 3))) <= _MAX_MS:
        raise InvalidError(f"{what} of {seconds} s: 0 to {_MAX_MS // 1000} s are possible")
    return ms


def optional_milliseconds(time: float | timedelta | None, what: str) -> int | None:
    return None if time is None else milliseconds(time, what)


def compression_options(options: dict[str, Any] | None) -> Any:
    """Tornado's dict with ``compression_level`` and ``mem_level``; other keys are zlib's and not negotiable here."""
    if options is None:
        return None
    unknown = set(options) - {"compression_level", "mem_level"}
    if unknown:
        raise InvalidError(f"compression option {sorted(unknown)[0]!r}: there are compression_level and mem_level")
    for name, number in options.items():
        if number is not None and not 0 <= whole(number, name) <= 9:
            raise InvalidError(f"{name} is 0 to 9, not {number}")
    return _wit.types.CompressionOptions(options.get("compression_level"), options.get("mem_level"))


def printable(error: BaseException) -> str:
    """An exception's message as text for the host, which takes no lone surrogates."""
    return str(error).encode("utf-8", "replace").decode()
