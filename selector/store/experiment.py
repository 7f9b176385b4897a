"""An experiment of a tracking store, and what earlier runs left in it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from eigenselect.compressors import Payload, load
from eigenselect.selector.decision.lookup import TimedOn
from eigenselect.selector.decision.plain import read
from eigenselect.selector.store.lost import reaches_store

PAGE = 1_000

TIMED_ON = "lookup_timed_on"
"""Tag of what a candidate's lookups were timed on, whose figures are the metrics of the same first word."""

LOOKUP = "lookup_"
"""Start of the metric keys of what lookups cost."""

PAYLOAD = "payload.safetensors"
"""Artifact of the run of a candidate that would not be made again the same."""

REPLICATES = "replicates."
"""Start of the tags that hold a candidate's replicates."""

DOWNSTREAM = "downstream_"
"""A task's score is the metric of this and its name, and its digest the tag of the same key."""


@dataclass(frozen=True)
class Finished:
    """A candidate that a run has measured.

    Attributes:
        run_id: the run; None where the store failed before it had one (`selector.store.journal`).
        metrics: all that it has.
        replicates: metric key -> what the spread of the measure is known by.
        timed_on: what its lookups were timed on, if they were.
    """

    run_id: str | None
    metrics: dict[str, float]
    replicates: dict[str, tuple[float, ...]]
    timed_on: TimedOn | None

    def of(self, keys: Iterable[str]) -> dict[str, float]:
        """Those of the metrics that it has."""
        return {key: self.metrics[key] for key in keys if key in self.metrics}

    @property
    def costs(self) -> dict[str, float]:
        """What its lookups cost."""
        return self.of(key for key in self.metrics if key.startswith(LOOKUP))


@dataclass(frozen=True)
class Experiment:
    """An experiment of a tracking store.

    Attributes:
        client: MLflow's client.
        experiment_id: where the runs go.
    """

    client: MlflowClient
    experiment_id: str

    @reaches_store
    def finished(self, table_digest: str) -> dict[str, Finished]:
        """Candidates of a table that some run has measured, by their keys; of several runs the latest."""
        found: dict[str, Finished] = {}
        wanted = (
            "attributes.status = 'FINISHED' and tags.role = 'candidate' and tags.status = 'measured' "
            f"and tags.table_digest = '{table_digest}'"
        )
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], wanted, max_results=PAGE, page_token=token)
            for run in page:
                data = run.data
                one = Finished(run.info.run_id, dict(data.metrics), _replicates(data.tags), _timed_on(data.tags))
                found.setdefault(data.tags["candidate_key"], one)
            token = page.token
            if not token:
                return found

    @reaches_store
    def downstream(self, run_id: str) -> dict[str, tuple[str, float]]:
        """What was reached with a candidate: task -> (digest of the task, score)."""
        data = self.client.get_run(run_id).data
        return {
            task: (data.tags[key], data.metrics[key])
            for key in data.metrics
            if (task := key.removeprefix(DOWNSTREAM)) != key and key in data.tags
        }

    def payload(self, run_id: str) -> Payload | None:
        """The payload that a candidate's run keeps; None where there is none, or none that can be read."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                return load(self.client.download_artifacts(run_id, PAYLOAD, folder))
            except (MlflowException, OSError, ValueError):
                return None


def _timed_on(tags: Mapping[str, str]) -> TimedOn | None:
    """What `log_candidate` wrote; None where it wrote nothing, or something else than this program reads."""
    try:
        return read(TimedOn, json.loads(tags[TIMED_ON])) if TIMED_ON in tags else None
    except ValueError:
        return None


def _replicates(tags: Mapping[str, str]) -> dict[str, tuple[float, ...]]:
    """Metric key -> replicates, as `log_candidate` wrote them."""
    return {
        tag.removeprefix(REPLICATES): tuple(json.loads(value))
        for tag, value in tags.items()
        if tag.startswith(REPLICATES)
    }
