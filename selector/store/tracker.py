"""The tracking store: reached, and a run opened in it for a selection."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient, entities, get_tracking_uri
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from eigenselect.compressors.whole import undisturbed
from eigenselect.selector.decision.plain import written
from eigenselect.selector.store.closing import OUT, PROCESS, close_run
from eigenselect.selector.store.experiment import Experiment
from eigenselect.selector.store.lost import FAILURES, StoreLostError, impatient, named, reaches_store, reason_of
from eigenselect.selector.store.origin import origin
from eigenselect.selector.store.preflight import check_artifacts, check_experiment, outer_experiment, reach
from eigenselect.selector.store.process import Process
from eigenselect.selector.store.project import of_project, refer, unplaced
from eigenselect.selector.store.registry import check_registry
from eigenselect.selector.store.runs import ParentRun

OUTER_RUN = "MLFLOW_RUN_ID"
"""Environment variable with the run that this program works for: `mlflow run` sets it, and so may any outer script."""

# Schema migrations and retries are not news to someone who asked for a table.
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)
# It logs a traceback of each error that it raises as well.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


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
    def parent(
        self,
        name: str,
        *,
        sweep: bool,
        role: str = "selection",
        params: Mapping[str, Any] | None = None,
        out: Path | None = None,
    ) -> Iterator[ParentRun]:
        """The run of one selection: FINISHED when the block ends well, FAILED with the reason when it does not.

        It is the outer run itself; or a child of it, when this selection is one of a sweep's or the outer run has
        other values of `params` already, which cannot be changed.

        Args:
            name: of the run.
            sweep: this is one of several jobs of a Hydra multirun.
            role: the run's tag `role`: `selection`, `table` for that of one of many, or `evidence` for a run of
                `validate`.
            params: what will be logged of the settings.
            out: the folder that is written.

        Raises:
            StoreLostError: the store fails, here or in the block.
        """
        run_id = self._begin(name, sweep, params or {}, _tags(role, out))
        try:
            yield ParentRun(self, run_id)
            self._finish(run_id)
        except BaseException as error:
            killed = isinstance(error, KeyboardInterrupt | SystemExit)
            with undisturbed(), impatient(), suppress(StoreLostError):  # the next start closes what cannot be now
                close_run(self, run_id, "KILLED" if killed else "FAILED", f"{type(error).__name__}: {error}")
            raise

    @reaches_store
    def _begin(self, name: str, sweep: bool, params: Mapping[str, Any], tags: dict[str, str]) -> str:
        """The id of the run, with its tags."""
        outer = self.outer_run
        if outer is not None:
            run = self.client.get_run(outer)
            known = run.data.params
            if not sweep and all(known.get(key, str(value)) == str(value) for key, value in params.items()):
                self.client.log_batch(outer, tags=[entities.RunTag(key, value) for key, value in tags.items()])
                if of_project(run):  # its name is drawn by chance; that of another program's run is that program's
                    self.client.update_run(outer, name=name)
                return outer
            tags = {**tags, MLFLOW_PARENT_RUN_ID: outer}
        tags = {**origin(), **tags}
        run_id = str(self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id)
        if self.project_run is not None:
            refer(self.client, self.project_run, name, self.experiment_id, run_id)
        return run_id

    @reaches_store
    def _finish(self, run_id: str) -> None:
        self.client.set_terminated(run_id)


def _tags(role: str, out: Path | None) -> dict[str, str]:
    """Of a run that is begun: what it is, and whose."""
    tags = {"role": role, PROCESS: json.dumps(written(Process.this()))}
    return tags if out is None else {**tags, OUT: str(out.resolve())}


def connect(experiment: str, register: str | None = None) -> Tracker:
    """Reach the tracking store and the experiment: that of the outer run, else the environment's, else `experiment`.

    What would be refused later is looked for here: what was deleted, and artifacts that cannot be written. A run of
    `mlflow run` in no experiment of its own is referred from, see `project`.

    Args:
        experiment: name of the experiment.
        register: name of a registered model, for which there must be a registry.

    Raises:
        ValueError: the store cannot be reached or used, or has no registry.
    """
    try:
        with impatient():
            return reach(lambda: _connect(experiment, register))
    except FAILURES as error:
        raise ValueError(
            f"the tracking store {named(get_tracking_uri())} cannot be used: {reason_of(error)}; {_cure(error)}"
        ) from error


def _connect(experiment: str, register: str | None) -> Tracker:
    client = MlflowClient()
    if register is not None:
        check_registry(client, register)
    outer = os.environ.get(OUTER_RUN) or None
    if outer is not None:
        experiment_id = outer_experiment(client, outer)
        run = client.get_run(outer)
        if not unplaced(run):
            check_artifacts(run.info.artifact_uri)
            return Tracker(client, experiment_id, outer)
    number = os.environ.get("MLFLOW_EXPERIMENT_ID") if outer is None else None  # `mlflow run` sets it, to `Default`
    found = client.get_experiment(number) if number else _experiment(client, experiment)
    experiment_id = check_experiment(found)
    check_artifacts(found.artifact_location)
    return Tracker(client, experiment_id, None, outer)


def _experiment(client: MlflowClient, experiment: str) -> entities.Experiment:
    """The experiment of the name that the environment gives, else `experiment`, which is made if need be."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or experiment
    if (found := client.get_experiment_by_name(name)) is None:
        try:
            client.create_experiment(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was faster
                raise
        found = client.get_experiment_by_name(name)
    return found


def _cure(error: Exception) -> str:
    """What to do about a store that cannot be used."""
    if isinstance(error, ModuleNotFoundError):
        return "install it, or set MLFLOW_TRACKING_URI to a store of another kind"
    text = str(error)
    if "filesystem tracking backend" in text:
        return "set MLFLOW_TRACKING_URI to a database, sqlite:///mlflow.db for example"
    if "out-of-date database schema" in text:
        return "save a copy of it, then: mlflow db upgrade URI"
    return "start it, or set MLFLOW_TRACKING_URI to one that runs"
