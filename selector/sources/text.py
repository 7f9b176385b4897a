"""Rows of text, `token value value ...`: what the GloVe and word2vec text readers share.

A block of lines goes to pyarrow's CSV parser. Lines that it cannot take as they are (a token that contains
spaces) are cut from the right in Python and then given to the same parser, so a number is read by one rule. So are all
lines of a table with a tab after each token and spaces between the values.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eigenselect.compressors.words import brief
from eigenselect.selector.sources.fields import (
    BLANK,
    NO_TOKEN,
    decode,
    delimiter_of,
    floats,
    is_number,
    parse,
    shown,
    tab_ends_token,
)
from eigenselect.selector.sources.stream import BOM, Stream

WIDE = 1 << 13

TOO_WIDE = "a table has at least as many rows as columns; if it is transposed, save its transpose"


class TextRows:
    """The rows of a text stream from its present position to its end.

    Attributes:
        stream: where the lines come from.
        d: values expected on each line.
        line: 1-based number of the next line.
        declared: whether the file or the user says that there are d values; a number before them is then of the token.
    """

    def __init__(self, stream: Stream, d: int, line: int, *, declared: bool = False) -> None:
        self.stream = stream
        self.d = d
        self.line = line
        self.declared = declared
        self._numbered: list[int] = []
        start = stream.peek_line()
        self._delimiter = delimiter_of(start)
        self._tabbed = tab_ends_token(start)
        self._longest = 64 * len(start)
        # fastText ends each line with a separator; where the first does, all are taken to.
        self._trailing = start.rstrip(b"\r\n").endswith(self._delimiter)
        self._blank: int | None = None
        # Before anything of size d is made: a header may declare any dimension.
        if start.strip(BLANK) and start.count(self._delimiter) + self._tabbed < d:
            fields = start.split()
            if len(fields) == d and all(map(is_number, fields)):
                raise self._error(line, f"{d} {NO_TOKEN}")
            raise self._ragged(line, start.rstrip(BLANK).count(self._delimiter) + self._tabbed)
        # A value and its separator are two bytes or more; so many columns take the parser seconds.
        if d > WIDE and (most := stream.limit // (2 * d)) < d:
            raise self._error(line, f"{d} values, and room for {most} rows of so many in the file: {TOO_WIDE}")

    def read(self, n: int | None = None, limit: int | None = None) -> tuple[npt.NDArray[np.float32], list[str]]:
        """All rows, or the first ones.

        Args:
            n: number of rows to expect, if known; it sizes the array and is not checked.
            limit: how many are read; None is all.

        Returns:
            (rows, d) float32 values and the token of each row.

        Raises:
            ValueError: the first line that is not a row, with its number.
        """
        tokens: list[str] = []
        # A row takes at least 2 d bytes, so a wrong header cannot ask for more than the file can fill.
        capacity = 0 if n is None else min(n, limit or n, self.stream.limit // (2 * self.d))
        values = np.empty((capacity, self.d), np.float32)
        for buffer, end in self.stream.line_blocks():
            if limit is not None:
                end = _end_of_line(buffer, end, limit - len(tokens))
            names, table = self._parse(buffer, end)
            start, stop = len(tokens), len(tokens) + len(names)
            if stop > len(values):
                guess = int(1.02 * stop * self.stream.size / max(1, self.stream.done)) + 16
                # Growing moves pages instead of copying them; a first allocation takes none until filled.
                if start:
                    values.resize((max(guess, stop), self.d), refcheck=False)
                else:
                    values = np.empty((max(guess, stop), self.d), np.float32)
            for batch in table.to_batches():
                rows = values[start : start + batch.num_rows]
                rows[:] = np.array([floats(column) for column in batch.columns]).T
                start += batch.num_rows
            tokens += map(decode, names)
            if len(tokens) == limit:
                break
        if 2 * len(self._numbered) > len(tokens):
            raise self._ragged(self._numbered[0], self.d + 1)
        values.resize((len(tokens), self.d), refcheck=False)
        return values, tokens

    def _parse(self, buffer: bytearray, end: int) -> tuple[list[bytes], Any]:
        """Tokens and an Arrow table of d float32 columns of the lines in `buffer[:end]`."""
        stop = end
        while stop and buffer[stop - 1] in BLANK:
            stop -= 1
        names: list[bytes] = []
        table = pa.table({})
        if stop:
            if self._blank is not None:
                raise self._error(self._blank, "an empty line between rows; drop it")
            try:
                names, table = self._whole(buffer, stop)
            except pa.ArrowInvalid:
                names, table = self._by_line(bytes(memoryview(buffer)[:stop]), self.line)
        self.line += len(names)
        if self._blank is None and buffer.count(b"\n", stop, end) > (stop > 0):
            self._blank = self.line
        return names, table

    def _whole(self, buffer: bytearray, stop: int) -> tuple[list[bytes], Any]:
        """The lines as they are, but for fastText's last separator and Windows' carriage return."""
        if self._tabbed:
            raise pa.ArrowInvalid("two separators")
        body: bytes | memoryview = memoryview(buffer)[:stop]
        if returns := buffer.find(b"\r", 0, stop) >= 0:
            body = bytes(body).replace(b"\r\n", b"\n")
        if self._trailing:
            body = bytes(body).replace(self._delimiter + b"\n", b"\n")
        # The CSV parser would end a line at a lone \r, and drop a byte order mark that starts a token.
        if (returns and b"\r" in bytes(body)) or buffer.startswith(BOM):
            raise pa.ArrowInvalid("not for the CSV parser")
        table = parse(body, self._delimiter, self._with_token, self._longest)
        return table.column(0).to_pylist(), table.remove_column(0)

    def _by_line(self, body: bytes, first: int) -> tuple[list[bytes], Any]:
        """The lines cut from the right into a token and d values."""
        names, rows = [], []
        for number, line in enumerate(body.split(b"\n"), first):
            line = line.rstrip(BLANK)
            if not line:
                raise self._error(number, "an empty line between rows; drop it")
            name, row, count = self._cut_after_tab(line) if self._tabbed else self._cut(line)
            if count > self.d and self.declared and not self._tabbed:
                self._numbered.append(number)
            elif count != self.d:
                raise self._ragged(number, count)
            names.append(name)
            rows.append(row)
        values = b"\n".join(rows)
        try:
            if b"\r" in values or values.startswith(BOM):
                raise pa.ArrowInvalid("not for the CSV parser")
            return names, parse(values, self._delimiter, self._without_token, self._longest)
        except pa.ArrowInvalid as error:
            for number, row in enumerate(rows, first):
                for j, field in enumerate(row.split(self._delimiter)):
                    if not is_number(field):
                        raise self._error(
                            number,
                            f"value {j + 1} of {self.d} is {shown(field)}, not a number; repair or drop that line",
                        ) from None
            raise self._error(first, f"or a later one: {brief(error)}; repair it") from error

    def _cut(self, line: bytes) -> tuple[bytes, bytes, int]:
        """A line's token and values, and how many there are."""
        count = line.count(self._delimiter)
        name = line.rsplit(self._delimiter, self.d)[0]
        # A token may hold separators (GloVe 840B has some); a number there is a value too many.
        if count > self.d and not is_number(name.rsplit(self._delimiter, 1)[1]):
            count = self.d
        return name, line[len(name) + 1 :], count

    def _cut_after_tab(self, line: bytes) -> tuple[bytes, bytes, int]:
        """The same of a line with a tab after the token; without one it has no values."""
        name, tab, values = line.rpartition(b"\t")
        _, before, last = name.rpartition(b"\t")
        values = values.strip(b" ")
        return name, values, values.count(b" ") + 1 + bool(before and is_number(last)) if tab else 0

    @cached_property
    def _without_token(self) -> dict[str, Any]:
        return {str(j): pa.float32() for j in range(self.d)}

    @cached_property
    def _with_token(self) -> dict[str, Any]:
        return {"token": pa.binary(), **self._without_token}

    def _ragged(self, line: int, count: int) -> ValueError:
        cure = "repair or drop that line"
        if count == self.d + 1 and not self.declared:
            cure += f", or, if its token ends in a number, give table.dimension={self.d}"
        return self._error(line, f"{count} values where {self.d} are expected; {cure}")

    def _error(self, line: int, what: str) -> ValueError:
        return ValueError(f"{self.stream.path}, line {line}: {what}")


def _end_of_line(buffer: bytearray, end: int, number: int) -> int:
    """Where that line of `buffer[:end]`, counted from 1, ends; the whole where there are not so many."""
    ends = np.flatnonzero(np.frombuffer(buffer, np.uint8, end) == ord("\n"))
    return int(ends[number - 1]) + 1 if len(ends) >= number else end
