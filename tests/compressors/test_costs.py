"""What a lookup costs, worked out by hand for each kind of payload, and the same whatever the number of rows."""

from __future__ import annotations

import numpy as np
import pytest

from eigenselect.compressors.payloads.base import Payload, kinds
from eigenselect.compressors.payloads.coded import Coded
from eigenselect.compressors.payloads.column import Column
from eigenselect.compressors.payloads.composed import (
    Columns,
    Interleaved,
    Projected,
    Repeated,
    Replaced,
    Scaled,
    Stacked,
    Sum,
    Unaligned,
)
from eigenselect.compressors.payloads.costs import Cost, CostOps, cost_of
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.payloads.mapped import Mapped
from eigenselect.compressors.payloads.ops import VERBS
from eigenselect.compressors.payloads.packed import Packed
from eigenselect.compressors.payloads.tensor_train import TensorTrain
from eigenselect.compressors.payloads.trellis import Trellis


def examples(n: int) -> dict[str, tuple[Payload, Cost]]:
    """Payloads of `n` rows, at least 3, by name, with their costs."""

    def floats(*shape: int) -> np.ndarray:
        return np.ones(shape, np.float32)

    def codes(w: int) -> np.ndarray:
        return np.zeros((n, w), np.uint8)

    dense = Dense(floats(n, 6))  # 24 bytes
    packed = Packed(codes(3), floats(4, 1), 10)  # 3 bytes, of which each picks four floats: 3 + 48
    whole = Packed(codes(2), np.arange(256, dtype=np.float32)[:, None], 2)  # 2 + 8
    return {
        "dense": (dense, Cost(24, 0, 1)),
        "float16": (Dense(np.ones((n, 6), np.float16)), Cost(12, 0, 1)),
        "unit": (Dense(floats(n, 6), 2.0), Cost(24 + 4, 6, 2)),
        "packed": (packed, Cost(51, 0, 1)),
        "product codes": (Coded(whole, floats(2, 5, 3), False, 5), Cost(10 + 2 * 4 + 2 * 12, 2, 1 + 4)),
        "one codebook": (Coded(whole, floats(1, 5, 1), False, 2), Cost(10 + 2 * 4, 0, 2)),
        "summed codes": (Coded(whole, floats(2, 5, 3), True, 3), Cost(10 + 2 * 12, 3, 2)),
        "trellis": (Trellis(codes(3), floats(1 << 10), 2, 11), Cost(3 + 11 * 4, 0, 1)),
        "columns": (Columns(dense, np.array([5, 0, 0], np.int32)), Cost(24 + 12, 0, 2)),
        # Where its byte and its code in the byte are, three numbers of 8 bytes and a byte.
        "column": (Column(np.zeros(-(-n // 4), np.uint8), floats(4, 1), n), Cost(3 * 8 + 1 + 4, 0, 1 + 5 + 1)),
        "sum": (Sum((dense, dense, dense)), Cost(72, 12, 5)),
        "projected": (Projected(dense, np.ones((6, 7), np.float16)), Cost(24 + 84, 42, 2)),
        "repeated": (Repeated(dense, 3, 17), Cost(24, 0, 2)),
        "scaled": (Scaled(dense, Dense(np.ones((n, 1), np.float16))), Cost(26, 6, 3)),
        "unaligned": (Unaligned(dense), Cost(24, 0, 1)),
        "mapped": (Mapped(dense, np.zeros(n, np.int32)), Cost(4 + 24, 0, 3)),
        "replaced": (Replaced(dense, np.array([0, 2], np.int32), np.ones((2, 6), np.float16)), Cost(24 + 8 + 12, 0, 3)),
        # Both parts are decoded for every row.
        "stacked": (Stacked((dense, dense)), Cost(48, 0, 1 + 2 + 2 + 1)),
        "places": (Stacked((dense, dense), np.arange(2 * n, dtype=np.int32)), Cost(48 + 4, 0, 1 + 1 + 2 + 2 + 1)),
        # A rank, two strides of 8 bytes, and of each part a start and a row.
        "interleaved": (
            Interleaved.of(dense, dense, np.arange(2 * n) % 2 > 0),
            Cost(1 + 2 * 8 + 2 * (4 + 24), 0, 1 + 1 + 2 + 2 * 4 + 1),
        ),
        # Slices 2 x 3 and 3 x 4, whose product is 2 x 4; two strides of 8 bytes.
        "tensor train": (
            TensorTrain((floats(n, 1, 2, 3), floats(4, 3, 4, 1)), 4 * n, 7),
            Cost(6 * 4 + 12 * 4 + 2 * 8, 2 * 3 * 4, 1 + 3 + 1 + 3 + 1 + 1 + 1 + 1),
        ),
    }


@pytest.mark.parametrize("name", examples(3))
def test_the_cost_of_each_kind_by_hand(name: str) -> None:
    few, expected = examples(3)[name]
    many, _ = examples(50)[name]
    assert cost_of(few) == cost_of(many) == expected


def test_every_kind_and_every_verb_has_a_cost() -> None:
    named = {type(payload).__name__ for payload, _ in examples(3).values()}
    assert named >= {tag for tag, kind in kinds().items() if kind.__module__.startswith("eigenselect.")}
    assert all(callable(getattr(CostOps, verb)) for verb in VERBS)
