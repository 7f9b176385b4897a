"""An experiment of a tracking store, and what earlier runs left in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from mlflow import MlflowClient, get_tracking_uri

PAGE = 1_000

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
        """Candidates of a table that some run has finished: candidate key -> (run id, metrics, replicates)."""
        found: dict[str, tuple[str, dict[str, float], dict[str, tuple[float, ...]]]] = {}
        wanted = f"attributes.status = 'FINISHED' and tags.role = 'candidate' and tags.table_digest = '{table_digest}'"
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], wanted, max_results=PAGE, page_token=token)
            for run in page:
                key, metrics = run.data.tags["candidate_key"], dict(run.data.metrics)
                # Over one budget and measured under a later one, a candidate has two runs: the measured one counts.
                if key not in found or len(metrics) > len(found[key][1]):
                    found[key] = (run.info.run_id, metrics, _replicates(run.data.tags))
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


def _replicates(tags: Mapping[str, str]) -> dict[str, tuple[float, ...]]:
    """Metric key -> replicates, as `log_candidate` wrote them."""
    return {
        tag.removeprefix(REPLICATES): tuple(json.loads(value))
        for tag, value in tags.items()
        if tag.startswith(REPLICATES)
    }
