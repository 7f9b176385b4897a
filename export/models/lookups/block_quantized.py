"""GatherBlockQuantized of ONNX Runtime: rows of codes that blocks of columns have a scale for."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from eigenselect.export.models.constants.constant import Array, Constant, Rows, leaf
from eigenselect.export.models.constants.dequantized import scaled
from eigenselect.export.models.constants.tracer import Tracer, finished
from eigenselect.export.models.lookups.lookup import Lookup
from eigenselect.export.models.scopes import Scope, attribute
from eigenselect.export.models.stored import PAIRED


def gather_block_quantized(tracer: Tracer, scope: Scope, node: onnx.NodeProto) -> Lookup | None:
    """Of (n, d) codes by rows, quantized by columns; uint8 codes may hold several numbers each."""
    bits, block, by, along = (
        default if (found := attribute(node, name)) is None else int(found.i)
        for name, default in (("bits", 4), ("block_size", 128), ("gather_axis", 0), ("quantize_axis", 1))
    )
    if len(node.input) < 3:
        return None
    data, scale, zero = (tracer.trace(scope, node.input[at]) if len(node.input) > at else None for at in (0, 2, 3))
    given = [part for part in (data, scale, zero) if part is not None]
    if data is None or scale is None or len(given) != sum(map(bool, node.input)) - 1:
        return None
    if (len(data.shape), len(scale.shape), by, along % 2) != (2, 2, 0, 1) or block < 1:
        return None
    if zero is not None and (zero.type, len(zero.shape)) != (data.type, 2):
        return None
    codes = data
    if data.type == TensorProto.UINT8:
        if bits not in (2, 4, 8):
            return None
        zero = _middle(scope, bits) if zero is None else unpacked(zero, bits, scale.shape[1])
        codes = unpacked(data, bits, scale.shape[1] * block)
    elif data.type not in PAIRED:
        return None
    table = scaled(codes, scale, zero, -1, block, scale.type)
    made = None if table is None else finished(table, node, given)
    return None if made is None else Lookup(node.input[1], made)


def _middle(scope: Scope, bits: int) -> Constant:
    value = np.array(1 << (bits - 1), np.uint8)
    return leaf((scope, ""), (), TensorProto.UINT8, lambda: value)


def unpacked(data: Constant, bits: int, most: int) -> Constant:
    """The numbers of `bits` bits in bytes, that of the low bits first; those beyond `most` fill the last byte."""
    if bits == 8 or not data.shape:
        return data
    each = 8 // bits
    columns = min(each * data.shape[-1], most)

    def take(rows: Rows, axis: int) -> Array:
        packed = data.take(rows if axis == -2 else slice(None), -2)
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        numbers = ((packed[..., None] >> shifts) & ((1 << bits) - 1)).reshape(len(packed), -1)[:, :columns]
        return numbers if axis == -2 else numbers[:, rows]

    return data.like((data.shape[0], columns), take)
