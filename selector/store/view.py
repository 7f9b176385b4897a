"""Where MLflow's pages show the runs of a selection, and whether anything serves those pages."""

from __future__ import annotations

import base64
import http.client
import json
import shlex
import socket
import time
import urllib.request
import zlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from mlflow import get_tracking_uri

from eigenselect.selector.decision.lookup import RATIO

PORT = 5000
"""Of MLflow's own server, by its default."""

PORTS_TRIED = 10
"""Ports from `PORT` on of which the first is taken that nothing else has."""

SAVED = "mlflow.sharedViewState."
"""Start of the name of an experiment's tag that holds a view."""

SECTION = "candidates"

METRICS = ("eos", "megabytes", RATIO, "reconstruction_error_relative")
"""Columns of the list of runs."""

SECONDS = 2.0
"""That an answer may take."""


@dataclass(frozen=True)
class View:
    """Some runs on MLflow's pages.

    Attributes:
        address: of the page.
        command: what serves it; None where something does.
    """

    address: str
    command: str | None

    @staticmethod
    def of(experiment_id: str, run_id: str) -> View:
        """Some runs as charts.

        Args:
            experiment_id: their experiment.
            run_id: a run that whatever serves the page must have, and under whose id `saved` is kept.
        """
        uri, command = get_tracking_uri(), None
        if uri.startswith("http"):
            parts = urlsplit(uri.rstrip("/"))
            base = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # without a password
        else:
            port, served = _port(run_id)
            base = f"http://127.0.0.1:{port}"
            if not served:
                store = '"$MLFLOW_TRACKING_URI"' if "@" in uri else shlex.quote(uri)  # it holds a password
                command = f"mlflow ui --backend-store-uri {store} --port {port}"
        query = "workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey="  # other pages are of traces
        return View(f"{base}/#/experiments/{experiment_id}/runs?{query}{run_id}", command)

    def lines(self) -> list[str]:
        """What is printed of it."""
        lines = [f"UI:    {self.address}"]
        if self.command is not None:
            lines += ["Nothing serves that address now. This does:", self.command]
        return lines


def saved(name: str, wanted: str) -> str:
    """What MLflow's pages keep of a view, as the value of the experiment's tag `SAVED` and a key.

    It is documented nowhere; pages that do not know it show all runs.

    Args:
        name: of the view, in the list of views.
        wanted: a condition of MLflow's search.
    """
    state = {
        "searchFilter": wanted,
        "orderByKey": "metrics.`eos`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": [*(f"metrics.`{key}`" for key in METRICS), "tags.`chosen`", "params.`method`"],
        "runsHiddenMode": "SHOWALL",
        "compareRunCharts": [_chart(x) for x in ("megabytes", RATIO)],
        "compareRunSections": [
            {"uuid": SECTION, "name": "Candidates", "display": True, "isReordered": True, "columns": 2}
        ],
        "isAccordionReordered": True,
    }
    now = int(time.time() * 1000)
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps({"name": name, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"})


def _chart(x: str) -> dict[str, Any]:
    """EOS against another metric."""
    return {
        "uuid": x,
        "type": "SCATTER",
        "metricSectionId": SECTION,
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
        "xaxis": {"key": x, "type": "METRIC"},
        "yaxis": {"key": "eos", "type": "METRIC"},
    }


def _port(run_id: str) -> tuple[int, bool]:
    """The first port with the run behind it or with nothing, and which of the two."""
    for port in range(PORT, PORT + PORTS_TRIED):
        if not _listens(port):
            return port, False
        if _has(port, run_id):
            return port, True
    return PORT, False


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS):
            return True
    except OSError:
        return False


def _has(port: int, run_id: str) -> bool:
    """Whether a server of MLflow answers there, with the store of the run."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to this machine
    try:
        address = f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/get?run_id={quote(run_id)}"
        with opener.open(address, timeout=SECONDS) as answer:
            return bool(json.load(answer)["run"]["info"]["run_id"] == run_id)
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return False
