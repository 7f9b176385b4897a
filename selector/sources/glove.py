"""GloVe text: `token value ... value` a line, no header; plain, gzip, bz2 or xz.

Format: Pennington, Socher and Manning, GloVe (2014), the published `glove.*.txt`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from eigenselect.selector.sources.fields import BLANK, delimiter_of, is_number, shown, tab_ends_token
from eigenselect.selector.sources.stream import Progress, open_stream
from eigenselect.selector.sources.text import TextRows


def read(path: Path, progress: Progress | None = None) -> tuple[npt.NDArray[np.float32], list[str]]:
    r"""Read a GloVe table; its dimension is that of the first line.

    A token may contain spaces: each line is cut from the right, at the last tab where a tab ends the first token and
    spaces are between the values. Bytes that are not UTF-8 appear as `\xNN` in
    the token. Empty lines at the end, a trailing separator and `\r\n` are accepted.

    Returns:
        (n, d) float32 values and the n tokens.

    Raises:
        ValueError: a line has another number of values, or one that is not a number; the line is named.
    """
    with open_stream(path, progress) as stream:
        stream.skip_bom()
        d = _dimension(stream.peek_line(), path)
        try:
            return TextRows(stream, d, line=1).read()
        except ValueError as error:
            if d == 1:
                raise ValueError(f"{error}; if line 1 is a header, give format=word2vec-text") from error
            raise


def _dimension(line: bytes, path: Path) -> int:
    """Number of values on the first line, where the token ends at the first number."""
    if tab_ends_token(line):
        return len(line.rpartition(b"\t")[2].split())
    separator = delimiter_of(line)
    fields = line.rstrip(BLANK).split(separator)[1:]
    numbers = [is_number(field) for field in fields]
    if True not in numbers:
        raise ValueError(f"{path}, line 1: a token without values; every line is a token and d numbers")
    start = numbers.index(True)
    if not all(numbers[start:]):
        j = numbers.index(False, start)
        raise ValueError(
            f"{path}, line 1: value {j - start + 1} of {len(fields) - start} is {shown(fields[j])}, "
            "not a number; repair or drop that line"
        )
    return len(fields) - start
