"""The main job: from a table and a budget to a verified hand-over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from eigenselect.selector.decision.selection import Selection
from eigenselect.selector.pool.sums import remembered
from eigenselect.selector.run.announcement import announce, introduce
from eigenselect.selector.run.handover import hand_over, register_choice
from eigenselect.selector.run.job import Job, profile
from eigenselect.selector.run.selecting import choose
from eigenselect.selector.run.sweep import Runs
from eigenselect.selector.store.closing import close_dead
from eigenselect.selector.store.journal import Journal
from eigenselect.selector.store.output import journal_of, staged


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
        TakenError: another process writes the output folder.
        StoreLostError: the tracking store failed; what was measured is kept.
    """
    path = Path(job.settings.table.path)
    if closed := close_dead(job.tracker):
        console.print(closed)
    params = _parent_params(job)
    with job.tracker.parent(job.title, sweep=sweep, params=params, out=job.out) as parent:
        with staged(job.out) as folder, remembered(job.table, job.digest, job.device):
            parent.log_settings(params, job.settings.text)
            parent = parent.log_table(path.name, str(path), job.digest, profile(job))
            introduce(job, path.name, console)
            runs = Runs.of(job, parent, resume=job.settings.tracking.resume, journal=Journal(journal_of(job.out)))
            found = choose(job, runs)
            if reused := runs.reused(found.trials):
                console.print(
                    f"{reused} candidates were measured by earlier runs and are reused "
                    "(tracking.resume=false does not)."
                )
            decision, model_id = hand_over(job, parent, found, folder)
        announce(decision, job, parent, found, console)
        register_choice(decision, job, parent, model_id, console)
    return found.selection


def _parent_params(job: Job) -> dict[str, Any]:
    """Named apart from `overrides`, which `mlflow run` logs on the same run and which cannot be logged twice."""
    settings = job.settings
    return {
        "table": settings.table.path,
        "budget": settings.budget.text,
        "budget_bytes": job.budget,
        "lookup_limit": None if job.limit is None else job.limit.text,
        "criterion": job.criterion,
        "use": settings.use,
        "seed": settings.seed,
        "exact_rows": settings.exact_rows,
        "candidates_count": len(job.compressors),
    }
