"""The operators of ours, as model-local functions of standard operators.

Every ONNX Runtime inlines them. A native kernel registered under the same name takes precedence over the body.
"""

from __future__ import annotations

import onnx

from eigenselect.compressors.payloads.bitpack import plane_widths
from eigenselect.compressors.payloads.windows import Windows
from eigenselect.export.operators.trellis import (
    ALLOWZERO_FROM,
    COLUMNS,
    picked_columns,
    trellis_body,
    trellis_name,
    trellis_planes,
    trellis_windows,
)

DOMAIN = "eigenselect"
"""Domain of the operators."""

LOOKUP = "DequantizeGather"
"""Name of the operator for bytes through a table."""

LINEAR = "DequantizeGatherU"
"""Start of the names of the operators for evenly spaced codes."""

SCALED, SCALED_BY_CODES = "Scaled", "ScaledByCodes"
"""Ends of the names of the operators that scale the rows: by numbers in float16, by bytes through a table."""

MASKS_FROM = 18
"""Opset with BitwiseAnd and BitwiseOr. Before it bytes are taken apart by shifts, which take a third longer."""

CUT = """
    zero = Constant <value_ints = [0]> ()
    last = Constant <value_ints = [-1]> ()
    dim_scalar = Constant <value_int: int = @dim> ()
    dim_end = Unsqueeze (dim_scalar, zero)
"""

NARROW, NARROW_FROM = 4, 15
"""Values of a byte up to which single values are picked, and the opset from which its operators are there."""


def _function(name: str, inputs: list[str], body: str, opset: int, *, ours: bool = False) -> onnx.FunctionProto:
    imports = f'"" : {opset}' + (f', "{DOMAIN}" : 1' if ours else "")
    text = f'<domain: "{DOMAIN}", opset_import: [{imports}]> {name} <dim> ({", ".join(inputs)}) => (vectors) {{{body}}}'
    return onnx.parser.parse_function(text)


def operator(name: str, opset: int, *, padded: bool, narrow: bool = True) -> onnx.FunctionProto:
    """The operator of that name, with a body for rows as they are: any body gives the rows of any."""
    if (scaled := scaled_name(name)) is not None:
        return scaled_rows(*scaled, opset)
    if (of := picked_columns(name)) is not None:
        return trellis_columns(of, opset)
    if planes := trellis_planes(name):
        return trellis_sum(name, planes, opset)
    if (bits := linear_bits(name)) is not None:
        return dequantize_gather_linear(bits, opset, padded=padded)
    if (windows := trellis_windows(name)) is not None:
        return trellis_gather(windows, opset, padded=padded)
    return dequantize_gather(opset, padded=padded, narrow=narrow)


def called(name: str, opset: int) -> list[tuple[str, list[int]]]:
    """The operators that the body of the operator of that name calls, each with the numbers of the inputs it gets.

    The ids, which all get, are left out. Its columns are `dim` for the first ones, and one for row scales.
    """
    if (scaled := scaled_name(name)) is not None:
        of, end = scaled
        rows = len(operator(of, MASKS_FROM, padded=False).input) - 1
        looked_up = end == SCALED_BY_CODES and opset < ALLOWZERO_FROM
        return [(of, [*range(rows)]), *([(LOOKUP, [rows, rows + 1])] if looked_up else [])]
    if (whole := picked_columns(name)) is not None:
        return [(whole, [0, 1])]
    planes = trellis_planes(name)
    return [(trellis_name(*windows), [at, len(planes) + at]) for at, windows in enumerate(planes)]


def scaled_name(name: str) -> tuple[str, str] | None:
    """The operator whose rows the operator of that name scales, and by what; None of another operator."""
    found = (end for end in (SCALED_BY_CODES, SCALED) if name.endswith(end))
    return next(((name.removesuffix(end), end) for end in found), None)


def scaled_rows(of: str, end: str, opset: int) -> onnx.FunctionProto:
    """The operator `of` with a number for each row that its rows are multiplied by.

    Before the ids comes row_scale, (n, 1) float16, or row_codes, (n, 1) uint8, and row_levels, (256, 1) float32.

    Args:
        of: name of an operator of ours.
        end: `SCALED` or `SCALED_BY_CODES`.
        opset: of the model.
    """
    inputs = operator(of, opset, padded=False).input[:-1]
    stored = ["row_codes", "row_levels"] if end == SCALED_BY_CODES else ["row_scale"]
    column = _picked_column(end) if opset >= ALLOWZERO_FROM else _gathered_column(end)
    body = f"""
    rows = {DOMAIN}.{of} <dim: int = @dim> ({", ".join([*inputs, "ids"])})
    {column}
    vectors = Mul (rows, column)
    """
    function = _function(f"{of}{end}", [*inputs, *stored, "ids"], body, opset, ours=True)
    function.doc_string = f"{of}, each row multiplied by a number of its own."
    return function


