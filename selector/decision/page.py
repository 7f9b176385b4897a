"""The page of a selection, `report.html`, which stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eigenselect.selector.decision.advice import advice
from eigenselect.selector.decision.lookup import RATIO
from eigenselect.selector.decision.palette import styles
from eigenselect.selector.decision.ranking import heading
from eigenselect.selector.decision.report import pareto_front
from eigenselect.selector.decision.selection import Candidate, Selection, why
from eigenselect.selector.decision.templates import render
from eigenselect.selector.measures import higher_is_better, is_overlap
from eigenselect.selector.measures.portrait import Portrait

AXES = ("megabytes", RATIO, "lookup_bytes")
"""Of the picture, beside the measures: payload, time of a lookup, bytes that it reads."""

SAYS = {
    "megabytes": "payload, MB",
    RATIO: "lookup, times a float32 Gather",
    "lookup_bytes": "bytes that a lookup reads",
}


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What a page has beside the choice.

    Attributes:
        portrait: what the choice keeps of the table.
        float32_bytes: of the table.
        command: that makes the selection again.
        fitted: the candidates were fitted to the budget.
    """

    portrait: Portrait | None = None
    float32_bytes: int | None = None
    command: str | None = None
    fitted: bool = False


def write_page(
    path: Path, selection: Selection, candidates: Sequence[Candidate], record: str, beside: Beside | None = None
) -> None:
    """A page that stands alone: the decision, a picture with axes to pick, every candidate with its reason.

    Args:
        path: the file.
        selection: the choice.
        candidates: every candidate.
        record: the text of the decision's record.
        beside: what else there is to show.
    """
    beside = beside or Beside()
    chosen, criterion = selection.chosen, selection.criterion
    front = {c.name for c in pareto_front(candidates, criterion, lookup=chosen.timed_on is not None)}
    page = render(
        "report.html",
        selection=selection,
        beside=beside,
        why=why(selection),
        steps=advice(selection, fitted=beside.fitted),
        keys=list(dict.fromkeys([criterion, *filter(is_overlap, chosen.measures)])),
        rows=[(c, short(selection, c, reason)) for c, reason in [(chosen, "chosen"), *selection.rejected]],
        front=front,
        buys=_buys(selection, candidates),
        data=_data(selection, candidates),
        record=record,
    )  # fmt: skip
    path.write_text(page, encoding="utf-8")


def short(selection: Selection, candidate: Candidate, reason: str) -> str:
    """Why a candidate was not chosen, in a few words, from the reason that the record has."""
    criterion, chosen = selection.criterion, selection.chosen
    if candidate.nbytes > selection.budget:
        return f"{candidate.nbytes / selection.budget - 1:.0%} over the budget"
    if candidate is chosen or candidate.status == "failed" or criterion not in candidate.measures:
        return reason
    if candidate in selection.slower:
        return "slower than the limit"
    gap = abs(candidate.measures[criterion] - chosen.measures[criterion])
    if not gap:
        return "the same at more bytes" if candidate.nbytes > chosen.nbytes else "the same, later by name"
    return f"{gap:.2g} {'below' if higher_is_better(criterion) else 'above'}"


def _buys(selection: Selection, candidates: Sequence[Candidate]) -> list[str]:
    """What a quarter less or more of the budget would buy, as far as it was measured."""
    criterion, said = selection.criterion, []
    less = [c for c in selection.ranking if c.nbytes <= 0.75 * selection.budget]
    if less:
        best = less[0]
        gap = abs(best.measures[criterion] - selection.chosen.measures[criterion])
        says = "the same choice" if best is selection.chosen else f"{best.name}, {criterion} {gap:.2g} worse"
        said.append(f"A quarter less: {says}.{_estimated(selection, best)}")
    else:
        said.append("A quarter less: nothing of what was measured fits.")
    more = sorted(c.name for c in candidates if selection.budget < c.nbytes <= 1.25 * selection.budget)
    names = f"{', '.join(more[:3])}{' and others' if len(more) > 3 else ''}"
    said.append(
        f"A quarter more: {names} would fit; select again with that budget to have them measured."
        if more
        else "A quarter more: no further candidate of this pool fits."
    )
    return said


def _estimated(selection: Selection, best: Candidate) -> str:
    """Of what samples left out, what may be better than the best that was measured of a quarter less."""
    criterion, sign = selection.criterion, 1 if higher_is_better(selection.criterion) else -1
    found = [(c, e) for c, e in selection.screened if c.nbytes <= 0.75 * selection.budget]
    candidate, estimate = max(found, key=lambda each: sign * each[1].value, default=(best, None))
    if estimate is None or sign * (estimate.value - best.measures[criterion]) <= 0:
        return ""
    return f" By a sample of {estimate.rows:,} rows {candidate.name} would be better, about {estimate.value:.4f}."


def _data(selection: Selection, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """What the picture is drawn from."""
    shown = [c for c in candidates if c.status == "measured"]
    values = [{"megabytes": c.nbytes / 1e6, **c.costs, **c.measures} for c in shown]
    known = {key for each in values for key in each}
    measures = [selection.criterion, *(key for key in selection.chosen.measures if key != selection.criterion)]
    limit = selection.limit
    return {
        "points": [
            {"name": c.name, "method": c.method, "chosen": c is selection.chosen, "at": at}
            for c, at in zip(shown, values, strict=True)
        ],
        "axes": {
            key: {"says": SAYS.get(key, heading(key)), "better": 1 if key in measures and higher_is_better(key) else -1}
            for key in [*AXES, *measures]
            if key in known
        },
        "styles": styles(c.method for c in shown),
        "x": "megabytes",
        "y": selection.criterion,
        "lines": {"megabytes": ["budget", selection.budget / 1e6]}
        | ({} if limit is None else {limit.key: ["limit", limit.most]}),
    }
