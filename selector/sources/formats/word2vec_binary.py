r"""word2vec binary (`.bin`): a header `n d\n`, then in each row the token, a space, d little-endian float32.

Format: Mikolov et al., word2vec (2013), `-binary 1`, a newline after each row; gensim writes none. Plain or packed.

A token may hold spaces, and no byte says which of them ends it. It is the first one of which both holds, or else the
only one of which the first does:

1. the row ends where a row can: a newline follows its values where the rows have one, text where they have none (the
   next token: UTF-8 without control characters), and nothing after the last row;
2. its values are alike: text, or floats read off their place, span more than `SPREAD` powers of two.

What remains unclear is refused, as is a token that is not text in a file without newlines.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eigenselect.selector.sources.fields import CONTROL, decode, shown
from eigenselect.selector.sources.format import Format, Found, Request
from eigenselect.selector.sources.formats.word2vec_text import header, is_followed_by_text, is_header
from eigenselect.selector.sources.stream import open_stream

MAX_TOKEN_BYTES = 1 << 16
"""Longest token tried; where no space comes so soon, the rows are not where the header says."""

SAMPLED_ROWS = 16
"""Rows that show whether a newline follows each."""

SPREAD = 40
"""Powers of two between the largest value of a row and the smallest that is not zero, at most."""

SAMPLED_COLUMNS = 8
"""Columns in which the rows of a file without newlines are looked over."""

NEWLINE = 10

WORD = re.compile(rb"(?:[\t-\r!-~]++|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3})*+ ")
"""What may follow a space in a token, up to the next one: UTF-8 without control characters. Few floats begin so."""

BYTES = re.compile(rb"[^\0-\x08\x0e- \x7f]*+ ")
"""The same in whatever encoding."""


def read(request: Request) -> Found:
    r"""Read a word2vec binary table.

    Bytes that are not UTF-8 appear as `\xNN` in the token.

    Raises:
        ValueError: the header is not `n d`; the file ends inside a row (row and missing bytes are named) or
            goes on after the last one; a token is longer than `MAX_TOKEN_BYTES`; or where a token ends is not clear
            (the row is named).
    """
    with open_stream(request.path, request.progress) as stream:
        n, d = header(stream.line(), request.path)
        # No more rows than the file can hold: a wrong header must end in a message, not in an allocation.
        wanted = min(request.rows or n, n)
        rows = _Rows(request.path, n, d, min(wanted, stream.limit // (4 * d + 1)))
        for block in stream.blocks():
            rows.take(block, ended=False)
            if len(rows.tokens) == wanted < n:
                break
        else:
            rows.take(b"", ended=True)
    if wanted == n or len(rows.tokens) < wanted:
        rows.check_end()
    return Found(rows.values[:wanted].astype(np.float32, copy=False), rows.tokens[:wanted])


class _Rows:
    """The rows of a file that comes in blocks.

    Attributes:
        values: (capacity, d) little-endian float32, of the rows that were read.
        tokens: of those rows.
    """

    def __init__(self, path: Path, n: int, d: int, capacity: int) -> None:
        self.values = np.empty((capacity, d), "<f4")
        self.tokens: list[str] = []
        self._path, self._n, self._d, self._width = path, n, d, 4 * d
        self._buffer, self._ended, self._surplus = b"", False, 0
        self._newlines: bool | None = None

    def take(self, block: bytes, *, ended: bool) -> None:
        """Read the rows that are whole after `block`; `ended` says that nothing follows."""
        buffer, self._ended = self._buffer + block, ended
        self._buffer = buffer
        if self._newlines is None:
            if not ended and len(buffer) < SAMPLED_ROWS * self._width + 4 * MAX_TOKEN_BYTES:
                return
            self._newlines = self._rows_end_with_newlines()
        first = row = len(self.tokens)
        n, width, newlines, size = self._n, self._width, self._newlines, len(buffer)
        # What a row is judged by: its token and its values, the newline, and the next token.
        limit = size if ended else size - width - 2 * MAX_TOKEN_BYTES - 2
        find, more, at, names = buffer.find, WORD.match, 0, []
        source, values = memoryview(buffer), self.values.reshape(-1).view(np.uint8).data
        while row < len(self.values) and at < limit:
            end = find(b" ", at, at + MAX_TOKEN_BYTES + 1)
            after = end + 1 + width
            clear = 0 <= end and after < size and (not newlines or buffer[after] == NEWLINE)
            if not clear or more(buffer, end + 1):
                end = self._end(at, row)
                if end < 0:
                    break
                after = end + 1 + width
            values[row * width : (row + 1) * width] = source[end + 1 : after]
            names.append(buffer[at:end])
            at = after + newlines
            row += 1
        self._check_values(first, names)
        self.tokens += self._decoded(names)
        self._buffer = buffer[at:]
        if row == n:
            self._surplus += len(self._buffer)
            if not newlines and self._surplus == 1 and self._buffer == b"\n":
                self._surplus = 0
            self._buffer = b""

    def check_end(self) -> None:
        """Raise a ValueError unless the file ended with its last row."""
        row, buffer = len(self.tokens), self._buffer
        if row < self._n:
            space = buffer.find(b" ")
            missing = f"{self._width - (len(buffer) - space - 1)}" if space >= 0 else f"{self._width} or more"
            raise ValueError(
                f"{self._path}, row {row}: the file ends {missing} bytes before the end of this row; "
                f"{self._n} rows of dimension {self._d} are declared: fetch it again, or correct the header"
            )
        if self._surplus:
            raise ValueError(
                f"{self._path}: {self._surplus} bytes after the last of {self._n} rows of dimension {self._d}: "
                "the header or the format is wrong"
            )

    def _rows_end_with_newlines(self) -> bool:
        """Whether a newline follows most of the first rows, as far as they are here."""
        at, buffer, seen, followed = 0, self._buffer, 0, 0
        while seen < min(self._n - 1, SAMPLED_ROWS):
            after = [end + 1 + self._width for end in self._ends(at)]
            if not after or after[0] >= len(buffer):
                break
            place = next((place for place in after if buffer.startswith(b"\n", place)), None)
            at = after[0] if place is None else place + 1
            seen, followed = seen + 1, followed + (place is not None)
        return 2 * followed >= seen

    def _ends(self, at: int) -> list[int]:
        """The spaces that may end the token at `at`: the first one, and those that further words lead to."""
        limit = at + MAX_TOKEN_BYTES + 1
        ends = [end for end in (self._buffer.find(b" ", at, limit),) if end >= 0]
        while ends and (word := BYTES.match(self._buffer, ends[-1] + 1, limit)):
            ends.append(word.end() - 1)
        return ends

    def _end(self, at: int, row: int) -> int:
        """The space that ends the token at `at`, -1 if the file ends before there is one."""
        ends = self._ends(at)
        if not ends and len(self._buffer) - at > MAX_TOKEN_BYTES:
            raise ValueError(
                f"{self._path}, row {row}: no space, where a token would end, within "
                f"{MAX_TOKEN_BYTES} bytes: the header's dimension {self._d} or the format is wrong"
            )
        if not ends or (left := len(self._buffer) - ends[0] - 1 - self._width) < 0:
            return -1
        if not left:
            return ends[0]
        possible = [end for end in ends if self._ends_a_row(end + 1 + self._width, row)]
        # A token that goes on beyond a whole row is two rows.
        possible = [end for end in possible if end <= possible[0] + self._width]
        alike = [end for end in possible if self._are_alike(end + 1)]
        if not alike and len(possible) != 1:
            raise self._unclear(row, self._buffer[at : ends[-1]])
        return (alike or possible)[0]

    def _ends_a_row(self, after: int, row: int) -> bool:
        """Whether what is at `after` follows a row."""
        if after > len(self._buffer):
            return False
        if row == self._n - 1:
            return self._ended and self._buffer[after:] in (b"", b"\n")
        if self._newlines:
            return self._buffer.startswith(b"\n", after)
        space = self._buffer.find(b" ", after, after + MAX_TOKEN_BYTES + 1)
        return space >= 0 and _is_text(self._buffer[after:space])

    def _are_alike(self, start: int) -> bool:
        """Whether the exponents of the d values at `start` are those of one row."""
        exponents = _exponents(np.frombuffer(self._buffer, "<f4", self._d, start))
        exponents = exponents[exponents > 0]
        return not len(exponents) or bool(exponents.max() < 255 and exponents.max() - exponents.min() <= SPREAD)

    def _check_values(self, first: int, names: list[bytes]) -> None:
        """Raise a ValueError if values of the rows from `first` on, with these tokens, seem to be read off their place.

        A few columns show of which rows that may be. Where rows end with newlines, the next token then holds one; where
        they do not, most values are of other scales.
        """
        rows = self.values[first : first + len(names)]
        exponents = _exponents(rows[:, :SAMPLED_COLUMNS])
        low = np.where(exponents > 0, exponents, 255).min(axis=1, initial=255)
        for i in np.flatnonzero(exponents.max(axis=1, initial=0) > low + SPREAD).tolist():
            found = _exponents(rows[i])
            found = found[found > 0]
            scattered = 4 * (np.abs(found - np.median(found)) > SPREAD / 2).sum() > len(found)
            if b"\n" in b"".join(names[i + 1 : i + 2]) if self._newlines else scattered:
                raise self._unclear(first + i, names[i])

    def _decoded(self, names: list[bytes]) -> list[str]:
        """The tokens of the next rows."""
        joined = b"\n".join(names)
        if names and joined.count(b"\n") == len(names) - 1 and _is_text(joined):
            return joined.decode().split("\n")
        if not self._newlines:
            for i, name in enumerate(names):
                if not _is_text(name):
                    raise self._unclear(len(self.tokens) + i, name)
        return [decode(name) for name in names]

    def _unclear(self, row: int, token: bytes) -> ValueError:
        return ValueError(
            f"{self._path}, row {row}: {shown(token)} and {self._d} values are not a row as the others are: a "
            "token with a space, or that is not text, needs a newline after each row; write it so, or as text, "
            "or correct the header"
        )


def _exponents(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Those that are stored in float32 numbers: 0 for zero and what is hardly more, 255 for what is not finite."""
    return (values.view("<u4") >> 23).astype(np.int32) & 0xFF


def _is_text(token: bytes) -> bool:
    """Whether `token` is UTF-8 without control characters but those of spacing."""
    if CONTROL.search(token):
        return False
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


FORMAT = Format(
    name="word2vec-binary",
    starts=lambda path, head: is_header(head) and not is_followed_by_text(head),
    read=read,
    own_tokens=True,
    packed=True,
    spaced=True,
)
