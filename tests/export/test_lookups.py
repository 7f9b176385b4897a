"""Lookups that are not followed: no table is made up of their parts, and the message names them and the cure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from eigenselect.compressors import EmbeddingTable, Uniform
from eigenselect.export import embedding_table, rewrite_host
from eigenselect.export.models.scopes import Model
from eigenselect.export.models.tables import HostTable, find_tables
from tests.cases import gaussian
from tests.export.hosts import make_host, save_host, stored

TABLE = gaussian(40, 6)
CODES = np.arange(-120, 120, dtype=np.int8).reshape(40, 6)
NODE = helper.make_node


def host_of(nodes: Sequence[NodeProto], tensors: Sequence[TensorProto], outputs: Sequence[str]) -> onnx.ModelProto:
    """`ids (batch, sequence), mask (batch, sequence) -> outputs` of any shape."""
    info = helper.make_tensor_value_info
    inputs = [info(name, TensorProto.INT64, ["batch", "sequence"]) for name in ("ids", "mask")]
    graph = helper.make_graph(
        nodes, "host", inputs, [info(name, TensorProto.FLOAT, [None] * 3) for name in outputs], tensors
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets)


def int4(name: str) -> TensorProto:
    return helper.make_tensor(name, TensorProto.INT4, (40, 6), (CODES.ravel() % 8).tolist())


SCALES = [stored(np.ones((40, 1), np.float32), "scales"), stored(np.ones(1, np.float32), "scale")]
WEIGHTS = stored(gaussian(6, 6), "weights")
QUANTIZED = "give the float model that it was made of"
PLAIN = "let one Gather look rows up in one n x d tensor"
PAIRS = "GatherND 'y' of ai.onnx takes ids to 'table' 40 x 6 float32: give it ids.unsqueeze(-1) as its indices"

NOT_FOLLOWED: dict[str, tuple[list[NodeProto], list[TensorProto], str]] = {
    "quantized by rows": (
        [
            NODE(
                "GatherBlockQuantized",
                ["codes", "ids", "scales"],
                ["y"],
                domain="com.microsoft",
                block_size=16,
                quantize_axis=0,
            )
        ],
        [int4("codes"), SCALES[0]],
        f"GatherBlockQuantized 'y' of com.microsoft takes ids to 'codes' 40 x 6 int4: {QUANTIZED}",
    ),
    "pairs": ([NODE("GatherND", ["table", "ids"], ["y"])], [stored(TABLE, "table")], PAIRS),
    "two tables in one": (
        [NODE("Gather", ["table", "ids"], ["y"], axis=1)],
        [stored(TABLE.reshape(2, 20, 6), "table")],
        f"Gather 'y' of ai.onnx takes ids to 'table' 2 x 20 x 6 float32: {PLAIN}",
    ),
    "columns": (
        [NODE("Gather", ["table", "ids"], ["y"], axis=1)],
        [stored(TABLE.T, "table")],
        f"Gather 'y' of ai.onnx takes ids to 'table' 6 x 40 float32: {PLAIN}",
    ),
    "blocks after the lookup": (
        [
            NODE("Gather", ["codes", "ids"], ["c"]),
            NODE("Cast", ["c"], ["wide"], to=TensorProto.FLOAT),
            NODE("Reshape", ["wide", "pairs"], ["split"]),
            NODE("Mul", ["split", "scale"], ["y"]),
        ],
        [stored(CODES, "codes"), SCALES[1], stored(np.array([0, 0, 3, 2]), "pairs")],
        f"Gather 'c' of ai.onnx takes ids to 'codes' 40 x 6 int8: {QUANTIZED}",
    ),
    "bits that operators take apart": (
        [
            NODE("Gather", ["codes", "ids"], ["c"]),
            NODE("BitwiseAnd", ["c", "low"], ["four"]),
            NODE("Cast", ["four"], ["wide"], to=TensorProto.FLOAT),
            NODE("Mul", ["wide", "scale"], ["y"]),
        ],
        [stored(CODES.view(np.uint8), "codes"), SCALES[1], stored(np.array(15, np.uint8), "low")],
        f"Gather 'c' of ai.onnx takes ids to 'codes' 40 x 6 uint8: {QUANTIZED}",
    ),
    "one shard twice": (
        [NODE("Concat", ["table", "table"], ["both"], axis=0), NODE("Gather", ["both", "ids"], ["y"])],
        [stored(TABLE, "table")],
        f"Gather 'y' of ai.onnx takes ids to 'table' 40 x 6 float32: {PLAIN}",
    ),
}


def message_of(model: onnx.ModelProto, folder: Path) -> str:
    with pytest.raises(ValueError) as caught:
        embedding_table(save_host(model, folder / "a.onnx"))
    return str(caught.value)


@pytest.mark.parametrize("case", NOT_FOLLOWED)
def test_what_is_not_followed_is_named_with_the_cure(case: str, tmp_path: Path) -> None:
    nodes, tensors, expected = NOT_FOLLOWED[case]
    message = message_of(host_of(nodes, tensors, ["y"]), tmp_path)
    assert message.startswith(f"{tmp_path / 'a.onnx'}: no tables are looked up by ids that are an input; looked up are")
    assert f"looked up are none; not followed are {expected}" in message and "\n" not in message


def test_a_name_that_is_not_followed_is_told_so(tmp_path: Path) -> None:
    nodes, tensors, expected = NOT_FOLLOWED["pairs"]
    path = save_host(host_of(nodes, tensors, ["y"]), tmp_path / "a.onnx")
    with pytest.raises(ValueError) as caught:
        embedding_table(path, "table")
    assert str(caught.value) == (
        f"{path}: no embedding tables are named 'table'; looked up are none; not followed are {expected}"
    )


def test_a_rewrite_names_what_is_not_followed(tmp_path: Path) -> None:
    nodes, tensors, expected = NOT_FOLLOWED["pairs"]
    path = save_host(host_of(nodes, tensors, ["y"]), tmp_path / "a.onnx")
    payload = Uniform(4).compress(EmbeddingTable(TABLE), np.random.default_rng(0))
    with pytest.raises(ValueError) as caught:
        rewrite_host(path, payload, tmp_path / "new.onnx")
    assert str(caught.value) == (
        f"{path}: it does not hold the 40 x 6 table that was compressed: no stored table is looked up in it; "
        f"not followed are {expected}"
    )


def test_as_many_are_named_as_a_line_holds_the_largest_first(tmp_path: Path) -> None:
    sizes = (40, 30, 20, 70, 60, 50, 10)
    nodes = [NODE("GatherND", [f"t{n}", "ids"], [f"y{n}"]) for n in sizes]
    tensors = [stored(gaussian(n, 6), f"t{n}") for n in sizes]
    message = message_of(host_of(nodes, tensors, [f"y{n}" for n in sizes]), tmp_path)
    assert "not followed are GatherND 'y70' of ai.onnx takes ids to 't70' 70 x 6 float32: give it ids" in message
    assert message.endswith("; and 6 more") and len(message) < 300


def test_long_names_leave_the_message_short(tmp_path: Path) -> None:
    name = "a" * 500 + "\n"
    model = host_of([NODE("GatherND", [name, "ids"], ["y"], name="b" * 500)], [stored(TABLE, name)], ["y"])
    message = message_of(model, tmp_path)
    assert len(message) < 300 and "\n" not in message
    assert message.startswith(f"{tmp_path / 'a.onnx'}: no tables") and message.endswith("as its indices")


def test_what_does_not_take_ids_to_a_table_is_not_named(tmp_path: Path) -> None:
    """A mask that is cast, weights, and activations."""
    nodes = [
        NODE("Cast", ["mask"], ["m"], to=TensorProto.FLOAT),
        NODE("Unsqueeze", ["m", "last"], ["column"]),
        NODE("Add", ["column", "weights"], ["y"]),
    ]
    message = message_of(host_of(nodes, [WEIGHTS, stored(np.array([-1]), "last")], ["y"]), tmp_path)
    assert message.endswith("looked up are none")


def found(model: onnx.ModelProto) -> list[HostTable]:
    return find_tables(Model(model), Path())


def test_scales_are_no_table_of_their_own() -> None:
    assert [table.name for table in found(make_host(TABLE, "scales apart"))] == ["stored", "types.weight"]


def test_scales_of_other_ids_are_not_taken() -> None:
    model = make_host(TABLE, "scales apart")
    next(node for node in model.graph.node if node.output[0] == "factors").input[1] = "types"
    assert [table.name for table in found(model)] == ["types.weight"]
