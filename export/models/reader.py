"""The embedding table of a model file, to be compressed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from eigenselect.compressors.data.stored import StoredRows
from eigenselect.compressors.words import listed, of_file, quoted
from eigenselect.export.models.functions import with_lookups_inlined
from eigenselect.export.models.ids import graph_input
from eigenselect.export.models.scopes import Model, tensors
from eigenselect.export.models.stored import nbytes, read_model, type_name
from eigenselect.export.models.tables import HostTable, find_tables
from eigenselect.export.models.unread import not_followed

BLOCK_BYTES = 1 << 24

LENGTH = 150
"""Characters of the tables that a message names, beyond the first one."""


def embedding_table(path: Path, tensor: str | None = None) -> npt.NDArray[np.floating[Any]]:
    """Read an embedding table of an ONNX model.

    Args:
        path: the model.
        tensor: name of the stored tensor that holds the entries, or of one of its shards. None takes the only table
            that may be meant: looked up by ids that are an input of the model, with at least as many rows as columns.

    Returns:
        (n, d) float32, or float16 where the model looks float16 rows up. What is stored as such is not copied, and
        memory-mapped where it is external data.

    Raises:
        ValueError: not an ONNX model, or its data file cannot be used; no table of that name; none or several to
            choose from.
    """
    rows = embedding_rows(path, tensor)
    return rows[:] if isinstance(rows, StoredRows) else rows


def embedding_rows(path: Path, tensor: str | None = None) -> npt.NDArray[np.floating[Any]] | StoredRows:
    """As `embedding_table`; of a table that is stored in other numbers, with their type and bytes."""
    model = read_model(path)
    try:
        found = Model(inlined := with_lookups_inlined(model))
        table = chosen(found, find_tables(found, path.parent), tensor)
        whole = entries(table)
    except ValueError as error:
        raise ValueError(of_file(path, error)) from error
    if table.stored_type == table.type:
        return whole
    names = {name for name, _ in table.value.stored} | {name for _, name in {*table.value.parts} - {*table.value.big}}
    stored = sum(nbytes(each) for each in tensors(inlined) if each.name in names)
    return StoredRows(whole.shape, whole.dtype, whole.__getitem__, type_name(table.stored_type), stored)


def table_shapes(path: Path) -> dict[str, tuple[int, int]]:
    """Rows and columns of the tables that a model looks up, by name.

    Raises:
        ValueError: not an ONNX model, or its data file cannot be used.
    """
    model = read_model(path)
    try:
        found = find_tables(Model(with_lookups_inlined(model)), path.parent)
    except ValueError as error:
        raise ValueError(of_file(path, error)) from error
    return {table.name: (table.n, table.d) for table in found}


def entries(table: HostTable) -> npt.NDArray[np.floating[Any]]:
    """The whole table as `embedding_table` gives it."""
    stored = table.stored_type == table.type and len(table.parts) == len(table.big)
    if stored and table.type in (TensorProto.FLOAT, TensorProto.FLOAT16):
        whole: npt.NDArray[np.floating[Any]] = table.read(slice(0, table.n))
        return whole
    step = max(1, BLOCK_BYTES // (4 * table.d))
    made = np.empty((table.n, table.d), table.read(slice(0, 1)).dtype)
    for start in range(0, table.n, step):
        made[start : start + step] = table.read(slice(start, start + step))
    return made


def chosen(model: Model, tables: list[HostTable], tensor: str | None) -> HostTable:
    """The one of the `tables` of `model` that `embedding_table` takes.

    Raises:
        ValueError: none, with the nodes that may look one up but are not followed; or several to choose from.
    """
    all_ = f"looked up are {listed([table.description for table in tables], LENGTH) or 'none'}"
    if tensor is not None:
        named = [table for table in tables if tensor in table.names]
        if not named:
            raise ValueError(f"no embedding tables are named {quoted(tensor)}; {all_}{not_followed(model, tables)}")
        if len(named) > 1:
            raise ValueError(f"{len(named)} embedding tables are named {quoted(tensor)}; {all_}")
        return named[0]
    meant = [table for table in tables if table.n >= table.d and _of_input_ids(table)]
    if not meant:
        name_one = "name one with table.tensor; " if tables else ""
        raise ValueError(
            f"no tables are looked up by ids that are an input; {name_one}{all_}{not_followed(model, tables)}"
        )
    if len(meant) > 1:
        names = listed([table.description for table in meant], LENGTH)
        raise ValueError(
            f"{len(meant)} tables are looked up by ids that are an input: {names}; name one with table.tensor"
        )
    return meant[0]


def _of_input_ids(table: HostTable) -> bool:
    return any(graph_input(place.scope, place.ids) is not None for place in table.places)