def _gathered_column(end: str) -> str:
    """`column`, the number of each row as a row of its own."""
    if end == SCALED_BY_CODES:
        return f"column = {DOMAIN}.{LOOKUP} <dim = 1> (row_codes, row_levels, ids)"
    return "picked = Gather <axis = 0> (row_scale, ids) column = Cast <to = 1> (picked)"


def _picked_column(end: str) -> str:
    """The same, picked from all as one row: for a number `GatherElements` takes a quarter of the time of `Gather`."""
    if end == SCALED_BY_CODES:
        number = """
    codes = Reshape (row_codes, line)
    row_levels_line = Reshape (row_levels, line)
    code = GatherElements <axis = 1> (codes, flat_ids)
    index = Cast <to = 6> (code)
    number = GatherElements <axis = 1> (row_levels_line, index)
    """
    else:
        number = """
    numbers = Reshape (row_scale, line)
    half = GatherElements <axis = 1> (numbers, flat_ids)
    number = Cast <to = 1> (half)
    """
    return f"""
    line = Constant <value_ints = [1, -1]> ()
    one = Constant <value_ints = [1]> ()
    flat_ids = Reshape <allowzero = 1> (ids, line)
    {number}
    batch = Shape (ids)
    shape = Concat <axis = 0> (batch, one)
    column = Reshape <allowzero = 1> (number, shape)
    """


def dequantize_gather(opset: int, *, padded: bool, narrow: bool = True) -> onnx.FunctionProto:
    """`DequantizeGather(packed, lut, ids; dim)`: bytes through a table.

    packed: (n, w) uint8; lut: (256, v) float; ids: int32 or int64 of any shape, -n..n-1; dim <= w*v.
    Gives lut[packed[ids]] with the last two axes flattened and cut to dim columns, in lut's type.

    Only operators that ONNX Runtime has CUDA kernels for: bit shifts and masks have none. The packed table meets
    nothing but a Gather, so there is nothing that constant folding could expand.

    Args:
        opset: of the model.
        padded: dim may be less than w*v.
        narrow: each v is at most `NARROW`. From `NARROW_FROM` on each value is then picked by itself: for an index
            `GatherElements` takes an eighth of the time that `Gather` takes.
    """
    result = "flat" if padded else "vectors"
    if narrow and opset >= NARROW_FROM:
        body = f"""
    all = Flatten <axis = 0> (codes)
    w = Shape <start = 1> (packed)
    v = Shape <start = 1> (lut)
    places = Concat <axis = 0> (v, one)
    spread = Expand (all, places)
    table = Transpose <perm = [1, 0]> (lut)
    picked = GatherElements <axis = 1> (table, spread)
    values = Transpose <perm = [1, 0]> (picked)
    k = Mul (w, v)
    shape = Concat <axis = 0> (batch, k)
    {result} = Reshape <allowzero = 1> (values, shape)
    """
    else:
        body = f"""
    n_w = Shape (packed)
    c_v = Shape (lut)
    w = Gather <axis = 0> (n_w, one)
    v = Gather <axis = 0> (c_v, one)
    values = Gather <axis = 0> (lut, codes)
    k = Mul (w, v)
    shape = Concat <axis = 0> (batch, k)
    {result} = Reshape (values, shape)
    """
    codes = """
    bytes = Gather <axis = 0> (packed, ids)
    codes = Cast <to = 6> (bytes)
    batch = Shape (ids)
    one = Constant <value_ints = [1]> ()
    """
    cut = f"{CUT} vectors = Slice (flat, zero, dim_end, last)" if padded else ""
    function = _function(LOOKUP, ["packed", "lut", "ids"], codes + body + cut, opset)
    function.doc_string = "Rows of packed bytes, dequantized by lookup."
    return function


def linear_name(bits: int) -> str:
    """Name of the operator for evenly spaced codes of `bits` bits."""
    return f"{LINEAR}{bits}"


def linear_bits(name: str) -> int | None:
    """The bits in the name of an operator for evenly spaced codes; None of another operator."""
    return int(name.removeprefix(LINEAR)) if name.startswith(LINEAR) else None


