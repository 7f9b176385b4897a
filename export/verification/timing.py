"""How long lookups of an exported model take, beside those of a float32 table of the same shape."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper

from eigenselect.export.choices import OPSET
from eigenselect.export.operators.data_file import model_bytes
from eigenselect.export.operators.model import IR_VERSION

BATCHES = (1, 32, 8_192)
"""Ids looked up at once: one, those of a sentence, those of a training batch."""

ROUNDS = 7
"""Turns in which the Gather and the model run after each other; the figures are medians over them."""

LONGEST = 0.2
"""Seconds that the turns of one batch may take a model together: a slower one has fewer turns, at least 3."""

SHORTEST = 2e-4
"""Seconds that a turn lasts at least: shorter ones are repeated, or the clock would be what is measured."""

GATHERED_BYTES = 1 << 28
"""Size up to which the Gather has as many rows as the table, and up to which all rows of the model are looked up: more
are in no cache either."""


@dataclass(frozen=True)
class LookupTime:
    """The time of one lookup.

    Attributes:
        batch: ids looked up at once.
        threads: that ONNX Runtime computes with.
        nanoseconds: a row, the median.
        ratio: how many times as long as a float32 Gather of the same number of rows takes, the median over turns.
    """

    batch: int
    threads: int
    nanoseconds: float
    ratio: float


class LookupTimer:
    """Times models that look up rows of one table on this machine, each in turn with the same float32 Gather.

    One thread's time on the CPU is processor time, any other is elapsed time.

    Args:
        n: rows of the table.
        d: its columns.
        providers: execution providers that the model and the Gather run on.

    Example:
        >>> import numpy as np
        >>> from eigenselect import EmbeddingTable, Uniform, to_onnx
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((1000, 16), dtype=np.float32))
        >>> model = to_onnx(Uniform(bits=4).compress(table, np.random.default_rng(0)))
        >>> times = LookupTimer(table.n, table.d).times(model)
        >>> [time.batch for time in times if time.threads == 1]
        [1, 32, 8192]
    """

    def __init__(self, n: int, d: int, providers: Sequence[str] = ("CPUExecutionProvider",)) -> None:
        self._rows, self._d, self._providers = min(n, max(1, GATHERED_BYTES // (4 * d))), d, list(providers)
        self._n = n
        rng = np.random.default_rng(0)
        self._ids = {batch: rng.integers(0, n, (ROUNDS, batch)) for batch in BATCHES}

    @cached_property
    def _gathers(self) -> dict[int, _Lookup]:
        graph = helper.make_graph(
            [helper.make_node("Gather", ["table", "ids"], ["vectors"], axis=0)],
            "gather",
            [
                helper.make_tensor_value_info("table", onnx.TensorProto.FLOAT, [self._rows, self._d]),
                helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["batch"]),
            ],
            [helper.make_tensor_value_info("vectors", onnx.TensorProto.FLOAT, ["batch", self._d])],
        )
        model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
        table = np.ones((self._rows, self._d), np.float32)  # one for all sessions
        return {threads: _Lookup(model, threads, self._providers, table) for threads in {1, all_threads()}}

    def times(self, model: onnx.ModelProto | Path) -> list[LookupTime]:
        """The times on one thread and on all of `model`, or of its file: `ids (batch,) int64 -> vectors (batch, k)`."""
        held = model_bytes(model) if isinstance(model, Path) else model.ByteSize()
        rows = min(self._n, max(1, self._n * GATHERED_BYTES // held))
        found = []
        for threads in sorted({1, all_threads()}):  # one session at a time: each holds a copy of the payload
            form = _Lookup(model, threads, self._providers)
            found += [self._time(form, batch, threads, rows) for batch in BATCHES]
        return found

    def _time(self, form: _Lookup, batch: int, threads: int, rows: int) -> LookupTime:
        gather, first = self._gathers[threads], self._ids[batch][0]
        mine, its = form.warm(first % rows), gather.warm(first % self._rows)
        rounds = min(ROUNDS, max(3, int(LONGEST / mine)))
        repeated, beside = (max(1, round(SHORTEST / seconds)) for seconds in (mine, its))
        turns = [
            (gather.seconds(ids % self._rows, beside), form.seconds(ids % rows, repeated))
            for ids in self._ids[batch][:rounds]
        ]
        return LookupTime(
            batch=batch,
            threads=threads,
            nanoseconds=1e9 * median(took for _, took in turns) / batch,
            ratio=median(took / gathered for gathered, took in turns),
        )


class _Lookup:
    """A session that looks rows up, with its inputs bound beforehand."""

    def __init__(
        self,
        model: onnx.ModelProto | Path,
        threads: int,
        providers: Sequence[str],
        table: npt.NDArray[np.float32] | None = None,
    ) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads of a session that spin while they wait would be in the way of the other sessions'.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        source = model if isinstance(model, Path) else model.SerializeToString()
        self._session = ort.InferenceSession(source, options, providers=list(providers))
        self._binding = self._session.io_binding()
        self._device = "cuda" if "CUDAExecutionProvider" in providers else "cpu"
        if table is not None:
            self._binding.bind_ortvalue_input("table", ort.OrtValue.ortvalue_from_numpy(table, self._device))
        # One thread is this one, and its own time does not grow by what else the machine does.
        self._clock = time.thread_time if threads == 1 and self._device == "cpu" else time.perf_counter

    def warm(self, ids: npt.NDArray[np.int64]) -> float:
        """About the seconds of one lookup of `ids`, the first of which may take longer."""
        return min(self.seconds(ids, 1), self.seconds(ids, 1))

    def seconds(self, ids: npt.NDArray[np.int64], count: int) -> float:
        """The time of one of `count` lookups of `ids`."""
        self._binding.bind_cpu_input("ids", ids)
        self._binding.bind_output("vectors", self._device)
        start = self._clock()
        for _ in range(count):
            self._session.run_with_iobinding(self._binding)
        return (self._clock() - start) / count


def all_threads() -> int:
    """As many as this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The name of this machine's processor."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    names = [value.strip() for key, _, value in (line.partition(":") for line in lines) if key.strip() == "model name"]
    return next(iter(names), "") or platform.processor() or platform.machine()
