"""What is said of a file: one line, however long the names in it are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

LINE = 299
"""Characters of a message."""

LEAST = 120
"""That are left to what is said of a file, however long its path is."""

NAME = 60
"""Characters of a name."""


def quoted(name: str) -> str:
    """A name in quotes, its middle left out where it is long.

    >>> quoted("weight"), len(quoted("x" * 1000))
    ("'weight'", 62)
    """
    return shortened(repr(name), NAME + 2)


def brief(error: BaseException | str, most: int = LEAST) -> str:
    """What an error says, in one line."""
    return shortened(" ".join(str(error).split()), most)


def shortened(text: str, most: int) -> str:
    """The text without its middle where it has more than `most` characters.

    >>> shortened("abcdefghij", 7)
    'abcd…ij'
    """
    if len(text) <= most:
        return text
    end = (most - 1) // 3
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def of_file(path: Path, says: BaseException | str) -> str:
    """What is said of the file at `path`."""
    return f"{path}: {brief(says, max(LEAST, LINE - len(f'{path}: ')))}"


def listed(parts: Sequence[str], most: int, between: str = "; ") -> str:
    """As many of the parts as `most` characters hold, and at least one; how many more there are.

    >>> listed(["one", "two", "three", "four"], 10)
    'one; two; and 2 more'
    """
    count, length = 0, 0
    while count < len(parts) and (not count or length + len(parts[count]) <= most):
        length += len(parts[count]) + 2
        count += 1
    more = [f"and {len(parts) - count} more"] if count < len(parts) else []
    return between.join([*parts[:count], *more])
