"""A table in several shards, or a part of one: Concat and Slice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import onnx

from eigenselect.export.models.constants.constant import Array, Constant, Rows, integers, taken
from eigenselect.export.models.constants.views import Inputs
from eigenselect.export.models.scopes import attribute


def concat(node: onnx.NodeProto, inputs: Inputs) -> Constant | None:
    """Shards in a row. None of them may occur twice: a small file would be a table without end."""
    shards, axis = [shard for shard in inputs if shard is not None], attribute(node, "axis")
    stored = tuple(part for shard in shards for part in shard.stored)
    if axis is None or len(shards) != len(inputs) or len({*stored}) != len(stored):
        return None
    first = shards[0]
    ndim = len(first.shape)
    if not -ndim <= axis.i < ndim:
        return None
    at = axis.i - ndim * (axis.i >= 0)
    if {(shard.type, _without(shard.shape, at)) for shard in shards} != {(first.type, _without(first.shape, at))}:
        return None
    shape = list(first.shape)
    shape[at] = sum(shard.shape[at] for shard in shards)

    def take(rows: Rows, axis: int) -> Array:
        if axis != at:
            return np.concatenate([shard.take(rows, axis) for shard in shards], at)
        return _across(shards, rows, at)

    return Constant(tuple(shape), first.type, take, stored, tuple(name for shard in shards for name in shard.big))


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    at = len(shape) + axis
    return shape[:at] + shape[at + 1 :]


def _across(shards: Sequence[Constant], rows: Rows, axis: int) -> Array:
    """Rows of the axis along which shards lie behind each other."""
    ends = list(accumulate(shard.shape[axis] for shard in shards))
    wanted = np.arange(ends[-1])[rows]
    whose = np.searchsorted(ends, wanted, side="right")
    parts, order = [], []
    for number in np.unique(whose):
        at = np.flatnonzero(whose == number)
        shard, inside = shards[number], wanted[at] - (ends[number] - shards[number].shape[axis])
        part = shard.take(inside, axis)
        parts.append(np.repeat(part, len(at), axis) if shard.shape[axis] == 1 else part)
        order.append(at)
    if not parts:
        return shards[0].take(np.arange(0), axis)
    together = np.concatenate(parts, axis)
    return together if len(parts) == 1 else np.take(together, np.argsort(np.concatenate(order)), axis)


def part(node: onnx.NodeProto, inputs: Inputs) -> Constant | None:
    """What Slice leaves of one axis, in the same order and without steps."""
    x, *given = inputs
    numbers = [None if one is None else integers(one) for one in given]
    if x is None or len(numbers) < 2 or any(found is None or len(found) != 1 for found in numbers):
        return None
    start, end, axis, step = [found[0] for found in numbers if found] + [0, 1][len(numbers) - 2 :]
    ndim = len(x.shape)
    if step != 1 or not -ndim <= axis < ndim:
        return None
    at = axis - ndim * (axis >= 0)
    start, end, _ = slice(start, end).indices(x.shape[at])
    if end <= start:
        return None
    shape = list(x.shape)
    shape[at] = end - start

    def take(rows: Rows, axis: int) -> Array:
        if axis == at:
            return x.take(np.arange(start, end)[rows], axis)
        return taken(x.take(rows, axis), slice(start, end), at)

    return x.like(tuple(shape), take)
