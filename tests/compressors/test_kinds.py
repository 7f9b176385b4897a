"""The kinds of payload that hold rows: each decode against an independent one, in every execution."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenselect.compressors import Payload
from eigenselect.compressors.payloads.bitpack import pack
from eigenselect.compressors.payloads.coded import Coded
from eigenselect.compressors.payloads.column import Column
from eigenselect.compressors.payloads.composed import Columns, Sum, Unaligned
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.payloads.ops import NO_ROW, NumpyOps
from eigenselect.compressors.payloads.packed import Packed
from eigenselect.compressors.payloads.tensor_train import TensorTrain
from eigenselect.compressors.payloads.trellis import Trellis
from tests.decoding import Example, check_chunks, check_everywhere, check_stored


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def dense(unit: float) -> Example:
    table = normal(23, 7).astype(np.float16)
    return Example(Dense(table, unit), table.astype(np.float32) * np.float32(unit))


def coded(codes: Payload, whole: np.ndarray, books: int, v: int, *, summed: bool, dim: int) -> Example:
    """`whole`, (n, c) integers, is what `codes` decodes to."""
    count, size = whole.shape[1], int(whole.max()) + 1
    codebooks = normal(books, size, v)
    picked = [codebooks[j % books][whole[:, j]] for j in range(count)]
    rows = np.sum(picked, axis=0, dtype=np.float64) if summed else np.concatenate(picked, axis=1)
    return Example(Coded(codes, codebooks, summed, dim), rows[:, :dim], exact=not summed)


def nibbles(n: int, c: int) -> tuple[Payload, np.ndarray]:
    """Codes of 4 bits, and what they are."""
    whole = np.random.default_rng(1).integers(0, 16, (n, c), dtype=np.uint8)
    whole[0] = 15
    return Packed(pack(whole, 4), np.arange(16, dtype=np.float32)[:, None], c), whole


def twelve_bits(n: int, c: int) -> tuple[Payload, np.ndarray]:
    """Codes of 12 bits in two planes, and what they are."""
    whole = np.random.default_rng(2).integers(0, 1 << 12, (n, c))
    whole[0] = (1 << 12) - 1
    high = Packed(pack((whole >> 4).astype(np.uint8), 8), 16 * np.arange(256, dtype=np.float32)[:, None], c)
    low = Packed(pack((whole & 15).astype(np.uint8), 4), np.arange(16, dtype=np.float32)[:, None], c)
    return Sum((high, low)), whole


def bit_by_bit(packed: np.ndarray, levels: np.ndarray, bits: int, dim: int) -> np.ndarray:
    """Trellis codes: each row as a string of bits in a ring, a window slid along it."""
    return by_ends(packed, levels, range(bits, bits * dim + 1, bits))


def by_ends(packed: np.ndarray, levels: np.ndarray, ends: Iterable[int]) -> np.ndarray:
    """The same for windows that end anywhere."""
    window = len(levels).bit_length() - 1
    rows = []
    for row in packed:
        ring = "".join(f"{byte:08b}" for byte in row)
        rows.append([levels[int("".join(ring[i % len(ring)] for i in range(end - window, end)), 2)] for end in ends])
    return np.array(rows, dtype=np.float32)


def trellis(bits: int, window: int, dim: int, n: int = 23, seed: int = 0) -> Example:
    packed = np.random.default_rng(seed).integers(0, 256, (n, -(-dim * bits // 8)), dtype=np.uint8)
    levels = normal(1 << window, seed=seed)
    return Example(Trellis(packed, levels, bits, dim), bit_by_bit(packed, levels, bits, dim))


def ring(bits: list[int], window: int, n: int = 23, seed: int = 0) -> Example:
    packed = np.random.default_rng(seed).integers(0, 256, (n, sum(bits) // 8), dtype=np.uint8)
    levels = normal(1 << window, seed=seed)
    step, ends = math.gcd(*bits, 4), np.cumsum(bits)
    every = Trellis(packed, levels, step, sum(bits) // step)
    return Example(Columns(every, (ends // step - 1).astype(np.int32)), by_ends(packed, levels, ends.tolist()))


def column(m: int, n: int) -> Example:
    codes, levels = np.random.default_rng(3).integers(0, 1 << m, n), normal(1 << m, 1)
    padded = np.pad(codes, (0, -n % (8 // m))).reshape(-1, 8 // m)
    packed = (padded << (m * np.arange(8 // m))).sum(axis=1).astype(np.uint8)
    return Example(Column(packed, levels, n), levels[codes])


def train(rows: list[int], columns: list[int], ranks: list[int], count: int, dim: int, seed: int = 0) -> Example:
    inner = [1, *ranks, 1]
    shapes = [(m, inner[i], d, inner[i + 1]) for i, (m, d) in enumerate(zip(rows, columns, strict=True))]
    cores = tuple(normal(*shape, seed=seed + i) for i, shape in enumerate(shapes))
    # Axes by number: 0.. the digits of the id, 10.. those of the column, 20.. what is summed over.
    operands = [part for i, core in enumerate(cores) for part in (core.astype(np.float64), [i, 20 + i, 10 + i, 21 + i])]
    whole = np.einsum(*operands, [*range(len(cores)), *range(10, 10 + len(cores))])
    expected = whole.reshape(np.prod(rows), np.prod(columns))[:count, :dim]
    return Example(TensorTrain(cores, count, dim), expected, exact=False)


EXAMPLES: dict[str, Callable[[], Example]] = {
    "dense-unit": lambda: dense(2.0**-20),
    "dense-wide-unit": lambda: dense(1e30),
    "coded-own": lambda: coded(*nibbles(23, 5), 5, 3, summed=False, dim=15),
    "coded-own-cut": lambda: coded(*nibbles(23, 5), 5, 3, summed=False, dim=13),
    "coded-shared": lambda: coded(*nibbles(23, 5), 1, 3, summed=False, dim=14),
    "coded-scalar-shared": lambda: coded(*nibbles(23, 5), 1, 1, summed=False, dim=5),
    "coded-scalar-own": lambda: coded(*nibbles(23, 5), 5, 1, summed=False, dim=4),
    "coded-one-column": lambda: coded(*nibbles(23, 1), 1, 6, summed=False, dim=6),
    "coded-twelve-bits": lambda: coded(*twelve_bits(23, 4), 4, 2, summed=False, dim=8),
    "coded-summed-own": lambda: coded(*nibbles(23, 5), 5, 6, summed=True, dim=6),
    "coded-summed-own-cut": lambda: coded(*nibbles(23, 5), 5, 6, summed=True, dim=5),
    "coded-summed-many": lambda: coded(*twelve_bits(23, 3), 3, 6, summed=True, dim=5),
    "coded-summed-scalar": lambda: coded(*nibbles(23, 5), 5, 1, summed=True, dim=1),
    **{
        f"trellis-{bits}-{window}-{dim}": (lambda bits=bits, window=window, dim=dim: trellis(bits, window, dim))
        for bits in (1, 2, 4)
        for window in (8, 10, 12)
        # Rows of one byte, where the window wraps round on itself, of two, of several, and with bits to spare.
        for dim in (8 // bits, 16 // bits, 13, 40)
    },
    "trellis-1-14": lambda: trellis(1, 14, 40),
    "trellis-2-13": lambda: trellis(2, 13, 13),
    "trellis-narrow": lambda: trellis(4, 4, 13),
    "trellis-one-value": lambda: trellis(2, 9, 1),
    "trellis-widest": lambda: trellis(4, 20, 13),
    **{
        f"ring-{name}-{window}": (lambda bits=bits, window=window: ring(bits, window))
        for name, bits in {
            "even": [2, 2, 2, 2],
            "byte": [3, 2, 3],
            "uneven": [3, 1, 0, 4, 2, 0, 0, 6, 5, 3],
            "twos": [2, 4, 2, 8, 0, 8],
            "fours": [4, 8, 4],
        }.items()
        for window in (8, 9, 10, 14, 17)
    },
    "ring-narrow": lambda: ring([1, 1, 1, 1, 0, 1, 1, 1, 1], 1),
    **{f"column-{m}-{n}": (lambda m=m, n=n: column(m, n)) for m in (1, 2, 4) for n in (1, 16, 23)},
    "train-2": lambda: train([5, 6], [3, 4], [3], 30, 12),
    "train-2-padded": lambda: train([5, 6], [3, 4], [3], 23, 11),
    "train-3": lambda: train([3, 4, 5], [2, 3, 2], [2, 4], 60, 12),
    "train-3-padded": lambda: train([3, 4, 5], [2, 3, 2], [2, 4], 47, 7),
    "train-4-padded": lambda: train([2, 3, 2, 4], [2, 1, 3, 2], [2, 3, 2], 41, 11),
    "train-rank-1": lambda: train([5, 6], [3, 4], [1], 29, 12),
}

every_example = pytest.mark.parametrize("name", EXAMPLES)


@every_example
def test_decodes_alike_everywhere(name: str) -> None:
    check_everywhere(EXAMPLES[name]())


@every_example
def test_saved_is_loaded(name: str, tmp_path: Path) -> None:
    check_stored(EXAMPLES[name](), tmp_path)


@every_example
def test_chunks_are_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_chunks(EXAMPLES[name](), monkeypatch)


def test_trellis_by_hand() -> None:
    # 0b1011_0010 in a ring: the windows of three bits that end with each value of one bit.
    payload = Trellis(np.array([[0b10110010]], np.uint8), np.arange(8, dtype=np.float32), bits=1, dim=8)
    np.testing.assert_array_equal(payload.read(slice(None)), [[0b101, 0b010, 0b101, 0b011, 0b110, 0b100, 0b001, 0b010]])


@given(st.sampled_from([1, 2, 4]), st.integers(0, 16), st.integers(1, 40), st.integers(0, 99))
def test_trellis_is_a_window_on_a_ring_of_bits(bits: int, more: int, dim: int, seed: int) -> None:
    example = trellis(bits, bits + more, dim, n=3, seed=seed)
    np.testing.assert_array_equal(example.payload.read(slice(None)), example.expected)


@given(st.data())
def test_tensor_train_is_the_contraction_over_all_digits(data: st.DataObject) -> None:
    cores = data.draw(st.integers(2, 4))
    sizes = st.lists(st.integers(1, 4), min_size=cores, max_size=cores)
    rows, columns, ranks = data.draw(sizes), data.draw(sizes), data.draw(sizes)[1:]
    count, dim = data.draw(st.integers(1, int(np.prod(rows)))), data.draw(st.integers(1, int(np.prod(columns))))
    example = train(rows, columns, ranks, count, dim, seed=data.draw(st.integers(0, 99)))
    example.agrees(example.payload.read(slice(None)), example.expected)


@every_example
def test_width_is_what_the_widest_step_takes(name: str) -> None:
    payload, sizes = EXAMPLES[name]().payload, []

    class Watched:
        """NumpyOps, with the size of all that it makes written down."""

        def __getattr__(self, verb: str) -> Any:
            run = getattr(NumpyOps(), verb)

            def watched(*given: Any) -> Any:
                made = run(*given)
                sizes.append(made.nbytes)
                return made

            return {"scope": lambda _: self, "param": run}.get(verb, watched)

    payload.decode(np.arange(payload.n), Watched())
    assert max(sizes) <= 4 * payload.width * payload.n


BYTES, BOOK = np.zeros((4, 3), np.uint8), np.zeros((5, 16, 2), np.float32)
CODES = Packed(BYTES, np.zeros((16, 1), np.float32), 5)
TABLE = np.zeros((4, 3), np.float32)
CORES = (np.zeros((3, 1, 2, 4), np.float32), np.zeros((5, 4, 3, 1), np.float32))
UNLIKE = (CORES[0], np.zeros((5, 3, 3, 1), np.float32))
OPEN = (CORES[0], np.zeros((5, 4, 3, 2), np.float32))
BEYOND = (np.broadcast_to(np.float32(0), (1 << 21, 1, 1, 1)),) * 2

REFUSED: list[tuple[Callable[[], Payload], str]] = [
    (lambda: Dense(TABLE[0]), "Dense.table is float32 of shape (3,): it must be 2-D float32 or float16"),
    (lambda: Dense(TABLE.astype(np.float64)), "Dense.table is float64 of shape (4, 3): it must be 2-D"),
    (lambda: Dense([[1.0]]), "Dense.table is a list: it must be 2-D"),
    *((lambda unit=unit: Dense(TABLE, unit), f"Dense.unit = {unit!r}: it must be a ") for unit in (0.0, -1.0, 1, "1")),
    *((lambda unit=unit: Dense(TABLE, unit), f"Dense.unit = {unit!r}: ") for unit in (np.inf, np.nan, 1e39, 1e-50)),
    (lambda: Coded(TABLE, BOOK, False, 9), "Coded.codes is a ndarray: it must be a payload"),
    (lambda: Coded(Unaligned(CODES), BOOK, False, 9), "Coded.codes decodes to coordinates of its own"),
    (lambda: Coded(CODES, BOOK[0], False, 9), "Coded.codebooks is float32 of shape (16, 2): it must be 3-D float32"),
    (lambda: Coded(CODES, BOOK[:4], False, 8), "Coded.codebooks has 4 codebooks for codes of 5 columns"),
    (lambda: Coded(CODES, BOOK[:, :0], False, 8), "Coded.codebooks has 0 codewords: it must have from 1 to 16777216"),
    (lambda: Coded(CODES, BOOK, 0, 9), "Coded.summed = 0: it must be true or false"),
    (lambda: Coded(CODES, BOOK, None, 9), "Coded.summed = None: it must be true or false"),
    (lambda: Coded(CODES, BOOK, False, 11), "Coded.dim = 11: it must be from 1 to the 10 columns that are stored"),
    (lambda: Coded(CODES, BOOK, True, 3), "Coded.dim = 3: it must be from 1 to the 2 columns that are stored"),
    (lambda: Coded(CODES, BOOK, True, 0), "Coded.dim = 0: it must be from 1"),
    (lambda: Coded(CODES, BOOK, True, 1.0), "Coded.dim = 1.0: it must be from 1"),
    (lambda: Trellis(BYTES[0], TABLE[0], 1, 24), "Trellis.packed is uint8 of shape (3,): it must be 2-D uint8"),
    (lambda: Trellis(BYTES, TABLE, 1, 24), "Trellis.levels is float32 of shape (4, 3): it must be 1-D float32"),
    *(
        (lambda bits=bits: Trellis(BYTES, np.zeros(16, np.float32), bits, 8), f"Trellis.bits = {bits!r}: it must be ")
        for bits in (3, 8, 0, True, "2")
    ),
    (lambda: Trellis(BYTES, np.zeros(12, np.float32), 2, 12), "Trellis.levels has 12 levels: it must have a power of"),
    (lambda: Trellis(BYTES, np.zeros(0, np.float32), 2, 12), "Trellis.levels has 0 levels"),
    (
        lambda: Trellis(BYTES, np.zeros(2, np.float32), 2, 12),
        "Trellis.levels has 2 levels: it must have a power of two",
    ),
    (lambda: Trellis(BYTES, np.zeros(1 << 18, np.float32), 1, 24), "from 2 to 131072"),
    *(
        (lambda dim=dim: Trellis(BYTES, np.zeros(16, np.float32), 2, dim), f"Trellis.dim = {dim!r} does not go with 3 ")
        for dim in (8, 13, 0, -1, 12.0, "12")
    ),
    *(
        (lambda places=places: Columns(CODES, np.array(places, np.int32)), "Columns.places must be one or more columns")
        for places in ([], [5], [0, -1])
    ),
    (lambda: Column(BYTES, TABLE[:, :1], 4), "Column.packed is uint8 of shape "),
    (lambda: Column(BYTES[0], TABLE, 12), "Column.levels is (4, 3): it must be one column of 2, 4 or 16"),
    *(
        (lambda n=n: Column(BYTES[0], TABLE[:, :1], n), f"Column.count = {n!r} does not go with 3")
        for n in (8, 13, 9.0)
    ),
    (lambda: TensorTrain(CORES[:1], 3, 2), "TensorTrain.cores have shapes [(3, 1, 2, 4)]: they must be two or more"),
    (lambda: TensorTrain((), 3, 2), "TensorTrain.cores have shapes []"),
    (lambda: TensorTrain(CORES[0], 3, 2), "TensorTrain.cores is a ndarray: it must be a tuple of arrays"),
    (lambda: TensorTrain(UNLIKE, 3, 2), "TensorTrain.cores have shapes [(3, 1, 2, 4), (5, 3, 3, 1)]"),
    (lambda: TensorTrain(OPEN, 3, 2), "TensorTrain.cores have shapes [(3, 1, 2, 4), (5, 4, 3, 2)]"),
    (lambda: TensorTrain((CORES[0], TABLE), 3, 2), "TensorTrain.cores.1 is float32 of shape (4, 3): it must be 4-D"),
    (lambda: TensorTrain(CORES, 16, 2), "TensorTrain.count = 16: it must be from 1 to the 15 that are stored"),
    (lambda: TensorTrain(CORES, 0, 2), "TensorTrain.count = 0: it must be from 1"),
    (lambda: TensorTrain(CORES, "3", 2), "TensorTrain.count = '3': it must be from 1"),
    (lambda: TensorTrain(CORES, 15, 7), "TensorTrain.dim = 7: it must be from 1 to the 6 that are stored"),
    (
        lambda: TensorTrain(BEYOND, 15, 1),
        f"TensorTrain.cores have room for {1 << 42} rows: it must be at most {NO_ROW}",
    ),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refuses_what_does_not_fit(make: Callable[[], Payload], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
