"""Tables of columns (Arrow, parquet, CSV): which of them are the values and the tokens, and their rows in batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eigenselect.compressors.data.arrays import give_back, rows_array
from eigenselect.compressors.words import LEAST, NAME, brief, listed, quoted
from eigenselect.selector.sources.format import Found, Request
from eigenselect.selector.sources.stored_tokens import Gathered
from eigenselect.selector.sources.tokens import token_columns

VECTORS = ("vector", "embedding", "embeddings", "vectors", "values")
"""Names of the column of lists, where there are several."""


class Columns:
    """The columns that make a table.

    Attributes:
        token: name of the column of tokens, if there is one.
        values: names of the columns of numbers, or of the one of lists of numbers.
    """

    def __init__(self, request: Request, schema: Any) -> None:
        self._path, self._wanted = request.path, request.tensor
        strings = token_columns(schema)
        self.token: str | None = strings[0] if len(strings) == 1 else None
        self._remarks = [
            f"No tokens are taken: several columns could hold them ({listed(strings, LEAST, ', ')}); name one token."
        ]
        self._remarks *= len(strings) > 1
        lists = [field.name for field in schema if _is_list(field.type)]
        self._listed = bool(lists)
        self.values = [self._one(lists, schema)] if lists else _numbers(schema)
        taken = {*self.names}
        if len(taken) < sum(name in taken for name in schema.names):
            raise self._error(f"several columns of one name: give each its own; columns: {_described(schema)}")
        if not self.values:
            raise self._error(f"no column of numbers or of lists of them; columns: {_described(schema)}")

    def _one(self, lists: list[str], schema: Any) -> str:
        chosen = [name for name in lists if name == self._wanted]
        if self._wanted is None:
            chosen = lists if len(lists) == 1 else [name for name in lists if name in VECTORS]
        if len(chosen) != 1:
            raise self._error(
                f"{len(lists)} columns could be the vectors; name one with table.tensor; columns: {_described(schema)}"
            )
        return chosen[0]

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [*([self.token] if self.token else ()), *self.values]

    def read(self, batches: Iterable[Any], n: int | None, limit: int | None = None) -> Found:
        """The rows of batches that have these columns.

        Args:
            batches: `pyarrow.RecordBatch` each.
            n: how many rows there are, where that is known.
            limit: how many are read; None is all.

        Raises:
            ValueError: no rows, a row without a value or token, lists of different lengths.
            pyarrow.ArrowInvalid: data that are no such columns.
        """
        with Gathered() as tokens:
            numbers = self._read(batches, n, limit, tokens)
            found = tokens.done()
        return Found(numbers[:limit], found[:limit] if self.token is not None else None, self._remarks)

    def _read(self, batches: Iterable[Any], n: int | None, limit: int | None, tokens: Gathered) -> npt.NDArray[Any]:
        parts: list[npt.NDArray[Any]] = []
        numbers: npt.NDArray[Any] | None = None
        at = 0
        for batch in batches:
            batch.validate(full=True)  # offsets of a damaged Arrow file would be followed out of it
            rows = self._rows(batch, at)
            if numbers is None and n is not None and len(rows):
                numbers = rows_array((min(n, limit or n), rows.shape[1]), rows.dtype)
            if numbers is None:
                parts.append(rows)
            else:
                self._check_width(rows, numbers, at)
                numbers[at : at + len(rows)] = rows[: len(numbers) - at]
                give_back(numbers)
            if self.token is not None:
                tokens.add(self._tokens(batch.column(self.token), at))
            at += len(rows)
            if limit is not None and at >= limit:
                break
        if numbers is None:
            for start, part in enumerate(parts):
                self._check_width(part, parts[0], start)
            numbers = np.concatenate(parts) if parts else np.empty((0, len(self.values)), np.float32)
        return numbers

    def _rows(self, batch: Any, first: int) -> npt.NDArray[Any]:
        columns = [batch.column(name) for name in self.values]
        for name, column in zip(self.values, columns, strict=True):
            if column.null_count:
                raise self._error(
                    f"no value at row {first + column.is_null().index(True).as_py()} of column {quoted(name)}"
                )
        if not self._listed:
            return (
                np.stack([_array(column) for column in columns], axis=1) if len(batch) else np.empty((0, len(columns)))
            )
        (column,) = columns
        lengths = _lengths(column)
        if len(lengths) and (lengths != lengths[0]).any():
            row = int((lengths != lengths[0]).argmax())
            raise self._error(
                f"{lengths[row]} values at row {first + row} of column {quoted(self.values[0])} where {lengths[0]} are "
                "expected; repair or drop that row"
            )
        values = column.flatten()
        if values.null_count:
            raise self._error(f"a list of column {quoted(self.values[0])} lacks a value: fill it in")
        return _array(values).reshape(len(column), -1)

    def _check_width(self, rows: npt.NDArray[Any], others: npt.NDArray[Any], first: int) -> None:
        if rows.shape[1] != others.shape[1] and len(rows):
            raise self._error(
                f"{rows.shape[1]} values from row {first} on where {others.shape[1]} are expected; "
                "repair or drop those rows"
            )

    def _tokens(self, column: Any, first: int) -> list[str]:
        if column.null_count:
            row = first + column.is_null().index(True).as_py()
            raise self._error(f"no token at row {row} of column {quoted(self.token or '')}: fill it in")
        tokens: list[str] = column.to_pylist()
        return tokens

    def _error(self, what: str) -> ValueError:
        return ValueError(f"{self._path}: {what}")


def _is_list(kind: Any) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)))


def _numbers(schema: Any) -> list[str]:
    """The columns of floats; where there are none, those of integers. An index of pandas is none of them."""
    fields = [field for field in schema if not field.name.startswith("__index_level_")]
    floats = [field.name for field in fields if pa.types.is_floating(field.type)]
    return floats or [field.name for field in fields if pa.types.is_integer(field.type)]


def _lengths(column: Any) -> npt.NDArray[np.int64]:
    if pa.types.is_fixed_size_list(column.type):
        return np.full(len(column), column.type.list_size)
    size = "<i8" if pa.types.is_large_list(column.type) else "<i4"
    return np.diff(np.frombuffer(column.offsets.buffers()[1], size)[column.offsets.offset :][: len(column) + 1])


def _array(column: Any) -> npt.NDArray[Any]:
    """The numbers of an Arrow array without nulls; its own `to_numpy` would import pandas for it."""
    dtype = np.dtype(column.type.to_pandas_dtype())
    return np.frombuffer(column.buffers()[1], dtype, len(column), dtype.itemsize * column.offset)


def _described(schema: Any) -> str:
    return listed([f"{quoted(field.name)} {brief(str(field.type), NAME)}" for field in schema], LEAST, ", ")
