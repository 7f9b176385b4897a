"""The decision: `selection.json`, the tags and metrics of its run, and the text of the registry, from one record.

Built of a `Selection` once everything is verified, written into the hand-over (the folder of everything that the chosen
candidate is delivered with), and read back by whoever is given that folder. `docs/selection.schema.json` describes it.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eigenselect.compressors.words import NAME, brief
from eigenselect.export import HostReport
from eigenselect.selector.decision.entries import (
    ChosenEntry,
    CriterionEntry,
    LeftToConsumer,
    LookupEntry,
    ModelEntry,
    RejectedEntry,
    RunnerUpEntry,
    ScreeningEntry,
    TableEntry,
    UseEntry,
    Verified,
    WordsEntry,
)
from eigenselect.selector.decision.escaping import in_markdown
from eigenselect.selector.decision.plain import CHANGED, read, read_json, written
from eigenselect.selector.decision.selection import Alternative, Candidate, Selection, margin, tied, why
from eigenselect.selector.decision.uses import question
from eigenselect.selector.pool.budget import size
from eigenselect.version import __version__

FILE = "selection.json"

VERSION = 1
"""Of what `Decision` holds: one more whenever a name goes or changes its meaning. A name that is added changes none."""

LIBRARIES = ("numpy", "scipy", "onnx", "onnxruntime", "mlflow", "hydra-core")
"""Whose versions are recorded."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was chosen, of what, why, and what was verified of it.

    Attributes:
        version: of this form.
        reason: why it was chosen and how far the choice is to be trusted, in a few sentences.
        chosen: the candidate that is handed over.
        runner_up: the next best that fits, if any.
        rejected: every other candidate with the reason.
        budget_bytes: what a payload may take.
        criterion: metric key that decided.
        criteria: metric key -> what it would have chosen.
        sensitive_to: the overlap scores that would have chosen something better by them.
        table: what was compressed.
        verification: what was measured of the exported model.
        seed: of everything random.
        versions: of this program, Python and the libraries.
        run_id: the MLflow run of the selection.
        words: the model that takes tokens, where there is one.
        host: the model that the payload was put into, where there is one.
        lookup: what the times of lookups rest on, where they were measured.
        model: the model whose table it was, where that is handed over too.
        use: what the rows are for, where that was given: `trained`, `frozen` or `retrieval`.
        question: which question the choice answers, as the end of a sentence.
        other_uses: use -> what it would have chosen, of each whose question is another one.
        screening: what samples of rows left out, where they did: what is said of other criteria and uses is of those
            that were measured on all rows.
    """

    version: int = VERSION
    reason: str
    chosen: ChosenEntry
    runner_up: RunnerUpEntry | None
    rejected: list[RejectedEntry]
    budget_bytes: int
    criterion: str
    criteria: dict[str, CriterionEntry]
    sensitive_to: list[str]
    table: TableEntry
    verification: Verified
    seed: int
    versions: dict[str, str]
    run_id: str
    words: WordsEntry | None = None
    host: HostReport | None = None
    lookup: LookupEntry | None = None
    model: ModelEntry | None = None
    use: str | None = None
    question: str = ""
    other_uses: dict[str, UseEntry] = field(default_factory=dict)
    screening: ScreeningEntry | None = None

    def __repr__(self) -> str:
        chosen, criterion = self.chosen, self.criterion
        score = f"{criterion} {chosen.measures[criterion]:.4f}"
        return f"Decision({chosen.name}, {chosen.nbytes:,} of {self.budget_bytes:,} bytes, {score})"

    def __post_init__(self) -> None:
        for entry, keys in ((self.chosen, ("eos", self.criterion)), (self.runner_up, (self.criterion,))):
            if entry is not None and (missing := [key for key in keys if key not in entry.measures]):
                raise ValueError(f"lacks {missing[0]!r} in the measures of {entry.name}: {CHANGED}")

    @staticmethod
    def of(
        selection: Selection,
        *,
        table: TableEntry,
        verification: Verified,
        seed: int,
        run_id: str,
        left_to_consumer: LeftToConsumer | None = None,
        words: WordsEntry | None = None,
        host: HostReport | None = None,
        model: ModelEntry | None = None,
        use: str | None = None,
    ) -> Decision:
        """The record of a selection, with what was made and verified of its choice."""
        chosen, runner_up, criterion = selection.chosen, selection.runner_up, selection.criterion
        return Decision(
            reason=why(selection),
            chosen=ChosenEntry(
                **_measured(chosen), left_to_consumer=left_to_consumer, costs=chosen.costs if chosen.timed_on else None
            ),
            runner_up=None
            if runner_up is None
            else RunnerUpEntry(
                **_measured(runner_up),
                tie=tied(chosen, runner_up, criterion),
                margin=margin(chosen, runner_up, criterion),
            ),
            rejected=[
                RejectedEntry(name=candidate.name, reason=reason, estimate=candidate.estimate)
                for candidate, reason in selection.rejected
            ],
            budget_bytes=selection.budget,
            criterion=criterion,
            criteria={each.criterion: _criterion(each, chosen) for each in selection.alternatives},
            sensitive_to=[each.criterion for each in selection.disagreeing],
            table=table,
            verification=verification,
            seed=seed,
            versions=installed_versions(),
            run_id=run_id,
            words=words,
            host=host,
            lookup=_lookup(selection),
            model=model,
            use=use,
            question=question(criterion),
            other_uses={
                name: UseEntry(criterion=found.criterion, chosen=found.best.name, tie=found.tie)
                for name, found in selection.other_uses.items()
            },
            screening=ScreeningEntry.of([estimate for _, estimate in selection.screened]),
        )

    def text(self) -> str:
        """The content of `selection.json`."""
        return json.dumps(written(self), indent=2, allow_nan=False) + "\n"

    def metrics(self) -> dict[str, float]:
        """Those of the run of the selection."""
        nbytes = self.chosen.nbytes
        of_model = {} if self.model is None else {"model_bytes": self.model.nbytes, **self.model.measures}
        sizes = {"bytes": nbytes, "megabytes": nbytes / 1e6}
        return {**sizes, **self.chosen.measures, **(self.chosen.costs or {}), **of_model}

    def tags(self) -> dict[str, str]:
        """Those of a logged model, and of the version that a registry makes of it."""
        chosen, runner_up = self.chosen, self.runner_up
        scores = {key: chosen.measures[key] for key in ("eos", self.criterion)}
        tags = {
            "chosen": chosen.name,
            "compressor": chosen.compressor,
            "bytes": chosen.nbytes,
            **scores,
            "criterion": self.criterion,
            "budget_bytes": self.budget_bytes,
            "table_digest": self.table.digest,
            "run_id": self.run_id,
        }
        if runner_up is not None:
            tags["runner_up"] = runner_up.name
            tags["runner_up_distance"] = abs(scores[self.criterion] - runner_up.measures[self.criterion])
        tags |= self.purpose()
        if matrix := chosen.left_to_consumer:
            tags["left_to_consumer"] = f"{matrix.file}: {matrix.use}"
        return {key: str(value) for key, value in tags.items()}

    def purpose(self) -> dict[str, str]:
        """The tags that say which question was answered, and what each other use would have chosen."""
        return {"question": self.question, **{f"use_{name}": each.chosen for name, each in self.other_uses.items()}}

    def description(self, picture: str) -> str:
        """The note of the run of the selection, a short report in Markdown.

        Args:
            picture: address of `pareto.png`.
        """
        table, chosen, float32 = self.table, self.chosen, 4 * self.table.n * self.table.d
        rows = {
            "chosen": chosen.name,
            self.criterion: f"{chosen.measures[self.criterion]:.4f}",
            "payload": f"{size(chosen.nbytes)} of {size(self.budget_bytes)}, {float32 / chosen.nbytes:.1f}x",
            "table": f"{table.path}, {table.n:,} x {table.d}, {size(float32)} in float32",
            "exported": f"{self.verification.file_bytes:,} bytes, EOS {self.verification.eos_from_onnx:.4f}",
        }
        lines = [f"| {key} | {in_markdown(value)} |" for key, value in rows.items()]
        return "\n".join(["| | |", "|---|---|", *lines, "", in_markdown(self.reason), "", f"![pareto.png]({picture})"])


def read_decision(path: Path) -> Decision:
    """Read `selection.json`, which anyone may have changed.

    Raises:
        ValueError: it cannot be read, is of another version, or is not such a record.
    """
    found = read_json(path)
    if (given := found.get("version")) != VERSION:
        raise ValueError(
            f"{path.name} is of version {brief(repr(given), NAME)}, this program reads {VERSION}: upgrade eigenselect, "
            "or select again"
        )
    try:
        decision: Decision = read(Decision, found)
    except ValueError as error:
        raise ValueError(f"{path.name} {error}") from error
    return decision


def installed_versions() -> dict[str, str]:
    """Versions of what a selection rests on."""
    libraries = {name: version(name) for name in LIBRARIES}
    return {"eigenselect": __version__, "python": platform.python_version(), **libraries}


def _measured(candidate: Candidate) -> dict[str, Any]:
    """The fields of an `Entry`."""
    return {
        "name": candidate.name,
        "compressor": candidate.compressor,
        "parameters": candidate.parameters,
        "nbytes": candidate.nbytes,
        "measures": candidate.measures | candidate.standard_errors,
    }


def _lookup(selection: Selection) -> LookupEntry | None:
    chosen, best, criterion = selection.chosen, selection.unlimited, selection.criterion
    if chosen.timed_on is None:
        return None
    return LookupEntry(
        says=f"The times were measured on {chosen.timed_on}; those of another machine differ.",
        timed_on=chosen.timed_on,
        limit=None if selection.limit is None else selection.limit.text,
        best_without_limit=None if best is None else best.name,
        criterion_lost=None if best is None else abs(best.measures[criterion] - chosen.measures[criterion]),
    )


def _criterion(found: Alternative, chosen: Candidate) -> CriterionEntry:
    return CriterionEntry(
        chosen=found.best.name,
        value=found.best.measures[found.criterion],
        value_of_choice=chosen.measures.get(found.criterion),
        rank_of_choice=found.rank,
        ranked=found.ranked,
        tie=found.tie,
    )
