"""Tokens of a table of millions of rows, in a file: as strings they take several times as much memory as their text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, overload

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.arrays import Array, give_back, with_cure

LISTED = 1 << 20
"""Tokens up to which they are a list in memory."""

BLOCK = 1 << 16
"""Tokens that are read or written at once."""

SURROGATES = "surrogatepass"
"""How UTF-8 holds the halves of a surrogate pair, which a token may have."""


@dataclass(frozen=True, eq=False)
class StoredTokens(Sequence[str]):
    """Tokens that are made strings where they are read.

    Attributes:
        text: uint8, the UTF-8 of all of them, one after the other.
        starts: (n,) int64, where each begins in it, increasing.
        ends: (n,) int64, where it ends.
    """

    text: Array
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> StoredTokens: ...
    def __getitem__(self, index: int | slice) -> str | StoredTokens:
        if isinstance(index, slice):
            return StoredTokens(self.text, self.starts[index], self.ends[index])
        return bytes(self.text[self.starts[index] : self.ends[index]]).decode("utf-8", SURROGATES)

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), BLOCK):
            starts, ends = (each[first : first + BLOCK].tolist() for each in (self.starts, self.ends))
            begin = starts[0]
            text = bytes(self.text[begin : ends[-1]])
            give_back(self.text, self.starts, self.ends)
            for start, end in zip(starts, ends, strict=True):
                yield text[start - begin : end - begin].decode("utf-8", SURROGATES)

    def without(self, rows: Iterable[int]) -> StoredTokens:
        """Those of the other rows."""
        keep = np.ones(len(self), bool)
        keep[[*rows]] = False
        return StoredTokens(self.text, self.starts[keep], self.ends[keep])


class Gathered:
    """Tokens that come a few at a time: a list, or a file of the folder for temporary files that has no name there.

    It is used as a context, `with Gathered() as tokens:`, which closes the file; what `done` gives keeps it mapped.
    """

    def __init__(self) -> None:
        self._listed: list[str] = []
        self._files: tuple[IO[bytes], IO[bytes]] | None = None
        self._count, self._end, self._held = 0, 0, ExitStack()

    def __enter__(self) -> Gathered:
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def __len__(self) -> int:
        return self._count

    def add(self, tokens: Sequence[str]) -> None:
        """Take the next ones."""
        self._listed += tokens
        self._count += len(tokens)
        if self._listed and self._count > LISTED:
            self._write()

    def done(self) -> Sequence[str]:
        """All of them."""
        if self._files is None:
            return self._listed
        text, ends = self._files
        bounds = np.memmap(ends, np.int64, "r")
        return StoredTokens(np.memmap(text, np.uint8, "r") if self._end else bounds[:0], bounds[:-1], bounds[1:])

    def _write(self) -> None:
        began = self._files is not None
        if self._files is None:
            self._files = self._held.enter_context(TemporaryFile()), self._held.enter_context(TemporaryFile())
        text, ends = self._files
        encoded = [token.encode("utf-8", SURROGATES) for token in self._listed]
        bounds = self._end + np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        try:  # where the first of these begins is where the last one ended
            for file, written in ((text, b"".join(encoded)), (ends, bounds[int(began) :].tobytes())):
                file.write(written)
                file.flush()
        except OSError as error:
            raise with_cure(error, f"{self._count:,} tokens") from error
        self._listed, self._end = [], int(bounds[-1])


def gathered(tokens: Iterable[str]) -> Sequence[str]:
    """The tokens: a list, or a file where there are many."""
    rest = iter(tokens)
    with Gathered() as found:
        while some := list(islice(rest, BLOCK)):
            found.add(some)
        return found.done()
