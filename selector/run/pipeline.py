"""The main job: from a table and a budget to a verified hand-over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from eigenselect.selector.decision.selection import Selection
from eigenselect.selector.run.announcement import introduce
from eigenselect.selector.run.handover import hand_over
from eigenselect.selector.run.job import Job, profile
from eigenselect.selector.run.selecting import choose
from eigenselect.selector.run.sweep import Runs


def run(job: Job, console: Console, *, sweep: bool) -> Selection:
    """Measure the candidates that fit, choose one, export it, verify the file and hand it over.

    Args:
        job: what `prepare` gave.
        console: where the ranking and the choice are printed.
        sweep: this is one of several selections of a Hydra multirun.

    Raises:
        NothingFitsError: every candidate is over the budget, or slower than the limit.
        TooManyFailedError: more candidates failed than allowed.
        NothingMeasuredError: of those that fit, none could be measured.
        VerificationError: the exported file is not what was chosen.
    """
    path = Path(job.settings.table.path)
    with job.tracker.parent(job.title, sweep=sweep) as parent:
        parent.log_settings(job.title, _parent_params(job), job.settings.text)
        parent = parent.log_table(path.name, str(path), job.digest, profile(job))
        introduce(job, path.name, console)
        runs = Runs.of(job, parent, resume=job.settings.tracking.resume)
        found = choose(job, runs)
        if reused := runs.reused(found.trials):
            console.print(
                f"{reused} candidates were measured by earlier runs and are reused (tracking.resume=false does not)."
            )
        hand_over(job, parent, found, console)
    return found.selection


def _parent_params(job: Job) -> dict[str, Any]:
    """Named apart from `overrides`, which `mlflow run` logs on the same run and which cannot be logged twice."""
    settings = job.settings
    return {
        "table": settings.table.path,
        "budget": settings.budget.text,
        "budget_bytes": job.budget,
        "lookup_limit": None if job.limit is None else job.limit.text,
        "criterion": settings.criterion,
        "seed": settings.seed,
        "exact_rows": settings.exact_rows,
        "candidates_count": len(job.compressors),
    }
