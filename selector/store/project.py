"""The run that `mlflow run` makes for this program, where it was given no experiment.

It lies in the experiment `Default`, among all else that was given none. The selection then has a run of its own, where
the command without `mlflow run` would have put it, and that one says where it is.
"""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE, MLFLOW_SOURCE_TYPE

DEFAULT = "0"
"""Id of the experiment `Default`."""


def of_project(run: Run) -> bool:
    """Whether `mlflow run` made a run."""
    return bool(run.data.tags.get(MLFLOW_SOURCE_TYPE) == "PROJECT")


def unplaced(run: Run) -> bool:
    """Whether a run is in `Default` because `mlflow run` was given no experiment."""
    return bool(run.info.experiment_id == DEFAULT and of_project(run))


def refer(client: MlflowClient, project: str, name: str, experiment_id: str, run_id: str) -> None:
    """Say on the run `project` which run did its work.

    Args:
        client: MLflow's client.
        project: id of the run that `mlflow run` made.
        name: of the run that does the work.
        experiment_id: where that is.
        run_id: its id.
    """
    client.update_run(project, name=f"mlflow run: {name}")
    note = f"The work is logged in [this run](#/experiments/{experiment_id}/runs/{run_id})."
    client.log_batch(project, tags=[RunTag("worked_in", run_id), RunTag(MLFLOW_RUN_NOTE, note)])
