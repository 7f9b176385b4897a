"""An experiment of a tracking store, and what earlier runs left in it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from mlflow import MlflowClient, get_tracking_uri
from mlflow.exceptions import MlflowException

from eigenselect.compressors import Payload, load

PAGE = 1_000

PAYLOAD = "payload.safetensors"
"""Artifact of the run of a candidate that would not be made again the same."""

REPLICATES = "replicates."
"""Start of the tags that hold a candidate's replicates."""

DOWNSTREAM = "downstream_"
"""A task's score is the metric of this and its name, and its digest the tag of the same key."""


@dataclass(frozen=True)
class Experiment:
    """An experiment of a tracking store.

    Attributes:
        client: MLflow's client.
        experiment_id: where the runs go.
    """

    client: MlflowClient
    experiment_id: str

    def finished(self, table_digest: str) -> dict[str, tuple[str, dict[str, float], dict[str, tuple[float, ...]]]]:
        """Candidates of a table that some run has measured, the latest: key -> (run id, metrics, replicates)."""
        found: dict[str, tuple[str, dict[str, float], dict[str, tuple[float, ...]]]] = {}
        wanted = (
            "attributes.status = 'FINISHED' and tags.role = 'candidate' and tags.status = 'measured' "
            f"and tags.table_digest = '{table_digest}'"
        )
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], wanted, max_results=PAGE, page_token=token)
            for run in page:
                one = (run.info.run_id, dict(run.data.metrics), _replicates(run.data.tags))
                found.setdefault(run.data.tags["candidate_key"], one)
            token = page.token
            if not token:
                return found

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

    def address(self, wanted: str) -> str:
        """Where the UI shows the candidates with the tags that are `wanted` as a chart, ordered by EOS."""
        uri = get_tracking_uri()
        base = uri if uri.startswith("http") else "http://127.0.0.1:5000"
        query = {  # complete, or the UI ignores it
            "compareRunsMode": "CHART",
            "searchFilter": f"tags.role = 'candidate' and {wanted}",
            "orderByKey": "metrics.`eos`",
            "orderByAsc": "false",
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "modelVersionFilter": "All Runs",
            "datasetsFilter": "W10=",
        }
        return f"{base.rstrip('/')}/#/experiments/{self.experiment_id}/runs?{urlencode(query, quote_via=quote)}"


def _replicates(tags: Mapping[str, str]) -> dict[str, tuple[float, ...]]:
    """Metric key -> replicates, as `log_candidate` wrote them."""
    return {
        tag.removeprefix(REPLICATES): tuple(json.loads(value))
        for tag, value in tags.items()
        if tag.startswith(REPLICATES)
    }
