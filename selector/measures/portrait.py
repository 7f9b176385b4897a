"""What a candidate keeps of a table, for people to look at: directions, rows by frequency, neighbours of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.table import EmbeddingTable
from eigenselect.compressors.payloads.base import Payload
from eigenselect.selector.measures.moments import Moments

BANDS = 10
"""Groups of rows by frequency."""

ROWS = 20_000
"""Rows that are looked at: evenly spaced for the errors, the most frequent for the neighbours."""

PLACES = (20, 60, 200, 600, 2_000, 6_000)
"""About where the tokens stand, by frequency, whose neighbours are shown."""

NEAREST = 5

Ids = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Band:
    """Rows that are about as frequent as each other.

    Attributes:
        first: place of the first by frequency, from 1.
        last: place of the last.
        error: relative reconstruction error.
        cosine: mean cosine to the table's rows.
    """

    first: int
    last: int
    error: float
    cosine: float


@dataclass(frozen=True)
class Neighbours:
    """The tokens nearest to one, by cosine, in the table and in the candidate."""

    token: str
    before: list[str]
    after: list[str]


@dataclass(frozen=True)
class Portrait:
    """A candidate beside its table.

    Attributes:
        spectrum: singular values of the table, the first is 1.
        kept: share of each left singular direction within the candidate's span.
        counted: the frequencies are counts of the table; else its rows are taken to be in their order.
        bands: rows by frequency; none where the candidate's columns are not the table's.
        neighbours: of some tokens; likewise, and none where the tokens are not known.
    """

    spectrum: list[float]
    kept: list[float]
    counted: bool
    bands: list[Band]
    neighbours: list[Neighbours]


def portrait(found: Moments, table: EmbeddingTable, payload: Payload) -> Portrait:
    """The portrait of a candidate.

    Args:
        found: the moments of the two.
        table: the table.
        payload: the candidate.
    """
    u, s = found.x_svd
    kept = ((u[:, : s.size].T @ found.y_basis) ** 2).sum(axis=1)
    order = range(table.n) if table.counts is None else np.argsort(-table.counts, kind="stable")
    aligned, first = payload.aligned and payload.k == table.d, np.asarray(order[:ROWS])
    return Portrait(
        spectrum=(s / s[0]).tolist() if s.size else [],
        kept=np.minimum(kept, 1).tolist(),
        counted=table.counts is not None,
        bands=_bands(table, payload, order) if aligned else [],
        neighbours=_neighbours(table.tokens, table, payload, first) if aligned and table.tokens else [],
    )


def _bands(table: EmbeddingTable, payload: Payload, order: range | Ids) -> list[Band]:
    found, count, first = [], min(BANDS, table.n), 0
    for band in range(count):
        places = range(first, first + table.n // count + (band < table.n % count))
        first = places.stop
        ids = np.sort(np.asarray(order[places.start : places.stop : max(1, len(places) * BANDS // ROWS)]))
        x, y = _rows(table, ids), payload.read(ids).astype(np.float64)
        total = np.linalg.norm(x)
        error = float(np.linalg.norm(x - y) / total) if total else 0.0
        lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
        cosines = np.divide((x * y).sum(axis=1), lengths, out=np.zeros(len(x)), where=lengths > 0)
        found.append(Band(places.start + 1, places.stop, error, float(cosines.mean())))
    return found


def _neighbours(tokens: Sequence[str], table: EmbeddingTable, payload: Payload, ids: Ids) -> list[Neighbours]:
    """Of the words at about `PLACES` among `ids`, which are in the order of frequency."""
    words = [place for place, row in enumerate(ids) if len(tokens[row]) > 2 and tokens[row].isalpha()]
    asked = sorted({min((w for w in words if w >= place), default=-1) for place in PLACES} - {-1})
    rows = [np.asarray(each, np.float32) for each in (_rows(table, ids), payload.read(ids))]
    before, after = (_nearest(each, asked) for each in rows)
    names = [tokens[row] for row in ids]
    return [
        Neighbours(names[place], [names[i] for i in before[at]], [names[i] for i in after[at]])
        for at, place in enumerate(asked)
    ]


def _nearest(rows: npt.NDArray[np.float32], asked: Sequence[int]) -> npt.NDArray[np.intp]:
    """(asked, NEAREST) places of the rows with the highest cosine, the nearest first, without the row itself."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    cosines = unit[[*asked]] @ unit.T
    cosines[np.arange(len(asked)), [*asked]] = -np.inf
    return np.argsort(-cosines, axis=1, kind="stable")[:, :NEAREST]


def _rows(table: EmbeddingTable, ids: Ids) -> npt.NDArray[np.float64]:
    return np.asarray(table.vectors[ids], dtype=np.float64)
