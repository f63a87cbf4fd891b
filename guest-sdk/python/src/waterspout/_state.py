"""What a handler, or what handlers share, leaves to the next version: a pickle.

A handler in it, a connection of the client's and a shared object are written as what they are called, and read as the ones that have
that name there: handlers that know each other still do. Bytes come only from what the host was given by ``suspend``.
"""

from __future__ import annotations

import io
import pickle
import sys
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .handler import WebSocketHandler

ClientConnection: Any = None
"""The class; it uses this module, not the other way round."""

HEADER = b"WSP\x01"

resumed: dict[str, WebSocketHandler] = {}
"""By connection: those that have been read from a snapshot and may not have been resumed themselves yet."""

shared: dict[str, Any] = {}
"""What was registered by ``shared``."""


def _handler_class() -> type:
    from .handler import WebSocketHandler

    return WebSocketHandler


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, root: object):
        super().__init__(file, protocol=5)
        self._root = root
        self._handler = _handler_class()
        self._shared = {id(value): name for name, value in shared.items()}

    def persistent_id(self, value: Any) -> Any:
        kind = type(value)
        if kind is ClientConnection:
            return "client", value.id
        if isinstance(value, self._handler):
            return "handler", value.id, kind
        if id(value) in self._shared and value is not self._root:
            return "shared", self._shared[id(value)]
        return None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, name: Any) -> Any:
        match name:
            case "client", id:
                return ClientConnection(None, id)
            case "handler", id, kind:
                if id not in resumed:
                    resumed[id] = kind.__new__(kind)
                    resumed[id]._connection, resumed[id]._id = None, id
                return resumed[id]
            case "shared", key:
                return shared[key]
        raise pickle.UnpicklingError(f"unknown name {name!r}")


def dump(root: object, value: Any) -> bytes:
    file = io.BytesIO(HEADER)
    file.seek(len(HEADER))
    _Pickler(file, root).dump(value)
    return file.getvalue()


def load(state: bytes) -> Any:
    if not state.startswith(HEADER):
        raise ValueError("its state was not written by the Python SDK: define `resume`")
    return _Unpickler(io.BytesIO(memoryview(state)[len(HEADER) :])).load()


def dump_fields(what: str, root: object, fields: dict[str, Any]) -> bytes | None:
    """None where one of them cannot be pickled; the log says which, because the host can only see that there is no state."""
    try:
        return dump(root, fields)
    except Exception as error:  # Whatever somebody's __reduce__ raises.
        culprit = ""
        for name, value in fields.items():
            try:
                dump(root, value)
            except Exception as why:
                culprit, error = f" (`{name}`)", why
                break
        print(f"{what} cannot be suspended{culprit}: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def attributes(value: Any) -> dict[str, Any]:
    """Also those of ``__slots__``, but the SDK's own."""
    found = dict(value.__dict__)
    for kind in type(value).__mro__:
        if kind is _handler_class():
            break
        slots = [name for name, slot in vars(kind).items() if isinstance(slot, MemberDescriptorType)]
        found.update({name: getattr(value, name) for name in slots if name not in found and hasattr(value, name)})
    return found


def set_attributes(value: Any, found: dict[str, Any]) -> None:
    """Each in the slot of its name, if there is one."""
    for name, item in found.items():
        slot = getattr(type(value), name, None)
        if isinstance(slot, MemberDescriptorType):
            slot.__set__(value, item)
        else:
            value.__dict__[name] = item


def suspend(handler: WebSocketHandler) -> bytes | None:
    return dump_fields(type(handler).__name__, handler, attributes(handler))


def resume(handler: WebSocketHandler, state: bytes) -> None:
    fields = load(state)
    if not isinstance(fields, dict):
        raise ValueError("its state is no attributes: define `resume`")
    set_attributes(handler, fields)
