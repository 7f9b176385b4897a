"""The parts of `benchmarks/gpu.py` for `device=cuda`: what is encoded and measured on a device, beside numpy."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu_checks import Part
from eigenselect import EmbeddingTable, Payload
from eigenselect.compressors import ByteCodebook, Compressor, KMeans, LightToken, Spectral, TrellisCode, Uniform
from eigenselect.compressors.device import on_device
from eigenselect.compressors.payloads.on_device import reader
from eigenselect.selector.measures import Measures
from tests.cases import CASES, TABLES, Case, compress, payload_of

MEASURED = 1e-6
"""How far a measure of the same rows may be off, in parts of it or of 1."""

CHOSEN = 1e-2
"""How far the overlap of what is encoded there may be off: nearest codewords may differ where two are as near."""

TIMED = (
    *(Uniform(2), KMeans(2), Spectral(norm="uint8", then=ByteCodebook(2))),
    Spectral(norm="uint8", then=TrellisCode(2)),
)


def measuring(device: str, folder: Path) -> Part:
    """Each method of `tests/cases.py` that is not trained there: its measures, and what is encoded there."""
    for case in CASES:
        if not (isinstance(case.compressor, LightToken) or getattr(case.compressor, "training", None) == "gumbel"):
            yield case.id, partial(_case, case, device)


def selecting(device: str, folder: Path) -> Part:
    """Seconds that methods take to encode and to measure a table."""
    n, d = (2_000, 50) if device == "cpu" else (1 << 17, 300)
    rng = np.random.default_rng(0)
    table = EmbeddingTable((rng.standard_normal((n, d)) / np.sqrt(1 + np.arange(d) / 8)).astype(np.float32))
    yield f"\n{n:,} rows of {d} columns: seconds to encode and to measure, the shorter of two, with numpy and there."
    yield "What candidates share of a table is known the second time: histogram, projection, row lengths."
    yield "\n| method | encode, numpy | there | measure, numpy | there |\n|---|---|---|---|---|"
    for method in TIMED:
        took = [_times(method, table, where) for where in (None, device)]
        cells = [f"{some:.2f}" for pair in zip(*took, strict=True) for some in pair]
        yield f"| {method.name} | {' | '.join(cells)} |"


def _case(case: Case, device: str) -> str:
    payload, table = payload_of(case, "gaussian"), TABLES["gaussian"]
    expected, found = _measures(payload, table, None), _measures(payload, table, device)
    off = max(abs(found[key] - value) / max(1.0, abs(value)) for key, value in expected.items())
    if found.keys() != expected.keys() or not off <= MEASURED:
        raise ValueError(f"measures are off by {off:.1e}")
    with on_device(device):
        made = compress(case, EmbeddingTable(np.asarray(table)))
    apart = abs(_measures(made, table, None)["eos"] - expected["eos"])
    if made.nbytes != payload.nbytes or not apart <= CHOSEN:
        raise ValueError(f"{made.nbytes:,} bytes instead of {payload.nbytes:,}, EOS {apart:.1e} apart")
    return f"measures off by {off:.0e}, encoded there EOS {apart:.0e} apart"


def _measures(payload: Payload, table: EmbeddingTable, device: str | None) -> dict[str, float]:
    measures = Measures()
    with on_device(device):
        read = payload.read if device is None else reader(payload)
        return measures(measures.reference(table), read, aligned=payload.aligned).values


def _times(method: Compressor, table: EmbeddingTable, device: str | None) -> tuple[float, float]:
    """Seconds of an encoding and of a measuring, the shorter ones of two."""
    made: list[Payload] = []
    with on_device(device):
        encoding = min(
            _seconds(lambda: made.append(method.compress(table, np.random.default_rng(0)))) for _ in range(2)
        )
    return encoding, min(_seconds(lambda: _measures(made[-1], table, device)) for _ in range(2))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
