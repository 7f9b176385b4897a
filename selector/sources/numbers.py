"""Floats of whatever numbers a file holds: as they are, or made so a block at a time where they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.arrays import give_back
from eigenselect.compressors.data.stored import Floats, Rows, StoredRows
from eigenselect.compressors.words import quoted
from eigenselect.selector.sources.format import Numbers, Tensor

WIDENED = tuple(
    np.dtype(getattr(ml_dtypes, name))
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
)
"""Floats that every float32 holds exactly."""

SCALED = (np.dtype(np.int8), np.dtype(np.uint8), *WIDENED[1:])
"""Types that scales may belong to."""

SCALES = ("_scale_inv", "_scale", "_scales", ".scale", ".scales", ".weight_scale", ".SCB")
ZEROS = ("_zero_point", ".zero_point", ".weight_zero_point")
"""What follows the name of a tensor, or that name without `.weight`, in the names of its scales and zero points."""

BLOCKS = (128, 64, 32, 256, 512, 1024, 16)
"""Sizes of blocks that share a scale, the usual one first."""


def floats(numbers: Numbers, dtype: str | None = None) -> Floats | StoredRows:
    """(n, d) float32 or float16 of what a file holds.

    float32 and float16 stay as they are. bfloat16 and float8 become the same numbers in float32. Anything else becomes
    `dtype`, if it is given: so that nothing is rounded without being asked for.

    Raises:
        ValueError: other numbers, and no `dtype`; or no numbers at all.
    """
    have = numbers.dtype
    wanted = np.dtype(dtype) if dtype is not None else np.dtype(np.float32) if have in WIDENED else have
    if wanted not in (np.float32, np.float16) or (have.kind not in "fiub" and have not in WIDENED):
        cure = "table.dtype=float32 makes them that" if have.kind in "fiu" else "save them as float32"
        raise ValueError(f"holds {have}, float32 or float16 is needed: {cure}")
    if have == wanted:
        return numbers
    return made(numbers, None, wanted)


def made(numbers: Numbers, scales: Scales | None, dtype: np.dtype[Any] = np.dtype(np.float32)) -> StoredRows:  # noqa: B008
    """Rows that are made of `numbers`, times their scales, when they are read."""
    stored = numbers.stored if isinstance(numbers, StoredRows) else numbers.dtype.name
    nbytes = numbers.nbytes + (0 if scales is None else scales.values.nbytes)
    return StoredRows(numbers.shape, dtype, _Made(numbers, scales, dtype), stored, nbytes)


@dataclass(frozen=True, eq=False)
class _Made:
    """Floats of `numbers`, times their scales."""

    numbers: Numbers
    scales: Scales | None
    dtype: np.dtype[Any]

    def __call__(self, rows: Rows) -> Floats:
        with np.errstate(over="ignore"):  # infinities are refused with their row
            wide = self.numbers[rows].astype(self.dtype, subok=False)
        if isinstance(self.numbers, np.ndarray):
            give_back(self.numbers)
        return wide if self.scales is None else self.scales.times(wide, rows)


@dataclass(frozen=True, eq=False)
class Scales:
    """What the stored numbers of an (n, d) table are multiplied by.

    Attributes:
        values: (s, t) float32, a scale for each block of rows and columns.
        n: rows of the table.
        d: columns of the table.
        rows: of a block.
        columns: of a block.
    """

    values: npt.NDArray[np.float32]
    n: int
    d: int
    rows: int
    columns: int

    def times(self, block: Floats, rows: Rows) -> Floats:
        """The `rows`, (len, d), times their scales."""
        ids = np.arange(*rows.indices(self.n)) if isinstance(rows, slice) else rows
        scales = self.values[ids // self.rows]
        if self.columns < self.d:
            scales = np.repeat(scales, self.columns, axis=1)[:, : self.d]
        return np.multiply(block, scales, out=block)


def scaled(name: str, tensors: Mapping[str, Tensor]) -> Numbers:
    """The numbers of a tensor, times the scales that are beside it.

    Scales multiply, whatever their name says: `weight_scale_inv` of DeepSeek-V3 (2024, inference/model.py) too. There
    is one for the table, one a row, or one for each block; of blocks, the size is the first of `BLOCKS` that fits.

    Raises:
        ValueError: scales of a shape that fits no blocks; zero points, which are not read.
    """
    table = tensors[name]
    numbers = table.read()
    if isinstance(numbers, StoredRows) or numbers.dtype not in SCALED or numbers.ndim != 2:
        return numbers
    beside = _beside(name, tensors, SCALES)
    if beside is None:
        return numbers
    if (zeros := _beside(name, tensors, ZEROS)) is not None and np.any(tensors[zeros].read()[:]):
        raise ValueError(f"{quoted(name)} has zero points ({quoted(zeros)}), which are not read: save it as float32")
    values = np.array(tensors[beside].read()).astype(np.float32)
    if beside.endswith("SCB"):  # bitsandbytes: the largest of the row, which 127 stands for
        values /= 127
    return made(numbers, _scales(beside, values, *numbers.shape))


def _beside(name: str, tensors: Mapping[str, Tensor], endings: tuple[str, ...]) -> str | None:
    names = (stem + ending for stem in (name, name.removesuffix(".weight")) for ending in endings)
    return next((each for each in names if each in tensors), None)


def _scales(name: str, values: npt.NDArray[np.float32], n: int, d: int) -> Scales:
    shape, values = list(values.shape), values.reshape(-1, 1) if values.ndim < 2 else values
    rows, columns = _block(n, len(values)), _block(d, values.shape[-1])
    if values.ndim != 2 or rows is None or columns is None:
        raise ValueError(
            f"the scales {quoted(name)} of shape {shape} fit no blocks of {n} x {d}: save the table as float32"
        )
    return Scales(values, n, d, rows, columns)


def _block(size: int, parts: int) -> int | None:
    """Size of the blocks that `size` is cut into by so many scales; the last may be smaller."""
    if parts == 1:
        return size
    sizes = (*BLOCKS, size // parts)
    return next((block for block in sizes if block and -(-size // block) == parts), None)
