"""Ids that share the rows of a payload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.payloads.base import check_array, check_payload
from eigenselect.compressors.payloads.composed import OfPart
from eigenselect.compressors.payloads.ops import Ops, V


@dataclass(frozen=True)
class Mapped(OfPart):
    """Rows of a part that each id names: several ids may share one, as the tokens of a merged vocabulary do.

    Arrays:
        rows: (n,) int32, the row of the part that each id looks up.

    Attributes:
        part: a payload.
    """

    rows: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        check_payload("Mapped.part", self.part)
        check_array("Mapped.rows", self.rows, 1, "int32")
        if not len(self.rows) or self.rows.min() < 0 or self.rows.max() >= self.part.n:
            raise ValueError(f"Mapped.rows must be one or more rows from 0 to {self.part.n - 1}")

    @property
    def n(self) -> int:  # noqa: D102
        return len(self.rows)

    def _rows(self, rows: V, ops: Ops[V]) -> V:
        return ops.pick(ops.param("rows", self.rows), ops.wrap(rows, self.n))

    def decode(self, rows: V, ops: Ops[V]) -> V:  # noqa: D102
        return self.part.decode(self._rows(rows, ops), ops.scope("part"))

    def pooled(self, rows: V, ops: Ops[V], pool: Callable[[V], V]) -> V:  # noqa: D102
        return self.part.pooled(self._rows(rows, ops), ops.scope("part"), pool)
