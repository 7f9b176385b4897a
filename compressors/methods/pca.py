"""Principal components (May et al., NeurIPS 2019, App. D.3) and dimension x precision (App. E.3)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.data.table import Table
from eigenselect.compressors.data.views import projected
from eigenselect.compressors.methods.identity import Identity
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.composed import Projected, Unaligned
from eigenselect.compressors.settings import (
    check_count,
    check_flag,
    check_number,
    check_one_given,
    check_then,
    shown,
)


@dataclass(frozen=True)
class PCA(Compressor):
    """The table's k leading singular directions, X V_k = U_k S_k, compressed by another method.

    Not centred: the eigenspace overlap score is about the column span of the table itself.

    Attributes:
        dim: k, from 1 to d; or
        rate: k = round(d / rate), at least 1. Exactly one of the two is given.
        keep_dimension: decode to d columns, U_k S_k V_kᵀ, with the (k, d) factor charged to the bytes; else to k.
        then: what compresses the (n, k) factor; float32 unless given. PCA then b-bit quantization is the study's
            dimension x precision.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import PCA, EmbeddingTable, KMeans
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32))
        >>> payload = PCA(dim=8, then=KMeans(4)).compress(table, np.random.default_rng(0))
        >>> payload.nbytes, payload.read(slice(0, 100)).shape
        (464, (100, 8))
    """

    dim: int | None = None
    rate: float | None = None
    keep_dimension: bool = False
    then: Compressor = field(default_factory=Identity)

    by_rows = True

    def __post_init__(self) -> None:
        check_one_given(self, "dim", "rate")
        if self.dim is not None:
            check_count(self, "dim")
        else:
            check_number(self, "rate", least=1)
        check_flag(self, "keep_dimension")
        check_then(self)

    def k(self, d: int) -> int:
        """Directions kept of `d`."""
        k = self.dim if self.dim is not None else max(1, round(d / self.rate))  # type: ignore[operator]
        if k > d:
            raise ValueError(f"PCA dim = {k}: must be at most the table's dimension d = {d}")
        return k

    @property
    def name(self) -> str:  # noqa: D102
        size = f"k{self.dim}" if self.dim is not None else f"{shown(self.rate)}x"
        keep = "-keep" if self.keep_dimension else ""
        then = "" if self.then == Identity() else f"-{self.then.name}"
        return f"pca-{size}{keep}{then}"

    @property
    def keeps_dimension(self) -> bool:  # noqa: D102
        return self.keep_dimension

    @property
    def without_matrix(self) -> PCA:  # noqa: D102
        return replace(self, keep_dimension=False)

    @property
    def keeps_zero_rows(self) -> bool:  # noqa: D102
        return self.then.keeps_zero_rows

    def simplest(self, d: int) -> Compressor:  # noqa: D102
        return self if self.dim is not None else replace(self, dim=self.k(d), rate=None)

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        k = self.k(d)
        return self.then.nbytes(n, k) + (4 * k * d if self.keep_dimension else 0)

    def decode_matrix(self, table: Table, rng: np.random.Generator) -> npt.NDArray[np.floating] | None:  # noqa: D102
        return None if self.keep_dimension else np.ascontiguousarray(self._directions(table).T)

    def _directions(self, table: Table) -> npt.NDArray[np.float32]:
        return np.ascontiguousarray(table.spectrum[1][:, : self.k(table.d)], dtype=np.float32)

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        directions = self._directions(table)
        factor = self.then.compress(projected(table, directions), rng)
        return Projected(factor, np.ascontiguousarray(directions.T)) if self.keep_dimension else Unaligned(factor)
