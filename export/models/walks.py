"""Walks over the names of a model that take no recursion, and each name once however often it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def evaluated(
    at: Key,
    sources: Callable[[Key], Iterable[Key]],
    made: Callable[[Key], Value | None],
    known: dict[Key, Value | None],
) -> Value | None:
    """What `made` gives for `at`, made of what it gave for the `sources` of `at`.

    Args:
        at: what is asked for.
        sources: what each key is made of.
        made: the value of a key; those of its sources are in `known` by then, or missing where keys go in a circle.
        known: values by key; those that are made are added.
    """
    waiting, opened = [at], set()
    while waiting:
        key = waiting[-1]
        if key in known or key in opened:
            waiting.pop()
            if key not in known:
                known[key] = made(key)
            continue
        opened.add(key)
        waiting.extend(source for source in sources(key) if source not in known and source not in opened)
    return known[at]
