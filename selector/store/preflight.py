"""What MLflow or its store would refuse in the middle of the work, found before it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TypeVar

from mlflow import MlflowClient, get_tracking_uri
from mlflow.entities import Experiment, LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from eigenselect.compressors.whole import one_at_a_time
from eigenselect.selector.store.lost import FAILURES, reason_of

T = TypeVar("T")

TRIES = 30
"""Times that a database is asked, a second apart, while another process makes its tables."""

BEING_MADE = ("already exists", "duplicate column", "UNIQUE constraint", "database is locked", "no such table")
"""What a database says then."""


def check_experiment(found: Experiment) -> str:
    """The id of an experiment; raises a ValueError where it was deleted."""
    if found.lifecycle_stage == LifecycleStage.DELETED:
        raise ValueError(
            f"the experiment {found.name!r} was deleted: restore it, mlflow experiments restore --experiment-id "
            f"{found.experiment_id}, or give another, tracking.experiment=NAME"
        )
    return str(found.experiment_id)


def outer_experiment(client: MlflowClient, run_id: str) -> str:
    """The id of the experiment of a run that this program works for; raises a ValueError where either was deleted."""
    info = client.get_run(run_id).info
    if info.lifecycle_stage == LifecycleStage.DELETED:
        raise ValueError(
            f"MLFLOW_RUN_ID names the run {run_id}, which was deleted: unset it, or restore the run, "
            f"mlflow runs restore --run-id {run_id}"
        )
    return check_experiment(client.get_experiment(info.experiment_id))


def check_artifacts(location: str) -> None:
    """Raise a ValueError unless a file can be written to where artifacts go; it is removed again."""
    try:
        file = tempfile.NamedTemporaryFile(prefix=".eigenselect-")
    except OSError as error:
        raise ValueError(
            f"no temporary file can be written to {tempfile.tempdir}: {error.strerror}; set TMPDIR to another folder"
        ) from error
    with file:
        try:
            repository = get_artifact_repository(location)
            repository.log_artifact(file.name)
        except FAILURES as error:
            raise ValueError(
                f"artifacts cannot be written to {location}: {reason_of(error)}; give an experiment of another "
                "artifact location, tracking.experiment=NAME"
            ) from error
        with suppress(Exception):  # some may be written to, and not deleted from
            repository.delete_artifacts(Path(file.name).name)


def reach(work: Callable[[], T]) -> T:
    """What `work` finds in the store; the tables of a new database are made by one process, the others wait."""
    tries = 0
    with _alone():
        while True:
            try:
                return work()
            except (SQLAlchemyError, MlflowException) as error:
                tries += 1
                if tries == TRIES or not any(words in str(error) for words in BEING_MADE):
                    raise
            time.sleep(1)


def _alone() -> AbstractContextManager[None]:
    """No other process of this program speaks to a database that is a file, where one can be kept from it."""
    uri = get_tracking_uri()
    if not uri.startswith("sqlite:") or not (database := make_url(uri).database):
        return nullcontext()
    path = Path(database)
    return one_at_a_time(path.with_name(f"{path.name}.lock")) if os.access(path.parent, os.W_OK) else nullcontext()
