"""The measures: how close a candidate is to its table, from the table alone. One file a family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.table import Floats, Rows, Table
from eigenselect.compressors.payloads.base import Payload
from eigenselect.selector.measures import confidence, kernel, overlap, reconstruction, weights
from eigenselect.selector.measures import moments as streamed
from eigenselect.selector.measures.moments import Moments
from eigenselect.selector.measures.weights import WeightedTable

Measure = Callable[[Moments], float | None]

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
    )
}
"""Metric key -> measure; a measure that is undefined for a candidate is absent from its scores."""

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
    return is_overlap(key) or key.removesuffix(BY_FREQUENCY) == "mean_cosine"


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
        return [*MEASURES, *self._weighted(), *(key + suffix for suffix in self._suffixes() for key in DELTAS)]

    def keys_of(self, *, weighs: bool) -> list[str]:
        """Every key, those of weighted rows too where rows are weighed."""
        return [*self.keys, *(key + BY_FREQUENCY for key in self.keys if weighs)]

    def weighs(self, counts: bool) -> bool:
        """Whether rows are weighed, of a table that has `counts` or not."""
        return self.row_weights == "zipf" or (self.row_weights == "counts" and counts)

    def weighted(self, table: Table) -> WeightedTable | None:
        """The table with the weights of its rows; None where they are not known, or not asked for.

        Raises:
            ValueError: its counts are all 0.
        """
        if not self.weighs(table.counts is not None):
            return None
        ranked = weights.zipf(table.n, self.zipf_exponent, self.zipf_offset) if self.row_weights == "zipf" else None
        given = table.counts if ranked is None else ranked
        assert given is not None, "what weighs rows is known"
        try:
            return WeightedTable(table, weights.relative(given, table.n))
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

    def __call__(self, m: Moments) -> dict[str, float]:
        """Metric key -> value."""
        by_frequency = {} if m.weighted is None else self._of(m.weighted)
        return self._of(m) | {key + BY_FREQUENCY: value for key, value in by_frequency.items()}

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

    def replicates(self, m: Moments) -> dict[str, tuple[float, ...]]:
        """Metric key of each overlap score -> deviations from it, see `confidence.replicates`; {} where undefined."""
        own = ["eos", *self._weighted()]
        found = dict(zip(own, confidence.replicates(m, self.exponents), strict=False))
        if m.weighted is not None:
            keys = [key + BY_FREQUENCY for key in own]
            found |= dict(zip(keys, confidence.replicates(m.weighted, self.exponents), strict=False))
        return found


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
    weighted = None if row_weights is None else WeightedTable(x, weights.relative(row_weights, x.n))
    return Measures(lambdas, exponents)(streamed.moments(x, y.read, aligned=aligned, weighted=weighted))


def _matrix(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values)
    if array.ndim != 2:
        raise ValueError(f"an array of shape {array.shape} is no table: it must be 2-D, (n, d)")
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)
