"""GloVe text: `token value ... value` a line, no header; plain or packed.

Format: Pennington, Socher and Manning, GloVe (2014), the published `glove.*.txt`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from eigenselect.selector.sources.fields import BLANK, delimiter_of, is_number, is_row, shown, tab_ends_token
from eigenselect.selector.sources.format import Format, Found, Request
from eigenselect.selector.sources.formats.word2vec_text import is_header
from eigenselect.selector.sources.stream import BOM, open_stream
from eigenselect.selector.sources.text import TextRows

SAMPLED_LINES = 16
"""First lines that show the dimension."""


def read(request: Request) -> Found:
    r"""Read a GloVe table; its dimension is that of most of the first lines, unless it is given.

    A token may contain spaces: each line is cut from the right, at the last tab where a tab ends the first token and
    spaces are between the values. Bytes that are not UTF-8 appear as `\xNN` in
    the token. Empty lines at the end, a trailing separator and `\r\n` are accepted. A number before the values makes
    a row too long, unless the dimension is given: it is part of the token then.

    Raises:
        ValueError: a line has another number of values, or one that is not a number; the line is named.
    """
    with open_stream(request.path, request.progress) as stream:
        stream.skip_bom()
        lines = stream.peek_lines(SAMPLED_LINES)
        d = request.dimension or _dimension(lines, request.path)
        try:
            rows = TextRows(stream, d, line=1, declared=request.dimension is not None)
            return Found(*rows.read(limit=request.rows))
        except ValueError as error:
            if is_header(lines[0]):
                raise ValueError(f"{error}; if line 1 is a header, give format=word2vec-text") from error
            raise


def _dimension(lines: Sequence[bytes], path: Path) -> int:
    """Number of values on most of the first lines; of several that are as frequent, that of the first line."""
    first = _values(lines[0])
    if isinstance(first, str):
        raise ValueError(f"{path}, line 1: {first}")
    counts = [first, *(_values(line) for line in lines[1:])]
    return max((count for count in counts if isinstance(count, int)), key=Counter(counts).__getitem__)


def _values(line: bytes) -> int | str:
    """Number of values on a line, where the token ends at the first number; or what is wrong with it."""
    if tab_ends_token(line):
        return len(line.rpartition(b"\t")[2].split())
    separator = delimiter_of(line)
    fields = line.rstrip(BLANK).split(separator)[1:]
    numbers = [is_number(field) for field in fields]
    if True not in numbers:
        return "a token without values; every line is a token and d numbers"
    start = numbers.index(True)
    if not all(numbers[start:]):
        j = numbers.index(False, start)
        return (
            f"value {j - start + 1} of {len(fields) - start} is {shown(fields[j])}, "
            "not a number; repair or drop that line"
        )
    return len(fields) - start


def _starts(path: Path, head: bytes) -> bool:
    line = head.removeprefix(BOM).partition(b"\n")[0]
    return not is_header(head) and b"\0" not in line and is_row(line)


FORMAT = Format(name="glove", starts=_starts, read=read, own_tokens=True, packed=True, spaced=True)
