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


LAYER = [stored(np.ones(6, np.float32), name) for name in ("gamma", "beta")]
PLACES = [stored(gaussian(20, 6), "places"), stored(gaussian(2, 6), "types")]
SCALES = [stored(np.ones((40, 1), np.float32), "scales"), stored(np.ones(1, np.float32), "scale")]
WEIGHTS = stored(gaussian(6, 6), "weights")
QUANTIZED = "give the float model that it was made of"
PLAIN = "let one Gather look rows up in one stored n x d tensor"

NOT_FOLLOWED: dict[str, tuple[list[NodeProto], list[TensorProto], str]] = {
    "fused": (
        [
            NODE(
                "EmbedLayerNormalization",
                ["ids", "mask", "words", "places", "types", "gamma", "beta"],
                ["y", "m"],
                domain="com.microsoft",
                name="embed",
            )
        ],
        [stored(TABLE, "words"), *PLACES, *LAYER],
        "EmbedLayerNormalization 'embed' of com.microsoft, which takes ids to 'words' 40 x 6 float32: export without "
        "the fusion of embeddings and normalization",
    ),
    "block quantized": (
        [NODE("GatherBlockQuantized", ["codes", "ids", "scales"], ["y"], domain="com.microsoft", block_size=16)],
        [int4("codes"), SCALES[0]],
        f"GatherBlockQuantized 'y' of com.microsoft, which takes ids to 'codes' 40 x 6 int4: {QUANTIZED}",
    ),
    "int4": (
        [NODE("DequantizeLinear", ["codes", "scale"], ["wide"]), NODE("Gather", ["wide", "ids"], ["y"])],
        [int4("codes"), SCALES[1]],
        f"Gather 'y' of ai.onnx, which takes ids to 'codes' 40 x 6 int4: {QUANTIZED}",
    ),
    "blocks": (
        [
            NODE("DequantizeLinear", ["codes", "scales"], ["wide"], axis=1, block_size=6),
            NODE("Gather", ["wide", "ids"], ["y"]),
        ],
        [stored(CODES, "codes"), SCALES[0]],
        f"Gather 'y' of ai.onnx, which takes ids to 'codes' 40 x 6 int8: {QUANTIZED}",
    ),
    "pairs": (
        [NODE("GatherND", ["table", "ids"], ["y"])],
        [stored(TABLE, "table")],
        "GatherND 'y' of ai.onnx, which takes ids to 'table' 40 x 6 float32: look rows up by one Gather, or a GatherND "
        "whose indices are ids.unsqueeze(-1)",
    ),
    "three axes": (
        [NODE("Gather", ["table", "ids"], ["y"], axis=1)],
        [stored(TABLE[None], "table")],
        f"Gather 'y' of ai.onnx, which takes ids to 'table' 1 x 40 x 6 float32: {PLAIN}",
    ),
    "shifted codes with scales apart": (
        [
            NODE("Gather", ["codes", "ids"], ["c"]),
            NODE("Cast", ["c"], ["wide"], to=TensorProto.FLOAT),
            NODE("Sub", ["wide", "scale"], ["shifted"]),
            NODE("Gather", ["scales", "ids"], ["s"]),
            NODE("Mul", ["shifted", "s"], ["y"]),
        ],
        [stored(CODES, "codes"), *SCALES],
        f"Gather 'c' of ai.onnx, which takes ids to 'codes' 40 x 6 int8: {QUANTIZED}",
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
    nodes, tensors, expected = NOT_FOLLOWED["fused"]
    path = save_host(host_of(nodes, tensors, ["y"]), tmp_path / "a.onnx")
    with pytest.raises(ValueError) as caught:
        embedding_table(path, "words")
    assert str(caught.value) == (
        f"{path}: no embedding tables are named 'words'; looked up are none; not followed are {expected}"
    )


def test_a_rewrite_names_what_is_not_followed(tmp_path: Path) -> None:
    nodes, tensors, expected = NOT_FOLLOWED["fused"]
    path = save_host(host_of(nodes, tensors, ["y"]), tmp_path / "a.onnx")
    payload = Uniform(4).compress(EmbeddingTable(TABLE), np.random.default_rng(0))
    with pytest.raises(ValueError) as caught:
        rewrite_host(path, payload, tmp_path / "new.onnx")
    assert str(caught.value) == (
        f"{path}: it does not hold the 40 x 6 table that was compressed: no stored table is looked up in it; "
        f"not followed are {expected}"
    )


def test_at_most_five_are_named_the_largest_first(tmp_path: Path) -> None:
    sizes = (40, 30, 20, 70, 60, 50, 10)
    nodes = [NODE("GatherND", [f"t{n}", "ids"], [f"y{n}"]) for n in sizes]
    tensors = [stored(gaussian(n, 6), f"t{n}") for n in sizes]
    message = message_of(host_of(nodes, tensors, [f"y{n}" for n in sizes]), tmp_path)
    assert [message.find(f"takes ids to 't{n}' {n} x 6 ") for n in (20, 10)] == [-1, -1]
    at = [message.index(f"takes ids to 't{n}' {n} x 6 ") for n in (70, 60, 50, 40, 30)]
    assert at == sorted(at) and message.endswith("; and 2 more")


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
