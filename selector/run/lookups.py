"""What lookups of a candidate cost: exactly, and timed in the model that would be shipped."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from eigenselect.compressors import Payload
from eigenselect.compressors.payloads.costs import cost_of
from eigenselect.export import OnnxExport
from eigenselect.export.verification.timing import LookupTimer, all_threads, processor
from eigenselect.selector.decision.lookup import TimedOn


@dataclass(frozen=True)
class Lookups:
    """Measures lookups of candidates of one table, on this machine and the provider of the target.

    Attributes:
        export: what makes the models.
        n: rows of the table.
        d: its columns.
    """

    export: OnnxExport
    n: int
    d: int

    @cached_property
    def _timer(self) -> LookupTimer:
        return LookupTimer(self.n, self.d, self.timed_on.providers)

    @cached_property
    def timed_on(self) -> TimedOn:
        """This machine, and the models that it looks up in."""
        return TimedOn(
            processor=processor(),
            threads=all_threads(),
            onnxruntime=version("onnxruntime"),
            target=self.export.target,
            output=self.export.output,
            opset=self.export.opset,
            providers=self.export.verified_on[-1],
        )

    def serve(self, timed_on: TimedOn | None) -> bool:
        """Whether figures that were measured there, on whatever machine, are of the same models."""
        here = self.timed_on
        return timed_on is not None and all(
            getattr(timed_on, name) == getattr(here, name) for name in ("target", "output", "opset", "providers")
        )

    def __call__(self, payload: Payload) -> dict[str, float]:
        """Metric key -> value, as `docs/method.md` lists them.

        Raises:
            ValueError: no model can be made of the payload; ONNX Runtime has errors of its own where none can be run.
        """
        costs = {f"lookup_{name}": float(value) for name, value in asdict(cost_of(payload)).items()}
        with tempfile.TemporaryDirectory() as folder:
            self.export.write(payload, model := Path(folder) / "model.onnx")
            times = self._timer.times(model)
        for ending, threads in (("", 1), ("_all", self.timed_on.threads)):
            for time in times:
                if time.threads == threads:
                    costs[f"lookup_ns_{time.batch}{ending}"] = time.nanoseconds
                    costs[f"lookup_ratio_{time.batch}{ending}"] = time.ratio
        return costs
