"""What a compressed table is: packed arrays and one decode.

A payload knows nothing of the method that made it. Its kinds are in `compressors.payloads.kinds`, their compositions in
`compressors.payloads.composed`; `compressors.payloads.storage` reads files back.

File format: safetensors. Each array is stored under the name that `arrays()` gives it (`part.packed` for an array of
a nested payload); the metadata entry `payload` is JSON that names the kinds, their plain attributes and their nesting.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from eigenselect.compressors.payloads.ops import NumpyOps, Ops

FORMAT_VERSION = 1

READ_BYTES = 1 << 25
"""What the widest intermediate value of a decode may take when rows are read in numpy."""

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

    @property
    def aligned(self) -> bool:
        """Whether column j stands for the table's column j, so that the two can be compared entry by entry."""
        return True

    @property
    def bands(self) -> int:
        """Parts that hold different rows."""
        return max([1, *(part.bands for _, part in self._items() if isinstance(part, Payload))])

    @property
    def width(self) -> int:
        """Values of a row in the widest step of the decode."""
        return max([self.k, *(part.width for _, part in self._items() if isinstance(part, Payload))])

    @property
    def lookup_bytes(self) -> int:
        """Bytes of the tables that a decode makes of what is stored, whatever the rows."""
        return sum(part.lookup_bytes for _, part in self._items() if isinstance(part, Payload))

    def read(self, rows: slice | npt.NDArray[np.integer]) -> Float32s:
        """Decoded rows in numpy, (len, k), a range or by their ids: what is scored."""
        ids = range(self.n)[rows] if isinstance(rows, slice) else rows
        step = max(1, READ_BYTES // (4 * self.width))
        parts = [ids[at : at + step] for at in range(0, max(1, len(ids)), step)]
        # A range is read as a slice, without a copy.
        slices = [slice(part.start, part.stop) if isinstance(part, range) else part for part in parts]
        if len(parts) == 1:
            whole: Float32s = self.decode(slices[0], NumpyOps())
            return whole
        decoded = np.empty((len(ids), self.k), dtype=np.float32)
        for i, part in enumerate(slices):
            decoded[i * step : (i + 1) * step] = self.decode(part, NumpyOps())
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


def check_array(name: str, array: Any, dims: int, *dtypes: str) -> None:
    """Raise a ValueError unless `array` has `dims` dimensions and one of `dtypes`."""
    if not isinstance(array, np.ndarray) or array.ndim != dims or array.dtype.name not in dtypes:
        found = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else repr(array)
        raise ValueError(f"{name} is {found}: it must be {dims}-D {' or '.join(dtypes)}")


def check_payload(name: str, part: Any) -> None:
    """Raise a ValueError unless `part` is a payload whose columns mean what its maker's columns meant."""
    if not isinstance(part, Payload):
        raise ValueError(f"{name} is a {type(part).__name__}: it must be a payload")
    if not part.aligned:
        raise ValueError(
            f"{name} decodes to coordinates of its own: inside another method use one that keeps the table's"
        )


def check_payloads(name: str, parts: Any) -> None:
    """Raise a ValueError unless `parts` is a tuple of payloads that `check_payload` accepts."""
    if not isinstance(parts, tuple):
        raise ValueError(f"{name} is a {type(parts).__name__}: it must be a tuple of payloads")
    for i, part in enumerate(parts):
        check_payload(f"{name}.{i}", part)
