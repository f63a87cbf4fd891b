"""What componentize-py makes of the interface. Outside a component, where an editor or a unit test imports a handler, there is
nobody to call: there the types are the same, and the functions say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

try:
    from componentize_py_types import Err as Err
    from waterspout_wit.imports import client as client, store as store, topics as topics, types as types

    IN_COMPONENT = True
except ModuleNotFoundError as error:
    if error.name not in ("componentize_py_types", "waterspout_wit"):
        raise
    IN_COMPONENT = False

    @dataclass(frozen=True)
    class Err(Exception):  # type: ignore[no-redef]
        value: Any

    class types:  # type: ignore[no-redef]
        @dataclass
        class Message_Text:
            value: str

        @dataclass
        class Message_Binary:
            value: bytes

        @dataclass
        class CloseFrame:
            code: int
            reason: str

        @dataclass
        class CompressionOptions:
            level: int | None
            mem_level: int | None

        @dataclass
        class Rejection:
            status: int
            headers: list[tuple[str, str]]
            body: bytes

        @dataclass
        class Error_Closed:
            pass

        @dataclass
        class Error_BufferFull:
            pass

        @dataclass
        class Error_Timeout:
            pass

        @dataclass
        class Error_Limit:
            value: str

        @dataclass
        class Error_Denied:
            pass

        @dataclass
        class Error_Invalid:
            value: str

    class _Absent:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(f"`{name}` needs the host: this module is not running as a component")

    class client(_Absent):  # type: ignore[no-redef]
        @dataclass
        class ConnectOptions:
            headers: list[tuple[str, str]]
            subprotocols: list[str]
            connect_timeout_ms: int | None
            max_message_size: int | None
            ping_interval_ms: int | None
            ping_timeout_ms: int | None
            compression: Any

    client = client()  # type: ignore[misc]
    topics = store = _Absent()  # type: ignore[assignment]
