"""Forms of a table in a model: nodes that look `ids` up in it, what they store, and the entries by the formulas.

Each is a function of the (n, d) float32 table that gives (nodes, tensors, name of the float32 rows, entries).
"""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

NODE = helper.make_node
FLOAT = TensorProto.FLOAT

Form = tuple[list[NodeProto], list[TensorProto], str, np.ndarray]


def stored(array: np.ndarray, name: str) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def narrow(codes: np.ndarray, type_: int, name: str) -> TensorProto:
    """Codes of four bits, two in a byte; or float8 values, as their bytes."""
    if type_ in (TensorProto.INT4, TensorProto.UINT4):
        flat = np.append(codes.ravel(), [0] * (codes.size % 2)).astype(np.int8).astype(np.uint8) & 15
        raw = (flat[::2] | flat[1::2] << 4).tobytes()
    else:
        raw = codes.tobytes()
    return helper.make_tensor(name, type_, codes.shape, raw, raw=True)


def gather(of: str = "table", rows: str = "rows", **attributes: int) -> NodeProto:
    return NODE("Gather", [of, "ids"], [rows], **attributes)


def numbers(name: str, *values: int) -> TensorProto:
    return stored(np.array(values, np.int64), name)


def int8(table: np.ndarray, bits: int = 8, axis: int | None = 1) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric codes, and the scales, which keep their axes."""
    most = 2 ** (bits - 1) - 1
    scale = (np.abs(table).max(axis=axis, keepdims=True) / most).astype(np.float32)
    return np.round(table / scale).astype(np.int8), scale


def affine(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """uint8 codes, and a scale and a least value for each row."""
    least = table.min(axis=1)
    scale = ((table.max(axis=1) - least) / 255).astype(np.float32)
    return np.round((table - least[:, None]) / scale[:, None]).astype(np.uint8), scale, least


# --- before the lookup ------------------------------------------------------------------------------------------------


def squeezed(table: np.ndarray) -> Form:
    nodes = [NODE("Squeeze", ["stored", "first"], ["table"]), gather()]
    return nodes, [stored(table[None], "stored"), numbers("first", 0)], "rows", table


def all_squeezed(table: np.ndarray) -> Form:
    return [NODE("Squeeze", ["stored"], ["table"]), gather()], [stored(table[None, None], "stored")], "rows", table


def axis_one(table: np.ndarray) -> Form:
    nodes = [gather("stored", "wide", axis=1), NODE("Squeeze", ["wide", "first"], ["rows"])]
    return nodes, [stored(table[None], "stored"), numbers("first", 0)], "rows", table


def between(table: np.ndarray) -> Form:
    nodes = [gather("stored", "wide"), NODE("Squeeze", ["wide", "at"], ["rows"])]
    return nodes, [stored(table[:, None], "stored"), numbers("at", -2)], "rows", table


def both_sides(table: np.ndarray) -> Form:
    nodes = [gather("stored", "wide", axis=-3), NODE("Squeeze", ["wide", "at"], ["rows"])]
    return nodes, [stored(table[None, :, None], "stored"), numbers("at", 0, -2)], "rows", table


def reshaped(table: np.ndarray) -> Form:
    nodes = [NODE("Reshape", ["stored", "shape"], ["table"]), gather()]
    return nodes, [stored(table.ravel(), "stored"), numbers("shape", -1, table.shape[1])], "rows", table


def flattened(table: np.ndarray) -> Form:
    return [NODE("Flatten", ["stored"], ["table"], axis=1), gather()], [stored(table[:, None], "stored")], "rows", table


def turned(table: np.ndarray) -> Form:
    """Three axes, in another order."""
    nodes = [
        NODE("Transpose", ["stored"], ["high"], perm=[1, 2, 0]),
        NODE("Reshape", ["high", "shape"], ["table"]),
        gather(),
    ]
    return nodes, [stored(table.T[:, :, None], "stored"), numbers("shape", 0, -1)], "rows", table


def shards(table: np.ndarray) -> Form:
    """One of them is one row."""
    parts = np.split(table, [1, len(table) // 3, len(table) - 2])
    names = [f"shard{number}" for number in range(len(parts))]
    tensors = [stored(part, name) for part, name in zip(parts, names, strict=True)]
    return [NODE("Concat", names, ["table"], axis=0), gather()], tensors, "rows", table


def columns(table: np.ndarray) -> Form:
    tensors = [stored(table[:, :5], "shard0"), stored(table[:, 5:], "shard1")]
    return [NODE("Concat", ["shard0", "shard1"], ["table"], axis=-1), gather()], tensors, "rows", table


def quantized_shards(table: np.ndarray) -> Form:
    codes, scale = int8(table)
    half = len(table) // 2
    tensors = [stored(codes[:half], "shard0"), stored(codes[half:], "shard1")]
    tensors += [stored(scale[:half], "scale0"), stored(scale[half:, 0], "scale1")]
    nodes = [
        NODE("Cast", ["shard0"], ["wide0"], to=FLOAT),
        NODE("Mul", ["wide0", "scale0"], ["table0"]),
        NODE("DequantizeLinear", ["shard1", "scale1"], ["table1"], axis=0),
        NODE("Concat", ["table0", "table1"], ["table"], axis=0),
        gather(),
    ]
    return nodes, tensors, "rows", codes.astype(np.float32) * scale


def cut(table: np.ndarray) -> Form:
    """Rows that fill a table up to a round number."""
    whole = np.concatenate([table, np.full((5, table.shape[1]), 9, np.float32)])
    nodes = [NODE("Slice", ["stored", "start", "end", "axis"], ["table"]), gather()]
    tensors = [numbers("start", 0), numbers("end", -5), numbers("axis", 0)]
    return nodes, [stored(whole, "stored"), *tensors], "rows", table


def shifted_before(table: np.ndarray) -> Form:
    """(codes − zero) · scale by operators, with a zero point in integers."""
    codes, scale = int8(table, axis=None)
    nodes = [
        NODE("Cast", ["stored"], ["whole"], to=TensorProto.INT32),
        NODE("Sub", ["whole", "zero"], ["centred"]),
        NODE("Cast", ["centred"], ["wide"], to=FLOAT),
        NODE("Div", ["wide", "inverse"], ["table"]),
        gather(),
    ]
    tensors = [
        stored((codes.astype(np.int16) + 128).astype(np.uint8), "stored"),
        stored(np.array(128, np.int32), "zero"),
        stored(1 / scale, "inverse"),
    ]
    return nodes, tensors, "rows", codes.astype(np.float32) / (1 / scale)


def dequantized(type_: int, axis: int | None, block: int = 0) -> Callable[[np.ndarray], Form]:
    """DequantizeLinear of four bits, eight bits or float8: one scale, one a row (axis 0), or one a block."""

    def form(table: np.ndarray) -> Form:
        n, d = table.shape
        many = -(-d // block) if block else 1
        padded = np.pad(table, [(0, 0), (0, many * block - d if block else 0)])
        groups = padded.reshape(n, many, -1)
        whole = np.abs(groups).max(axis=None if axis is None else 2, keepdims=True)
        bits = 8 if type_ == TensorProto.INT8 else 4
        if type_ in FLOAT8:
            scale = (whole / 100).astype(np.float32)
            codes = (groups / scale).astype(FLOAT8[type_])
        else:
            scale = (whole / (2 ** (bits - 1) - 1)).astype(np.float32)
            codes = np.round(groups / scale).astype(np.int8)
        values = (codes.astype(np.float32) * scale).reshape(n, -1)[:, :d]
        zero = type_ == TensorProto.UINT4
        codes = (codes + 8 * zero).reshape(n, -1)[:, :d] if zero else codes.reshape(n, -1)[:, :d]
        sizes: tuple[int, ...] = () if axis is None else (n, many) if block else (n,)
        tensors = [
            stored(codes, "stored") if type_ == TensorProto.INT8 else narrow(codes, type_, "stored"),
            stored(scale.reshape(sizes), "scale"),
            *([narrow(np.full(sizes, 8), type_, "zero")] if zero else []),
        ]
        given: dict[str, int] = {} if axis is None else {"axis": 1 if block else axis}
        node = NODE("DequantizeLinear", [tensor.name for tensor in tensors], ["table"], **given)
        if block:
            node.attribute.append(helper.make_attribute("block_size", block))
        return [node, gather()], tensors, "rows", values

    return form


FLOAT8 = {
    TensorProto.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn,
    TensorProto.FLOAT8E5M2: ml_dtypes.float8_e5m2,
}


def float8_cast(table: np.ndarray) -> Form:
    """A cast of the table, and scales of the rows."""
    scale = (np.abs(table).max(axis=1, keepdims=True) / 400).astype(np.float32)
    codes = (table / scale).astype(ml_dtypes.float8_e4m3fn)
    nodes = [NODE("Cast", ["stored"], ["wide"], to=FLOAT), NODE("Mul", ["wide", "scale"], ["table"]), gather()]
    tensors = [narrow(codes, TensorProto.FLOAT8E4M3FN, "stored"), stored(scale, "scale")]
    return nodes, tensors, "rows", codes.astype(np.float32) * scale


# --- after the lookup -------------------------------------------------------------------------------------------------


def column_scales(table: np.ndarray) -> Form:
    codes, scale = int8(table, axis=0)
    nodes = [gather("stored", "codes"), NODE("Cast", ["codes"], ["wide"], to=FLOAT)]
    nodes += [NODE("Mul", ["scale", "wide"], ["rows"])]
    return nodes, [stored(codes, "stored"), stored(scale[0], "scale")], "rows", codes.astype(np.float32) * scale


def kept_axes(table: np.ndarray) -> Form:
    """One scale, with an axis for each of the rows."""
    codes, scale = int8(table, axis=None)
    nodes = [gather("stored", "codes"), NODE("Cast", ["codes"], ["wide"], to=FLOAT)]
    nodes += [NODE("Mul", ["wide", "scale"], ["rows"])]
    return nodes, [stored(codes, "stored"), stored(scale[None], "scale")], "rows", codes.astype(np.float32) * scale


def shifted(table: np.ndarray) -> Form:
    """(codes − zero) · scale, by operators."""
    codes, scale = int8(table, axis=None)
    nodes = [
        gather("stored", "codes"),
        NODE("Cast", ["codes"], ["wide"], to=FLOAT),
        NODE("Sub", ["wide", "zero"], ["centred"]),
        NODE("Mul", ["centred", "scale"], ["rows"]),
    ]
    tensors = [
        stored((codes.astype(np.int16) + 128).astype(np.uint8), "stored"),
        stored(np.array(128, np.float32), "zero"),
        stored(scale[0], "scale"),
    ]
    return nodes, tensors, "rows", codes.astype(np.float32) * scale


def affine_rows(table: np.ndarray) -> Form:
    """codes · scale + least, both looked up as numbers, by ids that are cast for it."""
    codes, scale, least = affine(table)
    nodes = [
        gather("stored", "codes"),
        NODE("Cast", ["ids"], ["same"], to=TensorProto.INT64),
        NODE("Gather", ["scale", "same"], ["s"]),
        NODE("Gather", ["least", "ids"], ["m"]),
        NODE("Cast", ["codes"], ["wide"], to=FLOAT),
        NODE("Unsqueeze", ["s", "last"], ["s1"]),
        NODE("Unsqueeze", ["m", "two"], ["m1"]),
        NODE("Mul", ["wide", "s1"], ["product"]),
        NODE("Add", ["product", "m1"], ["rows"]),
    ]
    tensors = [stored(codes, "stored"), stored(scale, "scale"), stored(least, "least")]
    tensors += [numbers("last", -1), numbers("two", 2)]
    return nodes, tensors, "rows", codes.astype(np.float32) * scale[:, None] + least[:, None]


def half_scales(table: np.ndarray) -> Form:
    codes, scale = int8(table)
    half = scale.astype(np.float16)
    nodes = [
        gather("stored", "codes"),
        NODE("Cast", ["codes"], ["wide"], to=FLOAT),
        gather("scale", "short"),
        NODE("Cast", ["short"], ["factors"], to=FLOAT),
        NODE("Mul", ["wide", "factors"], ["rows"]),
    ]
    return nodes, [stored(codes, "stored"), stored(half, "scale")], "rows", codes * half.astype(np.float32)


def made_scales(table: np.ndarray) -> Form:
    """Scales of rows that are made before they are looked up."""
    codes, scale = int8(table)
    nodes = [
        NODE("Mul", ["most", "by"], ["scale"]),
        gather("stored", "codes"),
        NODE("Cast", ["codes"], ["wide"], to=FLOAT),
        gather("scale", "factors"),
        NODE("Mul", ["factors", "wide"], ["rows"]),
    ]
    tensors = [stored(codes, "stored"), stored(scale * 127, "most"), stored(np.array(1 / 127, np.float32), "by")]
    return nodes, tensors, "rows", codes.astype(np.float32) * ((scale * 127) * np.float32(1 / 127))


def dequantized_then_scaled(table: np.ndarray) -> Form:
    """One scale for all by DequantizeLinear, and then a factor for each row."""
    factor = np.abs(table).max(axis=1, keepdims=True)
    codes, scale = int8(table / factor, axis=None)
    nodes = [
        gather("stored", "codes"),
        NODE("DequantizeLinear", ["codes", "scale"], ["wide"]),
        gather("factor", "factors"),
        NODE("Mul", ["wide", "factors"], ["rows"]),
    ]
    tensors = [stored(codes, "stored"), stored(scale.reshape(()), "scale"), stored(factor, "factor")]
    return nodes, tensors, "rows", codes.astype(np.float32) * scale * factor


def sixteen_bits(table: np.ndarray) -> Form:
    scale = np.float32(np.abs(table).max() / 32767)
    codes = np.round(table / scale).astype(np.int16)
    nodes = [gather("stored", "codes"), NODE("Cast", ["codes"], ["wide"], to=FLOAT)]
    nodes += [NODE("Mul", ["wide", "scale"], ["rows"])]
    return nodes, [stored(codes, "stored"), stored(np.array(scale), "scale")], "rows", codes.astype(np.float32) * scale


def bag(table: np.ndarray) -> Form:
    """What torch makes of EmbeddingBag: rows of all ids, a slice of them at a time."""
    nodes = [NODE("Reshape", ["ids", "flat"], ["all_ids"]), NODE("Gather", ["table", "all_ids"], ["all_rows"])]
    nodes += [NODE("Shape", ["ids"], ["shape"]), NODE("Concat", ["shape", "width"], ["sizes"], axis=0)]
    nodes += [NODE("Reshape", ["all_rows", "sizes"], ["rows"])]
    tensors = [stored(table, "table"), numbers("flat", -1), numbers("width", table.shape[1])]
    return nodes, tensors, "rows", table


FORMS: dict[str, Callable[[np.ndarray], Form]] = {
    "squeezed": squeezed,
    "all squeezed": all_squeezed,
    "axis one": axis_one,
    "between": between,
    "both sides": both_sides,
    "reshaped": reshaped,
    "flattened": flattened,
    "turned": turned,
    "shards": shards,
    "columns": columns,
    "quantized shards": quantized_shards,
    "cut": cut,
    "shifted before": shifted_before,
    "int4": dequantized(TensorProto.INT4, None),
    "int4 rows": dequantized(TensorProto.INT4, 0),
    "int4 blocks": dequantized(TensorProto.INT4, 1, 4),
    "uint4": dequantized(TensorProto.UINT4, None),
    "uint4 blocks": dequantized(TensorProto.UINT4, 1, 4),
    "int8 blocks": dequantized(TensorProto.INT8, 1, 4),
    "float8": dequantized(TensorProto.FLOAT8E4M3FN, None),
    "float8 rows": dequantized(TensorProto.FLOAT8E5M2, 0),
    "float8 cast": float8_cast,
    "column scales": column_scales,
    "kept axes": kept_axes,
    "shifted": shifted,
    "affine rows": affine_rows,
    "half scales": half_scales,
    "made scales": made_scales,
    "dequantized, scaled": dequantized_then_scaled,
    "sixteen bits": sixteen_bits,
    "bag": bag,
}
