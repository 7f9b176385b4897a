"""Which table of a model is the one that was compressed: by shape, by values, by the error that was recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from eigenselect.compressors.payloads.base import Payload
from eigenselect.compressors.words import listed, of_file
from eigenselect.export.models.constants.constant import CODES
from eigenselect.export.models.stored import PAIRED
from eigenselect.export.models.tables import HostTable

Ids = npt.NDArray[np.int64]

Read = Callable[[Ids], npt.NDArray[Any]]
"""Ids -> (len, k) float rows of the table that was compressed, or of what it decodes to."""

SAMPLED_ROWS = 4_096

NEARER_SHARE = 0.75
"""Of the sampled rows that must be nearer to their own decoded row than to another: unrelated tables give 0.5."""

UNDECIDED = 8
"""Values of a table of one column that are counted as neither nearer nor farther."""

ERROR_TOLERANCE = 0.02
"""How far, relatively, the error of the payload on the host's table may be from the recorded one."""

HALF_ROUNDING = 2.0**-11
"""Largest relative error of rounding to float16, which either table may have seen."""

ROUNDING = {
    TensorProto.BFLOAT16: 2.0**-8,
    TensorProto.FLOAT8E4M3FN: 2.0**-4,
    TensorProto.FLOAT8E4M3FNUZ: 2.0**-4,
    TensorProto.FLOAT8E5M2: 2.0**-3,
    TensorProto.FLOAT8E5M2FNUZ: 2.0**-3,
}
"""The same of shorter floats."""

BLOCK_COLUMNS = 4

BLOCK_BYTES = 1 << 24

LENGTH = 100
"""Characters of the tables that a message names, beyond the first one."""


def match(
    host: Path, tables: Sequence[HostTable], n: int, k: int, read: Read, others: str, kept: Ids | None = None
) -> HostTable:
    """The table of `tables` that has n rows and k columns, and the values that `read` gives approximately.

    Args:
        host: the model.
        tables: those that it looks up.
        n: rows.
        k: columns.
        read: ids -> rows.
        others: what else may look a table up, in words; see `not_followed`.
        kept: (n,) the rows of the table that these are; None for all.

    Raises:
        ValueError: none is, and how each of them differs; or several are.
    """
    differ: list[str] = []
    matching: list[HostTable] = []
    for table in tables:
        if table.d != k or (table.n != n if kept is None else table.n <= kept.max()):
            differ.append(f"{table.description} has another shape")
        elif (share := nearer_share(n, table.rows_at(kept), read)) < NEARER_SHARE:
            differ.append(
                f"{table.description} has other values, {share:.0%} of its rows are nearer to their own than to "
                f"another, not {NEARER_SHARE:.0%}"
            )
        else:
            matching.append(table)
    if not matching:
        found = listed(differ, LENGTH) or "no stored table is looked up in it"
        message = f"it does not hold the {n} x {k} table that was compressed: {found}{others}"
        raise ValueError(of_file(host, message))
    if len(matching) > 1:
        names = " and ".join(table.description for table in matching[:2])
        raise ValueError(of_file(host, f"{names} both match: store the table once, so that it is clear which"))
    return matching[0]


def nearer_share(n: int, read: Read, decoded: Read) -> float:
    """Share of sampled rows that are nearer, in cosine, to their own decoded row than to a random other one.

    Rows of one column are compared in distance.

    Args:
        n: rows of both.
        read: ids -> rows of a table.
        decoded: ids -> what may be the same rows, compressed.
    """
    ids = np.random.default_rng(0).permutation(n)[:SAMPLED_ROWS]
    own, rows = decoded(ids).astype(np.float64), read(ids).astype(np.float64)
    if own.shape[1] == 1:
        return _nearer_share_of_values(rows[:, 0], own[:, 0])
    own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    to_own = np.einsum("ij,ij->i", rows, own)
    to_other = np.einsum("ij,ij->i", rows, np.roll(own, 1, axis=0))
    return float(np.mean((to_own > to_other) + 0.5 * (to_own == to_other)))


def _nearer_share_of_values(values: npt.NDArray[np.float64], own: npt.NDArray[np.float64]) -> float:
    """The same in distance, of those whose own and other decoded value differ: a cosine would be a sign.

    Few bits give many the same value. So that a few that differ do not decide, `UNDECIDED` are counted beside them.
    """
    to_own, to_other = np.abs(values - own), np.abs(values - np.roll(own, 1))
    nearer, differ = np.sum(to_own < to_other), np.sum(to_own != to_other)
    return float((nearer + UNDECIDED / 2) / (differ + UNDECIDED))


def reconstruction_error(table: HostTable, payload: Payload, kept: Ids | None = None) -> float:
    """‖H − X~‖_F / ‖H‖_F of the host's table H, of its rows `kept` if not of all, and the decoded payload X~."""
    read = table.rows_at(kept)
    step = max(1, BLOCK_BYTES // (4 * table.d))
    error = size = 0.0
    for start in range(0, payload.n, step):
        rows = read(slice(start, start + step)).astype(np.float64)
        error += float(np.square(rows - payload.read(slice(start, start + step))).sum())
        size += float(np.square(rows).sum())
    return float(np.sqrt(error / size)) if size else 0.0


def check_error(host: Path, table: HostTable, found: float, recorded: float) -> None:
    """Raise a ValueError unless the error `found` on the host's table can be the one that was `recorded`.

    The host may store the table in float16 or int8: by the triangle inequality the two errors then differ by at most
    the size of that rounding.
    """
    allowed = ERROR_TOLERANCE * recorded + _storage_error(table)
    if not abs(found - recorded) <= allowed:
        raise ValueError(
            f"{host}: {table.description} is another version of the table that was compressed: the payload's relative "
            f"reconstruction error on it is {found:.6f}, recorded is {recorded:.6f}, and they may differ by "
            f"{allowed:.6f}: give the model that the table was taken from, or the payload's file alone to go on"
        )


def _storage_error(table: HostTable) -> float:
    """Bound on ‖H − X‖_F / ‖H‖_F where H stores X in the host's type."""
    if table.stored_type not in CODES or table.stored_type in ROUNDING:
        return ROUNDING.get(table.stored_type, HALF_ROUNDING)
    ids = np.random.default_rng(0).permutation(table.n)[:SAMPLED_ROWS]
    rows = table.read(ids).astype(np.float64)
    # Blocks of a row, which may have a step each, are of four bits alone.
    columns = BLOCK_COLUMNS if table.stored_type in PAIRED else table.d
    error = sum(_rounding(rows[:, start : start + columns]) for start in range(0, table.d, columns))
    return float(np.sqrt(error) / (np.linalg.norm(rows) or 1.0)) + HALF_ROUNDING


def _rounding(rows: npt.NDArray[np.float64]) -> float:
    """Bound on the squared error of entries that are multiples of a step of their row: half of it, or less."""
    gaps = np.diff(np.sort(rows, axis=1), axis=1)
    # The smallest difference of two of them is a step, or more.
    steps = np.where(gaps > 1e-6 * np.abs(rows).max(axis=1, keepdims=True), gaps, np.inf).min(axis=1, initial=np.inf)
    steps[~np.isfinite(steps)] = 0
    return float(rows.shape[1] * np.square(steps / 2).sum())
