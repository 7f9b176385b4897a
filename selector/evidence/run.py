"""The job of `validate`: train on the candidates of a selection, and hold the measures against what is reached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from eigenselect.compressors.threads import one_blas_thread
from eigenselect.selector.decision.escaping import on_terminal
from eigenselect.selector.evidence.analysis import report
from eigenselect.selector.evidence.analysis.comparison import compare
from eigenselect.selector.evidence.plan import Plan
from eigenselect.selector.evidence.trials import Result, try_all
from eigenselect.selector.pool.budget import size
from eigenselect.selector.run.job import profile
from eigenselect.selector.run.sweep import check_failures
from eigenselect.selector.store.closing import close_dead
from eigenselect.selector.store.output import staged
from eigenselect.selector.store.runs import ParentRun


def run(plan: Plan, console: Console, *, sweep: bool) -> dict[str, Any]:
    """Try every candidate, and write and log what the measures are worth.

    Args:
        plan: what `prepare` gave.
        console: where the summary is printed.
        sweep: this is one of several jobs of a Hydra multirun.

    Returns:
        The content of `evidence.json`.

    Raises:
        TooManyFailedError: more candidates failed than allowed.
    """
    job = plan.job
    path = job.settings.table.path
    name = on_terminal(f"validate {Path(path).name}, {size(job.budget)}")
    params = {"table": path, "seeds": plan.seeds}
    if closed := close_dead(job.tracker):
        console.print(closed)
    with (
        job.tracker.parent(name, sweep=sweep, role="evidence", params=params, out=job.out) as parent,
        staged(job.out, report.FILES) as folder,
    ):
        parent.log_settings(params, plan.settings.text)
        parent = parent.log_table(Path(path).name, path, job.digest, profile(job))
        if plan.left_out:
            console.print(f"The table has no word of {', '.join(plan.left_out)}: left out.")
        own = ", ".join(task.name for task in plan.tasks if task.shape is not None)
        if own and (others := [one.name for one, _ in plan.compressors if not one.keeps_dimension]):
            console.print(f"No score on {own}, whose model expects the table's own columns: {', '.join(others)}.")
        with one_blas_thread():
            results = try_all(plan, parent)
        failed = {result.candidate.name: result.candidate.reason for result in results if not result.candidate.measures}
        check_failures(failed, len(plan.compressors), job.allowed_failures)
        evidence = _evidence(plan, parent, results)
        report.write(folder, evidence)
        parent.log_files(folder)
    report.show(console, evidence)
    console.print(f"\nFiles: {job.out}", soft_wrap=True)
    own = f"tags.status = 'measured' and tags.table_digest LIKE '{job.digest[:8]}%'"  # wherever they were measured
    for line in parent.view(name, own).lines():
        console.print(line, soft_wrap=True)
    return evidence


def _evidence(plan: Plan, parent: ParentRun, results: Sequence[Result]) -> dict[str, Any]:
    """The content of `evidence.json`."""
    job = plan.job
    rows = [
        {
            "candidate": result.candidate.name,
            "nbytes": result.candidate.nbytes,
            "seed": result.seed,
            "status": result.candidate.status,
            "reason": result.candidate.reason,
            "measures": result.candidate.measures,
            "scores": result.scores,
            "run_id": result.candidate.run_id,
        }
        for result in results
    ]
    names = sorted({name for result in results for name in result.scores})
    statistics, overall = compare(rows, job.keys, names)
    tasks: dict[str, Any] = {}
    for name in names:
        trained = next((task for task in plan.tasks if task.name == name), None)
        missing = None if trained is None else trained.missing(plan.words.at[name] >= 0)
        files = [] if trained is None else [path.name for path in trained.files]
        tasks[name] = {"files": files, "missing": missing, "measures": statistics[name]}
    return {
        "table": {"path": job.settings.table.path, **profile(job), "digest": job.digest},
        "budget_bytes": job.budget,
        "seeds": sorted({result.seed for result in results}),
        "definitions": report.DEFINITIONS,
        "tasks": tasks,
        "overall": overall,
        "left_out": plan.left_out,
        "results": rows,
        "run_id": parent.run_id,
    }
