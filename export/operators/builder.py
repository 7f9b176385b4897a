"""The ONNX execution of the decode verbs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from eigenselect.compressors.payloads.ops import NO_ROW, Array
from eigenselect.export.operators.functions import DOMAIN
from eigenselect.export.operators.graph import Node
from eigenselect.export.operators.trellis import trellis_name

ONE_HOT = 16
"""Codewords of a codebook up to which a product with ones adds them up faster than lookups."""


@dataclass
class _Written:
    """What all scopes of one decode write to."""

    prefix: str
    nodes: list[Node] = field(default_factory=list)
    arrays: dict[str, Array] = field(default_factory=dict)
    literals: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)


class OnnxOps:
    """Writes nodes and stored arrays; a value is its name. The verbs are those of `Ops`, each in its plain form.

    Args:
        prefix: of every name.
    """

    def __init__(self, prefix: str = "") -> None:
        self._written = _Written(prefix)
        self._scope = prefix

    @property
    def nodes(self) -> list[Node]:
        """In the order of execution."""
        return self._written.nodes

    @property
    def arrays(self) -> dict[str, Array]:
        """The stored arrays by name."""
        return self._written.arrays

    def scope(self, name: str) -> OnnxOps:  # noqa: D102
        inner = OnnxOps(f"{self._scope}{name}.")
        inner._written = self._written
        return inner

    def _node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        # A name that no stored array and, with a prefix of its own, nothing of a host has.
        output = f"{self._written.prefix}%{len(self.nodes)}"
        self.nodes.append(Node(op, inputs, output, self._scope, domain, attributes))
        return output

    def param(self, name: str, array: Array) -> str:  # noqa: D102
        self.arrays[self._scope + name] = array
        return self._scope + name

    def _stored(self, name: str) -> Array:
        if name not in self.arrays:
            raise ValueError("a decode looks codes up in a value that it computed: in ONNX it must be stored")
        return self.arrays[name]

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
        # The rows are widened, never the table: a Cast before the Gather would be folded into a float32 table.
        return self._widened(self._node("Gather", table, rows, axis=0), of=table)

    def _widened(self, value: str, *, of: str) -> str:
        """A value as float32 where the array that it is of is float16."""
        array = self.arrays.get(of)
        half = array is not None and array.dtype == np.float16
        return self._node("Cast", value, to=onnx.TensorProto.FLOAT) if half else value

    def dequantize_gather(self, packed: str, lut: str, rows: str, dim: int) -> str:  # noqa: D102
        self._stored(packed), self._stored(lut)
        return self._node("DequantizeGather", packed, lut, rows, domain=DOMAIN, dim=dim)

    def lookup(self, levels: str, codes: str) -> str:  # noqa: D102
        return self._node("Gather", levels, self._node("Cast", codes, to=onnx.TensorProto.INT32), axis=0)

    def trellis_gather(self, packed: str, levels: str, rows: str, bits: int, dim: int) -> str:  # noqa: D102
        self._stored(packed)
        name = trellis_name(bits, len(self._stored(levels)).bit_length() - 1)
        return self._node(name, packed, levels, rows, domain=DOMAIN, dim=dim)

    def columns(self, a: str, places: str) -> str:  # noqa: D102
        # For an index GatherElements takes an eighth of the time that Gather takes, and wants one for each value.
        batch = self._node("Slice", self._node("Shape", a), self._constants([0]), self._constants([-1]))
        shape = self._node("Concat", batch, self._constants([len(self._stored(places))]), axis=0)
        return self._node("GatherElements", a, self._node("Expand", places, shape), axis=-1)

    def add(self, a: str, b: str) -> str:  # noqa: D102
        return self._node("Add", a, b)

    def mul(self, a: str, b: str) -> str:  # noqa: D102
        return self._node("Mul", a, b)

    def repeat(self, a: str, columns: int, count: int, dim: int) -> str:  # noqa: D102
        blocks = self._node("Expand", self._node("Unsqueeze", a, self._constants([-1])), self._constants([count]))
        flat = self.reshape(blocks, 2, (columns * count,))
        return flat if columns * count == dim else self.cut(flat, dim)

    def reshape(self, a: str, last: int, shape: tuple[int, ...]) -> str:  # noqa: D102
        whole = self._node("Shape", a)  # not with an end, which comes with opset 15
        batch = self._node("Slice", whole, self._constants([0]), self._constants([-last]))
        return self._node("Reshape", a, self._node("Concat", batch, self._constants(list(shape)), axis=0))

    def cut(self, a: str, dim: int) -> str:  # noqa: D102
        return self._node("Slice", a, self._constants([0]), self._constants([dim]), self._constants([-1]))

    def add_codewords(self, codebooks: str, codes: str, count: int) -> str:  # noqa: D102
        size = len(self._stored(codebooks)) // count
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

    def matmul(self, a: str, b: str) -> str:  # noqa: D102
        return self._node("MatMul", a, self._widened(b, of=b))

    def sum_bags(self, a: str, bags: str) -> str:  # noqa: D102
        # Differences of running sums, in float64, where they cancel out: ONNX Runtime's ScatterND adds in a race of its
        # threads, and its ScatterElements takes six times as long.
        wide = self._node("Cast", a, to=onnx.TensorProto.DOUBLE)
        totals = self._node("CumSum", self._node("Pad", wide, self._constants([1, 0, 0, 0])), self._constant(0))
        count = self._node("Slice", self._node("Shape", a), self._constants([0]), self._constants([1]))
        next_ones = self._node("Slice", bags, self._constants([1]), self._constants([NO_ROW]))
        ends = self._node("Concat", next_ones, count, axis=0)
        after, before = (self._node("Gather", totals, at, axis=0) for at in (ends, bags))
        return self._node("Cast", self._node("Sub", after, before), to=onnx.TensorProto.FLOAT)

    def _constant(self, value: int) -> str:
        return self._literal(np.array(value, np.int64))

    def _floats(self, values: Sequence[float]) -> str:
        return self._literal(np.array(values, np.float32))

    def _constants(self, values: Sequence[int]) -> str:
        return self._literal(np.array(values, np.int64))

    def _literal(self, array: Array) -> str:
        """A small constant, one for all places that need it: stored, so that it is there in every graph of a model."""
        key = (array.dtype.str, array.shape, array.tobytes())
        literals = self._written.literals
        if key not in literals:
            literals[key] = f"{self._written.prefix}constant_{len(literals)}"
            self.arrays[literals[key]] = array
        return literals[key]
