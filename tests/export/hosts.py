"""Models with an embedding table, in each of the forms that a table is stored in: what host rewriting is tested on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from tests.export import forms
from tests.export.forms import stored

WIDTH = 5
"""Columns of the output."""

FORMS = (
    *("plain", "identity", "transposed", "constant", "mirrored", "old", "external", "twice", "if", "inner", "loop"),
    *("half", "widened", "int8", "int8 last", "rows", "whole", "quantizer"),
    *("negative axis", "gathernd", "cast after", "scales apart", "scales first"),
    *forms.FORMS,
)

NARROW_OPSET = 21
"""First one with DequantizeLinear of four bits and of blocks."""


def per_row(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) int8 codes and (n, 1) float32 scales."""
    scale = (np.abs(table).max(axis=1, keepdims=True) / 127).astype(np.float32)
    return np.round(table / scale).astype(np.int8), scale


def whole(table: np.ndarray) -> tuple[np.ndarray, np.float32, np.uint8]:
    """(n, d) uint8 codes, a scale and a zero point for all."""
    scale = np.float32((table.max() - table.min()) / 255)
    zero = np.uint8(np.round(-table.min() / scale))
    return np.clip(np.round(table / scale) + zero, 0, 255).astype(np.uint8), scale, zero


def entries(form: str, table: np.ndarray) -> np.ndarray:
    """What a model of that form holds of `table`, by the formulas."""
    if form in forms.FORMS:
        return forms.FORMS[form](table)[-1]
    if form in ("half", "widened"):
        return table.astype(np.float16).astype(np.float32)
    if form in ("int8", "int8 last", "rows", "scales apart", "scales first"):
        codes, scale = per_row(table)
        return codes.astype(np.float32) * scale
    if form == "cast after":
        codes, scale = per_row(table)
        return codes.astype(np.float32) * scale.max()
    if form in ("whole", "quantizer"):
        codes8, scale8, zero = whole(table)
        return (codes8.astype(np.int32) - int(zero)).astype(np.float32) * scale8
    return table


def lookup(form: str, table: np.ndarray) -> tuple[list[NodeProto], list[TensorProto], str]:
    """Nodes that look `ids` up, what they store, and the name of the float32 rows."""
    if form in forms.FORMS:
        return forms.FORMS[form](table)[:3]
    node = helper.make_node
    gather = node("Gather", ["table", "ids"], ["rows"], name="lookup")
    if form in ("plain", "mirrored", "old", "external"):
        return [gather], [stored(table, "table")], "rows"
    if form == "negative axis":
        return [node("Gather", ["table", "ids"], ["rows"], axis=-2)], [stored(table, "table")], "rows"
    if form == "gathernd":
        wide = node("Cast", ["ids"], ["wide_ids"], to=TensorProto.INT64)
        nodes = [wide, node("Unsqueeze", ["wide_ids", "last"], ["at"]), node("GatherND", ["table", "at"], ["rows"])]
        return nodes, [stored(table, "table"), stored(np.array([-1]), "last")], "rows"
    if form == "identity":
        return [node("Identity", ["stored"], ["table"]), gather], [stored(table, "stored")], "rows"
    if form == "transposed":
        turn = node("Transpose", ["stored"], ["table"], perm=[1, 0])
        return [turn, gather], [stored(table.T, "stored")], "rows"
    if form == "constant":
        return [node("Constant", [], ["table"], value=stored(table, "t")), gather], [], "rows"
    if form == "twice":
        again = node("Gather", ["table", "turned"], ["more"], name="again")
        turn, add = node("Neg", ["ids"], ["turned"]), node("Add", ["rows", "more"], ["both"])
        return [gather, turn, again, add], [stored(table, "table")], "both"
    if form == "half":
        wide = node("Cast", ["rows"], ["wide"], to=TensorProto.FLOAT)
        return [gather, wide], [stored(table.astype(np.float16), "table")], "wide"
    if form == "widened":
        cast = node("Cast", ["stored"], ["table"], to=TensorProto.FLOAT)
        return [cast, gather], [stored(table.astype(np.float16), "stored")], "rows"
    if form in ("int8", "int8 last"):
        codes, scale = per_row(table)
        cast = node("Cast", ["stored"], ["codes"], to=TensorProto.FLOAT)
        mul = node("Mul", ["codes", "scale"] if form == "int8" else ["scale", "codes"], ["table"])
        return [cast, mul, gather], [stored(codes, "stored"), stored(scale, "scale")], "rows"
    if form == "rows":
        codes, scale = per_row(table)
        wide = node("DequantizeLinear", ["stored", "scale"], ["table"], axis=0)
        return [wide, gather], [stored(codes, "stored"), stored(scale[:, 0], "scale")], "rows"
    if form in ("cast after", "scales apart", "scales first"):
        return dequantized_after(form, table)
    codes8, scale8, zero = whole(table)
    parts = [stored(codes8, "stored"), stored(np.array(scale8), "scale"), stored(np.array(zero), "zero")]
    if form == "whole":
        return [node("DequantizeLinear", ["stored", "scale", "zero"], ["table"]), gather], parts, "rows"
    if form == "quantizer":
        wide = node("DequantizeLinear", ["codes", "scale", "zero"], ["rows"])
        return [node("Gather", ["stored", "ids"], ["codes"], name="lookup"), wide], parts, "rows"
    raise ValueError(form)


