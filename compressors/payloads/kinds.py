"""The kinds of payload that hold the rows, each with its one decode."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.payloads.base import Payload, check_array, check_payload
from eigenselect.compressors.payloads.bitpack import unpack_table
from eigenselect.compressors.payloads.ops import NO_ROW, Ops

Float32s = npt.NDArray[np.float32]

EXACT = 1 << 24
"""Whole numbers up to this are exact in float32: codes are decoded as such."""

LOOKUP = 1 << 20
"""Values that a table may have which is made of stored levels to look several values up at once: 4 MiB."""


@dataclass(frozen=True)
class Dense(Payload):
    """Rows stored as they are.

    Attributes:
        table: (n, k) float32 or float16.
        unit: what a stored 1 stands for: float16 is narrow, and tables of 1e30 exist.
    """

    table: npt.NDArray[np.floating]
    unit: float = 1.0

    def __post_init__(self) -> None:
        check_array("Dense.table", self.table, 2, "float32", "float16")
        limits = np.finfo(np.float32)
        if not isinstance(self.unit, float) or not float(limits.tiny) <= self.unit <= float(limits.max):
            raise ValueError(f"Dense.unit = {self.unit!r}: it must be a positive number that float32 holds")

    @property
    def n(self) -> int:  # noqa: D102
        return len(self.table)

    @property
    def k(self) -> int:  # noqa: D102
        return int(self.table.shape[1])

    def decode(self, rows: Any, ops: Ops) -> Any:  # noqa: D102
        stored = ops.gather(ops.param("table", self.table), rows)
        if self.unit == 1:
            return stored
        return ops.mul(stored, ops.param("unit", np.array([self.unit], np.float32)))


@dataclass(frozen=True)
class Packed(Payload):
    """Rows of packed codes into one codebook: uniform, k-means and learned byte codebooks.

    A codebook of 2**m codewords puts 8 / m codes in a byte; either way a byte picks one row of a (256, 8*v/m) table.

    Attributes:
        packed: (n, w) uint8, laid out as in `compressors.payloads.bitpack`.
        codebook: (2**m, v) float32 codewords of v values, m in {1, 2, 4, 8}.
        dim: columns k <= w*8/m*v; what the last byte holds beyond them is dropped.
    """

    packed: npt.NDArray[np.uint8]
    codebook: Float32s
    dim: int

    def __post_init__(self) -> None:
        check_array("Packed.packed", self.packed, 2, "uint8")
        check_array("Packed.codebook", self.codebook, 2, "float32")
        if len(self.codebook) not in (2, 4, 16, 256):
            raise ValueError(f"Packed.codebook has {len(self.codebook)} codewords: it must have 2, 4, 16 or 256")
        columns = self.packed.shape[1] * self.lut().shape[1]
        if not isinstance(self.dim, int) or not 1 <= self.dim <= columns:
            raise ValueError(f"Packed.dim = {self.dim!r}: it must be from 1 to the {columns} columns that are stored")

    @property
    def n(self) -> int:  # noqa: D102
        return len(self.packed)

    @property
    def k(self) -> int:  # noqa: D102
        return self.dim

    def lut(self) -> Float32s:
        """(256, v) float32: the values that each byte stands for."""
        width = len(self.codebook).bit_length() - 1
        return self.codebook[unpack_table(width)].reshape(256, -1)

    def decode(self, rows: Any, ops: Ops) -> Any:  # noqa: D102
        return ops.dequantize_gather(ops.param("packed", self.packed), ops.param("lut", self.lut()), rows, self.dim)


@dataclass(frozen=True)
class Coded(Payload):
    """Codewords picked by codes that are themselves decoded: side by side (product codes) or added (additive codes).

    Attributes:
        codes: a payload that decodes to whole numbers in 0..K-1, in c columns.
        codebooks: (c, K, v) float32, one for each column of the codes; or (1, K, v), one for all, where not summed.
        summed: the c codewords of a row are added, to v columns, rather than put side by side.
        dim: columns k; what the last codeword holds beyond them is dropped.
    """

    codes: Payload
    codebooks: Float32s
    summed: bool
    dim: int

    def __post_init__(self) -> None:
        check_payload("Coded.codes", self.codes)
        check_array("Coded.codebooks", self.codebooks, 3, "float32")
        count, size, v = self.codebooks.shape
        if not 1 <= count * size <= EXACT:
            raise ValueError(f"Coded.codebooks has {count * size} codewords: it must have from 1 to {EXACT}")
        if count != self.codes.k and (count > 1 or self.summed):
            raise ValueError(f"Coded.codebooks has {count} codebooks for codes of {self.codes.k} columns")
        if not isinstance(self.summed, bool):
            raise ValueError(f"Coded.summed = {self.summed!r}: it must be true or false")
        columns = v if self.summed else self.codes.k * v
        if not isinstance(self.dim, int) or not 1 <= self.dim <= columns:
            raise ValueError(f"Coded.dim = {self.dim!r}: it must be from 1 to the {columns} columns that are stored")

    @property
    def n(self) -> int:  # noqa: D102
        return self.codes.n

    @property
    def k(self) -> int:  # noqa: D102
        return self.dim

    @property
    def width(self) -> int:  # noqa: D102
        # A code is looked up as an int64, which takes two values' room.
        return max(self.codes.width, self.codes.k * max(2, int(self.codebooks.shape[2])))

    def decode(self, rows: Any, ops: Ops) -> Any:  # noqa: D102
        count, size, v = self.codebooks.shape
        codes = self.codes.decode(rows, ops.scope("codes"))
        codebooks = ops.param("codebooks", self.codebooks.reshape((count * size, v) if v > 1 or self.summed else -1))
        columns = v if self.summed else self.codes.k * v
        if self.summed:
            flat = ops.add_codewords(codebooks, codes, count)
        else:
            if count > 1:  # the codebooks lie one after the other
                codes = ops.add(codes, ops.param("first", np.arange(0, count * size, size, dtype=np.float32)))
            picked = ops.lookup(codebooks, codes)
            flat = ops.reshape(picked, 2, (columns,)) if v > 1 else picked
        return flat if columns == self.dim else ops.cut(flat, self.dim)


@dataclass(frozen=True)
class Trellis(Payload):
    """Each value is picked by a window over the bits of its row: its own `bits` bits and those before them.

    The bits of a byte count from the most significant one; before the first byte comes the last one.

    Attributes:
        packed: (n, w) uint8, w = ceil(dim * bits / 8).
        levels: (2**window,) float32, window from bits to 16 + bits.
        bits: of a value, 1, 2 or 4.
        dim: columns k.
    """

    packed: npt.NDArray[np.uint8]
    levels: Float32s
    bits: int
    dim: int

    def __post_init__(self) -> None:
        check_array("Trellis.packed", self.packed, 2, "uint8")
        check_array("Trellis.levels", self.levels, 1, "float32")
        if self.bits not in (1, 2, 4) or isinstance(self.bits, bool):
            raise ValueError(f"Trellis.bits = {self.bits!r}: it must be 1, 2 or 4")
        window = len(self.levels).bit_length() - 1
        if not len(self.levels) or len(self.levels) != 1 << window or not self.bits <= window <= 16 + self.bits:
            raise ValueError(
                f"Trellis.levels has {len(self.levels)} levels: it must have a power of two from "
                f"{1 << self.bits} to {1 << (16 + self.bits)}"
            )
        if not isinstance(self.dim, int) or self.dim < 1 or self.packed.shape[1] != -(-self.dim * self.bits // 8):
            raise ValueError(f"Trellis.dim = {self.dim!r} does not go with {self.packed.shape[1]} bytes a row")

    @property
    def n(self) -> int:  # noqa: D102
        return len(self.packed)

    @property
    def k(self) -> int:  # noqa: D102
        return self.dim

    @property
    def width(self) -> int:  # noqa: D102
        return 2 * int(self.packed.shape[1]) * 8 // self.bits  # a window is an int64: it takes two values' room

    @property
    def at_once(self) -> int:
        """Values of a byte that one lookup gives: as many as `LOOKUP` has room for."""
        window = len(self.levels).bit_length() - 1
        counts = [8 // self.bits >> halvings for halvings in range(4) if 8 // self.bits >> halvings]
        return next((count for count in counts if count << (window + self.bits * (count - 1)) <= LOOKUP), 1)

    @property
    def lookup_bytes(self) -> int:  # noqa: D102
        return 4 * self.at_once * len(self.levels) << (self.bits * (self.at_once - 1))

    def decode(self, rows: Any, ops: Ops) -> Any:  # noqa: D102
        w, count = self.packed.shape[1], self.at_once
        window = len(self.levels).bit_length() - 1
        every = np.arange(256, dtype=np.float32)[:, None]
        byte = ops.dequantize_gather(ops.param("packed", self.packed), ops.param("byte", every), rows, w)
        # At most three bytes, the last one lowest: exact in float32.
        back = -(-(window - self.bits) // 8)
        number = byte
        if back:
            shift = ops.param("shift", np.array([256], np.float32))
            higher = ops.roll(byte, 1, w)
            if back > 1:
                higher = ops.add(higher, ops.mul(ops.roll(byte, 2, w), shift))
            number = ops.add(byte, ops.mul(higher, shift))
        taken, groups = window + self.bits * (count - 1), 8 // (self.bits * count)
        axes = 1 + (count > 1)
        if groups > 1 or taken < 8 * (1 + back):
            starts = [8 - self.bits * count * (group + 1) for group in range(groups)]
            number = ops.bits(ops.reshape(number, 1, (w, 1)), starts, taken)
            axes += 1
        flat = ops.lookup(ops.successive(ops.param("levels", self.levels), window, self.bits, count), number)
        columns = w * groups * count
        if axes > 1:
            flat = ops.reshape(flat, axes, (columns,))
        return flat if columns == self.dim else ops.cut(flat, self.dim)


@dataclass(frozen=True)
class TensorTrain(Payload):
    """A product of slices of cores: the digits of a row's id pick one slice of each core.

    Attributes:
        cores: two or more, (n_i, r_i, d_i, r_(i+1)) float32; the first and the last r are 1.
        count: rows n <= the product of the n_i; the id's first digit is the most significant one.
        dim: columns k <= the product of the d_i.
    """

    cores: tuple[Float32s, ...]
    count: int
    dim: int

    def __post_init__(self) -> None:
        if not isinstance(self.cores, tuple):
            raise ValueError(f"TensorTrain.cores is a {type(self.cores).__name__}: it must be a tuple of arrays")
        for i, core in enumerate(self.cores):
            check_array(f"TensorTrain.cores.{i}", core, 4, "float32")
        shapes = [core.shape for core in self.cores]
        left, right = [1, *(shape[3] for shape in shapes)], [*(shape[1] for shape in shapes), 1]
        if len(shapes) < 2 or left != right:
            raise ValueError(f"TensorTrain.cores have shapes {shapes}: they must be two or more that fit together")
        # Ids beyond are told by NO_ROW: its digits must not be those of a row.
        if (room := math.prod(shape[0] for shape in shapes)) > NO_ROW:
            raise ValueError(f"TensorTrain.cores have room for {room} rows: it must be at most {NO_ROW}")
        for name, size, axis in (("count", self.count, 0), ("dim", self.dim, 2)):
            most = math.prod(shape[axis] for shape in shapes)
            if not isinstance(size, int) or not 1 <= size <= most:
                raise ValueError(f"TensorTrain.{name} = {size!r}: it must be from 1 to the {most} that are stored")

    @property
    def n(self) -> int:  # noqa: D102
        return self.count

    @property
    def k(self) -> int:  # noqa: D102
        return self.dim

    @property
    def width(self) -> int:  # noqa: D102
        columns = np.cumprod([core.shape[2] for core in self.cores])
        return int(max(c * core.shape[3] + core[0].size for c, core in zip(columns, self.cores, strict=True)))

    def decode(self, rows: Any, ops: Ops) -> Any:  # noqa: D102
        ids = ops.wrap(rows, self.count)
        stride = math.prod(len(core) for core in self.cores)
        product, columns = None, 1
        for i, core in enumerate(self.cores):
            m, r, d, after = core.shape
            stride //= m
            # The first digit is the whole quotient: an id that is too large must not wrap round.
            digit = ops.digit(ids, ops.param(f"stride.{i}", np.array(stride)), m if i else None)
            picked = ops.gather(ops.param(f"cores.{i}", core.reshape(m, -1)), digit)
            slice_ = ops.reshape(picked, 1, (r, d * after))
            product = slice_ if product is None else ops.matmul(product, slice_)
            columns *= d
            product = ops.reshape(product, 2, (columns, after))
        flat = ops.reshape(product, 2, (columns,))
        return flat if columns == self.dim else ops.cut(flat, self.dim)
