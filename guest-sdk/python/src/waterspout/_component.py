"""From a :class:`WebSocketHandler` to the exports of a component. Runs only in one: while it is built, and then for each event."""

from __future__ import annotations

import atexit
import gc
import importlib
import inspect
import linecache
import os
import sys
import traceback
from collections.abc import Callable
from types import CoroutineType
from typing import Any

# Whatever is to be imported in an instance must have been imported here: it has no files.
import encodings.ascii  # noqa: F401
import encodings.idna  # noqa: F401
import encodings.latin_1  # noqa: F401
import pickle  # noqa: F401

from . import _failure, _state, _wit, client, config, errors, sharing, topics, values  # noqa: F401
from .handler import WebSocketHandler
from .request import HTTPError, Rejection, Request, to_host

MAX_FRAMES = 30
"""The most of a traceback that is shown: the innermost calls."""

_SDK = os.path.dirname(__file__) + os.sep

choose: Callable[[Request], type[WebSocketHandler]]
"""The class for a connection; set by :func:`load`."""


def load(module: str, may_share: bool) -> None:
    """Imports the handler's module and finds the class in it."""
    global choose
    sys.excepthook = _print_exception
    # A line, not each piece of it, is a record of the host's log.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, write_through=False)
    sharing.may_share = may_share
    try:
        exported = getattr(importlib.import_module(module), "__dict__")
        choose = _exported or _choice(module, _classes(module, exported))
    except Mistake as mistake:
        _refuse(_failure.MISTAKE, str(mistake))
    except BaseException as error:
        _refuse(_failure.EXCEPTION, _told(type(error), error, error.__traceback__))
    _remember_sources()
    sys.excepthook = _fail
    # Whatever is there at the build stays: the collector needs not look at it, and so does not write to memory that instances share.
    gc.collect()
    gc.freeze()


class Mistake(Exception):
    """Why a module is no handler, in words."""


def _refuse(kind: str, words: str) -> None:
    print(f"{_failure.BEGIN}{kind}\n{words}{_failure.END}", file=sys.stderr, flush=True)
    os._exit(1)


_exported: Callable[[Request], type[WebSocketHandler]] | None = None


def export(what: Any) -> Any:
    global _exported
    if isinstance(what, type) and issubclass(what, WebSocketHandler):
        _exported = lambda _: what  # noqa: E731
    elif isinstance(what, type) or not callable(what):
        name = what.__name__ if isinstance(what, type) else repr(what)
        raise TypeError(f"{name} is neither a class that extends WebSocketHandler nor a function that returns one for a request")
    else:
        _exported = what
    return what


def _classes(module: str, names: dict[str, Any]) -> list[type[WebSocketHandler]]:
    """Those that the module defines, or, if it defines none, imports; not those that others of them extend."""
    found = [c for c in names.values() if isinstance(c, type) and issubclass(c, WebSocketHandler) and c is not WebSocketHandler]
    own = [c for c in found if c.__module__ == module] or found
    return list(dict.fromkeys(c for c in own if not any(other is not c and issubclass(other, c) for other in own)))


def _choice(module: str, classes: list[type[WebSocketHandler]]) -> Callable[[Request], type[WebSocketHandler]]:
    if len(classes) == 1:
        return lambda _: classes[0]
    if not classes:
        raise Mistake(f"the module {module} has no handler: define a class that extends waterspout.WebSocketHandler")
    names = ", ".join(c.__name__ for c in classes)
    raise Mistake(f"the module {module} has several handlers ({names}): say which by waterspout.export({classes[-1].__name__})")


def _remember_sources() -> None:
    """So that a traceback shows the lines, as in any Python: they are read while there are files."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and file.endswith(".py") and not file.startswith(("/python/", "/bundled/", _SDK)):
            lines = linecache.getlines(file)
            # Without a time of modification it is not looked for.
            linecache.cache[file] = (sum(map(len, lines)), None, lines, file)


def _print_exception(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    print(_told(kind, error, trace), end="", file=sys.stderr, flush=True)


def _told(kind: type[BaseException], error: BaseException, trace: Any) -> str:
    """As Python tells it, but what the author did not write is left out where something remains."""
    # Of endless recursion a few rounds: showing all of it would take longer than an event may.
    told = traceback.TracebackException(kind, error, trace, limit=-MAX_FRAMES)
    seen: set[int] = set()
    pending: list[traceback.TracebackException | None] = [told]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        frames = [frame for frame in one.stack if not _is_ours(frame)]
        for frame in frames:
            frame.filename = _as_written(frame.filename)
        # A syntax error's own place is not on the stack.
        if isinstance(getattr(one, "filename", None), str):
            one.filename = _as_written(one.filename)
        if frames or one is told:
            one.stack = traceback.StackSummary.from_list(frames)
        pending += [one.__cause__, one.__context__, *(one.exceptions or ())]
    lines = list(told.format())
    # Of a syntax error in the handler itself nothing but the error is left: Python says no more, either.
    return "".join(lines if told.stack or len(lines) == 1 else lines[lines[0].startswith("Traceback") :])


def _is_ours(frame: traceback.FrameSummary) -> bool:
    """The SDK's, or of what imports the handler: what made the component, and importlib."""
    file = frame.filename
    return file.startswith((_SDK, "<frozen importlib", "/python/importlib/")) or file.endswith("/waterspout_app.py")


def _as_written(file: str) -> str:
    """The folders of the project are numbered in a component: ``/0/handler.py``."""
    root, _, rest = file.removeprefix("/").partition("/")
    return rest if root.isdigit() and rest else file


