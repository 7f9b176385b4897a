"""No compression: the table in float32 or float16, the reference points of every comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.data.table import Table
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.settings import check_choice


@dataclass(frozen=True)
class Identity(Compressor):
    """Rows as floats.

    Attributes:
        dtype: `float32` (exact) or `float16` (rounded to nearest).

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import EmbeddingTable, Identity
        >>> table = EmbeddingTable(np.float32([[1, 2], [3, 4], [5, 6.0001]]))
        >>> Identity("float16").compress(table, np.random.default_rng(0)).read(slice(1, 3))
        array([[3., 4.],
               [5., 6.]], dtype=float32)
    """

    dtype: Literal["float32", "float16"] = "float32"

    by_rows = True

    def __post_init__(self) -> None:
        check_choice(self, "dtype", ("float32", "float16"))

    @property
    def name(self) -> str:  # noqa: D102
        return self.dtype

    @property
    def keeps_zero_rows(self) -> bool:  # noqa: D102
        return True

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        return n * d * np.dtype(self.dtype).itemsize

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        limit = float(np.finfo(self.dtype).max)
        if table.abs_max > limit:
            raise ValueError(f"an entry of {table.abs_max:g} exceeds the {limit:g} of {self.dtype}: use float32")
        return Dense(table.make((table.d,), self.dtype, table.read))
