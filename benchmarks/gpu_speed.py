"""The part of `benchmarks/gpu.py` that times lookups, beside torch's embedding and beside bytes over bandwidth."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding

from benchmarks.gpu_checks import Part, close
from benchmarks.gpu_native import LIBRARY, Kernels
from eigenselect import CompressedEmbedding, Payload
from eigenselect.compressors.codebooks.scalar import affine
from eigenselect.compressors.payloads.bitpack import plane_bytes, plane_widths
from eigenselect.compressors.payloads.composed import Projected, Scaled
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.payloads.packed import Packed
from eigenselect.compressors.payloads.trellis import Trellis
from eigenselect.export.torch.module import HAS_TRITON, TORCH

WARM_UP, ROUNDS = 3, 11

EXPLAINED = """\
µs: the median of a lookup as it is called from Python, launching included. ×emb: that time over the time of torch's
embedding of a table of the output's type, taken in turns with it. ×floor: over the time that its ids, its stored rows
and its output take at the bandwidth of the copy. —: the memory does not suffice."""

MOST_MATRIX = 1024
"""Columns up to which a table is also tried behind a d x d matrix."""


@dataclass(frozen=True, eq=False)
class Form:
    """One way to look rows up.

    Attributes:
        name: bits and kind, and what runs.
        dtype: of the rows.
        read: bytes of a row as it is stored.
        call: ids -> rows.
        payload: what the rows are of; None of an embedding.
        limit: how far from it they may be, in parts of the largest entry.
    """

    name: str
    dtype: torch.dtype
    read: int
    call: Callable[[Tensor], Tensor]
    payload: Payload | None = None
    limit: float = 0.0


def speed(device: str, folder: Path) -> Part:
    """A table of times for each number of columns; before it, each form's rows against numpy."""
    small = device == "cpu"
    kernels = Kernels(folder / LIBRARY) if (folder / LIBRARY).exists() else None
    bandwidth = _bandwidth(device, 1 << (24 if small else 30))
    yield f"\nA copy on the device moves {bandwidth / 1e9:.0f} GB/s, reading and writing counted.\n"
    yield EXPLAINED
    for d in (50, 300) if small else (50, 300, 1024, 4096):
        n = 2_000 if small else max(1 << 16, (1 << 28) // (4 * d))  # 256 MiB or more in float32: beyond any cache
        forms = list(_forms(d, n, device, kernels))
        for form in forms:
            if form.payload is not None:
                yield f"{d} columns: {form.name}, {form.dtype}", partial(_rows, form, device)
        counts = (1_000,) if small else (1_000, 32_000, 1_000_000)
        yield from _table(forms, d, n, counts, bandwidth, device)
        del forms, form
        if device == "cuda":
            torch.cuda.empty_cache()


def _forms(d: int, n: int, device: str, kernels: Kernels | None) -> Iterator[Form]:
    """The embeddings first."""
    rng = np.random.default_rng(0)

    def bytes_of(width: int) -> np.ndarray:
        return rng.integers(0, 256, (n, plane_bytes(d, width)), dtype=np.uint8)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    table = torch.randn(n, d, device=device)
    for weight in (table, table.half()):
        yield Form("embedding", weight.dtype, d * weight.itemsize, partial(embedding, weight=weight))
    for bits in (1, 2, 4, 8):
        yield from _of_lookup(f"{bits} bits", Packed(bytes_of(bits), normal(256, 8 // bits), d), device, kernels)
    three = affine([bytes_of(width) for width in plane_widths(3)], 3, d, 3.5, 0.1)
    yield from _of_module("3 bits", three, device)
    trellis = {bits: Trellis(bytes_of(bits), normal(1 << 10), bits, d) for bits in (1, 2, 4)}
    for bits, payload in trellis.items():
        yield from _of_module(f"{bits} bits trellis", payload, device)
    if d <= MOST_MATRIX:
        norms = Dense(normal(n, 1).astype(np.float16))
        matrix = (normal(d, d) / d**0.5).astype(np.float16)
        yield from _of_module(
            "2 bits trellis, scales, matrix", Projected(Scaled(trellis[2], norms), matrix), device, 1e-5
        )


def _of_module(name: str, payload: Payload, device: str, limit: float = 0.0) -> Iterator[Form]:
    """The torch module, and on a GPU with Triton the same without its kernel."""
    read = sum(array.nbytes // len(array) for array in payload.arrays().values() if len(array) == payload.n)
    for dtype in (torch.float32, torch.float16):
        module = CompressedEmbedding(payload, device=device, dtype=dtype)
        yield Form(f"{name}, module ({module.kernel})", dtype, read, module, payload, limit)
        if module.kernel == "triton":
            yield Form(f"{name}, torch", dtype, read, partial(module._decode, ops=TORCH), payload, limit)


def _of_lookup(name: str, payload: Packed, device: str, kernels: Kernels | None) -> Iterator[Form]:
    """The module, and the kernels by themselves."""
    yield from _of_module(name, payload, device)
    packed, read = torch.from_numpy(payload.packed).to(device), payload.packed.shape[1]
    for dtype in (torch.float32, torch.float16):
        lut = torch.from_numpy(payload.lut()).to(device, dtype)

        def by_triton(ids: Tensor, lut: Tensor = lut) -> Tensor:
            from eigenselect.export.torch.triton_kernel import dequantize_gather

            return dequantize_gather(packed, lut, ids, payload.dim)

        def by_native(ids: Tensor, lut: Tensor = lut, kernels: Kernels | None = kernels) -> Tensor:
            assert kernels is not None
            return kernels.lookup(packed, lut, ids, payload.dim)

        if HAS_TRITON and device == "cuda":
            yield Form(f"{name}, Triton kernel", dtype, read, by_triton, payload)
        if kernels is not None:
            yield Form(f"{name}, native kernel", dtype, read, by_native, payload)


def _rows(form: Form, device: str) -> str:
    assert form.payload is not None
    ids = np.random.default_rng(1).integers(0, form.payload.n, 257)
    expected = form.payload.read(ids)
    found = form.call(torch.from_numpy(ids).to(device))
    half = form.dtype == torch.float16
    limit = max(form.limit, 2**-10) if half and form.limit else form.limit
    off = close(found, expected.astype(np.float16) if half else expected, exact=not limit, limit=limit)
    return f"off by {off:.0e}" if off else "equal to the bit"


def _table(forms: list[Form], d: int, n: int, counts: tuple[int, ...], bandwidth: float, device: str) -> Iterator[str]:
    """The times as a table, a line for each form."""
    cells: dict[Form, list[str]] = {form: [] for form in forms}
    for count in counts:
        ids = torch.randint(0, n, (count,), device=device)
        took = _medians({form: partial(form.call, ids) for form in forms}, device)
        beside = {form.dtype: took[form] for form in forms if form.payload is None and form in took}
        for form, row in cells.items():
            if {form.dtype} <= {*beside} and form in took:
                floor = count * (ids.itemsize + form.read + d * form.dtype.itemsize) / bandwidth
                row += [
                    f"{took[form] * 1e6:.1f}",
                    f"{took[form] / beside[form.dtype]:.2f}",
                    f"{took[form] / floor:.2f}",
                ]
            else:
                row += ["—"] * 3
    heads = " | ".join(f"{count:,} ids: µs | ×emb | ×floor" for count in counts)
    yield f"\n### {d} columns, {n:,} rows\n\n| form | rows | bytes | {heads} |\n|---|---|---{'|---' * 3 * len(counts)}|"
    for form, row in cells.items():
        yield f"| {form.name} | {str(form.dtype).removeprefix('torch.')} | {form.read} | {' | '.join(row)} |"


def _bandwidth(device: str, size: int) -> float:
    """Bytes a second."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / _medians({"copy": lambda: target.copy_(source)}, device)["copy"]


def _medians(calls: dict, device: str) -> dict:  # type: ignore[type-arg]  # the keys' type is the caller's
    """The median seconds of each call, in turns; those that the memory does not suffice for are left out."""
    fitting = dict(calls)
    for key, call in calls.items():
        try:
            for _ in range(WARM_UP):
                call()
        except torch.cuda.OutOfMemoryError:
            del fitting[key]
            torch.cuda.empty_cache()
    took = {key: [] for key in fitting}
    for _ in range(ROUNDS):
        for key, call in fitting.items():
            took[key].append(_seconds(call, device))
    return {key: statistics.median(times) for key, times in took.items()}


def _seconds(call: Callable[[], object], device: str) -> float:
    if device == "cpu":
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    call()
    after.record()
    after.synchronize()
    return before.elapsed_time(after) / 1e3
