"""Codes whose codewords are added: residual k-means, and what refines it.

Stages of k-means on what the stages before left over (residual vector quantization; Juang and Gray 1982). Then, in
turns, the codebooks refitted by least squares with the codes held, and each code chosen again with the others held
(iterated conditional modes; additive quantization, Babenko and Lempitsky 2014; Martinez et al. 2016).
"""

from __future__ import annotations

from threading import Lock

import numpy as np
import numpy.typing as npt
import scipy.linalg

from eigenselect.compressors.codebooks.lloyd import indicators, learn, nearest
from eigenselect.compressors.codebooks.scalar import affine_nbytes, whole_numbers
from eigenselect.compressors.data.table import Table, sample_rows
from eigenselect.compressors.data.views import ScaledTable
from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.payloads.coded import Coded
from eigenselect.compressors.training import Deadline, Update

Float32s = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]

SAMPLE = 16
"""Rows that the stages are learned from, for each codeword of all books: fewer are fitted by heart, stage by stage."""

LEAST_SAMPLED = 64
"""Rows for each codeword of a book at least."""

MOST_SAMPLED = 1 << 16
"""Rows that the stages are learned from at most."""

ROUNDS = 12
"""Rounds of k-means a stage: later stages make up for what an earlier one leaves."""

TURNS = 8
"""Turns of refit and choice; each lowers the error, from there on by less than a hundredth."""

PAIRED = 1 << 13
"""Rows whose codes are paired at once."""

DENSE = 16
"""Codewords up to which a product of dense matrices pairs codes faster than one of sparse ones."""

RIDGE = 1e-6
"""Ridge of the least-squares refit, relative to the mean count of a codeword: books share a common constant."""


def additive_nbytes(n: int, d: int, books: int, codewords: int) -> int:
    """Bytes of `books` codes a row and of their codebooks of d-dimensional codewords."""
    return affine_nbytes(n, books, codewords.bit_length() - 1) + 4 * books * codewords * d


def additive(table: Table, codes: Codes, codebooks: Float32s) -> Payload:
    """The payload of codes (n, M) with codebooks (M, K, d)."""
    bits = codebooks.shape[1].bit_length() - 1
    stored = whole_numbers(table, codes.shape[1], bits, lambda rows: codes[rows])
    return Coded(stored, codebooks, summed=True, dim=table.d)


def learn_stages(table: Table, books: int, codewords: int, rng: np.random.Generator) -> Float32s:
    """(M, K, d) codebooks, each learned on what those before leave of a sample of rows."""
    rows = min(codewords * max(SAMPLE * books, LEAST_SAMPLED), MOST_SAMPLED)
    rest = sample_rows(table, rows, rng)
    codebooks = np.empty((books, codewords, table.d), dtype=np.float32)
    for book in codebooks:
        book[:] = learn(rest, codewords, rng, ROUNDS)
        rest -= book[nearest(rest, book)]
    return codebooks


def choose(rows: Float32s, codebooks: Float32s, codes: Codes | None = None) -> Codes:
    """(m, M) codes of the rows (m, d): one book after the other, given the codes of the others.

    Without `codes` each book sees what the books before it leave; with them, what all other books leave.
    """
    rest = rows.copy()
    chosen = np.empty((len(rows), len(codebooks)), dtype=np.uint8)
    if codes is not None:
        for book, code in zip(codebooks, codes.T, strict=True):
            rest -= book[code]
    for i, book in enumerate(codebooks):
        if codes is not None:
            rest += book[codes[:, i]]
        chosen[:, i] = nearest(rest, book)
        rest -= book[chosen[:, i]]
    return chosen


def choose_all(table: ScaledTable, codebooks: Float32s, codes: Codes | None = None) -> Codes:
    """`choose` for every row of the table, (n, M)."""

    def work(rows: slice) -> Codes:
        return choose(table.read(rows), codebooks, None if codes is None else codes[rows])

    return table.make((len(codebooks),), np.uint8, work)


def count_pairs(codes: Codes, codewords: int, total: npt.NDArray[np.float64], lock: Lock) -> None:
    """Add to `total` (M*K, M*K) how many of the codes (m, M) hold each two codewords together.

    Counts are exact, in whatever order they are added.
    """
    for start in range(0, len(codes), PAIRED):
        chosen = indicators(codes[start : start + PAIRED], codewords)
        if codewords <= DENSE:  # counts of so few rows are exact in float32
            ones = chosen.toarray().astype(np.float32)
            product = ones.T @ ones
            with lock:
                total += product
        else:
            found = (chosen.T @ chosen).tocoo()
            with lock:
                total[found.row, found.col] += found.data


def refit(table: ScaledTable, codes: Codes, codebooks: Float32s) -> Float32s:
    """The codebooks of least squared error for the codes; nowhere worse than `codebooks`, which it starts from."""
    books, codewords, d = codebooks.shape
    size = books * codewords

    gram, moment, lock = np.zeros((size, size)), np.zeros((size, d)), Lock()

    def sums(rows: slice) -> npt.NDArray[np.float64]:
        count_pairs(codes[rows], codewords, gram, lock)
        chosen = indicators(codes[rows], codewords)
        block: npt.NDArray[np.float64] = chosen.T @ table.read_wide(rows)
        return block

    for block in table.each(sums):
        moment += block
    flat = codebooks.reshape(size, d).astype(np.float64)
    gradient = moment - gram @ flat
    gram[np.diag_indices(size)] += RIDGE * table.n / codewords
    change = scipy.linalg.solve(gram, gradient, assume_a="pos", overwrite_a=True)
    refitted: Float32s = (flat + change).astype(np.float32).reshape(codebooks.shape)
    return refitted


def train_residual(
    table: ScaledTable, shape: tuple[int, int], deadline: Deadline, rng: np.random.Generator, update: Update
) -> tuple[Codes, Float32s]:
    """Codes (n, M) and codebooks (M, K, d) for shape (M, K); fewer turns when time is over."""
    codebooks = learn_stages(table, *shape, rng)
    codes = choose_all(table, codebooks)
    for turn in range(TURNS):
        update(turn, TURNS)
        if deadline.passed:
            break
        codebooks = refit(table, codes, codebooks)
        codes = choose_all(table, codebooks, codes)
    return codes, codebooks
