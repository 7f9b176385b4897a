"""The measures: how close a candidate is to its table, from the table alone. One file a family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.table import Floats, Rows, Table
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.threads import one_blas_thread
from eigenselect.selector.measures import confidence, kernel, overlap, pooled, reconstruction, weights
from eigenselect.selector.measures import moments as streamed
from eigenselect.selector.measures.moments import Moments
from eigenselect.selector.measures.neighbours import Neighbours
from eigenselect.selector.measures.weights import WeightedTable

Doubles = npt.NDArray[np.float64]

Measure = Callable[[Moments], float | None]
Read = Callable[[Rows], npt.NDArray[np.floating]]

MEASURES: dict[str, Measure] = {
    measure.__name__: measure
    for measure in (
        overlap.eos,
        kernel.pip_loss,
        kernel.pip_loss_relative,
        reconstruction.reconstruction_error,
        reconstruction.reconstruction_error_relative,
        overlap.projected_reconstruction_error,
        reconstruction.mean_cosine,
        overlap.eigenspace_instability,
        kernel.ridge_alignment,
        pooled.pooled_cosine_error,
    )
}
"""Metric key -> measure; a measure that is undefined for a candidate is absent from its scores."""

INFLUENCES: dict[str, Callable[[Moments], Doubles | None]] = {
    "reconstruction_error_relative": reconstruction.error_influence,
    "mean_cosine": reconstruction.cosine_influence,
}
"""Metric key -> the influence of each sampled row on it, beside those of the overlap scores."""

NEIGHBOURS = "neighbour_overlap"
"""Metric key of the share of nearest neighbours that stay."""

HIGHER = {"eos", "mean_cosine", "ridge_alignment", NEIGHBOURS}
"""Metric keys of which more is better, beside those of overlap scores."""

DELTAS = ("delta1", "delta2", "delta", "delta_max")

WEIGHTED = "weighted_eos"
"""As a criterion: the weighted score of the first exponent. As the start of a metric key: one of them."""


BY_FREQUENCY = "_by_frequency"
"""End of a metric key: the measure in which each row counts as often as its weight says, and not once."""

RowWeights = Literal["counts", "zipf"]
"""Where the weights of rows come from."""


def is_overlap(key: str) -> bool:
    """Whether `key` is of an overlap score: EOS, or a weighted one. They differ in what weight a direction has."""
    return key.removesuffix(BY_FREQUENCY) == "eos" or key.startswith(WEIGHTED)


def higher_is_better(key: str) -> bool:
    """Whether more of the measure is better."""
    return is_overlap(key) or key.removesuffix(BY_FREQUENCY) in HIGHER


def power(key: str) -> float:
    """P where the measure counts an error in a direction of length σ by σᵖ⁻²: what a code is best whitened for.

    That of a weighted overlap is its own. EOS would have 0; it counts as squared errors do, 2, since full whitening has
    the highest EOS of its size and is worse in what is trained on it (docs/evidence.md).

    >>> power("weighted_eos_p1_by_frequency"), power("eos"), power("reconstruction_error")
    (1.0, 2, 2)
    """
    plain = key.removesuffix(BY_FREQUENCY)
    return float(plain.removeprefix(f"{WEIGHTED}_p")) if plain.startswith(WEIGHTED) else 2


@dataclass(frozen=True)
class Measures:
    """Every measure of `MEASURES`, plus the spectral ones for each λ and the weighted overlap for each exponent.

    Attributes:
        lambdas: what λ is: a number is a multiple of the smallest non-zero eigenvalue of XXᵀ (1 is the published
            choice), `max` is its largest eigenvalue. The first gives the keys `delta1`, `delta2`, `delta` and
            `delta_max`; each further one the same keys with `_lambda_` and its value at the end.
        exponents: each p of `weighted_eos`, from 0 to 100; its key is `weighted_eos_p` with p at the end.
        row_weights: how often each row is looked up, by which every measure is taken once more, its key with
            `BY_FREQUENCY` at the end: `counts` are those of the table, where it has some; `zipf` takes the rows to be
            in the order of their frequency, the first the most frequent; None weighs no rows.
        zipf_exponent: s of the weights 1 / (rank + offset)^s.
        zipf_offset: offset, at least 0. The default is that of English text (Mandelbrot 1953).
    """

    lambdas: Sequence[float | Literal["max"]] = (1,)
    exponents: Sequence[float] = (1, 2)
    row_weights: RowWeights | None = "counts"
    zipf_exponent: float = 1
    zipf_offset: float = 2.7

    def __post_init__(self) -> None:
        for name in ("lambdas", "exponents"):  # alike for whoever compares them, however they were given
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for value in self.lambdas:
            if value != "max" and not (isinstance(value, int | float) and value > 0):
                raise ValueError(f"measures.lambdas holds {value!r}: each must be a number above 0, or max")
        if not self.lambdas:
            raise ValueError("measures.lambdas is empty: [1] is the published choice")
        for p in self.exponents:
            if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 100:
                raise ValueError(f"measures.exponents holds {p!r}: each must be a number from 0 to 100")
        if not self.exponents or len(set(self._weighted())) < len(self.exponents):
            raise ValueError(
                f"measures.exponents = {[*self.exponents]}: give one or more numbers, each once; [1, 2] is the default"
            )
        if self.row_weights not in ("counts", "zipf", None):
            raise ValueError(f"measures.row_weights = {self.row_weights!r}: must be counts, zipf or null")
        for name, least, most in (("zipf_exponent", 0, 10), ("zipf_offset", 0, 1e9)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise ValueError(f"measures.{name} = {value!r}: must be a number from {least} to {most:g}")

    @property
    def keys(self) -> list[str]:
        """Every key that a candidate's scores may have, but for those of weighted rows."""
        deltas = (key + suffix for suffix in self._suffixes() for key in DELTAS)
        return [*MEASURES, NEIGHBOURS, *self._weighted(), *deltas]

    def keys_of(self, *, weighs: bool) -> list[str]:
        """Every key, those of weighted rows too where rows are weighed."""
        return [*self.keys, *(key + BY_FREQUENCY for key in self.keys if weighs)]

    def weighs(self, counts: bool) -> bool:
        """Whether rows are weighed, of a table that has `counts` or not."""
        return self.row_weights == "zipf" or (self.row_weights == "counts" and counts)

    def reference(self, table: Table) -> Reference:
        """What candidates of the table are measured against.

        Raises:
            ValueError: its counts are to weigh rows, and are all 0.
        """
        if not self.weighs(table.counts is not None):
            return Reference.of(table)
        ranked = weights.zipf(table.n, self.zipf_exponent, self.zipf_offset) if self.row_weights == "zipf" else None
        given = table.counts if ranked is None else ranked
        assert given is not None, "what weighs rows is known"
        try:
            return Reference.of(table, given)
        except ValueError as error:
            raise ValueError(f"{error}; measures.row_weights=null weighs no rows") from error

    def criterion(self, given: str, *, weighs: bool = False) -> str:
        """The metric key that `given` stands for: itself, or that of the first exponent for `weighted_eos`.

        Args:
            given: the key.
            weighs: whether rows are weighed.

        Raises:
            ValueError: it is neither, or of weighted rows where none are.
        """
        if given == WEIGHTED:
            return self._weighted()[0]
        if given not in (known := self.keys_of(weighs=weighs)) and given in self.keys_of(weighs=True):
            raise ValueError(
                f"criterion = {given!r} weighs rows by their frequency, which is not known: give table.counts, or "
                "measures.row_weights=zipf for rows in its order"
            )
        if given not in known:
            raise ValueError(f"criterion = {given!r} is no measure; there are {', '.join([*known, WEIGHTED])}")
        return given

    def _weighted(self) -> list[str]:
        return [f"{WEIGHTED}_p{p:g}" for p in self.exponents]

    def _suffixes(self) -> list[str]:
        return ["", *(f"_lambda_{value}" for value in self.lambdas[1:])]

    def __call__(self, reference: Reference, read: Read, *, aligned: bool = True) -> Scores:
        """Every measure of a candidate.

        Args:
            reference: the table.
            read: rows, a range or ids -> (rows, k) float, the candidate's.
            aligned: whether the candidate's columns are the table's, where there are as many (`Payload.aligned`).
        """
        m = streamed.moments(reference.table, read, aligned=aligned, weighted=reference.weighted)
        found = Scores({}, {})
        for moments, neighbours, suffix in zip((m, m.weighted), reference.neighbours, ("", BY_FREQUENCY), strict=False):
            assert moments is not None, "where rows are asked for by weight, there are moments by weight"
            values, spread = self._of(moments), self._replicates(moments)
            if len(kept := neighbours.kept(read)):
                values[NEIGHBOURS] = float(kept.mean())
                spread[NEIGHBOURS] = confidence.dealt(kept - kept.mean())
            found.values.update({key + suffix: value for key, value in values.items()})
            found.replicates.update({key + suffix: each for key, each in spread.items() if each})
        return found

    def _of(self, m: Moments) -> dict[str, float]:
        scores = {key: value for key, measure in MEASURES.items() if (value := measure(m)) is not None}
        for key, p in zip(self._weighted(), self.exponents, strict=True):
            if (weighted := overlap.weighted_eos(m, p)) is not None:
                scores[key] = weighted
        smallest, largest = kernel.smallest_eigenvalue(m), kernel.largest_eigenvalue(m)
        if smallest is not None and largest is not None:
            for given, suffix in zip(self.lambdas, self._suffixes(), strict=True):
                ridge = largest if given == "max" else given * smallest
                scores |= {key + suffix: delta for key, delta in kernel.deltas(m, ridge).items()}
        return scores

    def _replicates(self, m: Moments) -> dict[str, tuple[float, ...]]:
        influences = dict(zip(["eos", *self._weighted()], confidence.influences(m, self.exponents), strict=False))
        influences |= {key: found for key, of in INFLUENCES.items() if (found := of(m)) is not None}
        return {key: confidence.replicates(m, influence) for key, influence in influences.items()}


