"""Long chains, and chains that double: each name is looked at once, and nothing recurses."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from eigenselect.export import embedding_table
from eigenselect.export.models.walks import evaluated
from tests.cases import gaussian
from tests.export.hosts import save_host, stored

TABLE = gaussian(20, 6)
NODE = helper.make_node
SECONDS = 20
"""Far above what any of these takes, and far below what 2^40 steps do."""


def chain(length: int, link: Callable[[str, str], NodeProto], first: str, last: str) -> list[NodeProto]:
    names = [first, *(f"c{number}" for number in range(length - 1)), last]
    return [link(*pair) for pair in pairwise(names)]


def model_of(nodes: list[NodeProto]) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("ids", TensorProto.INT64, ["n"])],
        [info("y", TensorProto.FLOAT, ["n", 6])],
        [stored(TABLE, "t")],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def identity(a: str, b: str) -> NodeProto:
    return NODE("Identity", [a], [b])


def cast(a: str, b: str) -> NodeProto:
    return NODE("Cast", [a], [b], to=TensorProto.FLOAT)


def double(operator: str, **attributes: int) -> Callable[[str, str], NodeProto]:
    return lambda a, b: NODE(operator, [a, a], [b], **attributes)


LOOK = NODE("Gather", ["t", "ids"], ["y"])
READ: dict[str, list[NodeProto]] = {
    "identities of the table": [*chain(1500, identity, "t", "w"), NODE("Gather", ["w", "ids"], ["y"])],
    "identities of the ids": [*chain(3000, identity, "ids", "i"), NODE("Gather", ["t", "i"], ["y"])],
    "ids that are joined again": [*chain(40, double("Concat", axis=0), "ids", "i"), NODE("Gather", ["t", "i"], ["y"])],
    "identities of the rows": [NODE("Gather", ["t", "ids"], ["r"]), *chain(3000, identity, "r", "y")],
}
NAMED: dict[str, list[NodeProto]] = {
    "casts of the table": [*chain(1500, cast, "t", "w"), NODE("Gather", ["w", "ids"], ["y"])],
    "identities without end": [*chain(9000, identity, "t", "w"), NODE("Gather", ["w", "ids"], ["y"])],
    "a table times itself": [*chain(40, double("Mul"), "t", "w"), NODE("Gather", ["w", "ids"], ["y"])],
    "a table behind itself": [*chain(40, double("Concat", axis=0), "t", "w"), NODE("Gather", ["w", "ids"], ["y"])],
}


@pytest.mark.parametrize("case", READ)
def test_a_long_chain_is_followed(case: str, tmp_path: Path) -> None:
    start = time.monotonic()
    np.testing.assert_array_equal(embedding_table(save_host(model_of(READ[case]), tmp_path / "a.onnx")), TABLE)
    assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize("case", NAMED)
def test_a_chain_that_is_too_long_is_named(case: str, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"looked up are none; not followed are Gather 'y' of ai\.onnx takes ids"):
        embedding_table(save_host(model_of(NAMED[case]), tmp_path / "a.onnx"))
    assert time.monotonic() - start < SECONDS


def test_a_walk_makes_each_value_once_after_its_sources() -> None:
    sources = {key: [key - 1, key - 1, key - 2] if key > 1 else [] for key in range(3000)}
    made: list[int] = []
    known: dict[int, int | None] = {}

    def value(key: int) -> int:
        made.append(key)
        return 1 + max((known[of] or 0 for of in sources[key]), default=0)

    assert evaluated(2999, sources.__getitem__, value, known) == 2999
    assert len(made) == len({*made}) == 3000


def test_a_walk_in_a_circle_ends() -> None:
    known: dict[str, int | None] = {}
    assert evaluated("a", {"a": "b", "b": "a"}.__getitem__, lambda key: len(known), known) == 1
