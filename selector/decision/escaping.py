"""Text that users and files name, where it is shown: as what it says, and never as what the place makes of it.

Pages escape by their templates.
"""

from __future__ import annotations

import re
import unicodedata

_UNSEEN = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of what moves a cursor, ends a line or is half of a character."""

_TURNING = {*"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
"""What changes the direction of the text around it."""

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~&])")

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes the start of a formula to be."""


def on_terminal(text: str) -> str:
    r"""The text with everything that a terminal would obey written out; line breaks stay.

    >>> on_terminal("a\x1b[31m b\nc")
    'a\\x1b[31m b\nc'
    """
    return "".join(_written_out(character) for character in text)


def _written_out(character: str) -> str:
    if character != "\n" and (unicodedata.category(character) in _UNSEEN or character in _TURNING):
        return character.encode("unicode_escape").decode()
    return character


def in_markdown(text: str) -> str:
    r"""The text as one paragraph of Markdown that shows it.

    >>> in_markdown("a_b <img> [c](d)")
    'a\\_b \\<img\\> \\[c\\]\\(d\\)'
    """
    return _MARKDOWN.sub(r"\\\1", " ".join(on_terminal(text).split()))


def in_csv(text: str) -> str:
    """The text as a cell that no spreadsheet computes: one that looks like a formula has an apostrophe before it.

    >>> in_csv("=1+1"), in_csv("a=1")
    ("'=1+1", 'a=1')
    """
    return f"'{text}" if text.startswith(_FORMULA) else text