@dataclass(frozen=True)
class Scores:
    """What is measured of a candidate.

    Attributes:
        values: metric key -> value; one that is undefined for the candidate is absent.
        replicates: metric key -> deviations from the value that have its spread, of each for which these are known
            (`confidence`).
    """

    values: dict[str, float]
    replicates: dict[str, tuple[float, ...]]


@dataclass(frozen=True, eq=False)
class Reference:
    """What the candidates of a table are measured against, made once.

    Attributes:
        table: the table.
        weighted: the table with the weights of its rows, where there are some.
        neighbours: of rows of the table, and then of rows in proportion to their weights.
    """

    table: Table
    weighted: WeightedTable | None
    neighbours: tuple[Neighbours, ...]

    @staticmethod
    def of(table: Table, row_weights: npt.ArrayLike | None = None) -> Reference:
        """Of a table, and of (n,) weights of its rows in any unit.

        Raises:
            ValueError: weights that cannot be used.
        """
        if row_weights is None:
            return Reference(table, None, (Neighbours.of(table),))
        weighted = WeightedTable(table, weights.relative(row_weights, table.n))
        return Reference(table, weighted, (Neighbours.of(table), Neighbours.of(table, weighted.weights)))


@dataclass(frozen=True, eq=False)
class _Array(Table):
    """A float array of any precision as a table: the measures ask less of it than a compressor does."""

    vectors: Floats

    @property
    def n(self) -> int:
        return len(self.vectors)

    @property
    def d(self) -> int:
        return int(self.vectors.shape[1])

    def read(self, rows: Rows) -> Floats:
        return self.vectors[rows]