def dequantize_gather_linear(bits: int, opset: int, *, padded: bool) -> onnx.FunctionProto:
    """`DequantizeGatherU{bits}(plane..., scale, zero_point, ids; dim)`: evenly spaced codes.

    plane: (n, w) uint8, one for each power of two in bits, the most significant one first; of a plane of m bits the
    bits [j*m, (j+1)*m) of byte i belong to column j*w + i; dim <= w*8/m. scale: () float32; zero_point: () uint8.
    Gives (code * 2**(8 - bits) - zero_point) * scale as DequantizeLinear does: (..., dim) float32.

    Four times as fast as a lookup on a CPU, where bytes are taken apart many at a time. Not for CUDA.

    Args:
        bits: 1 to 8; those of several planes from `MASKS_FROM` on.
        opset: of the model.
        padded: dim may be less than the columns of a plane.
    """
    lines: list[str] = []
    shifts: dict[str, None] = {}

    def byte(value: int) -> str:
        shifts[f"k{value}"] = None
        return f"k{value}"

    total, below = "", bits
    planes = [f"plane{width}" for width in plane_widths(bits)]
    for width, plane in zip(plane_widths(bits), planes, strict=True):
        below -= width
        at = 8 - bits + below  # where the plane's bits lie in the byte that is dequantized
        lines.append(f"r{width} = Gather <axis = 0> ({plane}, ids)")
        parts = []
        for j in range(8 // width):
            value = f"r{width}"
            for op, by in _steps(width, j * width, at, masks=opset >= MASKS_FROM):
                after = f"p{width}_{j}_{len(lines)}"
                lines.append(f"{after} = {op} ({value}, {byte(by)})")
                value = after
            parts.append(value)
        joined = parts[0]
        if len(parts) > 1:
            joined = f"c{width}"
            lines.append(f"{joined} = Concat <axis = -1> ({', '.join(parts)})")
        if padded:
            lines.append(f"d{width} = Slice ({joined}, zero, dim_end, last)")
            joined = f"d{width}"
        if total:
            lines.append(f"t{width} = BitwiseOr ({total}, {joined})")
            joined = f"t{width}"
        total = joined
    lines.append(f"vectors = DequantizeLinear ({total}, scale, zero_point)")
    constants = [f"{name} = Constant <value = uint8 {{{name[1:]}}}> ()" for name in shifts]
    body = (CUT if padded else "") + "\n".join([*constants, *lines])
    function = _function(linear_name(bits), [*planes, "scale", "zero_point", "ids"], body, opset)
    function.doc_string = f"Rows of an embedding table of {bits}-bit codes in planar bytes, dequantized by arithmetic."
    return function


def trellis_gather(windows: Windows, opset: int, *, padded: bool) -> onnx.FunctionProto:
    """`TrellisGather{bits}W{window}(packed, levels, ids; dim)`: values picked by windows over the bits of a row.

    packed: (n, w) uint8; levels: (2**window,) float; ids: int32 or int64 of any shape, -n..n-1; dim <= w*8/bits.
    Gives column j of a row by the window that ends with bit bits*(j+1) - 1 of the ring of its bits: (..., dim).

    Args:
        windows: bits of a code and of a window.
        opset: of the model.
        padded: dim may be less than the columns of a row's bytes.
    """
    cut = f"{CUT} vectors = Slice (flat, zero, dim_end, last)" if padded else ""
    body = trellis_body(windows, "flat" if padded else "vectors", opset) + cut
    function = _function(trellis_name(*windows), ["packed", "levels", "ids"], body, opset)
    function.doc_string = "Rows of a table of trellis codes, each value picked by a window over the bits of its row."
    return function


def trellis_sum(name: str, planes: list[Windows], opset: int) -> onnx.FunctionProto:
    """Trellis codes of several planes, which add up: `packed` of each plane, `levels` of each, ids.

    Args:
        name: of the operator, with the bits of all planes.
        planes: the windows of each.
        opset: of the model.
    """
    count = range(len(planes))
    lines, total = [], "rows0"
    for at, windows in enumerate(planes):
        of = f"{DOMAIN}.{trellis_name(*windows)} <dim: int = @dim> (packed{at}, levels{at}, ids)"
        lines.append(f"rows{at} = {of}")
        if at:
            after = "vectors" if at == count[-1] else f"total{at}"
            lines.append(f"{after} = Add ({total}, rows{at})")
            total = after
    inputs = [*(f"packed{at}" for at in count), *(f"levels{at}" for at in count), "ids"]
    function = _function(name, inputs, "\n".join(lines), opset, ours=True)
    function.doc_string = "Rows of a table of trellis codes of several planes, of which each takes what is left."
    return function


def trellis_columns(of: str, opset: int) -> onnx.FunctionProto:
    """The columns `places`, (k,) int32, of the dim columns of the operator `of`: (..., k)."""
    body = f"""
    rows = {DOMAIN}.{of} <dim: int = @dim> (packed, levels, ids)
    batch = Shape (ids)
    count = Shape (places)
    shape = Concat <axis = 0> (batch, count)
    columns = Expand (places, shape)
    vectors = GatherElements <axis = -1> (rows, columns)
    """
    function = _function(f"{of}{COLUMNS}", ["packed", "levels", "places", "ids"], body, opset, ours=True)
    function.doc_string = f"Some columns of {of}."
    return function


def _steps(width: int, start: int, to: int, *, masks: bool) -> list[tuple[str, int]]:
    """What moves the bits [start, start + width) of a byte to `to` and clears the others: operators and constants."""
    if width == 8:
        return []
    if masks:
        keep = ("BitwiseAnd", ((1 << width) - 1) << start)
        move = ("Mul", 1 << (to - start)) if to > start else ("Div", 1 << (start - to))
        return [keep] if to == start else [keep, move]
    left, right = 'BitShift <direction = "LEFT">', 'BitShift <direction = "RIGHT">'
    steps = [(left, 8 - width - start), (right, 8 - width), (left, to)]
    return [(op, by) for op, by in steps if by]
