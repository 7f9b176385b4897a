"""How long lookups of an exported model take, beside those of a float32 table of the same shape."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from statistics import median

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper

from eigenselect.export.choices import OPSET
from eigenselect.export.operators.model import IR_VERSION

BATCHES = (1, 32, 8_192)
"""Ids looked up at once: one, those of a sentence, those of a training batch."""

ROUNDS = 7
"""Turns in which the Gather and the model run after each other; the figures are medians over them."""

SHORTEST = 2e-4
"""Seconds that a turn lasts at least: shorter ones are repeated, or the clock would be what is measured."""

GATHERED_BYTES = 1 << 28
"""Size up to which the Gather has as many rows as the table: a larger one is in no cache either."""


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

    Example:
        >>> import numpy as np
        >>> from eigenselect import EmbeddingTable, Uniform, to_onnx
        >>> table = EmbeddingTable(np.random.default_rng(0).standard_normal((1000, 16), dtype=np.float32))
        >>> model = to_onnx(Uniform(bits=4).compress(table, np.random.default_rng(0)))
        >>> times = LookupTimer(table.n, table.d).times(model)
        >>> [time.batch for time in times if time.threads == 1]
        [1, 32, 8192]
    """

    def __init__(self, n: int, d: int, seed: int = 0) -> None:
        """Make the ids for a table of `n` rows and `d` columns."""
        self._n, self._d = n, d
        rng = np.random.default_rng(seed)
        rows = min(n, max(1, GATHERED_BYTES // (4 * d)))
        self._rows = rows
        self._ids = {batch: rng.integers(0, n, (ROUNDS, batch)) for batch in BATCHES}
        self._table = rng.standard_normal((rows, d), dtype=np.float32)

    @property
    def threads(self) -> tuple[int, ...]:
        """One, and as many as this process may use."""
        return tuple(
            sorted({1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1})
        )

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
        table = ort.OrtValue.ortvalue_from_numpy(self._table)
        return {threads: _Lookup(model, threads, table) for threads in self.threads}

    def times(self, model: onnx.ModelProto) -> list[LookupTime]:
        """The times of `model`, `ids (batch,) int64 -> vectors (batch, k) float32`, by batch and threads."""
        forms = {threads: _Lookup(model, threads) for threads in self.threads}
        return [self._time(forms[threads], batch, threads) for batch, threads in product(BATCHES, self.threads)]

    def _time(self, form: _Lookup, batch: int, threads: int) -> LookupTime:
        gather, first = self._gathers[threads], self._ids[batch][0]
        mine = max(1, round(SHORTEST / min(form.seconds(first, 1), form.seconds(first, 1))))
        its = max(
            1, round(SHORTEST / min(gather.seconds(first % self._rows, 1), gather.seconds(first % self._rows, 1)))
        )
        turns = [
            (gather.seconds(ids % self._rows, its) / its, form.seconds(ids, mine) / mine) for ids in self._ids[batch]
        ]
        return LookupTime(
            batch=batch,
            threads=threads,
            nanoseconds=1e9 * median(took for _, took in turns) / batch,
            ratio=median(took / beside for beside, took in turns),
        )


class _Lookup:
    """A session that looks rows up, with its inputs bound beforehand."""

    def __init__(self, model: onnx.ModelProto, threads: int, table: ort.OrtValue | None = None) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads of a session that spin while they wait would be in the way of the other sessions'.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._binding = self._session.io_binding()
        if table is not None:
            self._binding.bind_ortvalue_input("table", table)
        # One thread is this one, and its own time does not grow by what else the machine does.
        self._clock = time.thread_time if threads == 1 else time.perf_counter

    def seconds(self, ids: npt.NDArray[np.int64], count: int) -> float:
        """The time of `count` lookups of `ids`."""
        self._binding.bind_cpu_input("ids", ids)
        self._binding.bind_output("vectors")
        start = self._clock()
        for _ in range(count):
            self._session.run_with_iobinding(self._binding)
        return self._clock() - start
