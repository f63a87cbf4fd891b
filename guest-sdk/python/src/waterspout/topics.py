"""Messages to every connection that subscribed to a topic, the publisher's own among them."""

from __future__ import annotations

from typing import Any

from . import _wit, errors, values


def publish(topic: str, message: str | bytes | dict[str, Any], binary: bool = False) -> None:
    """Sends a message to every subscriber of `topic`, in all instances; it is in their queues before this returns.

    Raises LimitReachedError, DeniedError, InvalidError.
    """
    topic, value = values.text(topic, "a topic"), values.message(message, binary)
    try:
        _wit.topics.publish(topic, value)
    except _wit.Err as error:
        errors.raise_error(error.value)
