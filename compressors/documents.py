"""JSON that anyone may have written."""

from __future__ import annotations

import json
from typing import Any


def parsed(text: str | bytes) -> Any:
    """The value of a JSON document.

    Raises:
        ValueError: it is none, or one whose parts are nested without end.

    >>> parsed('[1, "a"]')
    [1, 'a']
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("its parts are nested too deep") from error
