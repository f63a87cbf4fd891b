"""The opening handshake (RFC 6455 section 4): what was asked, and how to refuse it."""

from __future__ import annotations

import contextlib
import http
import http.cookies
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from . import _wit, errors
from .values import text

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")


class HTTPHeaders(Mapping[str, str]):
    """The request's headers, by their names in any case, as Tornado's: several values of one name are one, joined by commas;
    :meth:`get_list` has them apart."""

    def __init__(self, pairs: list[tuple[str, bytes]]):
        self._names: dict[str, str] = {}
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            key = name.lower()
            self._names.setdefault(key, "-".join(part.capitalize() for part in name.split("-")))
            # As Tornado: header values are bytes, and latin-1 keeps them all.
            self._values.setdefault(key, []).append(value.decode("latin-1"))

    def __getitem__(self, name: str) -> str:
        return ",".join(self._values[name.lower()])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._names.values())

    def __len__(self) -> int:
        return len(self._names)

    def get_list(self, name: str) -> list[str]:
        """All values of a header, in order."""
        return list(self._values.get(name.lower(), ()))

    def get_all(self) -> Iterator[tuple[str, str]]:
        """Name and value of each header, repeated ones each by itself."""
        return ((self._names[key], value) for key, values in self._values.items() for value in values)


class Request:
    """The request that asked for the connection, as Tornado's ``HTTPServerRequest``. Each attribute asks the host once. Those that
    were never asked for before the connection ended are empty afterwards."""

    method = "GET"

    def __init__(self, handle: Any):
        self._handle = handle

    @cached_property
    def uri(self) -> str:
        """Path and query as they stood on the request line."""
        return self._handle.uri()

    @cached_property
    def path(self) -> str:
        """The path as it stood on the request line."""
        return self._handle.path()

    @cached_property
    def query(self) -> str:
        """What followed the question mark; empty if nothing did. :attr:`has_query` tells an empty one from none."""
        return self._query or ""

    @property
    def has_query(self) -> bool:
        """Whether there was a question mark."""
        return self._query is not None

    @cached_property
    def _query(self) -> str | None:
        return self._handle.query()

    @cached_property
    def headers(self) -> HTTPHeaders:
        """All headers, by their names in any case."""
        return HTTPHeaders(self._handle.headers())

    @cached_property
    def host(self) -> str:
        """The header ``Host``."""
        return self.headers.get("Host", "")

    @cached_property
    def cookies(self) -> dict[str, http.cookies.Morsel[str]]:
        """What ``Cookie`` has, by name, as Tornado's: ``request.cookies["session"].value``. What is no cookie is left out."""
        cookies = http.cookies.SimpleCookie()
        # Over HTTP/2 it may come in several headers (RFC 9113 section 8.2.3).
        for pair in "; ".join(self.headers.get_list("Cookie")).split(";"):
            name, equals, value = pair.partition("=")
            with contextlib.suppress(http.cookies.CookieError):
                # No name is none.
                cookies[name.strip() if equals else ""] = cookies.value_decode(value.strip())[0]
        return cookies

    @cached_property
    def remote_ip(self) -> str:
        """The peer's address without port; behind a trusted proxy, the address that the proxy names."""
        return self._handle.remote_address()

    @cached_property
    def _path_args(self) -> list[tuple[str, str]]:
        return self._handle.path_args()

    @property
    def path_args(self) -> list[str]:
        """What the groups without a name in the route's pattern captured, in order, decoded."""
        return [value for name, value in self._path_args if name.isdigit()]

    @property
    def path_kwargs(self) -> dict[str, str]:
        """What the named groups in the route's pattern captured: of ``/chat/blue`` under ``/chat/{room}``, ``{"room": "blue"}``."""
        return {name: value for name, value in self._path_args if not name.isdigit()}

    @cached_property
    def arguments(self) -> dict[str, list[str]]:
        """The query's arguments, decoded. Unlike Tornado's, values are ``str``."""
        arguments: dict[str, list[str]] = {}
        for name, value in parse_qsl(self.query, keep_blank_values=True, errors="replace"):
            arguments.setdefault(name, []).append(value)
        return arguments

    def get_arguments(self, name: str, strip: bool = True) -> list[str]:
        """All values of an argument in the query, in order, without control characters and surrounding space."""
        values = (_CONTROL.sub(" ", value) for value in self.arguments.get(name, ()))
        return [value.strip() if strip else value for value in values]

    def origin_allowed(self, origin: str) -> bool:
        """Whether the default policy (the same host and port) or the operator's list allows this origin."""
        return self._handle.origin_allowed(text(origin, "an origin"))

    def set_response_header(self, name: str, value: str) -> None:
        """Adds a header to the 101 answer.

        Raises WebSocketClosedError once the handshake is over, InvalidError for a header that is the host's own or that
        handlers may not set, LimitReachedError.
        """
        try:
            self._handle.set_response_header(text(name, "a header's name"), text(str(value), "a header's value"))
        except _wit.Err as error:
            errors.raise_error(error.value)

    def _end(self) -> None:
        """Gives back the host's handle."""
        handle, self._handle = self._handle, _ENDED
        if handle is not _ENDED:
            handle.__exit__(None, None, None)

    def __repr__(self) -> str:
        return f"Request({self.uri!r})"


