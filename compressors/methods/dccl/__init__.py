"""Deep compositional codes (Shu and Nakayama, ICLR 2018; settings of May et al., NeurIPS 2019, App. D.3, Table 6).

The payload is theirs: M codes a row, each into a codebook of K codewords of d values, which are added. `gumbel` finds
the codes by their network. `residual` finds them by residual k-means and iterated conditional modes (see
`compressors.codebooks.additive`), in seconds to minutes and with a lower error (`benchmarks/compressing.md`). Either
way the codebooks are refitted by least squares once the codes are known, which always lowers the error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.base import Compressor
from eigenselect.compressors.codebooks.additive import additive, additive_nbytes, refit, train_residual
from eigenselect.compressors.codebooks.lloyd import CODEWORDS
from eigenselect.compressors.data.table import Table, sample_rows
from eigenselect.compressors.data.views import ScaledTable
from eigenselect.compressors.methods.dccl.gumbel import LEARNING_RATES, SAMPLE, Sample, train
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.settings import (
    check_choice,
    check_count,
    check_number,
    check_one_given,
    check_time_limit,
    shown,
)
from eigenselect.compressors.training import Deadline, Update, reported

Float32s = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DCCL(Compressor):
    """A row is the sum of one codeword from each of M codebooks.

    Attributes:
        bits: per entry; M = round(bits·n·d / (n·log2 K + 32·d·K)) follows, at least 1; or
        books: M itself. Exactly one of the two is given.
        codewords: K, a power of two from 2 to 256; the study's grid is 2, 4, 8, 16.
        training: `residual` or `gumbel`.
        learning_rate: of `gumbel`; None tries the study's grid and takes the one of the lowest error on held-out rows.
        epochs: of `gumbel`, at most; the authors' program has 200.
        time_limit: seconds of training, after which it ends with the codes that it has; None for no limit. A run that
            is cut short depends on the machine's speed.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import DCCL, EmbeddingTable
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((100, 32)).astype(np.float32))
        >>> payload = DCCL(books=8, time_limit=None).compress(table, np.random.default_rng(0))
        >>> payload.nbytes
        16848
    """

    bits: float | None = None
    books: int | None = None
    codewords: int = 16
    training: Literal["residual", "gumbel"] = "residual"
    learning_rate: float | None = None
    epochs: int = 200
    time_limit: float | None = 480

    effort = 5.0

    def __post_init__(self) -> None:
        check_one_given(self, "bits", "books")
        if self.bits is not None:
            check_number(self, "bits", above=0, most=32)
        else:
            check_count(self, "books")
        check_choice(self, "codewords", CODEWORDS)
        check_choice(self, "training", ("residual", "gumbel"))
        if self.learning_rate is not None:
            check_number(self, "learning_rate", above=0, below=1)
        check_count(self, "epochs")
        check_time_limit(self)

    def _books(self, n: int, d: int) -> int:
        if self.books is not None:
            return self.books
        assert self.bits is not None
        return max(1, round(self.bits * n * d / (n * math.log2(self.codewords) + 32 * d * self.codewords)))

    @property
    def name(self) -> str:  # noqa: D102
        size = f"m{self.books}" if self.books is not None else f"b{shown(self.bits)}"
        how = "" if self.training == "residual" else "-gumbel"
        rate = "" if self.learning_rate is None else f"-lr{shown(self.learning_rate)}"
        # What is left as it is goes unsaid: other settings must not share a name.
        epochs = "" if self.epochs == DCCL.epochs else f"-{self.epochs}epochs"
        limit = "" if self.time_limit == DCCL.time_limit else f"-within{shown(self.time_limit)}s"
        return f"dccl-{size}-k{self.codewords}{how}{rate}{epochs}{limit}"

    def nbytes(self, n: int, d: int) -> int:  # noqa: D102
        return additive_nbytes(n, d, self._books(n, d), self.codewords)

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        shape = (self._books(table.n, table.d), self.codewords)
        with reported(self.name) as update:
            if self.training == "residual":
                scaled = ScaledTable.by_largest(table)
                codes, codebooks = train_residual(scaled, shape, Deadline(self.time_limit), rng, update)
            else:
                scaled = ScaledTable(table, np.float32(np.sqrt(np.trace(table.gram) / (table.n * table.d)) or 1.0))
                codes = self._by_gumbel(scaled, shape, rng, update)
                codebooks = np.zeros((*shape, table.d), dtype=np.float32)
            return additive(table, codes, refit(scaled, codes, codebooks) * scaled.unit)

    def _by_gumbel(self, table: Table, shape: tuple[int, int], rng: np.random.Generator, update: Update) -> Codes:
        """(n, M) codes of the encoder that has the lowest error among the learning rates."""
        sample = Sample.of(sample_rows(table, SAMPLE, rng), rng)
        rates = LEARNING_RATES if self.learning_rate is None else (self.learning_rate,)
        seconds = None if self.time_limit is None else self.time_limit / len(rates)
        encoders = [train(sample, shape, rate, self.epochs, seconds, rng, update) for rate in rates]
        best = min(encoders, key=lambda encoder: encoder.loss)
        return table.make((shape[0],), np.uint8, lambda rows: best.choose(table.read(rows)))
