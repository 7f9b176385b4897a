"""Copies of a table that a model holds for other uses, which stay when the table goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from eigenselect.export.models.scopes import Model
from eigenselect.export.models.stored import array, nbytes
from eigenselect.export.models.tables import HostTable

BLOCK_BYTES = 1 << 24


def copies_left(model: Model, table: HostTable, folder: Path) -> list[str]:
    """The stored tensors with the entries of `table`, or of it transposed, that are no part of it, in words.

    An exporter writes such a copy for an output head that is tied to the table, as the transposed weights of a product.
    """
    own = {(id(scope), name) for scope, name in table.parts}
    return [
        f"{tensor.name!r} {' x '.join(map(str, tensor.dims))} of {nbytes(tensor):,} bytes"
        for scope in model.scopes
        for tensor in scope.graph.initializer
        if (id(scope), tensor.name) not in own and _is_copy(tensor, table, folder)
    ]


def _is_copy(tensor: onnx.TensorProto, table: HostTable, folder: Path) -> bool:
    if tensor.data_type != table.type or sorted(tensor.dims) != sorted((table.n, table.d)):
        return False
    values = array(tensor, folder)
    step = max(1, BLOCK_BYTES // (4 * table.d))
    blocks = [slice(start, start + step) for start in range(0, table.n, step)]
    return any(
        turned.shape == (table.n, table.d)
        and all(np.array_equal(turned[rows], table.value.take(rows, -2)) for rows in blocks)
        for turned in (values, values.T)
    )
