"""Decisions as a selection records them, with numbers that nobody measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from eigenselect.export import HostReport
from eigenselect.export.host.proof import Proof
from eigenselect.export.models.sessions import OutputDifference
from eigenselect.selector.decision.entries import LeftToConsumer, TableEntry, Verified, WordsEntry
from eigenselect.selector.decision.lookup import RATIO, Limit, TimedOn
from eigenselect.selector.decision.record import Decision
from eigenselect.selector.decision.selection import Candidate, select

CANDIDATES = [
    Candidate("uniform-b4", "Uniform", {"bits": 4}, 800, "measured", {"eos": 0.9, "reconstruction_error": 2.0}),
    Candidate("kmeans-b4", "KMeans", {"bits": 4}, 900, "measured", {"eos": 0.8, "reconstruction_error": 1.0}),
    Candidate("identity", "Identity", {}, 9_000, "over_budget"),
]

EVERYTHING: dict[str, Any] = {
    "limit": Limit.parse("2x"),
    "left_to_consumer": LeftToConsumer(file="decode_matrix.npy", shape=[3, 8], nbytes=96),
    "words": WordsEntry("words.onnx", 2_000, "error", 100),
    "host": HostReport(
        "m.onnx", "w (100, 8) float32", 1, ["a"], 17, 9_000, 2_000, 3_200, 800, 0.5, "made",
        [OutputDifference("y", 0.9, 0.1)], Proof(0.0, 0.0, 2_000, 900, 0, 0),
    ),
}  # fmt: skip
"""What only some decisions have."""


TIMED_ON = TimedOn(
    processor="Abacus", threads=2, onnxruntime="1.0", target="cpu", opset=18, providers=["CPUExecutionProvider"]
)


def with_times(candidate: Candidate, ratio: float) -> Candidate:
    """The candidate with the time of its lookups."""
    return replace(candidate, costs={RATIO: ratio, "lookup_ns_8192": 50 * ratio}, timed_on=TIMED_ON)


def decision(measures: dict[str, float] | None = None, limit: Limit | None = None, **given: Any) -> Decision:
    """The choice of the first of `CANDIDATES`, with further `measures` of it; with a limit lookups are timed."""
    chosen = replace(CANDIDATES[0], measures={**CANDIDATES[0].measures, **(measures or {})})
    candidates = [chosen, *CANDIDATES[1:]]
    if limit is not None:
        slow = Candidate("slow", "PCA", {}, 700, "measured", {"eos": 0.95})
        candidates = [with_times(chosen, 1.5), with_times(CANDIDATES[1], 1.2), with_times(slow, 3.5), CANDIDATES[2]]
    settings: dict[str, Any] = {
        "table": TableEntry(path="t.npy", n=100, d=8, rank=8, dtype="float32", digest="abc", settings={"tokens": None}),
        "verification": Verified(100, 0.0, 0.0, 1_200, 800, 900, 0, ["CPUExecutionProvider"], 0.9),
        "seed": 0,
        "run_id": "r",
        **given,
    }
    return Decision.of(select(candidates, 1_000, limit=limit), **settings)
