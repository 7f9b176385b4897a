"""The ONNX execution of the decode verbs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from eigenselect.compressors.payloads.bitpack import planar, plane_widths, unpack_table
from eigenselect.compressors.payloads.ops import NO_ROW, spreads
from eigenselect.export.operators.functions import DOMAIN, MASKS_FROM, linear_name, operator

OPSET = 18
"""Newest opset whose operators all have CUDA kernels in the supported ONNX Runtime versions."""

OLDEST_OPSET = 13

ONE_HOT = 16
"""Codewords of a codebook up to which a product with ones adds them up faster than lookups."""

Target = Literal["portable", "cpu", "cuda"]
"""What a model is made for. portable and cuda use operators with CUDA kernels only; cpu is the fastest on a CPU."""

TARGETS: tuple[str, ...] = get_args(Target)


class Linear(NamedTuple):
    """Evenly spaced levels: (code * 2**(8 - bits) - zero_point) * scale + offset."""

    bits: int
    scale: np.float32
    zero_point: int
    offset: np.float32


def linear(lut: npt.NDArray[np.float32]) -> Linear | None:
    """The arithmetic that gives what bytes stand for to the bit, if there is one; lut (256, v)."""
    if lut.shape[1] not in (1, 2, 4, 8):
        return None
    bits = 8 // lut.shape[1]
    levels = lut[: 1 << bits, 0]
    codes = np.arange(1 << bits, dtype=np.float32) * np.float32(1 << (8 - bits))
    step = np.float32((float(levels[-1]) - float(levels[0])) / float(codes[-1]))
    if not np.array_equal(lut, levels[unpack_table(bits)]) or not np.isfinite(step) or step < np.finfo(np.float32).tiny:
        return None
    for scale in (step, np.nextafter(step, np.float32(0)), np.nextafter(step, np.float32(np.inf))):
        for offset in (np.float32(0), scale / np.float32(2)) if bits == 8 else (np.float32(0),):
            zero = round((float(offset) - float(levels[0])) / float(scale))
            if 0 <= zero <= 255 and np.array_equal((codes - np.float32(zero)) * scale + offset, levels):
                return Linear(bits, scale, zero, offset)
    return None


class _Codes(NamedTuple):
    """What a node for evenly spaced codes was made of."""

    planes: tuple[str, ...]
    bits: int
    scale: np.float32
    zero_point: int
    rows: str
    dim: int
    padded: bool


@dataclass
class _Graph:
    """What all scopes of one decode append to."""

    prefix: str
    opset: int
    target: Target
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    padded: set[str] = field(default_factory=set)
    codes: dict[str, _Codes] = field(default_factory=dict)
    literals: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)
    made: int = 0


class OnnxOps:
    """Appends nodes and initializers; a value is its name in the graph. The verbs are those of `Ops`.

    Args:
        prefix: of every name.
        opset: of the model, from `OLDEST_OPSET` on.
        target: which operators are used, where there is a choice.
    """

    def __init__(self, prefix: str = "", *, opset: int = OPSET, target: Target = "portable") -> None:
        self._graph = _Graph(prefix, opset, target)
        self._prefix = prefix

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """In the order of execution."""
        return self._graph.nodes

    @property
    def initializers(self) -> list[onnx.TensorProto]:
        """The stored arrays."""
        arrays = self._graph.arrays
        return [numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in arrays.items()]

    def functions(self) -> list[onnx.FunctionProto]:
        """What the nodes of our domain mean."""
        used = {node.op_type for node in self.nodes if node.domain == DOMAIN}
        return [operator(name, self._graph.opset, padded=name in self._graph.padded) for name in sorted(used)]

    def scope(self, name: str) -> OnnxOps:  # noqa: D102
        inner = OnnxOps(f"{self._prefix}{name}.")
        inner._graph = self._graph
        return inner

    def _node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        output = f"{self._prefix}{op}_{self._graph.made}"
        self._graph.made += 1
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, domain=domain, **attributes))
        return output

    def param(self, name: str, array: npt.NDArray[Any]) -> str:  # noqa: D102
        self._graph.arrays[self._prefix + name] = array
        return self._prefix + name

    def wrap(self, rows: str, n: int) -> str:  # noqa: D102
        ids = self._node("Cast", rows, to=onnx.TensorProto.INT64)
        from_end = self._node("Less", ids, self._constant(0))
        wrapped = self._node("Where", from_end, self._node("Add", ids, self._constant(n)), ids)
        # Still below 0 or too large: one test of n - 1 - id and id, whose smaller one is then below 0.
        room = self._node("Min", wrapped, self._node("Sub", self._constant(n - 1), wrapped))
        return self._node("Where", self._node("Less", room, self._constant(0)), self._constant(NO_ROW), wrapped)

    def digit(self, numbers: str, strides: str, base: int | None) -> str:  # noqa: D102
        quotients = self._node("Div", self._node("Cast", numbers, to=onnx.TensorProto.INT64), strides)
        if base is None:
            return quotients
        above = self._node("Mul", self._node("Div", quotients, self._constant(base)), self._constant(base))
        return self._node("Sub", quotients, above)

    def pick(self, array: str, ids: str) -> str:  # noqa: D102
        return self._node("Cast", self._node("Gather", array, ids, axis=0), to=onnx.TensorProto.INT64)

    def within(self, ids: str, start: int, count: int | None) -> str:  # noqa: D102
        local = self._node("Max", self._node("Sub", ids, self._constant(start)), self._constant(0))
        return local if count is None else self._node("Min", local, self._constant(count - 1))

    def gather(self, table: str, rows: str) -> str:  # noqa: D102
        gathered = self._node("Gather", table, rows, axis=0)
        # The rows are widened, never the table: a Cast before the Gather would be folded into a float32 table.
        return self._widened(gathered) if self._is_half(table) else gathered

    def _is_half(self, name: str) -> bool:
        array = self._graph.arrays.get(name)
        return array is not None and array.dtype == np.float16

    def _widened(self, value: str) -> str:
        return self._node("Cast", value, to=onnx.TensorProto.FLOAT)

    def dequantize_gather(self, packed: str, lut: str, rows: str, dim: int) -> str:  # noqa: D102
        arrays = self._graph.arrays
        w, v = arrays[packed].shape[1], arrays[lut].shape[1]
        found = linear(arrays[lut])
        if found is None or (found.bits < 8 and self._graph.target != "cpu"):
            if dim < w * v:
                self._graph.padded.add("DequantizeGather")
            return self._node("DequantizeGather", packed, lut, rows, domain=DOMAIN, dim=dim)
        del arrays[lut]
        arrays[packed] = planar(arrays[packed], found.bits, dim)
        codes = _Codes((packed,), found.bits, found.scale, found.zero_point, rows, dim, dim < w * v)
        value = self._dequantized(codes)
        return self.add(value, self.param("offset", np.array([found.offset]))) if found.offset else value

    def _dequantized(self, codes: _Codes) -> str:
        name = linear_name(codes.bits)
        first = codes.planes[0]
        arrays = self._graph.arrays
        scale, zero_point = f"{first}.scale", f"{first}.zero_point"
        arrays[scale], arrays[zero_point] = np.array(codes.scale), np.array(codes.zero_point, np.uint8)
        if codes.padded:
            self._graph.padded.add(name)
        value = self._node(name, *codes.planes, scale, zero_point, codes.rows, domain=DOMAIN, dim=codes.dim)
        self._graph.codes[value] = codes
        return value

    def _joined(self, a: str, b: str) -> str | None:
        """The sum of two planes of one code as one operator, where they are that: a sum of bytes, not of floats."""
        high, low = self._graph.codes.get(a), self._graph.codes.get(b)
        if (
            high is None
            or low is None
            or self._graph.opset < MASKS_FROM
            or [node.output[0] for node in self.nodes[-2:]] != [a, b]
        ):
            return None
        bits = high.bits + low.bits
        if (
            bits > 8
            or plane_widths(bits) != [*plane_widths(high.bits), *plane_widths(low.bits)]
            or (high.rows, high.dim, 0) != (low.rows, low.dim, low.zero_point)
            or low.scale * np.float32(1 << high.bits) != high.scale
        ):
            return None
        del self.nodes[-2:]
        for name in (a, b):
            first = self._graph.codes.pop(name).planes[0]
            del self._graph.arrays[f"{first}.scale"], self._graph.arrays[f"{first}.zero_point"]
        padded = high.padded or low.padded
        return self._dequantized(high._replace(planes=high.planes + low.planes, bits=bits, padded=padded))

    def lookup(self, levels: str, codes: str) -> str:  # noqa: D102
        return self._node("Gather", levels, self._node("Cast", codes, to=onnx.TensorProto.INT32), axis=0)

    def add(self, a: str, b: str) -> str:  # noqa: D102
        return self._joined(a, b) or self._node("Add", a, b)

    def mul(self, a: str, b: str) -> str:  # noqa: D102
        return self._node("Mul", a, b)

    def repeat(self, a: str, columns: int, count: int, dim: int) -> str:  # noqa: D102
        blocks = self._node("Expand", self._node("Unsqueeze", a, self._constants([-1])), self._constants([count]))
        flat = self.reshape(blocks, 2, (columns * count,))
        return flat if columns * count == dim else self.cut(flat, dim)

    def bits(self, a: str, starts: Sequence[int], count: int) -> str:  # noqa: D102
        if any(starts):
            a = self._node("Floor", self._node("Mul", a, self._floats([2.0**-start for start in starts])))
        above = self._node("Floor", self._node("Mul", a, self._floats([2.0**-count])))
        return self._node("Sub", a, self._node("Mul", above, self._floats([2.0**count])))

    def successive(self, levels: str, window: int, bits: int, count: int) -> str:  # noqa: D102
        if count == 1:
            return levels
        # Nothing but constants: made when the model is loaded, and not stored.
        size, columns = 1 << window, []
        middle = self._node("Reshape", levels, self._constants([1, size, 1]))
        for before, after in spreads(bits, count):
            spread = self._node("Expand", middle, self._constants([before, size, after]))
            columns.append(self._node("Reshape", spread, self._constants([-1, 1])))
        return self._node("Concat", *columns, axis=1)

    def roll(self, a: str, count: int, columns: int) -> str:  # noqa: D102
        count %= columns
        axis = self._constants([-1])
        front, back = self._constants([columns - count]), self._constants([columns])
        last = self._node("Slice", a, front, back, axis)
        return self._node("Concat", last, self._node("Slice", a, self._constants([0]), front, axis), axis=-1)

    def reshape(self, a: str, last: int, shape: tuple[int, ...]) -> str:  # noqa: D102
        whole = self._node("Shape", a)  # not with an end, which comes with opset 15
        batch = self._node("Slice", whole, self._constants([0]), self._constants([-last]))
        return self._node("Reshape", a, self._node("Concat", batch, self._constants(list(shape)), axis=0))

    def cut(self, a: str, dim: int) -> str:  # noqa: D102
        return self._node("Slice", a, self._constants([0]), self._constants([dim]), self._constants([-1]))

    def add_codewords(self, codebooks: str, codes: str, count: int) -> str:  # noqa: D102
        size = len(self._graph.arrays[codebooks]) // count
        if size > ONE_HOT:
            index, total = self._node("Cast", codes, to=onnx.TensorProto.INT32), ""
            for j in range(count):
                column = self._node("Gather", index, self._constant(j), axis=-1)
                first = self._literal(np.array(j * size, np.int32))
                picked = self._node("Gather", codebooks, self._node("Add", column, first), axis=0)
                total = self._node("Add", total, picked) if total else picked
            return total
        # A product with ones at the codes: faster than to gather and add many, and it never holds count rows for one.
        every = self._floats([float(code) for code in range(size)])
        hit = self._node("Equal", self._node("Unsqueeze", codes, self._constants([-1])), every)
        ones = self.reshape(self._node("Cast", hit, to=onnx.TensorProto.FLOAT), 2, (size * count,))
        return self._node("MatMul", ones, codebooks)

    def from_row(self, ids: str, start: int, a: str, b: str) -> str:  # noqa: D102
        column = self._node("Unsqueeze", ids, self._constants([-1]))
        return self._node("Where", self._node("Less", column, self._constant(start)), b, a)

    def replace(self, a: str, ids: str, rows: str, table: str) -> str:  # noqa: D102
        # The ids are narrowed, never the rows widened: that would be folded into twice the bytes.
        narrow = self._node("Cast", ids, to=onnx.TensorProto.INT32)
        hit = self._node("Equal", self._node("Unsqueeze", narrow, self._constants([-1])), rows)
        first = self._node("ArgMax", self._node("Cast", hit, to=onnx.TensorProto.FLOAT), axis=-1, keepdims=0)
        place = self._node("Reshape", first, self._node("Shape", ids))  # of an empty batch ArgMax loses the shape
        # Without a hit the place is 0, whose row is another one.
        some = self._node("Equal", self._node("Gather", rows, place, axis=0), narrow)
        column = self._node("Unsqueeze", some, self._constants([-1]))
        return self._node("Where", column, self.gather(table, place), a)

    def _constant(self, value: int) -> str:
        return self._literal(np.array(value, np.int64))

    def _floats(self, values: list[float]) -> str:
        return self._literal(np.array(values, np.float32))

    def _constants(self, values: list[int]) -> str:
        return self._literal(np.array(values, np.int64))

    def _literal(self, array: npt.NDArray[Any]) -> str:
        """A small constant, one for all places that need it: stored, so that it is there in every graph of a model."""
        key = (array.dtype.str, array.shape, array.tobytes())
        literals = self._graph.literals
        if key not in literals:
            literals[key] = f"{self._graph.prefix}constant_{len(literals)}"
            self._graph.arrays[literals[key]] = array
        return literals[key]

    def matmul(self, a: str, b: str) -> str:  # noqa: D102
        return self._node("MatMul", a, self._widened(b) if self._is_half(b) else b)

    def as_half(self, value: str) -> str:
        """The decoded rows as float16: a lookup gives them as such, all else is rounded."""
        last = self.nodes[-1]
        if last.op_type == "DequantizeGather":
            self._graph.arrays[last.input[1]] = self._graph.arrays[last.input[1]].astype(np.float16)
            return value
        return self._node("Cast", value, to=onnx.TensorProto.FLOAT16)
