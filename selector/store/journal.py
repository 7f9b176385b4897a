"""Candidates that were measured when the tracking store failed: kept in a file, and logged by the next run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from eigenselect.selector.decision.lookup import TimedOn
from eigenselect.selector.decision.plain import read, written
from eigenselect.selector.decision.selection import Candidate
from eigenselect.selector.store.experiment import Finished


@dataclass(frozen=True)
class Journal:
    """A file of measured candidates, one a line: its key, metrics, replicates, and what its lookups were timed on.

    Attributes:
        path: the file, which is there only while it has some.
    """

    path: Path

    def candidates(self) -> dict[str, Finished]:
        """By their keys; a line that was cut short is passed over."""
        found = {}
        for line in self._lines():
            try:
                key, metrics, replicates, timed_on = json.loads(line)
                spread = {name: tuple(values) for name, values in replicates.items()}
                found[str(key)] = Finished(None, metrics, spread, read(TimedOn | None, timed_on))
            except (ValueError, TypeError, AttributeError):
                continue
        return found

    def keep(self, key: str, candidate: Candidate) -> None:
        """Add a candidate."""
        metrics = {**candidate.measures, **candidate.costs}
        line = json.dumps([key, metrics, candidate.replicates, written(candidate.timed_on)])
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def drop(self, key: str) -> None:
        """Remove a candidate, which is logged."""
        if left := [line for line in self._lines() if not line.startswith(f"[{json.dumps(key)}, ")]:
            self.path.write_text("".join(f"{line}\n" for line in left), encoding="utf-8")
        else:
            self.path.unlink(missing_ok=True)

    def _lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
