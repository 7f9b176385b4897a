"""What a reader is: one file in `selector.sources.formats` that says how its format is known and read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from eigenselect.compressors.data.stored import StoredRows
from eigenselect.selector.sources.stream import Progress

Numbers = npt.NDArray[Any] | StoredRows
"""The rows of a file, of whatever type its numbers have; `selector.sources.numbers` makes floats of them."""


@dataclass(frozen=True)
class Request:
    """What is read of a file.

    Attributes:
        path: the file.
        tensor: name or pattern of the tensor that is the table, where there are several.
        rows: how many, the first ones; None is all.
        dimension: values of a row, where the file does not say it.
        progress: called with (bytes done, bytes in total) after each block of what is streamed.
    """

    path: Path
    tensor: str | None = None
    rows: int | None = None
    dimension: int | None = None
    progress: Progress | None = None


@dataclass(frozen=True)
class Found:
    """What a reader gives: numbers, (n, d); the token of each row where the file has them; and what is to be said."""

    numbers: Numbers
    tokens: Sequence[str] | None = None
    remarks: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Tensor:
    """An array in a file that holds several.

    Attributes:
        file: that holds it.
        shape: of its numbers.
        type: of its numbers, as the file calls it.
        nbytes: that it takes there.
        read: the numbers, memory-mapped where that can be.
    """

    file: Path
    shape: tuple[int, ...]
    type: str
    nbytes: int
    read: Callable[[], Numbers]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file format.

    Attributes:
        name: as `table.format` names it.
        starts: (path, first bytes of the content) -> whether a file is of this format; at most one format says so.
        read: reads one. None where `tensors` says all.
        tensors: the tensors of a file by name, for a format that names several.
        tables: rows and columns of what can be a table in a file, by name, where `tensors` does not say it.
        files: pattern of the names of such files in a folder.
        own_tokens: whether its files hold a token a row.
        named: whether `table.tensor` chooses among what a file holds.
        spaced: whether its rows are a token and numbers, with one space or tab between.
        packed: whether its files are read packed; if not, they are named with how to unpack them.
    """

    name: str
    starts: Callable[[Path, bytes], bool]
    read: Callable[[Request], Found] | None = None
    tensors: Callable[[Path], Mapping[str, Tensor]] | None = None
    tables: Callable[[Path], Mapping[str, tuple[int, int]]] | None = None
    files: str = ""
    own_tokens: bool = False
    named: bool = False
    spaced: bool = False
    packed: bool = False
