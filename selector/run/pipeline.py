"""The main job: from a table and a budget to a verified hand-over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from rich.console import Console

from eigenselect.compressors import Compressor
from eigenselect.selector.decision.selection import Selection, select
from eigenselect.selector.run.handover import hand_over
from eigenselect.selector.run.job import Job, profile
from eigenselect.selector.run.sweep import check_failures, measure_all

LEFT_OUT_TOLD = 5
"""Settings that were left out of which the reason is printed."""


def run(job: Job, console: Console, *, sweep: bool) -> Selection:
    """Measure the candidates that fit, choose one, export it, verify the file and hand it over.

    Args:
        job: what `prepare` gave.
        console: where the ranking and the choice are printed.
        sweep: this is one of several selections of a Hydra multirun.

    Raises:
        NothingFitsError: every candidate is over the budget.
        TooManyFailedError: more candidates failed than allowed.
        NothingMeasuredError: of those that fit, none could be measured.
        VerificationError: the exported file is not what was chosen.
    """
    settings = job.settings
    with job.tracker.parent(f"select {Path(str(settings.table.path)).name}", sweep=sweep) as parent:
        parent.log_settings(_parent_params(job), OmegaConf.to_yaml(settings))
        parent.log_table(Path(str(settings.table.path)).name, str(settings.table.path), job.digest, profile(job))
        if job.left_out:
            more = len(job.left_out) - LEFT_OUT_TOLD
            console.print(f"{len(job.left_out)} settings cannot be used here and are left out:")
            for reason in job.left_out[:LEFT_OUT_TOLD]:
                console.print(f"  {reason}")
            if more > 0:
                console.print(f"  ... and {more} more")
        candidates, payload, reused = measure_all(job, parent)
        if reused:
            console.print(
                f"{reused} candidates were measured by earlier runs and are reused (tracking.resume=false does not)."
            )
        failed = {c.name: c.reason for c in candidates if c.status == "failed"}
        check_failures(failed, sum(c.status != "over_budget" for c in candidates), settings.allowed_failures)
        selection = select(candidates, job.budget, settings.criterion)
        compressor = _method(job, selection.chosen.name)
        if payload is None or payload[0] != selection.chosen.name:  # its scores came from an earlier run
            payload = (selection.chosen.name, compressor.compress(job.table, np.random.default_rng(settings.seed)))
        hand_over(job, parent, selection, candidates, compressor, payload[1], console)
    return selection


def _method(job: Job, name: str) -> Compressor:
    """The method of the candidate `name`."""
    return next(compressor for compressor, _ in job.compressors if compressor.name == name)


def _parent_params(job: Job) -> dict[str, Any]:
    """Named apart from `overrides`, which `mlflow run` logs on the same run and which cannot be logged twice."""
    settings = job.settings
    return {
        "table": settings.table.path,
        "budget": settings.budget,
        "budget_bytes": job.budget,
        "criterion": settings.criterion,
        "seed": settings.seed,
        "exact_rows": list(settings.exact_rows),
        "candidates_count": len(job.compressors),
    }
