"""word2vec and fastText text (`.vec`): a header `n d`, then `token value ... value` a line; may be in gzip, bz2 or xz.

Format: Mikolov et al., word2vec (2013), `-binary 0`; fastText's has a space before each newline.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eigenselect.selector.sources.fields import shown
from eigenselect.selector.sources.stream import Progress, open_stream
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


def read(path: Path, progress: Progress | None = None) -> tuple[npt.NDArray[np.float32], list[str]]:
    """Read a word2vec or fastText text table; lines are taken as `selector.sources.glove.read` takes them.

    Returns:
        (n, d) float32 values and the n tokens.

    Raises:
        ValueError: the header is not `n d`; a line is not a token and d numbers (the line is named);
            there are not n rows.
    """
    with open_stream(path, progress) as stream:
        stream.skip_bom()
        n, d = header(stream.line(), path)
        values, tokens = TextRows(stream, d, line=2).read(n)
    if len(tokens) != n:
        trouble = "the file is cut, fetch it again" if len(tokens) < n else "rows were added"
        raise ValueError(f"{path}: {len(tokens)} rows where the header declares {n}: {trouble} or correct the header")
    return values, tokens