def dequantized_after(form: str, table: np.ndarray) -> tuple[list[NodeProto], list[TensorProto], str]:
    """Integer rows that are looked up, cast and multiplied: by one scale, or by one that is looked up too."""
    node = helper.make_node
    codes, scale = per_row(table)
    by, factors = ("scale", scale.max(keepdims=True)[0]) if form == "cast after" else ("factors", scale)
    nodes = [
        node("Gather", ["stored", "ids"], ["codes"], name="lookup"),
        node("Cast", ["codes"], ["wide"], to=TensorProto.FLOAT),
        *([] if form == "cast after" else [node("Gather", ["scale", "ids"], ["factors"])]),
        node("Mul", [by, "wide"] if form == "scales first" else ["wide", by], ["rows"]),
    ]
    return nodes, [stored(codes, "stored"), stored(factors, "scale")], "rows"


def in_body(form: str, table: np.ndarray) -> tuple[list[NodeProto], list[TensorProto]]:
    """Nodes that make `rows` in a body of If or Loop, and what the main graph stores for them."""
    node, outer = helper.make_node, [stored(table, "table")]
    if form == "loop":
        info = helper.make_tensor_value_info
        outputs = [("on", TensorProto.BOOL), ("one", TensorProto.INT64), ("row", TensorProto.FLOAT)]
        body = helper.make_graph(
            [node("Gather", ["table", "one"], ["row"], name="lookup"), node("Identity", ["go"], ["on"])],
            "body",
            [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("one", TensorProto.INT64, None)],
            [info(name, type_, None) for name, type_ in outputs],
        )
        count = node("Constant", [], ["count"], value_int=1)
        loop = node("Loop", ["count", "", "wide_ids"], ["last", "all"], body=body)
        first = [node("Constant", [], ["at"], value_int=0), node("Gather", ["all", "at"], ["rows"], axis=0)]
        return [count, node("Cast", ["ids"], ["wide_ids"], to=TensorProto.INT64), loop, *first], outer
    inner = outer if form == "inner" else []
    rows = helper.make_tensor_value_info("row", TensorProto.FLOAT, None)
    branches = {
        name: helper.make_graph([node("Gather", ["table", "ids"], ["row"], name=name)], name, [], [rows], inner)
        for name in ("then_branch", "else_branch")
    }
    if form == "inner":
        del branches["else_branch"].initializer[:]
        branches["else_branch"].node[0].CopyFrom(node("Gather", ["other", "ids"], ["row"], name="else_branch"))
        outer = [stored(np.zeros_like(table), "other")]
    yes = node("Constant", [], ["yes"], value=stored(np.array(True), "y"))
    return [yes, node("If", ["yes"], ["rows"], **branches)], outer


def make_host(
    table: np.ndarray,
    form: str = "plain",
    *,
    opset: int | None = None,
    ids: int = TensorProto.INT64,
    extra: Sequence[NodeProto] = (),
    outputs: Sequence[str] = (),
) -> onnx.ModelProto:
    """`ids (batch, sequence), types (batch, sequence) -> y`: a table in that form, two other tables, two layers."""
    rng = np.random.default_rng(7)
    opset = opset or (NARROW_OPSET if form.split()[0] in ("int4", "uint4", "float8") or "blocks" in form else 17)
    d = table.shape[1]
    if form in ("if", "inner", "loop"):
        (nodes, tensors), rows = in_body(form, table), "rows"
    else:
        nodes, tensors, rows = lookup(form, table)
    layers = [
        helper.make_node("Gather", ["types.weight", "types"], ["typed"], name="look_types_up", axis=0),
        helper.make_node("Add", [rows, "typed"], ["x"], name="add"),
        helper.make_node("MatMul", ["x", "weight"], ["z"], name="dense", doc_string="the only layer"),
        helper.make_node("Tanh", ["z"], ["y"], name="tanh"),
    ]
    tensors = [
        *tensors,
        stored(rng.standard_normal((2, d)).astype(np.float32), "types.weight"),
        stored(rng.standard_normal((d, WIDTH)).astype(np.float32) / 4, "weight"),
    ]
    info = helper.make_tensor_value_info
    inputs = [info("ids", ids, ["batch", "sequence"]), info("types", TensorProto.INT64, ["batch", "sequence"])]
    if form in ("mirrored", "old"):
        inputs += [info(tensor.name, tensor.data_type, tensor.dims) for tensor in tensors]
    graph = helper.make_graph(
        [*nodes, *layers, *extra],
        "host",
        inputs,
        [
            info("y", TensorProto.FLOAT, ["batch", "sequence", WIDTH]),
            *(info(name, TensorProto.FLOAT, [None] * 3) for name in outputs),
        ],
        tensors,
        doc_string="a model",
        value_info=[info("z", TensorProto.FLOAT, ["batch", "sequence", WIDTH]), info(rows, TensorProto.FLOAT, None)],
    )
    model = helper.make_model(
        graph,
        ir_version=3 if form == "old" else 10 if opset >= NARROW_OPSET else 8,
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)],
        producer_name="someone",
    )
    helper.set_model_props(model, {"key": "value"})
    return model


def save_host(model: onnx.ModelProto, path: Path, *, external: bool = False) -> Path:
    """Write a host; in a data file beside it the bytes of all but the smallest tensors."""
    path.parent.mkdir(exist_ok=True)
    if external:
        onnx.save_model(model, path, save_as_external_data=True, location=f"{path.name}.weights", size_threshold=64)
    else:
        onnx.save_model(model, path)
    return path
