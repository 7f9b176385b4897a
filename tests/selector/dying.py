"""A method whose process dies, for tests of several processes: it must be there to be imported by them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eigenselect.compressors import Compressor, Identity, Payload, Uniform
from eigenselect.compressors.data.table import Table
from eigenselect.compressors.payloads.dense import Dense


@dataclass(frozen=True)
class Dying(Compressor):
    """Uniform of 2 bits, but its process dies at it while there are marks left in the folder."""

    marks: str

    @property
    def name(self) -> str:
        return f"dying-{Path(self.marks).name}"

    def nbytes(self, n: int, d: int) -> int:
        return Uniform(2).nbytes(n, d)

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        assert not [name for name in os.environ if name.startswith("MLFLOW_")]
        for mark in Path(self.marks).iterdir():
            mark.unlink()
            os.kill(os.getpid(), 9)
        return Uniform(2).compress(table, rng)


@dataclass(frozen=True)
class DyingAtRows(Compressor):
    """The table itself, but a process dies at some of its rows while there are marks left in the folder."""

    marks: str

    @property
    def name(self) -> str:
        return f"dying-{Path(self.marks).name}"

    def nbytes(self, n: int, d: int) -> int:
        return Identity("float32").nbytes(n, d)

    def _compress(self, table: Table, rng: np.random.Generator) -> Payload:
        def work(rows: slice) -> Any:
            if rows.start:
                assert not [name for name in os.environ if name.startswith("MLFLOW_")]
                for mark in Path(self.marks).iterdir():
                    mark.unlink()
                    os.kill(os.getpid(), 9)
            return table.read(rows)

        return Dense(table.make((table.d,), np.float32, work))
