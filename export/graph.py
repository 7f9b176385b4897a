"""The ONNX execution of the decode verbs, and the one operator of ours that it uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from compressors.ops import NO_ROW
from onnx import helper, numpy_helper

DOMAIN = "eigenselect"
"""Domain of `DequantizeGather`. A native kernel registered under this name takes precedence over the body below."""

# Only verbs that ONNX Runtime has CUDA kernels for: bit shifts and masks have none. The packed table meets nothing but
# a Gather, so there is nothing that constant folding could expand. Sizes are spelled out instead of -1: an empty batch
# has no shape to infer from.
DEQUANTIZE_GATHER = """
<domain: "{domain}", opset_import: ["" : {opset}]>
DequantizeGather <dim> (packed, lut, ids) => (vectors)
{{
    bytes = Gather <axis = 0> (packed, ids)
    index = Cast <to = 6> (bytes)
    values = Gather <axis = 0> (lut, index)
    batch = Shape (ids)
    row_bytes = Shape <start = 1> (packed)
    values_per_byte = Shape <start = 1> (lut)
    columns = Mul (row_bytes, values_per_byte)
    shape = Concat <axis = 0> (batch, columns)
    flat = Reshape (values, shape)
    zero = Constant <value_ints = [0]> ()
    last = Constant <value_ints = [-1]> ()
    dim_scalar = Constant <value_int: int = @dim> ()
    dim_end = Unsqueeze (dim_scalar, zero)
    vectors = Slice (flat, zero, dim_end, last)
}}
"""


def dequantize_gather(opset: int) -> onnx.FunctionProto:
    """`DequantizeGather(packed, lut, ids; dim)` as a model-local function of standard operators.

    packed: (n, w) uint8; lut: (256, v) float; ids: int of any shape, -n..n-1; dim <= w*v.
    Gives lut[packed[ids]] with the last two axes flattened and cut to dim columns, in lut's type.
    """
    function = onnx.parser.parse_function(DEQUANTIZE_GATHER.format(domain=DOMAIN, opset=opset))
    function.doc_string = "Rows of a byte-packed embedding table, dequantized by lookup."
    return function


class OnnxOps:
    """Appends nodes and initializers; a value is its name in the graph. See `compressors.ops.Ops` for the verbs."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._halves: set[str] = set()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._prefix = ""

    def scope(self, name: str) -> OnnxOps:  # noqa: D102
        inner = OnnxOps()
        inner.nodes, inner.initializers = self.nodes, self.initializers
        inner._halves, inner._shapes = self._halves, self._shapes
        inner._prefix = f"{self._prefix}{name}."
        return inner

    def _node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        output = f"{self._prefix}{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, domain=domain, **attributes))
        return output

    def param(self, name: str, array: npt.NDArray[Any]) -> str:  # noqa: D102
        name = self._prefix + name
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        self._shapes[name] = array.shape
        if array.dtype == np.float16:
            self._halves.add(name)
        return name

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
        return self._widened(gathered) if table in self._halves else gathered

    def _widened(self, value: str) -> str:
        return self._node("Cast", value, to=onnx.TensorProto.FLOAT)

    def dequantize_gather(self, packed: str, lut: str, rows: str, dim: int) -> str:  # noqa: D102
        return self._node("DequantizeGather", packed, lut, rows, domain=DOMAIN, dim=dim)

    def lookup(self, levels: str, codes: str) -> str:  # noqa: D102
        return self._node("Gather", levels, self._node("Cast", codes, to=onnx.TensorProto.INT32), axis=0)

    def add(self, a: str, b: str) -> str:  # noqa: D102
        return self._node("Add", a, b)

    def mul(self, a: str, b: str) -> str:  # noqa: D102
        return self._node("Mul", a, b)

    def repeat(self, a: str, columns: int, count: int, dim: int) -> str:  # noqa: D102
        blocks = self._node("Expand", self._node("Unsqueeze", a, self._constants([-1])), self._constants([count]))
        flat = self.reshape(blocks, 2, (columns * count,))
        return flat if columns * count == dim else self.cut(flat, dim)

    def roll(self, a: str, count: int, columns: int) -> str:  # noqa: D102
        count %= columns
        axis = self._constants([-1])
        front, back = self._constants([columns - count]), self._constants([columns])
        last = self._node("Slice", a, front, back, axis)
        return self._node("Concat", last, self._node("Slice", a, self._constants([0]), front, axis), axis=-1)

    def reshape(self, a: str, last: int, shape: tuple[int, ...]) -> str:  # noqa: D102
        batch = self._node("Shape", a, end=-last)
        return self._node("Reshape", a, self._node("Concat", batch, self._constants(list(shape)), axis=0))

    def cut(self, a: str, dim: int) -> str:  # noqa: D102
        return self._node("Slice", a, self._constants([0]), self._constants([dim]), self._constants([-1]))

    def add_codewords(self, codebooks: str, codes: str, count: int) -> str:  # noqa: D102
        # A product with ones at the codes: it is faster than to gather and add, and never holds count rows for one.
        size = self._shapes[codebooks][0]
        every = self._node("Constant", value_floats=[float(code) for code in range(size // count)])
        hit = self._node("Equal", self._node("Unsqueeze", codes, self._constants([-1])), every)
        ones = self.reshape(self._node("Cast", hit, to=onnx.TensorProto.FLOAT), 2, (size,))
        return self._node("MatMul", ones, codebooks)

    def from_row(self, ids: str, start: int, a: str, b: str) -> str:  # noqa: D102
        column = self._node("Unsqueeze", ids, self._constants([-1]))
        return self._node("Where", self._node("Less", column, self._constant(start)), b, a)

    def replace(self, a: str, ids: str, rows: str, table: str) -> str:  # noqa: D102
        # The ids are narrowed, never the rows widened: that would be folded into twice the bytes.
        narrow = self._node("Cast", ids, to=onnx.TensorProto.INT32)
        hit = self._node("Equal", self._node("Unsqueeze", narrow, self._constants([-1])), rows)
        first = self._node("ArgMax", self._node("Cast", hit, to=onnx.TensorProto.FLOAT), axis=-1, keepdims=0)
        place = self._node("Reshape", first, self._node("Shape", ids))  # see `sum`
        # Without a hit the place is 0, whose row is another one.
        some = self._node("Equal", self._node("Gather", rows, place, axis=0), narrow)
        column = self._node("Unsqueeze", some, self._constants([-1]))
        return self._node("Where", column, self.gather(table, place), a)

    def _constant(self, value: int) -> str:
        return self._node("Constant", value_int=value)

    def _constants(self, values: list[int]) -> str:
        return self._node("Constant", value_ints=values)

    def matmul(self, a: str, b: str) -> str:  # noqa: D102
        return self._node("MatMul", a, self._widened(b) if b in self._halves else b)
