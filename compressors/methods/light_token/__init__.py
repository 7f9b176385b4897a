"""LightToken (KDD 2023): rank-k SVD, and a residual binary autoencoder with a linear decoder for what it leaves.

Sourced, from its authors' public description: the SVD with small k; the binary autoencoder with tempered sigmoid
activations; stages, each stopped short of saturation and followed by one on what remains; their hash codes side by
side; a loss that bounds the Euclidean distance from above and re-weights cosine similarity. Neither formulas nor
settings are public: all of them are ours, and so are the start of a stage from a rotated PCA of the residual, the
schedule, the least-squares refit of the decoder, and bit flips that lower the error against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial, reduce

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.data.arrays import give_back, rows_array
from eigenselect.compressors.data.table import Table, sample_rows
from eigenselect.compressors.data.views import ScaledTable
from eigenselect.compressors.methods.light_token.autoencoder import (
    CHUNK,
    Float32s,
    Float64s,
    Stage,
    all_codes,
    flip,
    products,
    solve,
    start,
    train,
)
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.bitpack import pack, unpack
from eigenselect.compressors.payloads.composed import Projected, Sum
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.payloads.packed import Packed
from eigenselect.compressors.settings import check_count, check_number, check_time_limit, shown
from eigenselect.compressors.training import Deadline, generator, load_torch, reported

SAMPLE = 1 << 16
"""Rows that the stages are trained on."""


@dataclass(frozen=True)
class LightToken(Compressor):
    """X ≈ AB + CD: A = X V_k and B = V_kᵀ, C the codes (±1) of all stages and D their linear decoder.

    A, B and D are stored in float16, a code in one bit.

    Attributes:
        rate: compression against float32, at least 1; the number of bits is the largest multiple of 8 that fits.
        dim: k, from 0 (no SVD) to d; each costs a row as much as 16 bits.
        stages: binary autoencoders, among which the bits are split evenly.
        alpha: α of the loss, at least 1; above 1, direction counts more than length.
        steps: of training, in each stage; at 0 every stage stays at its start.
        learning_rate: of Adam, in shares of the root mean square of a stage's first weights.
        refinements: rounds of bit flips, each followed by a refit of the decoder.
        time_limit: seconds after which training and refining end with what they have, the first stage having made one
            step at least; None for no limit.

    Example:
        >>> from eigenselect.compressors import LightToken
        >>> LightToken(rate=25).bits(30_000, 300), LightToken(rate=25).nbytes(30_000, 300)
        (312, 1417808)
    """

    rate: float = 25.0
    dim: int = 1
    stages: int = 4
    alpha: float = 1.5
    steps: int = 500
    learning_rate: float = 0.01
    refinements: int = 5
    time_limit: float | None = 300.0

    effort = 9.0

    def __post_init__(self) -> None:
        check_number(self, "rate", least=1)
        check_count(self, "dim", 0)
        check_count(self, "stages")
        check_number(self, "alpha", least=1)
        check_count(self, "steps", 0)
        check_number(self, "learning_rate", least=0)
        check_count(self, "refinements", 0)
        check_time_limit(self)

    @property
    def name(self) -> str:  # noqa: D102
        other = [field for field in fields(self)[2:] if getattr(self, field.name) != field.default]
        tail = "".join(f"-{field.name.replace('_', '')}{shown(getattr(self, field.name))}" for field in other)
        return f"lighttoken-{shown(self.rate)}x-k{self.dim}{tail}"

    def bits(self, n: int, d: int) -> int:
        """m, the bits of a row: the largest multiple of 8 whose payload has at most 4nd / rate bytes."""
        if self.dim > d:
            raise ValueError(f"LightToken dim = {self.dim}: must be at most the table's dimension d = {d}")
        fixed, eight = 2 * self.dim * (n + d) + 8, n + 16 * d
        count = (int(4 * n * d / self.rate) - fixed) // eight
        if count < 1:
            raise ValueError(
                f"LightToken rate = {self.rate:g} leaves less than 8 bits a row beside dim = {self.dim} of a "
                f"{n} x {d} table: the rate must be at most {4 * n * d / (fixed + eight):.4g}; lower it or dim"
            )
        return 8 * count

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        m = self.bits(n, d)
        return n * (2 * self.dim + m // 8) + 2 * d * (self.dim + m) + 8

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        load_torch()
        deadline = Deadline(self.time_limit)
        scaled = ScaledTable.by_largest(table)
        m, directions = self.bits(table.n, table.d), table.spectrum[1][:, : self.dim].astype(np.float32)
        b = np.ascontiguousarray(directions.T, np.float16)
        a, packed = rows_array((table.n, self.dim), np.float16), rows_array((table.n, m // 8), np.uint8)

        def svd(x: Float32s) -> tuple[npt.NDArray[np.float16], Float32s]:
            """Rows of A for rows of X, and what they leave."""
            rows = (x @ directions).astype(np.float16)
            return rows, x - rows.astype(np.float32) @ b.astype(np.float32)

        def fit(codes_of: Callable[[Float32s, slice], Float32s]) -> Float32s:
            """The best decoder for the codes that `codes_of` gives to what the SVD leaves of some rows."""

            def work(span: slice) -> Float64s:
                sums = np.zeros((m, m + table.d))
                for at in range(span.start, span.stop, CHUNK):
                    rows = slice(at, min(at + CHUNK, span.stop))
                    a[rows], left = svd(scaled.read(rows))
                    codes = codes_of(left, rows)
                    packed[rows] = pack((codes > 0).astype(np.uint8), 1)
                    sums += products(codes, left)
                give_back(a, packed)
                return sums

            return solve(reduce(np.add, table.each(work)))

        x = sample_rows(scaled, SAMPLE, rng)
        stages = self._stages(x, svd(x)[1], m, rng, deadline)
        decoder = fit(lambda left, _: all_codes(stages, left))
        with reported("LightToken: refining") as update:
            for done in range(self.refinements):
                if deadline.passed:
                    break
                update(done, self.refinements)
                decoder = fit(partial(_flipped, packed, decoder))
        # The codebook holds the decoder's size, so that its float16 entries are as large as they can be.
        top = np.float32(np.abs(decoder).max() or 1.0)
        codebook = np.array([[-1], [1]], np.float32) * (top * scaled.unit)
        bits = Projected(Packed(packed, codebook, m), (decoder / top).astype(np.float16))
        return Sum((Projected(Dense(a, float(scaled.unit)), b), bits)) if self.dim else bits

    def _stages(self, x: Float32s, left: Float32s, m: int, rng: np.random.Generator, deadline: Deadline) -> list[Stage]:
        """The stages, trained one after the other on the rows `x` and on what the SVD leaves of them, `left`."""
        draws, total, stages, done = generator(rng), self.stages * self.steps, list[Stage](), 0
        with reported("LightToken: training") as update:

            def step() -> bool:
                nonlocal done
                done += 1
                update(done, total)
                return not deadline.passed

            for bits in (m // self.stages + (i < m % self.stages) for i in range(min(self.stages, m))):
                stage = start(left, bits, rng)
                if self.steps and not (stages and deadline.passed):
                    stage = train(stage, x, left, draws, step, self.alpha, self.steps, self.learning_rate)
                    stage = stage.fitted(left)
                left = left - stage.codes(left) @ stage.decoder
                stages.append(stage)
        return stages


def _flipped(packed: npt.NDArray[np.uint8], decoder: Float32s, left: Float32s, rows: slice) -> Float32s:
    """The stored codes of some rows after a round of bit flips."""
    codes = unpack(packed[rows], 1, len(decoder)).astype(np.float32)
    return flip(2 * codes - 1, left, decoder)
