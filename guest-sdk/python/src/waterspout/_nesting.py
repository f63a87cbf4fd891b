"""What is nested too deeply is refused by `json` as CPython refuses it elsewhere: with `RecursionError`.

CPython counts what it calls, and knows nothing of the stack that a component has: a message of two thousand brackets would end the instance, and with it
everybody whom it serves.
"""

from __future__ import annotations

import json
import re

#: So deep a value may be nested. Twice as much is still safe.
DEEPEST = 500

# A string that does not end is one to the end, so that no text is looked through more than once.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_decode = json.JSONDecoder.decode


def is_too_deep(text: str) -> bool:
    """Whether a text of JSON is nested more deeply than it may be. Few brackets cannot be."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    depth = 0
    for token in _TOKEN.finditer(text):
        match token[0][0]:
            case "[" | "{":
                depth += 1
                if depth > DEEPEST:
                    return True
            case "]" | "}":
                depth -= 1
    return False


def decode(self: json.JSONDecoder, text: str, *arguments: object) -> object:
    """In the place of `json.JSONDecoder.decode`."""
    if is_too_deep(text):
        raise RecursionError(f"JSON is nested more deeply than {DEEPEST} levels")
    return _decode(self, text, *arguments)


json.JSONDecoder.decode = decode  # type: ignore[method-assign]
