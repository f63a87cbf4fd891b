"""What the host would be, as far as tests of the SDK need it."""

from __future__ import annotations

from waterspout import _wit


class FakeRequest:
    def __init__(self, uri="/chat/blue?name=Ada", headers=(), path_args=(("room", "blue"),)):
        self._uri, self._headers, self._path_args = uri, list(headers), list(path_args)
        self.dropped = False

    def uri(self):
        return self._uri

    def path(self):
        return self._uri.partition("?")[0]

    def query(self):
        _, mark, query = self._uri.partition("?")
        return query if mark else None

    def headers(self):
        return self._headers

    def path_args(self):
        return self._path_args

    def remote_address(self):
        return "192.0.2.7"

    def origin_allowed(self, origin):
        return origin == "http://localhost"

    def set_response_header(self, name, value):
        raise _wit.Err(_wit.types.Error_Invalid(name))

    def __exit__(self, *_):
        self.dropped = True


class FakeConnection:
    def __init__(self, id="c1", error=None):
        self._id, self.error = id, error
        self.sent, self.closed, self.timers, self.dropped = [], [], {}, False

    def id(self):
        return self._id

    def selected_subprotocol(self):
        return None

    def buffered_amount(self):
        return 7

    def write_message(self, message):
        if self.error is not None:
            raise _wit.Err(self.error)
        self.sent.append(message)

    def flush(self):
        self.sent.append("flush")

    def close(self, code, reason):
        if self.error is not None:
            raise _wit.Err(self.error)
        self.closed.append((code, reason))

    def set_timer(self, token, delay_ms):
        self.timers[token] = delay_ms

    def __exit__(self, *_):
        self.dropped = True
