"""What the handlers of one instance have in common."""

from __future__ import annotations

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
    object that it is. Handlers in it are the same handlers there. `name` tells several apart, and finds the old version's; by default it is
    the type's name. A version that has none of that name, or another kind of object there, does not take the connections over: a class that
    has been renamed is ``shared(Lobby(), name="Room")``.

    Module globals that are not registered do not go along. Without any ``shared`` a shared instance is not moved: it drains.
    """
    name = name or type(value).__name__
    if name in _state.shared:
        raise ValueError(f"two shared objects are called {name!r}: give one another name")
    if not may_share:
        raise RuntimeError(
            "the builder did not see that this handler uses `shared`: import it by `from waterspout import shared`, "
            "or build with `python -m waterspout build MODULE --shared`"
        )
    if not isinstance(value, _CONTAINERS) and not hasattr(value, "__dict__"):
        raise TypeError(f"{type(value).__name__} cannot be shared: an object with attributes, a dict, list, set, deque or bytearray can")
    _state.shared[name] = value
    return value


_CONTAINERS = (dict, list, set, deque, bytearray)


def _kind(value: Any) -> str:
    """What only another of its kind can take over. Classes are not told apart: their attributes are found by name."""
    return next((kind.__name__ for kind in _CONTAINERS if isinstance(value, kind)), "object with attributes")


def _content(value: Any) -> Any:
    if isinstance(value, (list, set, deque)):
        return list(value)
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, bytearray):
        return bytes(value)
    return _state.attributes(value)


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
        _state.set_attributes(value, content)


def suspend() -> bytes | None:
    pieces: dict[str, tuple[str, bytes]] = {}
    for name, value in _state.shared.items():
        content = _content(value)
        if not isinstance(content, dict):
            content = {"content": content}
        # It is no root: where it has itself in it, that is a name there, as in others.
        state = _state.dump_fields(f"shared {name}", None, content)
        if state is None:
            return None
        pieces[name] = _kind(value), state
    return _state.dump(None, pieces)


def resume(state: bytes) -> None:
    """Raises ValueError, and has done nothing, where something has no successor of its name and kind."""
    pieces = _state.load(state)
    for name, (kind, _) in pieces.items():
        if name not in _state.shared:
            raise ValueError(
                f"the old version shares {name!r}, which this one does not: give what takes it over that name, shared(value, name={name!r})"
            )
        if _kind(_state.shared[name]) != kind:
            raise ValueError(
                f"shared {name!r} was of the kind {kind}, and is {_kind(_state.shared[name])}: "
                f"give the new one another name, and fill it from one that is still {kind}"
            )
    for name, (_, piece) in pieces.items():
        value, content = _state.shared[name], _state.load(piece)
        _replace(value, content["content"] if isinstance(value, _CONTAINERS) else content)
