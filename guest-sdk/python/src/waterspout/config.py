"""What the operator's configuration tells this handler: ``wasi:config/store``."""

from __future__ import annotations

from . import _wit, values


def get(key: str, default: str | None = None) -> str | None:
    """The value of a key, or `default` if the operator set none."""
    value = _wit.store.get(values.text(key, "a key"))
    return default if value is None else value


def all() -> dict[str, str]:
    """All keys with their values."""
    return dict(_wit.store.get_all())
