"""WebSocket handlers for Waterspout: Tornado's ``WebSocketHandler`` as a WebAssembly component.

>>> from waterspout import WebSocketHandler
>>> class EchoWebSocket(WebSocketHandler):
...     def on_message(self, message):
...         self.write_message("You said: " + message)

``python -m waterspout build handler -o echo.wasm`` makes a component of the module ``handler``; ``waterspout serve echo.wasm`` runs it.
"""

from __future__ import annotations

from typing import Callable, TypeVar, Union

from . import _nesting as _nesting, client, config
from .client import (
    ClientClosed,
    ClientConnection,
    ClientEvent,
    ClientFailed,
    ClientMessage,
    ClientOpened,
    ClientPong,
    websocket_connect,
    websocket_start,
)
from .errors import (
    BufferFullError,
    ConnectError,
    DeniedError,
    InvalidError,
    LimitReachedError,
    WaitTimeoutError,
    WebSocketClosedError,
    WebSocketError,
)
from .handler import WebSocketHandler
from .request import HTTPError, HTTPHeaders, Rejection, Request
from .sharing import shared
from .topics import publish
from .values import CloseFrame, Message

_Exported = TypeVar("_Exported", bound=Union[type[WebSocketHandler], Callable[[Request], type[WebSocketHandler]]])


def export(handler: _Exported) -> _Exported:
    """Says which class of the module is the handler, where it defines several; or gives a function that chooses one for a request. Not
    needed where there is one."""
    from ._wit import IN_COMPONENT

    if IN_COMPONENT:
        from . import _component

        return _component.export(handler)
    return handler


__all__ = [
    "BufferFullError",
    "ClientClosed",
    "ClientConnection",
    "ClientEvent",
    "ClientFailed",
    "ClientMessage",
    "ClientOpened",
    "ClientPong",
    "CloseFrame",
    "ConnectError",
    "DeniedError",
    "HTTPError",
    "HTTPHeaders",
    "InvalidError",
    "LimitReachedError",
    "Message",
    "Rejection",
    "Request",
    "WaitTimeoutError",
    "WebSocketClosedError",
    "WebSocketError",
    "WebSocketHandler",
    "client",
    "config",
    "export",
    "publish",
    "shared",
    "websocket_connect",
    "websocket_start",
]
