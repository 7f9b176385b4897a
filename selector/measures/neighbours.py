"""How many of a row's nearest neighbours stay: by cosine, for a sample of rows, among a sample or all of them.

What k-NN measures of embeddings ask (Wendlandt et al. 2018; Leszczynski et al. 2020, section 3), without a seed and at
a bounded cost: 256 rows are looked for among at most 32,768.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.table import Table
from eigenselect.compressors.threads import one_blas_thread

Ids = npt.NDArray[np.integer]
Float32s = npt.NDArray[np.float32]
Read = Callable[[Ids], npt.NDArray[np.floating]]

NEAREST = 10
"""k: neighbours of a row."""

ASKED = 256
"""Rows whose neighbours are looked for: evenly spaced, or in proportion to weights."""

AMONG = 1 << 15
"""Rows that are looked among, evenly spaced in the table: all of a smaller one."""

STEP = 2.0**-20
"""Cosines that round to the same multiple of it are equal: float32 products carry no more."""

ITSELF = -2.0
"""In place of the cosine of a row to itself: less than any."""

FEW = 32
"""One of so many rows is compared first."""

BLOCK = 1024
"""Rows that are compared at once."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest rows of some rows of a table.

    Attributes:
        ids: (m,) rows that are looked among.
        asked: (q,) places in `ids` of those whose neighbours are looked for, increasing; by weight one may be repeated.
        query: (p,) of each neighbour, the place in `asked` of the row whose it is; increasing.
        place: (p,) its place in `ids`.
    """

    ids: Ids
    asked: Ids
    query: Ids
    place: Ids

    @classmethod
    def of(cls, table: Table, weights: npt.NDArray[np.float64] | None = None) -> Neighbours:
        """The `NEAREST` of `ASKED` rows of the table, and all that are as near as the last of them.

        A row with many that are equally near, as a row of zeros has, says nothing and is left out.

        Args:
            table: the table.
            weights: (n,) of its rows, in proportion to which they are asked for.
        """
        ids = np.arange(0, table.n, -(-table.n // AMONG))
        asked = np.arange(0, len(ids), -(-len(ids) // ASKED))
        if weights is not None and (running := np.cumsum(weights[ids]))[-1] > 0:
            steps = (np.arange(len(asked)) + 0.5) * running[-1] / len(asked)
            asked = np.minimum(np.searchsorted(running, steps, "right"), len(ids) - 1)
        found = cls(ids, asked, ids[:0], ids[:0])
        if len(ids) < 2:
            return found
        count = min(NEAREST, len(ids) - 1)
        nearest = np.full((len(asked), count), ITSELF, np.float32)
        with one_blas_thread():
            rows = _unit(table.read(ids[asked]))
            for _, cosines in found._cosines(rows, table.read):
                nearest = -np.partition(-np.concatenate([nearest, cosines], axis=1), count - 1, axis=1)[:, :count]
            query, place, _ = found._near(rows, table.read, nearest.min(axis=1) - STEP)
        few = np.bincount(query, minlength=len(asked)) <= 4 * NEAREST
        return cls(ids, asked, query[few[query]], place[few[query]])

    def kept(self, read: Read) -> npt.NDArray[np.float64]:
        """(q',) of each row that has neighbours, the share of them that are among as many nearest of a candidate.

        Of rows that the candidate has equally near, each is as likely among them as the others.

        Args:
            read: ids -> the candidate's rows, (len, k).
        """
        with one_blas_thread():
            rows, near = _unit(read(self.ids[self.asked])), _unit(read(self.ids[self.place]))
            least = np.full(len(self.asked), np.inf, np.float32)
            np.minimum.at(least, self.query, np.einsum("ij,ij->i", rows[self.query], near))
            # What as many of a few rows are nearer than is not among the nearest of all. The sums of these products are
            # in other orders.
            query, place, cosine = self._near(
                rows, read, np.maximum(least, self._bound(rows, read)) - np.float32(64 * STEP)
            )
        wanted = np.isin(query * len(self.ids) + place, self.query * len(self.ids) + self.place)
        # By query, and then the nearest first: cosines are from −1 to 1.
        keys = query * round(4 / STEP) - cosine
        own, owner, keys = keys[wanted], query[wanted], np.sort(keys)
        nearer = np.searchsorted(keys, own, "left") - np.searchsorted(query, owner, "left")
        alike = np.searchsorted(keys, own, "right") - np.searchsorted(keys, own, "left")
        sizes = np.bincount(self.query, minlength=len(self.asked))
        stay = np.bincount(owner, np.clip((sizes[owner] - nearer) / alike, 0, 1), len(self.asked))
        return stay[sizes > 0] / sizes[sizes > 0]

    def _bound(self, rows: Float32s, read: Read) -> Float32s:
        """(q,) a cosine that at least as many rows reach as a row has neighbours: the k-th best of every `FEW`-th."""
        few = np.arange(0, len(self.ids), FEW)
        most = int(np.bincount(self.query).max(initial=1))
        if len(few) <= most:
            return np.full(len(rows), ITSELF, np.float32)
        bound: Float32s = -np.partition(-self._cosines_to(few, rows, read), most - 1, axis=1)[:, most - 1]
        return bound

    def _cosines(self, rows: Float32s, read: Read) -> Iterator[tuple[Ids, Float32s]]:
        """Places of a block of rows, and their (q, rows) cosines to those asked."""
        for start in range(0, len(self.ids), BLOCK):
            places = np.arange(start, min(start + BLOCK, len(self.ids)))
            yield places, self._cosines_to(places, rows, read)

    def _cosines_to(self, places: Ids, rows: Float32s, read: Read) -> Float32s:
        """(q, len) of the rows at some places, increasing, to those asked, which are the unit `rows`."""
        cosines: Float32s = rows @ _unit(read(self.ids[places])).T
        at = np.minimum(np.searchsorted(places, self.asked), len(places) - 1)
        own = np.flatnonzero(places[at] == self.asked)
        cosines[own, at[own]] = ITSELF
        return cosines

    def _near(self, rows: Float32s, read: Read, least: Float32s) -> tuple[Ids, Ids, Ids]:
        """Query, place and cosine, in units of `STEP`, of all that are as near as `least` says; by query."""
        found = []
        for places, cosines in self._cosines(rows, read):
            query, at = np.nonzero(cosines >= least[:, None])
            found.append((query, places[at], np.rint(cosines[query, at] / STEP).astype(np.int64)))
        query, place, cosine = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(query, kind="stable")
        return query[order], place[order], cosine[order]


def _unit(rows: npt.NDArray[np.floating]) -> Float32s:
    """The rows, each divided by its length; rows of zeros stay."""
    rows = rows.astype(np.promote_types(rows.dtype, np.float32), copy=False)
    largest = np.abs(rows).max(axis=1, keepdims=True)  # by which no square overflows, nor vanishes
    wide = (rows / np.where(largest > 0, largest, 1)).astype(np.float32)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: Float32s = np.divide(wide, lengths, out=np.zeros_like(wide), where=largest > 0)
    return unit
