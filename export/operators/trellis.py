"""Trellis codes in standard operators: the names of the operators for them, and their body.

Shifts and masks have no CUDA kernels, so the bits are taken apart in float32, exactly. What is above a group of windows
is cut off as the whole part of a quotient; the fraction is multiplied once for each window of the group. What is then
left above a window stays, since the levels are repeated, as often as a cache has room for. `GatherElements` takes an
eighth of the time that `Gather` takes for an index, and runs on a thread for each place in a byte. What is made of the
levels alone is made when the model is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from eigenselect.compressors.payloads.bitpack import plane_widths
from eigenselect.compressors.payloads.windows import Windows

TRELLIS = "TrellisGather"
"""Start of the names of the operators."""

COLUMNS = "Columns"
"""End of the names of those that give some columns alone."""

CACHED = 1 << 14
"""Levels, repeated, that a cache nearby has room for: 64 KiB."""


ALLOWZERO_FROM = 14
"""Opset with a Reshape that takes a length of 0. Before it a batch must not be empty in two axes."""


def trellis_name(bits: int, window: int) -> str:
    """Name of the operator for codes of `bits` bits that windows of `window` bits pick values by."""
    return f"{TRELLIS}{bits}W{window}"


def trellis_windows(name: str) -> Windows | None:
    """The windows in the name of an operator for trellis codes; None of another operator.

    Of one whose bits are those of several planes, `step` is all of them.
    """
    found = re.fullmatch(rf"{TRELLIS}(\d)W(\d+)", name)
    return None if found is None else Windows(*map(int, found.groups()))


def trellis_planes(name: str) -> list[Windows]:
    """The windows of each plane, the one of most bits first, of an operator for trellis codes of several; or none."""
    windows = trellis_windows(name)
    widths = [] if windows is None else plane_widths(windows.step)
    return [Windows(width, windows.size) for width in widths] if windows is not None and len(widths) > 1 else []


def picked_columns(name: str) -> str | None:
    """The operator for trellis codes some of whose columns the operator of that name gives; None of another one."""
    return name.removesuffix(COLUMNS) if name.startswith(TRELLIS) and name.endswith(COLUMNS) else None


def trellis_table(windows: Windows) -> tuple[int, int]:
    """(rows, columns) of the table that a loaded model makes of the levels: a row for each place in a byte."""
    return len(windows.starts), 1 << windows.size + windows.step * (_together(windows) - 1)


def _together(windows: Windows) -> int:
    """Windows of a group, a divisor of those of a byte."""
    places = len(windows.starts)
    fit = [count for count in (8, 4, 2) if places % count == 0 and windows.spread(count) <= CACHED]
    return max(fit, default=1)


def trellis_body(windows: Windows, result: str, opset: int) -> str:
    """From `packed`, `levels` and `ids` to `result`, the rows with all columns of their bytes."""
    places, levels = trellis_table(windows)
    return f"""
    second = Constant <value_ints = [1]> ()
    {_numbers(windows)}
    {_positions(windows)}
    positions = Cast <to = 6> (products)
    by_place = Constant <value_ints = [{places}, -1]> ()
    indices = Reshape (positions, by_place)
    repeats = Constant <value_ints = [{places * (levels >> windows.size)}, 1]> ()
    repeated = Expand (levels, repeats)
    table = Reshape (repeated, by_place)
    picked = GatherElements <axis = 1> (table, indices)
    values = Transpose <perm = [1, 0]> (picked)
    batch = Shape (ids)
    packed_shape = Shape (packed)
    row_bytes = Gather <axis = 0> (packed_shape, second)
    places = Constant <value_ints = [{places}]> ()
    columns = Mul (row_bytes, places)
    {_reshaped(result, opset)}
    """


def _reshaped(result: str, opset: int) -> str:
    """`values` in the shape of `batch` and `columns`. A 0 in a shape is another one's length, unless said otherwise."""
    if opset >= ALLOWZERO_FROM:
        return f"""
    shape = Concat <axis = 0> (batch, columns)
    {result} = Reshape <allowzero = 1> (values, shape)
    """
    return f"""
    no_length = Equal (batch, start)
    lengths = Where (no_length, end, batch)
    shape = Concat <axis = 0> (lengths, columns)
    {result} = Reshape (values, shape)
    """


def _numbers(windows: Windows) -> str:
    """`numbers`, (1, bytes of all rows): each byte with those before it in its row's ring, the byte lowest."""
    lines = [
        "bytes = Gather <axis = 0> (packed, ids)",
        "number0 = Cast <to = 1> (bytes)",
        "start = Constant <value_ints = [0]> ()",
        "end = Constant <value_ints = [-1]> ()",
        f"beyond = Constant <value_ints = [{(1 << 63) - 1}]> ()",
        "no_offset = Constant <value = uint8 {0}> ()",
    ]
    rolled = "bytes"
    for back in range(1, windows.before + 1):
        lines += [
            f"back{back} = Slice ({rolled}, end, beyond, end)",
            f"front{back} = Slice ({rolled}, start, end, end)",
            f"rolled{back} = Concat <axis = -1> (back{back}, front{back})",
            f"unit{back} = Constant <value_float = {256.0**back}> ()",
            f"higher{back} = DequantizeLinear (rolled{back}, unit{back}, no_offset)",
            f"number{back} = Add (number{back - 1}, higher{back})",
        ]
        rolled = f"rolled{back}"
    return "\n".join([*lines, f"numbers = Flatten <axis = 0> (number{windows.before})"])


def _positions(windows: Windows) -> str:
    """`products`, (groups, windows of a group, bytes): whose whole parts have the window in their lowest bits."""
    together = _together(windows)
    tops = [windows.size + start for start in windows.starts[::together]]
    if tops == [8 * (windows.before + 1)]:  # nothing is above
        return f"""
    factors = Constant <value = {_column(-start for start in windows.starts)}> ()
    products = Mul (numbers, factors)
    """
    return f"""
    shares = Constant <value = {_column(-top for top in tops)}> ()
    quotients = Mul (numbers, shares)
    above = Floor (quotients)
    fractions = Sub (quotients, above)
    groups = Unsqueeze (fractions, second)
    factors = Constant <value = {_column(windows.size + windows.step * j for j in range(together))}> ()
    products = Mul (groups, factors)
    """


def _column(powers: Iterable[int]) -> str:
    """A column of powers of two, as a tensor in text."""
    values = [str(2.0**power) for power in powers]
    return f"float[{len(values)}, 1] {{{', '.join(values)}}}"
