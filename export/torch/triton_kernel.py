"""The Triton kernel of `DequantizeGather`: packed bytes through a lookup table, without anything in between.

Only here is triton imported.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

MOST_COLUMNS = 1024
"""That one program writes."""


@triton.jit(debug=True)  # type: ignore[untyped-decorator]  # debug: device_assert is compiled
def _kernel(packed, lut, ids, out, n, row_bytes, dim, v: tl.constexpr, columns: tl.constexpr):  # type: ignore[no-untyped-def]
    # One id, and as many columns of its row. Offsets are int64: a table may have more bytes than an int32 counts.
    at = tl.program_id(0).to(tl.int64)
    row = tl.load(ids + at).to(tl.int64)
    known = (row >= 0) & (row < n)
    tl.device_assert(known, "id out of range")
    column = tl.program_id(1).to(tl.int64) * columns + tl.arange(0, columns)
    inside = column < dim
    byte = tl.load(packed + row * row_bytes + column // v, mask=inside & known, other=0).to(tl.int64)
    value = tl.load(lut + byte * v + column % v, mask=inside & known, other=float("nan"))
    tl.store(out + at * dim + column, value, mask=inside)


def dequantize_gather(packed: torch.Tensor, lut: torch.Tensor, ids: torch.Tensor, dim: int) -> torch.Tensor:
    """Packed rows through a lookup: lut[packed[ids]], flattened and cut to `dim` columns.

    Args:
        packed: (n, w) uint8, contiguous.
        lut: (256, v) float32, contiguous, w*v >= dim.
        ids: int32 or int64 of any shape, 0..n-1; others end in a device-side assertion.
        dim: columns.

    Returns:
        (*ids.shape, dim) float32.
    """
    ids = ids.contiguous()
    out = torch.empty((*ids.shape, dim), dtype=lut.dtype, device=lut.device)
    columns = min(MOST_COLUMNS, triton.next_power_of_2(dim))
    if ids.numel():  # a grid of nothing cannot be launched
        with torch.cuda.device_of(packed):  # a kernel is launched on the current device
            _kernel[ids.numel(), triton.cdiv(dim, columns)](
                packed, lut, ids, out, *packed.shape, dim, v=lut.shape[1], columns=columns
            )
    return out