def _fail(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """What nobody caught ends the instance. Without this the runtime that called us would do it, with a panic of its own in the log."""
    _print_exception(kind, error, trace)
    os._exit(1)


_exits = False


def _catch_exit() -> None:
    """Once an instance, and after the bindings have made something of the host's: then ours is the first to be called."""
    global _exits
    if not _exits and _wit.IN_COMPONENT:
        _exits = True
        atexit.register(_exit)


def _exit() -> None:
    """After ``sys.exit()``: CPython would take itself apart first, and what the host has lent it in the wrong order."""
    print("SystemExit: the handler has ended its instance", file=sys.stderr, flush=True)
    os._exit(1)


def _run(result: Any) -> Any:
    """The result of a method, also of one that is ``async``."""
    if type(result) is CoroutineType or inspect.isawaitable(result):
        steps = result.__await__()
        try:
            awaited = next(steps)
        except StopIteration as stop:
            return stop.value
        steps.throw(RuntimeError(f"nothing would ever wake what awaits {awaited!r}: there is no event loop; timers are set by set_timer"))
    return result


class _OpenArguments:
    """What ``open`` takes of what the path's pattern captured: the operator names it, not the handler. As in Tornado, with named captures
    the others are left out."""

    def __init__(self, open: Any):
        parameters = list(inspect.signature(open).parameters.values())[1:]
        kinds = [parameter.kind for parameter in parameters]
        self.none = not parameters
        positional = sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)
        self.positional = positional if inspect.Parameter.VAR_POSITIONAL not in kinds else None
        named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        self.named = named if inspect.Parameter.VAR_KEYWORD not in kinds else None

    def of(self, request: Request) -> tuple[list[str], dict[str, str]]:
        if self.none:
            return [], {}
        if named := request.path_kwargs:
            return [], {name: value for name, value in named.items() if self.named is None or name in self.named}
        return request.path_args[: self.positional], {}


_open_arguments: dict[type, _OpenArguments] = {}


class Handler:
    """The exported resource."""

    def __init__(self, request: Any):
        _catch_exit()
        _state.resumed.clear()
        request = Request(request)
        self._handler = _made(choose(request), request)

    def prepare(self) -> None:
        handler = self._handler
        try:
            _run(handler.set_default_headers())
            rejection = _run(handler.prepare())
        except Rejection as raised:
            rejection = raised
        if isinstance(rejection, HTTPError) and rejection.log_message:
            print(f"HTTP {rejection.status}: {rejection.log_message}", file=sys.stderr)
        if rejection is None:
            return
        if not isinstance(rejection, Rejection):
            raise TypeError(f"prepare returns a Rejection or None, not {type(rejection).__name__}")
        raise _wit.Err(to_host(rejection))

    def check_origin(self, origin: str) -> bool:
        return bool(_run(self._handler.check_origin(origin)))

    def select_subprotocol(self, offered: list[str]) -> str | None:
        selected = _run(self._handler.select_subprotocol(offered))
        return None if selected is None else values.text(selected, "a subprotocol")

    def get_compression_options(self) -> Any:
        return values.compression_options(_run(self._handler.get_compression_options()))

    def open(self, connection: Any) -> None:
        handler = self._handler
        handler._connection = connection
        kind = type(handler)
        if kind not in _open_arguments:
            _open_arguments[kind] = _OpenArguments(kind.open)
        args, kwargs = _open_arguments[kind].of(handler.request)
        _run(handler.open(*args, **kwargs))

    def on_message(self, message: Any) -> None:
        result = self._handler.on_message(message.value)
        if result is not None:
            _run(result)

    def on_ping(self, data: bytes) -> None:
        _run(self._handler.on_ping(data))

    def on_pong(self, data: bytes) -> None:
        _run(self._handler.on_pong(data))

    def on_writable(self) -> None:
        _run(self._handler.on_writable())

    def on_timer(self, token: int) -> None:
        _run(self._handler.on_timer(token))

    def on_client_event(self, id: str, event: Any) -> None:
        _run(self._handler.on_client_event(id, client.client_event(event)))

    def on_close(self, frame: Any) -> None:
        # The table of the exported keeps this object for ever, but nothing in it.
        handler = self._handler
        del self._handler
        if frame is not None:
            handler.close_code, handler.close_reason = frame.code, frame.reason
        _run(handler.on_close())
        handler._end()

    def suspend(self) -> bytes | None:
        state = _run(self._handler.suspend())
        return None if state is None else bytes(state)

    @classmethod
    def resume(cls, request: Any, connection: Any, state: bytes) -> Handler:
        _catch_exit()
        request, id = Request(request), connection.id()
        self = cls.__new__(cls)
        try:
            kind = choose(request)
            known = _state.resumed.get(id)
            # Read from another's state; of another class only if the old version chose otherwise.
            handler = known if type(known) is kind else kind.__new__(kind)
            _state.resumed[id] = handler
            handler._connection, handler._id = connection, id
            handler.__init__(request)  # type: ignore[misc]
            _run(handler.resume(state))
        except Exception as error:
            _print_exception(type(error), error, error.__traceback__)
            raise _wit.Err(f"{type(error).__name__}: {values.printable(error)}") from None
        self._handler = handler
        return self


def _made(kind: Any, request: Request) -> WebSocketHandler:
    if not (isinstance(kind, type) and issubclass(kind, WebSocketHandler)):
        raise TypeError(f"what waterspout.export was given returned {kind!r}, which is no WebSocketHandler class")
    return kind(request)


class WaterspoutShared:
    """The exported interface shared-state, where the component has it."""

    def suspend(self) -> bytes | None:
        return sharing.suspend()

    def resume(self, state: bytes) -> None:
        try:
            sharing.resume(state)
        except Exception as error:
            _print_exception(type(error), error, error.__traceback__)
            raise _wit.Err(f"{type(error).__name__}: {values.printable(error)}") from None
