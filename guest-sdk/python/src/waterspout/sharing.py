"""What the handlers of one instance have in common."""

from __future__ import annotations

import sys
from collections import deque
from typing import Any, TypeVar

from . import _state

T = TypeVar("T")

may_share = True
"""Whether the component is built to hand shared state over; set by what builds it."""


def shared(value: T, name: str | None = None) -> T:
    """Registers a module's object that all handlers of an instance have in common, as of a room whose connections share one instance
    (the operator's ``--instance '{room}'``): it then moves into the next version of the component while connections stay open. Returns
    `value`.

    >>> from waterspout import WebSocketHandler, shared
    >>> class Room:
    ...     def __init__(self):
    ...         self.visits = 0
    >>> room = shared(Room())
    >>> class Visitor(WebSocketHandler):
    ...     def open(self):
    ...         room.visits += 1
    ...         self.write_message(f"You are visitor {room.visits}")

    It is an object with attributes, a dict, list, set, deque or bytearray; on the other side its content is replaced, and it stays the
    object that it is. Handlers in it are the same handlers there. `name` tells several apart; by default it is the type's name.

    Module globals that are not registered do not go along. Without any ``shared`` a shared instance is not moved: it drains.
    """
    name = name or type(value).__name__
    if name in _state.shared:
        raise ValueError(f"two shared objects are called {name!r}: give one another name")
    if not may_share:
        raise RuntimeError("the builder did not see that this handler uses `shared`: build it with --shared")
    if not isinstance(value, (dict, list, set, deque, bytearray)) and not hasattr(value, "__dict__"):
        raise TypeError(f"{type(value).__name__} cannot be shared: an object with attributes, a dict, list, set, deque or bytearray can")
    _state.shared[name] = value
    return value


def _content(value: Any) -> Any:
    if isinstance(value, (list, set, deque)):
        return list(value)
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, bytearray):
        return bytes(value)
    return dict(value.__dict__)


def _replace(value: Any, content: Any) -> None:
    if isinstance(value, (list, bytearray)):
        value[:] = content
    elif isinstance(value, (dict, set)):
        value.clear()
        value.update(content)
    elif isinstance(value, deque):
        value.clear()
        value.extend(content)
    else:
        # What it has beyond that are the values that its class began with.
        value.__dict__.update(content)


def suspend() -> bytes | None:
    pieces: dict[str, bytes] = {}
    for name, value in _state.shared.items():
        content = _content(value)
        if not isinstance(content, dict):
            content = {"content": content}
        state = _state.dump_fields(f"shared {name}", value, content)
        if state is None:
            return None
        pieces[name] = state
    return _state.dump(None, pieces)


def resume(state: bytes) -> None:
    pieces = _state.load(state)
    for name, piece in pieces.items():
        if name not in _state.shared:
            print(f"shared {name!r} of the old version has no successor, and is left behind", file=sys.stderr)
            continue
        value, content = _state.shared[name], _state.load(piece)
        if isinstance(value, (dict, list, set, deque, bytearray)):
            content = content["content"]
        _replace(value, content)
