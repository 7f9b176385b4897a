"""What a compression method promises."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from eigenselect.compressors.data.table import Table
from eigenselect.compressors.payloads.base import Payload


class Compressor(ABC):
    """A method with its settings: a frozen dataclass without fitted state.

    Laws, checked for every method by `tests/test_laws.py`:

    - `nbytes(n, d)` equals `compress(table, rng).nbytes` for every (n, d) table, and needs no table to be known;
    - the same table, settings and seed give the same bytes, on any number of threads;
    - where `keeps_zero_rows` is true, a row of zeros decodes to zeros, in coordinates of its own too.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name, unique among different settings of a method: `uniform-b4`."""

    @property
    def keeps_dimension(self) -> bool:
        """Whether the payload decodes to the table's own columns, and not to coordinates of its own."""
        return True

    @property
    def keeps_zero_rows(self) -> bool:
        """Whether every row of zeros decodes to zeros, whatever the table."""
        return False

    @abstractmethod
    def nbytes(self, n: int, d: int) -> int:
        """Exact bytes of the payload of any (n, d) table.

        Raises:
            ValueError: the settings cannot be used on such a table.
        """

    @abstractmethod
    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        """The method itself."""

    def decode_matrix(self, table: Table, rng: np.random.Generator) -> npt.NDArray[np.floating] | None:
        """What the decoded rows (n, k) are multiplied by to give the table, (k, d); None when they are the table.

        For methods that leave it to the consumer, and out of the payload's bytes. `rng` as for `compress`.
        """
        return None

    def compress(self, table: Table, rng: np.random.Generator) -> Payload:
        """Compress `table`; all randomness is drawn from `rng`.

        Raises:
            ValueError: the table and the settings do not go together.
        """
        promised = self.nbytes(table.n, table.d)
        # One BLAS thread: sums must not depend on how many threads they were split over.
        with threadpool_limits(limits=1, user_api="blas"):
            payload = self._compress(table, rng)
        if payload.nbytes != promised:
            raise RuntimeError(f"{self.name} promised {promised} bytes and made {payload.nbytes}: mend its nbytes()")
        return payload


def check_count(name: str, value: object) -> None:
    """Raise a ValueError unless `value`, the setting `name`, is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} = {value!r}: must be an integer of at least 1")


def check_then(method: str, then: object, name: str = "then") -> None:
    """Raise a ValueError unless `then`, what compresses the result of `method`, is a compressor."""
    if not isinstance(then, Compressor):
        raise ValueError(f"{method} {name} = {then!r}: must be a compressor, in a configuration one with a _target_")


def check_aligned(method: str, name: str, then: Compressor) -> None:
    """Raise a ValueError unless `then` is a compressor that keeps the table's columns."""
    check_then(method, then, name)
    if not then.keeps_dimension:
        raise ValueError(
            f"{method} {name} = {then.name}: it decodes to coordinates of its own, and must keep the table's, "
            "as PCA does with keep_dimension=true"
        )