def score(
    table: Table | npt.ArrayLike,
    candidate: Payload | npt.ArrayLike,
    lambdas: Sequence[float | Literal["max"]] = (1,),
    exponents: Sequence[float] = (1, 2),
    row_weights: npt.ArrayLike | None = None,
) -> dict[str, float]:
    """Every measure of a candidate against its table.

    Args:
        table: the (n, d) table X, as a table or as an array.
        candidate: the (n, k) candidate X~, as a payload or as an array.
        lambdas: see `Measures`.
        exponents: see `Measures`.
        row_weights: (n,) how often each row is looked up, in any unit. With it there is each measure once more, its
            key with `_by_frequency` at the end.

    Returns:
        Metric key -> value; a measure that is undefined here (reconstruction when the candidate's columns are not the
        table's) is absent. An array of d columns is taken to have the table's.

    Raises:
        ValueError: arrays that are not 2-D, or another number of rows; weights that cannot be used.
    """
    x = table if isinstance(table, Table) else _Array(_matrix(table))
    y = candidate if isinstance(candidate, Payload) else _Array(_matrix(candidate))
    if y.n != x.n:
        raise ValueError(f"the candidate has {y.n} rows and the table {x.n}: they must be of the same vocabulary")
    aligned = candidate.aligned if isinstance(candidate, Payload) else True
    with one_blas_thread():  # once for all that asks for it
        return Measures(lambdas, exponents)(Reference.of(x, row_weights), y.read, aligned=aligned).values


def _matrix(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values)
    if array.ndim != 2:
        raise ValueError(f"an array of shape {array.shape} is no table: it must be 2-D, (n, d)")
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)
