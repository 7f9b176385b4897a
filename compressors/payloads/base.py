"""What a compressed table is: packed arrays and one decode.

A payload knows nothing of the method that made it. Its kinds are a file each beside this one, their compositions in
`compressors.payloads.composed`; `compressors.payloads.storage` reads files back.

File format: safetensors. Each array is stored under the name that `arrays()` gives it (`part.packed` for an array of
a nested payload); the metadata entry `payload` is JSON that names the kinds by their tags, their plain attributes and
their nesting.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import fields
from inspect import isabstract
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.arrays import give_back, is_large
from eigenselect.compressors.data.tensor_file import save_arrays
from eigenselect.compressors.payloads.ops import Array, NumpyOps, Ops, V

FORMAT_VERSION = 1

READ_BYTES = 1 << 25
"""What the widest intermediate value of a decode may take when rows are read in numpy."""

SCATTERED = 256
"""Ids read at once of an array in a file: each may bring in all that lies around it."""

OURS = "eigenselect."
"""Start of the modules whose kinds are tagged by their bare names."""

Float32s = npt.NDArray[np.float32]

_TAGGED: dict[str, type[Payload]] = {}


class Payload(ABC):
    """A compressed (n, k) table. Subclasses are frozen dataclasses of arrays, plain attributes and payloads.

    A subclass is a kind of payload wherever it is defined: it is saved, loaded, and decoded in numpy, torch and ONNX
    once it has `n`, `k` and `decode`. Its fields are numpy arrays, payloads, numbers, strings, booleans and None, or
    tuples of them of at least one element.

    Attributes:
        tag: the kind in files: the class's name for ours, `package.module.Class` for others.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Twofold(Payload):
        ...     doubled: np.ndarray  # (n, k) float32
        ...
        ...     n = property(lambda self: len(self.doubled))
        ...     k = property(lambda self: self.doubled.shape[1])
        ...
        ...     def decode(self, rows, ops):
        ...         rows = ops.gather(ops.param("doubled", self.doubled), rows)
        ...         return ops.mul(rows, ops.param("half", np.array([0.5], np.float32)))
        >>> Twofold(np.array([[2, 4], [6, 8]], np.float32)).read(slice(1, None))
        array([[3., 4.]], dtype=float32)
    """

    tag: ClassVar[str]

    def __init_subclass__(cls) -> None:
        """Tag the kind.

        Raises:
            ValueError: a kind from another place has that tag.
        """
        super().__init_subclass__()
        ours = cls.__module__.startswith(OURS)
        cls.tag = cls.__name__ if ours else f"{cls.__module__}.{cls.__qualname__}"
        # The same class again is a dataclass with slots, or a cell or a module that was run twice: it takes the place.
        other = _TAGGED.setdefault(cls.tag, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(
                f"{cls.__module__}.{cls.__qualname__} and {other.__module__}.{other.__qualname__} are two kinds of "
                f"payload under one tag, {cls.tag!r}: rename one of them"
            )
        _TAGGED[cls.tag] = cls
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = Payload.__repr__  # type: ignore[method-assign]  # and none of a dataclass, with all its arrays

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n:,} x {self.k}, {self.nbytes:,} bytes)"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Every row, decoded: `numpy.asarray(payload)`, 4nk bytes in float32."""
        if copy is False:
            raise ValueError("a payload holds no decoded rows: numpy.asarray(payload) makes them")
        return self.read(slice(None)).astype(np.float32 if dtype is None else dtype, copy=False)

    @property
    @abstractmethod
    def n(self) -> int:
        """Number of rows."""

    @property
    @abstractmethod
    def k(self) -> int:
        """Number of columns that `decode` gives."""

    @abstractmethod
    def decode(self, rows: V, ops: Ops[V]) -> V:
        """The rows `rows`, (batch, k) float32, in the verbs of `ops`; the last verb gives what is returned."""

    def pooled(self, rows: V, ops: Ops[V], pool: Callable[[V], V]) -> V:
        """`pool` of the decoded rows, where it is linear: `ops.sum_bags`, of rows with weights or without.

        A kind whose decode ends in a linear map pools before it, so that a matrix is applied once a bag.
        """
        return pool(self.decode(rows, ops))

    @property
    def aligned(self) -> bool:
        """Whether column j stands for the table's column j, so that the two can be compared entry by entry."""
        return True

    @property
    def bands(self) -> int:
        """Parts that are decoded apart: of different rows, or a compressed matrix."""
        return max([1, *(part.bands for _, part in self._items() if isinstance(part, Payload))])

    @property
    def width(self) -> int:
        """Values of a row in the widest step of the decode."""
        return max([self.k, *(part.width for _, part in self._items() if isinstance(part, Payload))])

    def read(self, rows: slice | npt.NDArray[np.integer]) -> Float32s:
        """Decoded rows in numpy, as numpy picks rows of the decoded table: what is scored.

        Args:
            rows: any slice, or ids of any shape, from -n to n-1.

        Returns:
            (len, k) float32 of a slice, (*ids.shape, k) of ids.

        Raises:
            ValueError: ids that are not integers.
            IndexError: an id outside of the table.
        """
        if isinstance(rows, slice):
            return self._read(range(self.n)[rows])
        ids = np.asarray(rows)
        if not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"rows are {ids.dtype}: they must be integers or a slice")
        return self._read(ids.ravel()).reshape(*ids.shape, self.k)

    def read_sums(self, ids: npt.NDArray[np.integer], bags: npt.NDArray[np.integer]) -> Float32s:
        """Sums of the decoded rows of consecutive bags, in numpy.

        Args:
            ids: (t,) of all bags, one after the other, from -n to n-1.
            bags: (b,) where in `ids` each begins, not decreasing, from 0 to t; of an empty one the sum is 0.

        Returns:
            (b, k) float32; sums are float64 before a matrix is applied.

        Raises:
            IndexError: an id outside of the table.

        Example:
            >>> from eigenselect.compressors.payloads.dense import Dense
            >>> rows = Dense(np.array([[1, 2], [3, 4], [5, 6]], np.float32))
            >>> rows.read_sums(np.array([0, 1, 2]), np.array([0, 2, 2]))
            array([[4., 6.],
                   [0., 0.],
                   [5., 6.]], dtype=float32)
        """
        ids, bags = np.asarray(ids), np.asarray(bags)
        sums = np.empty((len(bags), self.k), dtype=np.float32)
        step = max(1, READ_BYTES // (4 * self.width))
        firsts = np.flatnonzero(np.diff(bags // step, prepend=-1))  # bags that begin within so many rows go together
        for first, after in pairwise([*firsts, len(bags)]):
            ends = bags[after] if after < len(bags) else len(ids)
            sums[first:after] = self._summed(ids[bags[first] : ends], bags[first:after] - bags[first])
        return sums

    def _summed(self, ids: npt.NDArray[np.integer], bags: npt.NDArray[np.integer]) -> Array:
        ops = NumpyOps()
        return self.pooled(ids, ops, lambda rows: ops.sum_bags(rows, bags))

    def _read(self, ids: range | npt.NDArray[np.integer]) -> Float32s:
        step, arrays = max(1, READ_BYTES // (4 * self.width)), self.arrays().values()
        if not isinstance(ids, range) and any(is_large(array.nbytes) for array in arrays):
            step = min(step, SCATTERED)
        if len(ids) <= step:
            decoded = self._decoded(ids)
            give_back(*arrays)
            return decoded
        decoded = np.empty((len(ids), self.k), dtype=np.float32)
        for start in range(0, len(ids), step):
            decoded[start : start + step] = self._decoded(ids[start : start + step])
            give_back(*arrays)
        return decoded

    def _decoded(self, ids: range | npt.NDArray[np.integer]) -> Float32s:
        # A range is read as a slice, without a copy, which numpy alone takes: the verbs' type does not say so.
        rows: Array = cast(Array, _slice(ids)) if isinstance(ids, range) else ids
        found: Array = self.decode(rows, NumpyOps())
        return found

    def _items(self) -> Iterator[tuple[str, Any]]:
        """Each field's name and value, the elements of a tuple one by one."""
        for field in fields(self):  # type: ignore[arg-type]  # every kind is a dataclass
            value = getattr(self, field.name)
            if isinstance(value, tuple) and value:
                yield from ((f"{field.name}.{i}", element) for i, element in enumerate(value))
            else:
                yield field.name, value

    def arrays(self) -> dict[str, Array]:
        """Every stored array by its name."""
        found: dict[str, Array] = {}
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
        """What of the payload is not an array.

        Raises:
            ValueError: a value that a file does not hold, or that would be another kind when it is read.
        """
        kind = type(self)
        if _TAGGED[kind.tag] is not kind:
            raise ValueError(
                f"{kind.tag} was defined again after this payload was made, which would be read as the later one: "
                "make the payload again"
            )
        spec: dict[str, Any] = {"kind": kind.tag}
        for name, value in self._items():
            if isinstance(value, Payload):
                spec[name] = value._spec()
            elif value is None or isinstance(value, bool | int | float | str):
                spec[name] = value
            elif not isinstance(value, np.ndarray):
                raise ValueError(
                    f"{kind.tag}.{name} is a {type(value).__name__}, which a payload file does not hold: it must be an "
                    "array, a payload, a number, a string, a boolean, None, or a tuple of them"
                )
        return spec

    def save(self, path: Path) -> None:
        """Write the payload to `path`.

        Raises:
            ValueError: a field that a file does not hold.
        """
        spec = {"version": FORMAT_VERSION, **self._spec()}
        save_arrays(self.arrays(), path, {"payload": json.dumps(spec)})


def kinds() -> dict[str, type[Payload]]:
    """Every kind of payload that has been defined, by its tag."""
    return {tag: kind for tag, kind in _TAGGED.items() if not isabstract(kind)}


def _slice(span: range) -> slice:
    """The slice that picks `span`, which is a range of rows."""
    if not span:
        return slice(0, 0)
    return slice(span.start, span.stop if span.stop >= 0 else None, span.step)  # below 0 would count from the end


def check_array(name: str, array: Any, dims: int, *dtypes: str) -> None:
    """Raise a ValueError unless `array` has `dims` dimensions and one of `dtypes`."""
    if not isinstance(array, np.ndarray) or array.ndim != dims or array.dtype.name not in dtypes:
        found = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else a_kind_of(array)
        raise ValueError(f"{name} is {found}: it must be {dims}-D {' or '.join(dtypes)}")


def a_kind_of(value: Any) -> str:
    """What a message says of something that was expected to be another: its type, and the value where it is short."""
    return repr(value) if isinstance(value, bool | int | float | str | None) else f"a {type(value).__name__}"


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
