"""Tensor trains: TT-SVD (Oseledets, SIAM J. Sci. Comput. 2011, section 2) of a table whose ids and columns are read as
numbers of a few digits (TT-matrices: Oseledets, section 4.3; of embeddings: Khrulkov et al. 2019, sections 3 and 4).

The order of the truncations and the fine-tuning are ours. The train is cut in two. For orthonormal directions V of one
half, ‖A − LVᵀ‖² = ‖A − AVVᵀ‖² + ‖AV − L‖²: a truncated SVD of AV solves for all cores of the other half L at once. A
sweep of alternating least squares does that for each half.
"""  # noqa: D205

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement

import numpy as np

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.data.table import Table
from eigenselect.compressors.data.views import ScaledTable
from eigenselect.compressors.methods.tensor_train.half import Half
from eigenselect.compressors.methods.tensor_train.unfolding import Unfolding
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.tensor_train import TensorTrain
from eigenselect.compressors.settings import check_choice, check_count, check_number, check_time_limit, shown
from eigenselect.compressors.training import Deadline


@cache
def digits(size: int, count: int) -> tuple[int, ...]:
    """Sizes of `count` digits: alike, with the smallest product that is at least `size`, the largest at the ends.

    Alike: the largest is at most one and a half times the smallest, or one more than it. A core inside the train has
    two bonds, so that small ones there leave bytes for a higher rank.
    """
    root = size ** (1 / count)
    found = []
    for some in combinations_with_replacement(range(max(1, int(root / 1.5)), int(1.5 * root) + 2), count - 1):
        last = max(some[-1], -(-size // math.prod(some)))
        if last <= max(1.5 * some[0], some[0] + 1):
            found.append((math.prod(some) * last, last - some[0], (*some, last)))
    sizes = min(found)[2]
    return sizes[-2::-2] + sizes[(count - 1) % 2 :: 2]


@dataclass(frozen=True)
class TTSVD(Compressor):
    """The table as a train of 2, 3 or 4 cores of float32, all but one of them orthonormal.

    The rows and columns beyond n and d that the digits address are zeros. Time and memory grow with the rank: meant for
    a rate of several times.

    Attributes:
        rate: compression against float32, at least 1. The rank, the same at every bond that allows it, is the largest
            that keeps to it, at least 1.
        cores: 2, 3 or 4.
        sweeps: of alternating least squares after the TT-SVD; none makes the error over all addressed entries larger.
        time_limit: seconds after which no half is solved for again: what comes out then depends on the machine.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import TTSVD, EmbeddingTable
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32))
        >>> payload = TTSVD(rate=4).compress(table, np.random.default_rng(0))
        >>> [core.shape for core in payload.cores]
        [(5, 1, 3, 6), (4, 6, 3, 6), (5, 6, 4, 1)]
    """

    rate: float
    cores: int = 3
    sweeps: int = 0
    time_limit: float | None = None

    effort = 1.5

    def __post_init__(self) -> None:
        check_number(self, "rate", least=1)
        check_choice(self, "cores", (2, 3, 4))
        check_count(self, "sweeps", 0)
        check_time_limit(self)

    @property
    def name(self) -> str:  # noqa: D102
        sweeps = f"-{self.sweeps}sweeps" if self.sweeps else ""
        limit = "" if self.time_limit is None else f"-within{shown(self.time_limit)}s"
        return f"tt{self.cores}-{shown(self.rate)}x{sweeps}{limit}"

    def bonds(self, n: int, d: int) -> tuple[int, ...]:
        """The ranks r_1, 1 at both ends, of the train of an (n, d) table."""
        modes = self._modes(n, d)
        allowed = [min(math.prod(modes[:i]), math.prod(modes[i:])) for i in range(self.cores + 1)]

        def clipped(rank: int) -> tuple[int, ...]:
            return tuple(min(rank, most) for most in allowed)

        def values(rank: int) -> int:
            ranks = clipped(rank)
            return sum(ranks[i] * modes[i] * ranks[i + 1] for i in range(self.cores))

        return clipped(max(1, bisect_right(range(1, max(allowed) + 1), n * d / self.rate, key=values)))

    def _modes(self, n: int, d: int) -> list[int]:
        return [rows * columns for rows, columns in zip(digits(n, self.cores), digits(d, self.cores), strict=True)]

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        modes, ranks = self._modes(n, d), self.bonds(n, d)
        return 4 * sum(ranks[i] * modes[i] * ranks[i + 1] for i in range(self.cores))

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        deadline = Deadline(self.time_limit)
        n, d = table.n, table.d
        rows, columns, ranks = digits(n, self.cores), digits(d, self.cores), self.bonds(n, d)
        cut = (self.cores + 1) // 2
        scaled = ScaledTable.by_largest(table)
        unfolding = Unfolding(scaled, rows, columns, cut)
        left = Half(rows[:cut], columns[:cut], ranks[cut - 1], right=False)
        right = Half(rows[: cut - 1 : -1], columns[: cut - 1 : -1], ranks[cut + 1], right=True)
        ours, theirs = left.empty(ranks[cut]), right.empty(ranks[cut])
        right.store(theirs, unfolding.directions(ranks[cut], rng))
        right.fit(theirs)
        weighted = right
        for step in range(1 + 2 * self.sweeps):
            if step and deadline.passed:
                break
            weighted.orthonormalise()
            if weighted is right:
                right.product(theirs)
                unfolding.times(right.matrix(theirs), left.unfolded(ours))
                left.fit(ours)
                weighted = left
            else:
                left.product(ours)
                right.store(theirs, unfolding.transpose_times(left.unfolded(ours)))
                right.fit(theirs)
                weighted = right
        weighted.inner *= scaled.unit
        return TensorTrain((*left.cores(), *right.cores()), n, d)
