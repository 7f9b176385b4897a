"""Everything that is said to MLflow. The only importer of it.

One parent run for a selection, one nested child for each candidate, one `log_batch` for each run. Runs are always
named by id: nothing here rests on MLflow's notion of an active run, so that candidates may come from any worker.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from mlflow import MlflowClient, get_tracking_uri
from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from selector.selection import Candidate

OUTER_RUN = "MLFLOW_RUN_ID"
"""Environment variable with the run that this program works for: `mlflow run` sets it, and so may any outer script."""

# Schema migrations and retries are not news to someone who asked for a table.
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)

PAGE = 1_000


def connect(experiment: str) -> Tracker:
    """Reach the tracking store and the experiment: that of the outer run, else the environment's, else `experiment`.

    Raises:
        ValueError: the store cannot be reached.
    """
    uri = get_tracking_uri()
    quick = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    before = {name: os.environ.get(name) for name in quick}
    # A server that is down is found out now, before hours of work, not after MLflow's minutes of retries.
    os.environ.update({name: value for name, value in quick.items() if before[name] is None})
    try:
        client = MlflowClient()
        if outer := os.environ.get(OUTER_RUN):
            return Tracker(client, client.get_run(outer).info.experiment_id, outer)
        if named := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return Tracker(client, client.get_experiment(named).experiment_id, None)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or experiment
        found = client.get_experiment_by_name(name)
        return Tracker(client, found.experiment_id if found else client.create_experiment(name), None)
    except (MlflowException, OSError) as error:
        text = str(error).splitlines()[0]
        reason = "it does not answer" if "failed with exception" in text else text
        raise ValueError(
            f"the tracking store {uri} cannot be used: {reason}; start it, or set MLFLOW_TRACKING_URI to one that runs"
        ) from error
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


@dataclass(frozen=True)
class Tracker:
    """An experiment of a tracking store.

    Attributes:
        client: MLflow's client.
        experiment_id: where the runs go.
        outer_run: the run that this program works for, if any.
    """

    client: MlflowClient
    experiment_id: str
    outer_run: str | None

    @contextmanager
    def parent(self, name: str, *, sweep: bool) -> Iterator[ParentRun]:
        """The run of one selection: FINISHED when the block ends well, FAILED with the reason when it does not.

        It is the outer run itself, or a child of it when this selection is one of a sweep's.
        """
        if self.outer_run and not sweep:
            run_id = self.outer_run
        else:
            tags = {MLFLOW_PARENT_RUN_ID: self.outer_run} if self.outer_run else {}
            run_id = self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id
        self.client.set_tag(run_id, "role", "selection")
        try:
            yield ParentRun(self, run_id)
        except BaseException as error:
            killed = isinstance(error, KeyboardInterrupt | SystemExit)
            self.client.set_tag(run_id, "reason", f"{type(error).__name__}: {error}"[:5000])
            self.client.set_terminated(run_id, RunStatus.to_string(RunStatus.KILLED if killed else RunStatus.FAILED))
            raise
        self.client.set_terminated(run_id)

    def finished(self, table_digest: str) -> dict[str, tuple[str, dict[str, float]]]:
        """Candidates of a table that some run has finished: candidate key -> (run id, metrics)."""
        found: dict[str, tuple[str, dict[str, float]]] = {}
        wanted = f"attributes.status = 'FINISHED' and tags.role = 'candidate' and tags.table_digest = '{table_digest}'"
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], wanted, max_results=PAGE, page_token=token)
            for run in page:
                key, metrics = run.data.tags["candidate_key"], dict(run.data.metrics)
                # Over one budget and measured under a later one, a candidate has two runs: the measured one counts.
                if key not in found or len(metrics) > len(found[key][1]):
                    found[key] = (run.info.run_id, metrics)
            token = page.token
            if not token:
                return found

    def address(self, table_digest: str) -> str:
        """Where the UI shows the candidates of a table as a chart, ordered by EOS."""
        uri = get_tracking_uri()
        base = uri if uri.startswith("http") else "http://127.0.0.1:5000"
        query = {  # complete, or the UI ignores it
            "compareRunsMode": "CHART",
            "searchFilter": f"tags.role = 'candidate' and tags.table_digest LIKE '{table_digest[:8]}%'",
            "orderByKey": "metrics.`eos`",
            "orderByAsc": "false",
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "modelVersionFilter": "All Runs",
            "datasetsFilter": "W10=",
        }
        return f"{base.rstrip('/')}/#/experiments/{self.experiment_id}/runs?{urlencode(query, quote_via=quote)}"


@dataclass(frozen=True)
class ParentRun:
    """The run of one selection."""

    tracker: Tracker
    run_id: str

    def log_settings(self, params: Mapping[str, Any], config: str) -> None:
        """The settings as params, and the resolved configuration as `config.yaml`."""
        self._batch(self.run_id, params=params)
        self.tracker.client.log_text(self.run_id, config, "config.yaml")

    def log_table(self, name: str, source: str, digest: str, profile: Mapping[str, Any]) -> None:
        """The table as this run's input dataset."""
        dataset = Dataset(
            name=name,
            digest=digest[:32],  # the store's column is short; the whole digest is in the record
            source_type="local",
            source=json.dumps({"uri": source}),
            profile=json.dumps(profile),
        )
        self.tracker.client.log_inputs(self.run_id, [DatasetInput(dataset)])

    def log_candidate(self, candidate: Candidate, key: str, table_digest: str, *, started: float) -> str:
        """One child run, begun at `started` (seconds); its id. A failed candidate is a FAILED run and has no score."""
        client = self.tracker.client
        run = client.create_run(
            self.tracker.experiment_id,
            run_name=candidate.name,
            start_time=_milliseconds(started),
            tags={MLFLOW_PARENT_RUN_ID: self.run_id},
        )
        tags = {
            "role": "candidate",
            "status": candidate.status,
            "within_budget": str(candidate.status != "over_budget").lower(),
            "candidate_key": key,
            "table_digest": table_digest,
            **({"reason": candidate.reason[:5000]} if candidate.reason else {}),
        }
        sizes = {"bytes": candidate.nbytes, "megabytes": candidate.nbytes / 1e6}
        self._batch(
            run.info.run_id,
            params={"compressor": candidate.compressor, **candidate.parameters},
            metrics={**sizes, **candidate.measures},
            tags=tags,
        )
        client.set_terminated(run.info.run_id, "FAILED" if candidate.status == "failed" else "FINISHED")
        return str(run.info.run_id)

    def log_choice(self, metrics: Mapping[str, float], tags: Mapping[str, str], description: str, files: Path) -> None:
        """The choice on the parent, and every file of `files` as its artifact."""
        self._batch(self.run_id, metrics=metrics, tags={**tags, "mlflow.note.content": description})
        self.tracker.client.log_artifacts(self.run_id, str(files))

    def _batch(
        self,
        run_id: str,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        now = _milliseconds(time.time())
        self.tracker.client.log_batch(
            run_id,
            metrics=[Metric(key, float(value), now, 0) for key, value in (metrics or {}).items()],
            params=[Param(key, str(value)) for key, value in (params or {}).items()],
            tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        )
