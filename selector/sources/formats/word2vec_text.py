"""word2vec and fastText text (`.vec`): a header `n d`, then `token value ... value` a line; plain or packed.

Format: Mikolov et al., word2vec (2013), `-binary 0`; fastText's has a space before each newline.
"""

from __future__ import annotations

import re
from pathlib import Path

from eigenselect.selector.sources.fields import is_row, is_text, shown
from eigenselect.selector.sources.format import Format, Found, Request
from eigenselect.selector.sources.stream import BOM, open_stream
from eigenselect.selector.sources.text import TextRows

HEADER = re.compile(rb"(\d{1,9})[ \t]+(\d{1,9})[ \t]*\r?\n")


def header(line: bytes, path: Path) -> tuple[int, int]:
    """The (n, d) that the header line of a word2vec file declares.

    Raises:
        ValueError: it is not two positive integers.
    """
    match = HEADER.fullmatch(line)
    n, d = (int(match[1]), int(match[2])) if match else (0, 0)
    if n < 1 or d < 1:
        raise ValueError(
            f"{path}, line 1: {shown(line)} where a header of two positive integers below 1e9, rows and "
            "dimension, is expected; a table without one is format=glove"
        )
    return n, d


def is_header(head: bytes) -> bool:
    """Whether a file that starts with `head` has such a header."""
    return HEADER.fullmatch(head.removeprefix(BOM).partition(b"\n")[0] + b"\n") is not None


def is_followed_by_text(head: bytes) -> bool:
    """Whether text, and not floats, follows the header of a file that starts with `head`."""
    rest = head.removeprefix(BOM).partition(b"\n")[2]
    return is_row(rest.partition(b"\n")[0]) or is_text(rest)


def read(request: Request) -> Found:
    """Read a word2vec or fastText text table; the header's dimension says which fields of a line are values.

    Other than that, lines are taken as `selector.sources.formats.glove.read` takes them.

    Raises:
        ValueError: the header is not `n d`; a line is not a token and d numbers (the line is named);
            there are not n rows.
    """
    path = request.path
    with open_stream(path, request.progress) as stream:
        stream.skip_bom()
        n, d = header(stream.line(), path)
        values, tokens = TextRows(stream, d, line=2, declared=True).read(n, request.rows)
    if len(tokens) != n and (request.rows is None or len(tokens) < request.rows):
        trouble = "the file is cut, fetch it again" if len(tokens) < n else "rows were added"
        raise ValueError(f"{path}: {len(tokens)} rows where the header declares {n}: {trouble} or correct the header")
    return Found(values, tokens)


FORMAT = Format(
    name="word2vec-text",
    starts=lambda path, head: is_header(head) and is_followed_by_text(head),
    read=read,
    own_tokens=True,
    packed=True,
    spaced=True,
)
