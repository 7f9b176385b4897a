"""The kinds of payload that are made of payloads: each decode against numpy's own indexing, in every execution."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenselect.compressors import Payload
from eigenselect.compressors.payloads.bitpack import pack
from eigenselect.compressors.payloads.composed import (
    Interleaved,
    Projected,
    Repeated,
    Replaced,
    Scaled,
    Stacked,
    Sum,
    Unaligned,
)
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.payloads.mapped import Mapped
from eigenselect.compressors.payloads.packed import Packed
from eigenselect.compressors.payloads.tensor_train import TensorTrain
from tests.decoding import Example, check_chunks, check_everywhere, check_stored

pytestmark = pytest.mark.quick


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def dense(n: int, k: int, seed: int = 0) -> Example:
    table = normal(n, k, seed=seed)
    return Example(Dense(table), table)


def packed(n: int, k: int, seed: int = 0) -> Example:
    codes = np.random.default_rng(seed).integers(0, 16, (n, k), dtype=np.uint8)
    levels = normal(16, seed=seed)
    return Example(Packed(pack(codes, 4), levels[:, None], k), levels[codes])


def train(n: int, k: int) -> Example:
    """Rows and columns to spare: an id that is too large has digits too."""
    cores = (normal(n // 3 + 2, 1, 2, 2), normal(3, 2, k, 1, seed=1))
    whole = np.einsum("aibj,cjdk->acbd", *cores).reshape(-1, 2 * k)
    return Example(TensorTrain(cores, n, k), whole[:n, :k], exact=False)


def replaced(part: Example, rows: list[int], dtype: type[np.floating] = np.float16) -> Example:
    table = normal(len(rows), part.payload.k, seed=9).astype(dtype)
    expected = part.expected.copy()
    expected[rows] = table
    return Example(Replaced(part.payload, np.array(rows, np.int32), table), expected, part.exact)


def stacked(*parts: Example, places: np.ndarray | None = None) -> Example:
    expected = np.concatenate([part.expected for part in parts])
    if places is not None:
        places = places.astype(np.int32)
        expected = expected[places]
    payload = Stacked(tuple(part.payload for part in parts), places)
    return Example(payload, expected, all(part.exact for part in parts))


def interleaved(first: Example, second: Example, rows: list[int]) -> Example:
    """`second` has the rows `rows`, `first` the others."""
    second_ones = np.zeros(first.payload.n + second.payload.n, bool)
    second_ones[rows] = True
    expected = np.empty((len(second_ones), first.payload.k), np.float32)
    expected[second_ones], expected[~second_ones] = second.expected, first.expected
    return Example(Interleaved.of(first.payload, second.payload, second_ones), expected, first.exact and second.exact)


def mapped(part: Example, rows: list[int]) -> Example:
    return Example(Mapped(part.payload, np.array(rows, np.int32)), part.expected[rows], part.exact)


def shuffled(n: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).permutation(n)


EXAMPLES: dict[str, Callable[[], Example]] = {
    "replaced-one": lambda: replaced(dense(23, 7), [5]),
    "replaced-ends": lambda: replaced(packed(23, 7), [0, 22], np.float32),
    "replaced-several": lambda: replaced(packed(23, 7), [0, 1, 5, 21]),
    "replaced-more-than-columns": lambda: replaced(packed(23, 3), [*range(2, 21)]),
    "replaced-one-column": lambda: replaced(packed(23, 1), [4, 5]),
    "replaced-all": lambda: replaced(dense(23, 7), [*range(23)]),
    "replaced-train": lambda: replaced(train(23, 7), [0, 22]),
    "replaced-replaced": lambda: replaced(replaced(dense(23, 7), [3, 4]), [4, 22]),
    "replaced-stacked": lambda: replaced(stacked(dense(9, 7), packed(14, 7), places=shuffled(23)), [0, 8, 9]),
    "stacked-two": lambda: stacked(dense(9, 7), packed(14, 7)),
    "stacked-one-row": lambda: stacked(dense(1, 7), packed(1, 7), dense(21, 7, seed=1)),
    "stacked-one-row-last": lambda: stacked(packed(22, 7), dense(1, 7)),
    "stacked-train-first": lambda: stacked(train(9, 7), packed(14, 7)),
    "stacked-train-last": lambda: stacked(packed(14, 7), train(9, 7)),
    "stacked-places": lambda: stacked(dense(9, 7), packed(14, 7), places=shuffled(23)),
    "stacked-reversed": lambda: stacked(dense(9, 7), packed(14, 7), places=np.arange(23)[::-1]),
    "stacked-nested-first": lambda: stacked(stacked(dense(4, 7), packed(5, 7)), packed(14, 7), places=shuffled(23)),
    "stacked-nested-last": lambda: stacked(packed(14, 7), stacked(dense(4, 7), packed(5, 7), places=shuffled(9))),
    "stacked-nested-places": lambda: stacked(
        stacked(dense(4, 7), packed(5, 7), places=shuffled(9)),
        stacked(packed(6, 7), dense(8, 7), places=shuffled(14)),
        places=shuffled(23),
    ),
    "stacked-replaced": lambda: stacked(replaced(dense(9, 7), [0, 8]), replaced(packed(14, 7), [0, 13])),
    "interleaved-one": lambda: interleaved(packed(22, 7), dense(1, 7), [22]),
    "interleaved-other": lambda: interleaved(packed(1, 7), dense(22, 7), [*range(22)]),
    "interleaved-blocks": lambda: interleaved(packed(167, 7), dense(133, 7), [0, 3, *range(126, 256), 299]),
    "interleaved-whole-block": lambda: interleaved(dense(123, 7), packed(5, 7), [5, 6, 7, 126, 127]),
    "interleaved-interleaved": lambda: interleaved(
        interleaved(packed(127, 7), dense(2, 7, seed=1), [7, 128]), packed(3, 7), [0, 8, 131]
    ),
    "mapped": lambda: mapped(packed(9, 7), [8, 0, 0, 3, *range(9), 8]),
    "mapped-stacked": lambda: mapped(stacked(dense(9, 7), packed(14, 7), places=shuffled(23)), [22, 0, 7, 7]),
    "replaced-mapped": lambda: replaced(mapped(packed(9, 7), [8, 0, 0, 3]), [1, 3]),
    "unaligned": lambda: Example(Unaligned(dense(23, 7).payload), dense(23, 7).expected),
    "unaligned-stacked": lambda: Example(
        Unaligned(stacked(dense(9, 7), packed(14, 7)).payload), stacked(dense(9, 7), packed(14, 7)).expected
    ),
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


def test_many_replaced_rows_are_read_in_smaller_chunks() -> None:
    # Each id is compared with each of them, a byte each.
    few, many = replaced(dense(2000, 2), [3]), replaced(dense(2000, 2), [*range(1500)])
    assert (few.payload.width, many.payload.width) == (2, 375)


def test_only_coordinates_of_their_own_are_unaligned() -> None:
    assert {name for name, make in EXAMPLES.items() if not make().payload.aligned} == {"unaligned", "unaligned-stacked"}


@st.composite
def stacks(draw: st.DrawFn, depth: int = 2) -> Example:
    """Bands of any size, with and without places, nested."""
    leaves = st.builds(
        lambda make, n, seed: make(n, 3, seed), st.sampled_from([dense, packed]), SIZES, st.integers(0, 9)
    )
    parts = draw(st.lists(stacks(depth - 1) if depth > 1 else leaves, min_size=2, max_size=3))
    n = sum(part.payload.n for part in parts)
    places = draw(st.none() | st.permutations(range(n)).map(np.array))
    return stacked(*parts, places=places)


SIZES = st.integers(1, 5)


@given(stacks())
def test_any_stack_is_a_concatenation(example: Example) -> None:
    np.testing.assert_array_equal(example.payload.read(slice(None)), example.expected)


@given(st.sets(st.integers(0, 11), min_size=1))
def test_any_rows_may_be_replaced(rows: set[int]) -> None:
    example = replaced(packed(12, 3), sorted(rows))
    np.testing.assert_array_equal(example.payload.read(slice(None)), example.expected)


PART = Dense(np.zeros((4, 3), np.float32))
OWN = Unaligned(PART)
TWO = np.zeros((2, 3), np.float16)
SECOND = np.array([0, 1, 0, 0, 0, 1], bool)


def ids(*rows: int) -> np.ndarray:
    return np.array(rows, np.int32)


REFUSED: list[tuple[Callable[[], Payload], str]] = [
    (lambda: Replaced(TWO, ids(1, 2), TWO), "Replaced.part is a ndarray: it must be a payload"),
    (lambda: Replaced(OWN, ids(1, 2), TWO), "Replaced.part decodes to coordinates of its own"),
    (lambda: Replaced(PART, np.array([1, 2]), TWO), "Replaced.rows is int64 of shape (2,): it must be 1-D int32"),
    (lambda: Replaced(PART, ids(1, 2)[None], TWO), "Replaced.rows is int32 of shape (1, 2): it must be 1-D int32"),
    (lambda: Replaced(PART, ids(1, 2), TWO[0]), "Replaced.table is float16 of shape (3,): it must be 2-D"),
    (lambda: Replaced(PART, ids(1, 2), TWO.astype(float)), "Replaced.table is float64 of shape (2, 3): it must be 2-D"),
    (lambda: Replaced(PART, ids(1, 2), TWO[:1]), "Replaced.table is (1, 3): it must be (2, 3)"),
    (lambda: Replaced(PART, ids(1, 2), TWO[:, :2]), "Replaced.table is (2, 2): it must be (2, 3)"),
    *(
        (
            lambda rows=rows: Replaced(PART, ids(*rows), TWO[: len(rows)]),
            "must be one or more increasing ids from 0 to 3",
        )
        for rows in ([], [2, 1], [1, 1], [-1, 2], [1, 4])
    ),
    (
        lambda: Interleaved.of(PART, Dense(TWO[:, :2]), SECOND),
        "Interleaved.parts have [3, 2] columns: there must be two",
    ),
    (lambda: Interleaved((PART,), ids(0), ids(0)), "Interleaved.parts have [3] columns"),
    (lambda: Interleaved.of(PART, OWN, SECOND), "Interleaved.parts.1 decodes to coordinates of its own"),
    (
        lambda: Interleaved((PART, PART), ids(0), ids(0)),
        "Interleaved.ranks is int32 of shape (1,): it must be 1-D uint8",
    ),
    (
        lambda: Interleaved((PART, PART), np.zeros(8, np.uint8), ids(0)),
        "Interleaved.starts must be a tuple of two arrays, one of each part",
    ),
    (lambda: Interleaved.of(PART, PART, SECOND), "Interleaved.ranks and starts must count 4 and 4 rows"),
    (
        lambda: Interleaved((PART, Dense(TWO)), np.array([0, 1, 2, 3, 128, 128], np.uint8), (ids(0), ids(0))),
        "Interleaved.ranks and starts must count 4 and 2 rows",
    ),
    (lambda: Stacked((PART,)), "Stacked.parts have [3] columns: there must be two or more of one width"),
    (lambda: Stacked(()), "Stacked.parts have [] columns"),
    (lambda: Stacked(PART), "Stacked.parts is a Dense: it must be a tuple of payloads"),
    (lambda: Stacked((PART, Dense(TWO[:, :2]))), "Stacked.parts have [3, 2] columns"),
    (lambda: Stacked((PART, OWN)), "Stacked.parts.1 decodes to coordinates of its own"),
    (lambda: Stacked((PART, TWO)), "Stacked.parts.1 is a ndarray: it must be a payload"),
    (lambda: Stacked((PART, PART), np.arange(8)), "Stacked.places is int64 of shape (8,): it must be 1-D int32"),
    (lambda: Stacked((PART, PART), [0]), "Stacked.places is a list: it must be 1-D int32"),
    *(
        (
            lambda places=places: Stacked((PART, Dense(TWO)), ids(*places)),
            "Stacked.places must hold each of 0 to 5 once",
        )
        for places in ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 4], [1, 2, 3, 4, 5, 6], [-1, 1, 2, 3, 4, 5])
    ),
    (lambda: Unaligned(OWN), "Unaligned.part decodes to coordinates of its own: inside another method use one that"),
    (lambda: Unaligned(3), "Unaligned.part is a int: it must be a payload"),
    (lambda: Sum((PART, OWN)), "Sum.parts.1 decodes to coordinates of its own"),
    (lambda: Sum(PART), "Sum.parts is a Dense: it must be a tuple of payloads"),
    (lambda: Projected(OWN, normal(3, 3)), "Projected.part decodes to coordinates of its own"),
    (lambda: Scaled(PART, Unaligned(Dense(TWO[:, :1]))), "Scaled.scale decodes to coordinates of its own"),
    (lambda: Repeated(OWN, 2, 6), "Repeated.part decodes to coordinates of its own"),
    (lambda: Repeated(PART, 2, 7), "Repeated.part has 3 columns for 7 columns in blocks of 2"),
    *(
        (lambda count=count, dim=dim: Repeated(PART, count, dim), f"Repeated has blocks of {count!r} and dim {dim!r}: ")
        for count, dim in ((0, 6), (2, 0), ("2", 6), (2, "6"), (2.0, 6))
    ),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refuses_what_does_not_fit(make: Callable[[], Payload], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
