"""What a compressed table is: packed arrays, and the one decode of each kind of them.

A payload knows nothing of the method that made it. The kinds compose: a sum of parts, a projection of a part and
recoded codes hold other payloads.

File format: safetensors. Each array is stored under the name that `arrays()` gives it (`part.packed` for an array of
a nested payload); the metadata entry `payload` is JSON that names the kinds, their plain attributes and their nesting.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from compressors.bitpack import unpack_table
from compressors.ops import NumpyOps, Ops

FORMAT_VERSION = 1

Float32s = npt.NDArray[np.float32]


class Payload(ABC):
    """A compressed (n, k) table. Subclasses are frozen dataclasses of arrays, plain attributes and payloads."""

    @property
    @abstractmethod
    def n(self) -> int:
        """Number of rows."""

    @property
    @abstractmethod
    def k(self) -> int:
        """Number of columns that `decode` gives."""

    @abstractmethod
    def decode(self, rows: Any, ops: Ops) -> Any:
        """The rows `rows`, (batch, k) float32, in the verbs of `ops`."""

    def read(self, rows: slice) -> Float32s:
        """Decoded rows in numpy: what is scored."""
        decoded: Float32s = self.decode(rows, NumpyOps())
        return decoded

    def _items(self) -> Iterator[tuple[str, Any]]:
        """Each field's name and value, the elements of a tuple one by one."""
        for field in fields(self):  # type: ignore[arg-type]  # every kind is a dataclass
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                yield from ((f"{field.name}.{i}", element) for i, element in enumerate(value))
            else:
                yield field.name, value

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Every stored array by its name."""
        found: dict[str, npt.NDArray[Any]] = {}
        for name, value in self._items():
            if isinstance(value, Payload):
                found |= {f"{name}.{inner}": array for inner, array in value.arrays().items()}
            elif isinstance(value, np.ndarray):
                found[name] = value
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of every stored array: what a budget is charged."""
        return sum(array.nbytes for array in self.arrays().values())

    def _spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = {"kind": type(self).__name__}
        for name, value in self._items():
            if isinstance(value, Payload):
                spec[name] = value._spec()
            elif not isinstance(value, np.ndarray):
                spec[name] = value
        return spec

    def save(self, path: Path) -> None:
        """Write the payload to `path`."""
        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays().items()}
        spec = {"version": FORMAT_VERSION, **self._spec()}
        save_file(arrays, path, metadata={"payload": json.dumps(spec)})
        path.chmod(0o644)  # safetensors writes for the owner alone


def _check_array(name: str, array: Any, dims: int, *dtypes: str) -> None:
    """Raise a ValueError unless `array` has `dims` dimensions and one of `dtypes`."""
    if not isinstance(array, np.ndarray) or array.ndim != dims or array.dtype.name not in dtypes:
        found = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else repr(array)
        raise ValueError(f"{name} is {found}: it must be {dims}-D {' or '.join(dtypes)}")


def _check_payload(name: str, part: Any) -> None:
    """Raise a ValueError unless `part` is a payload."""
    if not isinstance(part, Payload):
        raise ValueError(f"{name} is a {type(part).__name__}: it must be a payload")


@dataclass(frozen=True)
class Dense(Payload):
    """Rows stored as they are.

    Attributes:
        table: (n, k) float32 or float16.
    """

    table: npt.NDArray[np.floating]

    def __post_init__(self) -> None:
        _check_array("Dense.table", self.table, 2, "float32", "float16")

    @property
    def n(self) -> int:  # noqa: D102
        return len(self.table)

    @property
    def k(self) -> int:  # noqa: D102
        return int(self.table.shape[1])

    def decode(self, rows: Any, ops: Ops) -> Any:  # noqa: D102
        return ops.gather(ops.param("table", self.table), rows)


@dataclass(frozen=True)
class Packed(Payload):
    """Rows of packed codes into one codebook: uniform, k-means and learned byte codebooks.

    A codebook of 2**m codewords puts 8 / m codes in a byte; either way a byte picks one row of a (256, 8*v/m) table.

    Attributes:
        packed: (n, w) uint8, laid out as in `compressors.bitpack`.
        codebook: (2**m, v) float32 codewords of v values, m in {1, 2, 4, 8}.
        dim: columns k <= w*8/m*v; what the last byte holds beyond them is dropped.
    """

    packed: npt.NDArray[np.uint8]
    codebook: Float32s
    dim: int

    def __post_init__(self) -> None:
        _check_array("Packed.packed", self.packed, 2, "uint8")
        _check_array("Packed.codebook", self.codebook, 2, "float32")
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
class Sum(Payload):
    """The sum of parts of the same shape.

    Attributes:
        parts: two payloads or more.
    """

    parts: tuple[Payload, ...]

    def __post_init__(self) -> None:
        for i, part in enumerate(self.parts):
            _check_payload(f"Sum.parts.{i}", part)
        shapes = [(part.n, part.k) for part in self.parts]
        if len(shapes) < 2 or len(set(shapes)) > 1:
            raise ValueError(f"Sum.parts have shapes {shapes}: there must be two or more of one shape")

    @property
    def n(self) -> int:  # noqa: D102
        return self.parts[0].n

    @property
    def k(self) -> int:  # noqa: D102
        return self.parts[0].k

    def decode(self, rows: Any, ops: Ops) -> Any:  # noqa: D102
        total = None
        for i, part in enumerate(self.parts):
            decoded = part.decode(rows, ops.scope(f"parts.{i}"))
            total = decoded if total is None else ops.add(total, decoded)
        return total


