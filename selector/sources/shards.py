"""A table in several files: the rows of one after those of the other, each read where it lies.

    shards/table-00000-of-00016.safetensors, shards/table-00001-of-00016.safetensors, ...

Files are in the order of their names, with numbers by their size: `part-2.npy` is before `part-10.npy`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.arrays import give_back
from eigenselect.compressors.data.stored import Rows, StoredRows
from eigenselect.selector.sources.format import Found, Numbers
from eigenselect.selector.sources.stored_tokens import gathered

SUFFIXES = (".npy", ".parquet")
"""Of files that make a folder a table: others are those of models."""


def shards_of(path: Path) -> list[Path]:
    """The files that `path` names as one table: those of a pattern, or of a folder of .npy or .parquet files alone.

    Of anything else there are none: it is a table by itself.

    Raises:
        ValueError: a pattern that no file fits.
    """
    if path.is_dir():
        files = _files(path.iterdir())
        return files if {file.suffix for file in files} in ({suffix} for suffix in SUFFIXES) else []
    if path.exists() or not {*"*?["} & {*str(path)}:
        return []
    files = _files(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if not files:
        raise ValueError(f"{path}: no file fits this pattern: correct it, and put it in quotes in a shell")
    return files


def _files(paths: Iterable[Path]) -> list[Path]:
    return sorted((path for path in paths if path.is_file()), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """A name with its numbers by their size."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if at % 2 else (0, part) for at, part in enumerate(parts)]


def joined(files: Sequence[Path], read: Callable[[Path], Found]) -> Found:
    """The table of what `read` gives of each file.

    Raises:
        ValueError: a file with other columns, or numbers of another type, than the first one has; tokens in some alone.
    """
    parts = [read(file) for file in files]
    for file, part in zip(files, parts, strict=True):
        if (found := _described(part)) != (first := _described(parts[0])):
            raise ValueError(f"{file} has {found}, and {files[0].name} {first}: the parts of a table must be alike")
    tokens = None if parts[0].tokens is None else gathered(token for part in parts for token in part.tokens or ())
    remarks = [*dict.fromkeys(remark for part in parts for remark in part.remarks)]
    return Found(_stacked([part.numbers for part in parts]), tokens, remarks)


def _described(part: Found) -> str:
    numbers, tokens = part.numbers, "no tokens" if part.tokens is None else "tokens"
    stored = numbers.stored if isinstance(numbers, StoredRows) else numbers.dtype.name
    return f"{numbers.shape[1] if numbers.ndim == 2 else 'no'} columns of {stored} and {tokens}"


def _stacked(parts: Sequence[Numbers]) -> Numbers:
    """The rows of all parts, in their order; they are never all read."""
    first = parts[0]
    if len(parts) == 1 or first.ndim != 2:
        return first
    stored = first.stored if isinstance(first, StoredRows) else first.dtype.name
    shape = (sum(map(len, parts)), first.shape[1])
    return StoredRows(shape, first.dtype, _Stacked(tuple(parts)), stored, sum(part.nbytes for part in parts))


@dataclass(frozen=True, eq=False)
class _Stacked:
    """Rows of parts that follow each other."""

    parts: tuple[Numbers, ...]

    def __call__(self, rows: Rows) -> npt.NDArray[Any]:
        first, (*starts, n) = self.parts[0], accumulate(map(len, self.parts), initial=0)
        if isinstance(rows, slice):
            begin, end, _ = rows.indices(n)
            spans = (slice(max(begin - start, 0), max(end - start, 0)) for start in starts)
            found = [_taken(part, span) for part, span in zip(self.parts, spans, strict=True) if span.start < len(part)]
            return np.concatenate([each for each in found if len(each)] or found[:1] or [first[:0]])
        ids, made = np.asarray(rows), np.empty((len(rows), first.shape[1]), first.dtype)
        for part, start in zip(self.parts, starts, strict=True):
            here = (ids >= start) & (ids < start + len(part))
            if here.any():
                made[here] = _taken(part, ids[here] - start)
        return made


def _taken(part: Numbers, rows: Rows) -> npt.NDArray[Any]:
    found = np.array(part[rows])
    if isinstance(part, np.ndarray):
        give_back(part)
    return found
