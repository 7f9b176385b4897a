"""Drift: what it costs to stay with a deployed payload when there is a newer table.

Rows are compared token by token. On the tokens that both tables have, EOS of the deployed rows against the newer table
is held beside the EOS that the same method with the same settings reaches when it compresses the newer rows: the
difference is what staying costs, and what a re-selection wins at least, whatever became of the table itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from eigenselect.compressors import EmbeddingTable
from eigenselect.compressors.data.views import RowsTable
from eigenselect.selector.decision.entries import Entry
from eigenselect.selector.measures.moments import Moments, moments
from eigenselect.selector.measures.overlap import eos
from eigenselect.selector.measures.reconstruction import reconstruction_error_relative
from eigenselect.selector.pool.candidates import rebuilt
from eigenselect.selector.progress import reporting

TOLERANCE = 0.01
"""EOS that staying may cost: one direction of a hundred."""

Ids = npt.NDArray[np.int64]
Decode = Callable[[Ids], npt.NDArray[np.float32]]

Scores = tuple[float | None, float | None]
"""EOS, and the relative reconstruction error where it is defined."""

UNKNOWN: Scores = (None, None)


@dataclass(frozen=True)
class Pairs:
    """Which rows of the newer table stand for which of the deployed one.

    Attributes:
        by: `token`, or `row` where the tokens of either are not known: row i is then taken for id i.
        ids: (m,) deployed ids, increasing.
        rows: (m,) their rows in the newer table.
        new: tokens of the newer table that have no vector in the deployed one, in their order.
        gone: number of deployed tokens that the newer table lacks.
    """

    by: Literal["token", "row"]
    ids: Ids
    rows: Ids
    new: list[str]
    gone: int

    @property
    def moved(self) -> int:
        """Number of tokens whose row in the newer table is not their deployed id."""
        return int((self.ids != self.rows).sum())


def pair(n: int, tokens: Sequence[str] | None, newer: EmbeddingTable) -> Pairs:
    """Pair `n` deployed rows, of `tokens` where these are known, with those of the newer table.

    Raises:
        ValueError: there are no tokens to go by, and another number of rows.
    """
    if tokens is None or newer.tokens is None:
        if newer.n != n:
            whose = "the hand-over" if tokens is None else "the newer table"
            raise ValueError(
                f"the newer table has {newer.n} rows and the deployed one {n}, and {whose} has no tokens to pair them "
                "by: give table.tokens=FILE, or select again"
            )
        rows = np.arange(n, dtype=np.int64)
        return Pairs("row", rows, rows, [], 0)
    row_of = {token: row for row, token in enumerate(newer.tokens)}
    pairs = [(i, row_of[token]) for i, token in enumerate(tokens) if token in row_of]
    ids, rows = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    deployed = {*tokens}
    return Pairs("token", ids, rows, [token for token in newer.tokens if token not in deployed], n - len(ids))


@dataclass(frozen=True)
class Drift:
    """The verdict and what it rests on.

    Attributes:
        verdict: keep or re-select.
        reason: why, in one sentence.
        notes: what else whoever keeps the payload must know.
        cost: EOS of `recompressed` (of `recorded` where that is None) less that of `deployed`; None without rows to
            compare.
        tolerance: the largest cost at which the payload is kept.
        eos: `recorded` is that of the deployed payload against its own table; `deployed` and `recompressed` are
            against the newer one, over the rows compared.
        reconstruction_error_relative: likewise; None for coordinates of their own.
        rows: how the rows were paired `by`, how many were `compared`, and of the tokens how many are `new`, `gone` or
            `moved`; None where they are not known.
    """

    verdict: Literal["keep", "re-select"]
    reason: str
    notes: list[str]
    cost: float | None
    tolerance: float
    eos: dict[str, float | None]
    reconstruction_error_relative: dict[str, float | None]
    rows: dict[str, Any]


def drift(
    newer: EmbeddingTable,
    pairs: Pairs,
    decode: Decode,
    chosen: Entry,
    *,
    aligned: bool,
    seed: int,
    tolerance: float = TOLERANCE,
) -> Drift:
    """Whether to keep a deployed payload: re-select when tokens have no vector, or when staying costs too much.

    Args:
        newer: the newer table.
        pairs: its rows and the deployed ones.
        decode: deployed ids -> (len, k), the deployed rows.
        chosen: the recorded candidate.
        aligned: whether the deployed rows are in the table's coordinates (`Payload.aligned`).
        seed: of the selection.
        tolerance: the EOS that staying may cost.
    """
    recorded = (chosen.measures["eos"], chosen.measures.get("reconstruction_error_relative"))
    deployed = recompressed = UNKNOWN
    notes: list[str] = []
    if len(pairs.ids):
        shared = RowsTable(newer, pairs.rows)
        deployed = _scores(moments(shared, lambda rows: decode(pairs.ids[rows]), aligned=aligned))
        try:
            recompressed = _compressed_again(shared, chosen, seed)
        except Exception as error:  # as in a sweep: what a method cannot do is reported, and ends nothing else
            why = " ".join(str(error).split())
            notes.append(f"{chosen.name} cannot compress the newer rows ({why}): the cost is against its record")
    reached = recorded if recompressed is UNKNOWN else recompressed
    cost = None if deployed[0] is None or reached[0] is None else reached[0] - deployed[0]
    reasons = _reasons(newer.n, pairs, cost, tolerance)
    if cost is not None and cost <= tolerance:
        notes += _other_coordinates(deployed[1], reached[1], tolerance)
    if pairs.moved:
        notes.append(
            f"{pairs.moved:,} tokens have another row in the newer table: take ids from this folder's tokens.txt"
        )
    scores = {"recorded": recorded, "deployed": deployed, "recompressed": recompressed}
    return Drift(
        verdict="re-select" if reasons else "keep",
        reason="; ".join(reasons) or f"staying costs {cost:.4f} of EOS, allowed is {tolerance:g}",
        notes=notes,
        cost=cost,
        tolerance=tolerance,
        eos={name: both[0] for name, both in scores.items()},
        reconstruction_error_relative={name: both[1] for name, both in scores.items()},
        rows=_counts(pairs),
    )


def _scores(m: Moments) -> Scores:
    return eos(m), reconstruction_error_relative(m)


def _compressed_again(rows: RowsTable, chosen: Entry, seed: int) -> Scores:
    """What the method of `chosen` with its settings reaches on the rows."""
    with reporting():
        payload = rebuilt(chosen.compressor, chosen.parameters).compress(rows, np.random.default_rng(seed))
    return _scores(moments(rows, payload.read, aligned=payload.aligned))


def _reasons(n: int, pairs: Pairs, cost: float | None, tolerance: float) -> list[str]:
    """Why to select again, if at all, for a newer table of `n` rows."""
    reasons = []
    if pairs.new:
        first = ", ".join(map(repr, pairs.new[:5]))
        reasons.append(f"{len(pairs.new):,} of its {n:,} tokens have no vector here (first: {first})")
    if cost is None:
        reasons.append("no token of the newer table has a vector here")
    elif not cost <= tolerance:
        reasons.append(f"staying costs {cost:.4f} of EOS, allowed is {tolerance:g}")
    return reasons


def _other_coordinates(error: float | None, reached: float | None, tolerance: float) -> list[str]:
    """A note where rows span the same and are not the same: more of their squared norm is lost than needs be."""
    if error is None or reached is None or not error**2 - reached**2 > tolerance:
        return []
    return [
        f"it spans what the newer table spans, in other coordinates: its relative error is {error:.4f}, compressed "
        f"again {reached:.4f}; models that were trained on these vectors keep working, weights that come with the "
        "newer table do not fit"
    ]


def _counts(pairs: Pairs) -> dict[str, Any]:
    """`Drift.rows`."""
    counts = {"new": len(pairs.new), "gone": pairs.gone, "moved": pairs.moved}
    known = counts if pairs.by == "token" else dict.fromkeys(counts)
    return {"by": pairs.by, "compared": len(pairs.ids), **known}
