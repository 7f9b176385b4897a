"""What a compression method promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.table import Table
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.threads import one_blas_thread


class Compressor(ABC):
    """A method with its settings: a frozen dataclass without fitted state.

    Laws, checked for every method by `tests/test_laws.py`:

    - `nbytes(n, d)` equals `compress(table, rng).nbytes` for every (n, d) table, and needs no table to be known;
    - the same table, settings and seed give the same bytes, on any number of threads, if `reproducible`;
    - where `keeps_zero_rows` is true, a row of zeros decodes to zeros, in coordinates of its own too.

    Example:
        A method of your own names itself, says its bytes, and makes a payload.

        >>> from dataclasses import dataclass
        >>> import numpy as np
        >>> from eigenselect.compressors import Compressor, EmbeddingTable, Identity
        >>> @dataclass(frozen=True)
        ... class Rounded(Compressor):
        ...     digits: int
        ...
        ...     @property
        ...     def name(self):
        ...         return f"rounded-{self.digits}"
        ...
        ...     def nbytes(self, n, d):
        ...         return Identity().nbytes(n, d)
        ...
        ...     def _compress(self, table, rng):
        ...         rows = np.round(table.read(slice(0, table.n)), self.digits)
        ...         return Identity().compress(EmbeddingTable(rows), rng)
        >>> table = EmbeddingTable(np.float32([[0.123, 0.456], [0.789, 1.0]]))
        >>> Rounded(1).compress(table, np.random.default_rng(0)).read(slice(0, 2))
        array([[0.1, 0.5],
               [0.8, 1. ]], dtype=float32)
    """

    effort: ClassVar[float] = 0.0
    """How long the method takes, in thirds of the time of `TrellisCode`: for forecasts alone. 0 is a few passes."""

    by_rows: ClassVar[bool] = False
    """Whether a sample of rows shows how well the method does on all: what it makes of a row depends on the others only
    by what it learns of them, and no setting on how many there are."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name, another one for other settings of a method: `uniform-b4`."""

    @property
    def keeps_dimension(self) -> bool:
        """Whether the payload decodes to the table's own columns, and not to coordinates of its own."""
        return True

    @property
    def parts(self) -> Sequence[Compressor]:
        """The compressors among the settings, to which work is handed. To override where they are held in lists."""
        values = (getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]  # a dataclass
        return [value for value in values if isinstance(value, Compressor)]

    @property
    def reproducible(self) -> bool:
        """Whether the same table, settings and seed give the same bytes again, anywhere.

        False where a time limit is set, of this method or of one that it hands work to: how far training gets in it
        depends on the machine and on what else it does.
        """
        return getattr(self, "time_limit", None) is None and all(part.reproducible for part in self.parts)

    @property
    def seen_in_sample(self) -> bool:
        """Whether a sample of rows shows how well it does: `by_rows`, of this method and of those it hands work to."""
        return self.by_rows and self.reproducible and all(part.seen_in_sample for part in self.parts)

    @property
    def keeps_zero_rows(self) -> bool:
        """Whether every row of zeros decodes to zeros, whatever the table."""
        return False

    def simplest(self, d: int) -> Compressor:
        """The same method with the plainest settings that make the same of every table of d columns."""
        return self

    @abstractmethod
    def nbytes(self, n: int, d: int) -> int:
        """Exact bytes of the payload of any (n, d) table.

        Raises:
            ValueError: the settings cannot be used on such a table.
        """

    @abstractmethod
    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        """The method itself."""

    @property
    def without_matrix(self) -> Compressor:
        """The method with its decode matrix left to the consumer; where it has none to leave, the method itself."""
        return self

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
        with one_blas_thread():
            payload = self._compress(table, rng)
        if payload.nbytes != promised:
            raise RuntimeError(f"{self.name} promised {promised} bytes and made {payload.nbytes}: correct its nbytes()")
        return payload