@dataclass(frozen=True)
class Recoded(Payload):
    """Levels picked by codes that are themselves decoded: free levels over codes that are stored in planes.

    Attributes:
        codes: a payload that decodes to whole numbers in 0..m-1.
        levels: (m,) float32.
    """

    codes: Payload
    levels: Float32s

    def __post_init__(self) -> None:
        _check_payload("Recoded.codes", self.codes)
        _check_array("Recoded.levels", self.levels, 1, "float32")

    @property
    def n(self) -> int:  # noqa: D102
        return self.codes.n

    @property
    def k(self) -> int:  # noqa: D102
        return self.codes.k

    def decode(self, rows: Any, ops: Ops) -> Any:  # noqa: D102
        return ops.lookup(ops.param("levels", self.levels), self.codes.decode(rows, ops.scope("codes")))


@dataclass(frozen=True)
class Projected(Payload):
    """A part times a matrix.

    Attributes:
        part: a payload of j columns.
        matrix: (j, k) float32 or float16.
    """

    part: Payload
    matrix: npt.NDArray[np.floating]

    def __post_init__(self) -> None:
        _check_payload("Projected.part", self.part)
        _check_array("Projected.matrix", self.matrix, 2, "float32", "float16")
        if len(self.matrix) != self.part.k:
            raise ValueError(f"Projected.matrix has {len(self.matrix)} rows for a part of {self.part.k} columns")

    @property
    def n(self) -> int:  # noqa: D102
        return self.part.n

    @property
    def k(self) -> int:  # noqa: D102
        return int(self.matrix.shape[1])

    def decode(self, rows: Any, ops: Ops) -> Any:  # noqa: D102
        return ops.matmul(self.part.decode(rows, ops.scope("part")), ops.param("matrix", self.matrix))


@dataclass(frozen=True)
class Repeated(Payload):
    """A part whose every column stands for several: one number for a block of a row.

    Attributes:
        part: a payload of ceil(dim / count) columns.
        count: columns that each of them stands for; the last one for what is left.
        dim: columns k.
    """

    part: Payload
    count: int
    dim: int

    def __post_init__(self) -> None:
        _check_payload("Repeated.part", self.part)
        if min(self.count, self.dim) < 1 or self.part.k != -(-self.dim // self.count):
            raise ValueError(
                f"Repeated.part has {self.part.k} columns for {self.dim} columns in blocks of {self.count}"
            )

    @property
    def n(self) -> int:  # noqa: D102
        return self.part.n

    @property
    def k(self) -> int:  # noqa: D102
        return self.dim

    def decode(self, rows: Any, ops: Ops) -> Any:  # noqa: D102
        decoded = self.part.decode(rows, ops.scope("part"))
        return ops.repeat(decoded, self.part.k, self.count, self.dim)


@dataclass(frozen=True)
class Scaled(Payload):
    """A part times scales, entry by entry or row by row.

    Attributes:
        part: a payload.
        scale: a payload of as many rows, of as many columns or of one.
    """

    part: Payload
    scale: Payload

    def __post_init__(self) -> None:
        _check_payload("Scaled.part", self.part)
        _check_payload("Scaled.scale", self.scale)
        if self.scale.n != self.part.n or self.scale.k not in (1, self.part.k):
            raise ValueError(
                f"Scaled.scale is {self.scale.n} x {self.scale.k} for a part of {self.part.n} x {self.part.k}"
            )

    @property
    def n(self) -> int:  # noqa: D102
        return self.part.n

    @property
    def k(self) -> int:  # noqa: D102
        return self.part.k

    def decode(self, rows: Any, ops: Ops) -> Any:  # noqa: D102
        return ops.mul(self.part.decode(rows, ops.scope("part")), self.scale.decode(rows, ops.scope("scale")))


KINDS: dict[str, type[Payload]] = {
    kind.__name__: kind for kind in (Dense, Packed, Sum, Recoded, Projected, Repeated, Scaled)
}
"""The tags of the file format."""


def load(path: Path) -> Payload:
    """Read a payload that `Payload.save` wrote.

    Raises:
        ValueError: not a payload file, a newer format, an unknown kind, or arrays that do not make a payload.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("payload")
            arrays = {name: file.get_tensor(name) for name in file.keys()} if text is not None else {}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read as a payload: {error}") from error
    if text is None:
        raise ValueError(f"{path} is a safetensors file without a payload entry: was it written by Payload.save?")
    try:
        spec = json.loads(text)
        version = spec.pop("version", None) if isinstance(spec, dict) else None
        if version != FORMAT_VERSION:
            raise ValueError(
                f"it has payload format {version}, this program reads {FORMAT_VERSION}: upgrade eigenselect"
            )
        payload = _build(spec, arrays, "")
        if unused := sorted(arrays.keys() - payload.arrays().keys()):
            raise ValueError(f"it holds {unused}, which are no part of its payload: was it changed after it was saved?")
    except ValueError as error:
        raise ValueError(f"{path} is not a payload: {error}") from error
    return payload


def _build(spec: Any, arrays: dict[str, npt.NDArray[Any]], prefix: str) -> Payload:
    name = spec.get("kind") if isinstance(spec, dict) else spec
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"it is of kind {name!r}, known are {sorted(KINDS)}: upgrade eigenselect")
    given: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # every kind is a dataclass
        name = prefix + field.name
        elements = [key for key in spec if key.startswith(f"{field.name}.")]
        if name in arrays:
            given[field.name] = arrays[name]
        elif isinstance(spec.get(field.name), dict):
            given[field.name] = _build(spec[field.name], arrays, f"{name}.")
        elif field.name in spec:
            given[field.name] = spec[field.name]
        elif elements:
            given[field.name] = tuple(_build(spec[key], arrays, f"{prefix}{key}.") for key in elements)
        else:
            raise ValueError(f"it lacks {name!r}: was it changed after it was saved?")
    return kind(**given)