class _Ended:
    """In place of the host's handle, once it is given back."""

    def uri(self) -> str:
        return ""

    path = remote_address = uri

    def query(self) -> None:
        return None

    def headers(self) -> list[tuple[str, bytes]]:
        return []

    path_args = headers

    def origin_allowed(self, origin: str) -> bool:
        return False

    def set_response_header(self, name: str, value: str) -> None:
        raise errors.WebSocketClosedError


_ENDED = _Ended()


class Rejection(Exception):
    """An HTTP answer instead of the upgrade: raise it, or return it, in ``prepare``.

    >>> Rejection(401, "Who are you?", {"WWW-Authenticate": "Bearer"}).status
    401
    """

    def __init__(
        self,
        status: int,
        body: str | bytes = b"",
        headers: Mapping[str, str] | list[tuple[str, str]] = (),  # type: ignore[assignment]
    ):
        """`status` is 200 to 599. The answer is plain text, unless a header says otherwise."""
        super().__init__(status, body, headers)
        self.status = status
        self.body = body.encode() if isinstance(body, str) else bytes(body)
        self.headers = list(headers.items() if isinstance(headers, Mapping) else headers)

    @classmethod
    def redirect(cls, url: str, permanent: bool = False, status: int | None = None) -> Rejection:
        """To another address, as Tornado's ``redirect``."""
        return cls(status or (301 if permanent else 302), b"", [("Location", url)])

    def __str__(self) -> str:
        return f"HTTP {self.status}"


class HTTPError(Rejection):
    """Tornado's ``HTTPError``: an answer that says no more than its status. The log message goes to the host's log."""

    def __init__(self, status_code: int = 500, log_message: str | None = None, *args: Any, reason: str | None = None):
        phrase = _phrase(status_code)
        super().__init__(status_code, f"{status_code}: {reason or phrase}")
        self.status_code, self.reason = status_code, reason
        self.log_message = log_message % args if log_message and args else log_message


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def to_host(rejection: Rejection) -> Any:
    """What the interface wants of it."""
    headers = [(text(str(name), "a header's name"), text(str(value), "a header's value")) for name, value in rejection.headers]
    if rejection.body and not any(name.lower() == "content-type" for name, _ in headers):
        headers.insert(0, ("content-type", "text/plain; charset=utf-8"))
    if not isinstance(rejection.status, int) or not 0 <= rejection.status <= 0xFFFF:
        raise ValueError(f"HTTP status {rejection.status!r}: 200 to 599 are possible")
    return _wit.types.Rejection(int(rejection.status), headers, rejection.body)
