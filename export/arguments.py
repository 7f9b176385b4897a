"""`key=value` words of a command line."""

from __future__ import annotations

from collections.abc import Sequence


def settings(words: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """What `key=value` words say, by key.

    Raises:
        ValueError: a word is not of that form, its key is not in `known`, or a key is given twice.
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            raise ValueError(f"{word!r} is not understood: give {', '.join(f'{name}=...' for name in known)}")
        if key in found:
            raise ValueError(f"{key} is given twice, {found[key]!r} and {value!r}: give it once")
        found[key] = value
    return found
