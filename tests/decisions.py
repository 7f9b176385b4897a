"""Decisions as a selection records them, with numbers that nobody measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from eigenselect.export import HostReport
from eigenselect.export.host.proof import Proof
from eigenselect.export.models.sessions import OutputDifference
from eigenselect.selector.decision.entries import LeftToConsumer, TableEntry, Verified, WordsEntry
from eigenselect.selector.decision.record import Decision
from eigenselect.selector.decision.selection import Candidate, select

CANDIDATES = [
    Candidate("uniform-b4", "Uniform", {"bits": 4}, 800, "measured", {"eos": 0.9, "reconstruction_error": 2.0}),
    Candidate("kmeans-b4", "KMeans", {"bits": 4}, 900, "measured", {"eos": 0.8, "reconstruction_error": 1.0}),
    Candidate("identity", "Identity", {}, 9_000, "over_budget"),
]

EVERYTHING: dict[str, Any] = {
    "left_to_consumer": LeftToConsumer(file="decode_matrix.npy", shape=[3, 8], nbytes=96),
    "words": WordsEntry("words.onnx", 2_000, "error", 100),
    "host": HostReport(
        "m.onnx", "w (100, 8) float32", 1, ["a"], 17, 9_000, 2_000, 3_200, 800, 0.5, "made",
        [OutputDifference("y", 0.9, 0.1)], Proof(0.0, 0.0, 2_000, 900, 0, 0),
    ),
}  # fmt: skip
"""What only some decisions have."""


def decision(measures: dict[str, float] | None = None, **given: Any) -> Decision:
    """The choice of the first of `CANDIDATES`, with further `measures` of it."""
    chosen = replace(CANDIDATES[0], measures={**CANDIDATES[0].measures, **(measures or {})})
    settings: dict[str, Any] = {
        "table": TableEntry(path="t.npy", n=100, d=8, rank=8, dtype="float32", digest="abc", settings={"tokens": None}),
        "verification": Verified(100, 0.0, 0.0, 1_200, 800, 900, 0, ["CPUExecutionProvider"], 0.9),
        "seed": 0,
        "run_id": "r",
        **given,
    }
    return Decision.of(select([chosen, *CANDIDATES[1:]], 1_000), **settings)
