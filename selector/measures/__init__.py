"""The measures: how close a candidate is to its table, from the table alone. One file a family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.table import Floats, Rows, Table
from eigenselect.compressors.payloads.base import Payload
from eigenselect.selector.measures import confidence, kernel, overlap, reconstruction
from eigenselect.selector.measures import moments as streamed
from eigenselect.selector.measures.moments import Moments

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


def is_overlap(key: str) -> bool:
    """Whether `key` is of an overlap score: EOS, or a weighted one. They differ in what weight a direction has."""
    return key == "eos" or key.startswith(WEIGHTED)


def higher_is_better(key: str) -> bool:
    """Whether more of the measure is better."""
    return is_overlap(key) or key == "mean_cosine"


@dataclass(frozen=True)
class Measures:
    """Every measure of `MEASURES`, plus the spectral ones for each λ and the weighted overlap for each exponent.

    Attributes:
        lambdas: what λ is: a number is a multiple of the smallest non-zero eigenvalue of XXᵀ (1 is the published
            choice), `max` is its largest eigenvalue. The first gives the keys `delta1`, `delta2`, `delta` and
            `delta_max`; each further one the same keys with `_lambda_` and its value at the end.
        exponents: each p of `weighted_eos`, from 0 to 100; its key is `weighted_eos_p` with p at the end.
    """

    lambdas: Sequence[float | Literal["max"]] = (1,)
    exponents: Sequence[float] = (1, 2)

    def __post_init__(self) -> None:
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

    @property
    def keys(self) -> list[str]:
        """Every key that a candidate's scores may have."""
        return [*MEASURES, *self._weighted(), *(key + suffix for suffix in self._suffixes() for key in DELTAS)]

    def criterion(self, given: str) -> str:
        """The metric key that `given` stands for: itself, or that of the first exponent for `weighted_eos`.

        Raises:
            ValueError: it is neither.
        """
        if given == WEIGHTED:
            return self._weighted()[0]
        if given not in self.keys:
            raise ValueError(f"criterion = {given!r} is no measure; there are {', '.join([*self.keys, WEIGHTED])}")
        return given

    def _weighted(self) -> list[str]:
        return [f"{WEIGHTED}_p{p:g}" for p in self.exponents]

    def _suffixes(self) -> list[str]:
        return ["", *(f"_lambda_{value}" for value in self.lambdas[1:])]

    def __call__(self, m: Moments) -> dict[str, float]:
        """Metric key -> value."""
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
        return dict(zip(["eos", *self._weighted()], confidence.replicates(m, self.exponents), strict=False))


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
) -> dict[str, float]:
    """Every measure of a candidate against its table.

    Args:
        table: the (n, d) table X, as a table or as an array.
        candidate: the (n, k) candidate X~, as a payload or as an array.
        lambdas: see `Measures`.
        exponents: see `Measures`.

    Returns:
        Metric key -> value; a measure that is undefined here (reconstruction when the candidate's columns are not the
        table's) is absent. An array of d columns is taken to have the table's.

    Raises:
        ValueError: arrays that are not 2-D, or another number of rows.
    """
    x = table if isinstance(table, Table) else _Array(_matrix(table))
    y = candidate if isinstance(candidate, Payload) else _Array(_matrix(candidate))
    if y.n != x.n:
        raise ValueError(f"the candidate has {y.n} rows and the table {x.n}: they must be of the same vocabulary")
    aligned = candidate.aligned if isinstance(candidate, Payload) else True
    return Measures(lambdas, exponents)(streamed.moments(x, y.read, aligned=aligned))


def _matrix(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values)
    if array.ndim != 2:
        raise ValueError(f"an array of shape {array.shape} is no table: it must be 2-D, (n, d)")
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float64)
