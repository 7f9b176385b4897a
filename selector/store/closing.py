"""Runs that did not end well, closed: by their own process, or where that was killed by the next one."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from mlflow.entities import Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from eigenselect.selector.decision.plain import read
from eigenselect.selector.store.experiment import PAGE, Experiment
from eigenselect.selector.store.lost import reaches_store
from eigenselect.selector.store.output import tidy
from eigenselect.selector.store.process import Process

PROCESS, OUT = "process", "out"
"""Tags of a selection's run: the process that makes it, and the folder that it writes."""

LONGEST_TEXT = 5_000
"""Characters that the columns of a store take."""


@reaches_store
def close_run(experiment: Experiment, run_id: str, status: str, reason: str) -> tuple[int, int]:
    """Close a run with its candidates that were begun, and delete its half-made models; how many of each there were."""
    client = experiment.client
    begun = _open(experiment, f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'")
    candidates = [child for child in begun if PROCESS not in child.data.tags]  # else it is a selection of its own
    for child in candidates:
        client.set_terminated(child.info.run_id, "KILLED")
    found = client.search_logged_models([experiment.experiment_id], f"source_run_id = '{run_id}'")
    half_made = [model for model in found if model.status == "PENDING"]
    for model in half_made:
        with suppress(Exception):  # there may be none, or none that may be deleted
            get_artifact_repository(model.artifact_location).delete_artifacts()
        client.delete_logged_model(model.model_id)
    client.set_tag(run_id, "reason", reason[:LONGEST_TEXT])
    client.set_terminated(run_id, status)
    return len(candidates), len(half_made)


@reaches_store
def close_dead(experiment: Experiment) -> str | None:
    """Close the runs of processes that are no more; what was done, in a sentence, if anything was.

    What they left of their work on their output folders is removed too.
    """
    dead = [run for run in _open(experiment, f"tags.{PROCESS} != ''") if _is_dead(run)]
    closed = [close_run(experiment, run.info.run_id, "KILLED", "its process ended without closing it") for run in dead]
    for run in dead:
        if out := run.data.tags.get(OUT):
            tidy(Path(out))
    if not dead:
        return None
    counts = {"run": len(dead), "candidate": sum(c for c, _ in closed), "half-made model": sum(m for _, m in closed)}
    what = ", ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items() if count)
    return f"Closed what stopped processes had left open: {what}."


def _open(experiment: Experiment, wanted: str) -> list[Run]:
    """Runs that are still RUNNING, a page of them at most."""
    wanted = f"attributes.status = 'RUNNING' and {wanted}"
    return list(experiment.client.search_runs([experiment.experiment_id], wanted, max_results=PAGE))


def _is_dead(run: Run) -> bool:
    try:
        process: Process = read(Process, json.loads(run.data.tags[PROCESS]))
    except ValueError:
        return False
    return process.is_over
