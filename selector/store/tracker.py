"""The tracking store: reached, and a run opened in it for a selection."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mlflow import MlflowClient, get_tracking_uri
from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from eigenselect.selector.store.experiment import Experiment
from eigenselect.selector.store.origin import origin
from eigenselect.selector.store.project import refer, unplaced
from eigenselect.selector.store.registry import check_registry, reason_of
from eigenselect.selector.store.runs import LONGEST_TEXT, ParentRun

OUTER_RUN = "MLFLOW_RUN_ID"
"""Environment variable with the run that this program works for: `mlflow run` sets it, and so may any outer script."""

# Schema migrations and retries are not news to someone who asked for a table.
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Tracker(Experiment):
    """An experiment, and the run that this program works for, if any.

    Attributes:
        outer_run: id of that run.
        project_run: id of the run that `mlflow run` made and that this program only refers from, if any.
    """

    outer_run: str | None
    project_run: str | None = None

    @contextmanager
    def parent(self, name: str, *, sweep: bool, role: str = "selection") -> Iterator[ParentRun]:
        """The run of one selection: FINISHED when the block ends well, FAILED with the reason when it does not.

        It is the outer run itself, or a child of it when this selection is one of a sweep's.

        Args:
            name: of the run.
            sweep: this is one of several jobs of a Hydra multirun.
            role: the run's tag `role`: `selection`, or `evidence` for a run of `validate`.
        """
        if self.outer_run and not sweep:
            run_id = self.outer_run
        else:
            tags = {**origin(), **({MLFLOW_PARENT_RUN_ID: self.outer_run} if self.outer_run else {})}
            run_id = self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id
        self.client.set_tag(run_id, "role", role)
        if self.project_run is not None:
            refer(self.client, self.project_run, name, self.experiment_id, run_id)
        try:
            yield ParentRun(self, run_id)
        except BaseException as error:
            killed = isinstance(error, KeyboardInterrupt | SystemExit)
            self.client.set_tag(run_id, "reason", f"{type(error).__name__}: {error}"[:LONGEST_TEXT])
            self.client.set_terminated(run_id, RunStatus.to_string(RunStatus.KILLED if killed else RunStatus.FAILED))
            raise
        self.client.set_terminated(run_id)


def connect(experiment: str, register: str | None = None) -> Tracker:
    """Reach the tracking store and the experiment: that of the outer run, else the environment's, else `experiment`.

    A run of `mlflow run` in no experiment of its own is referred from, see `project`.

    Args:
        experiment: name of the experiment.
        register: name of a registered model, for which there must be a registry.

    Raises:
        ValueError: the store cannot be reached, or has no registry.
    """
    uri = get_tracking_uri()
    quick = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    before = {name: os.environ.get(name) for name in quick}
    # A server that is down is found out now, before hours of work, not after MLflow's minutes of retries.
    os.environ.update({name: value for name, value in quick.items() if before[name] is None})
    try:
        client = MlflowClient()
        if register is not None:
            check_registry(client, register)
        project = None
        if outer := os.environ.get(OUTER_RUN):
            run = client.get_run(outer)
            if not unplaced(run):
                return Tracker(client, run.info.experiment_id, outer)
            project = outer
        if project is None and (named := os.environ.get("MLFLOW_EXPERIMENT_ID")):
            return Tracker(client, client.get_experiment(named).experiment_id, None)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or experiment
        found = client.get_experiment_by_name(name)
        experiment_id = found.experiment_id if found else client.create_experiment(name)
        return Tracker(client, experiment_id, None, project)
    except (MlflowException, OSError) as error:
        raise ValueError(
            f"the tracking store {uri} cannot be used: {reason_of(error)}; "
            "start it, or set MLFLOW_TRACKING_URI to one that runs"
        ) from error
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
