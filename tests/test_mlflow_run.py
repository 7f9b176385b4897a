"""The program as people start it: through a real `mlflow run`, and against a real tracking server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from eigenselect.compressors import load
from eigenselect.selector.store.model import SERVED_WITH
from eigenselect.selector.store.output import FILES
from tests.test_imports import SHIPPED, graph, packages

PROJECT = Path(__file__).resolve().parents[1]

NOT_HERE = {
    "tokens.txt",
    "model.onnx.data",
    "id_map.csv",
    "decode_matrix.npy",
    "words.onnx",
    "host.onnx",
    "host.onnx.data",
} | {name for name in FILES if "/" in name or name == "sentences.onnx"}
"""Files of a hand-over that a table without tokens, and nothing else asked for, does not give."""


def environment(store: str) -> dict[str, str]:
    """This process's, with the store, this interpreter first on the PATH and no run that it is part of."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "MLFLOW_TRACKING_URI": store, "MLFLOW_DISABLE_TELEMETRY": "true"}


def mlflow_run(store: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["mlflow", "run", str(PROJECT), "--env-manager", "local", *arguments]
    return subprocess.run(command, env=environment(store), capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "a table.npy"
    np.save(path, np.random.default_rng(3).standard_normal((400, 10)).astype(np.float32))
    return path


def only_parent(client: MlflowClient, experiment: str = "0"):
    (parent,) = client.search_runs([experiment], "tags.`mlflow.source.type` = 'PROJECT'")
    return parent


def children(client: MlflowClient, parent_id: str, experiment: str = "0"):
    return list(client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent_id}'"))


def test_with_overrides(table, tmp_path):
    store = f"sqlite:///{tmp_path}/mlflow.db"
    words = f"'table.path={table}' budget=12.5% out={tmp_path}/o candidates.bits=[1,2] candidates.rates=[2]"
    run = mlflow_run(store, "-P", f"overrides={words}")
    assert run.returncode == 0, run.stderr
    assert {path.name for path in (tmp_path / "o").iterdir()} == {*FILES} - NOT_HERE
    record = json.loads((tmp_path / "o" / "selection.json").read_text())
    parent = only_parent(MlflowClient(store))
    assert parent.info.status == "FINISHED" and parent.data.tags["worked_in"] == record["run_id"]
    assert parent.info.run_name == "mlflow run: select a table.npy, 2 kB"
    client = MlflowClient(store)
    made = client.get_run(record["run_id"])
    assert made.info.experiment_id == client.get_experiment_by_name("eigenselect").experiment_id
    assert made.info.run_name == "select a table.npy, 2 kB" and made.info.status == "FINISHED"
    assert "budget=12.5%" in parent.data.params["overrides"] and made.data.params["budget_bytes"] == "2000"
    found = children(client, record["run_id"], made.info.experiment_id)
    over = [each for each in record["rejected"] if "over the budget" in each["reason"]]
    assert over and len(found) == len(record["rejected"]) + 1 - len(over), "what was never computed is no run"
    assert {child.info.status for child in found} == {"FINISHED"}


@pytest.mark.slow
def test_without_overrides_says_what_is_required(tmp_path):
    store = f"sqlite:///{tmp_path}/mlflow.db"
    run = mlflow_run(store)
    assert run.returncode != 0 and "required and not given: budget=..., out=..., table.path=..." in run.stderr
    assert only_parent(MlflowClient(store)).info.status == "FAILED"


@pytest.mark.slow
def test_an_experiment_that_is_named_has_the_outer_run_as_the_selection(table, tmp_path):
    store = f"sqlite:///{tmp_path}/mlflow.db"
    words = f"'table.path={table}' budget=12.5% out={tmp_path}/o candidates.bits=[1,2] candidates.rates=[2]"
    run = mlflow_run(store, "--experiment-name", "mine", "-P", f"overrides={words}")
    assert run.returncode == 0, run.stderr
    client = MlflowClient(store)
    parent = only_parent(client, client.get_experiment_by_name("mine").experiment_id)
    assert parent.info.run_id == json.loads((tmp_path / "o" / "selection.json").read_text())["run_id"]
    assert parent.info.run_name == "select a table.npy, 2 kB" and client.get_experiment_by_name("eigenselect") is None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """An MLflow server on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = f"sqlite:///{tmp_path}/server.db"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", store, "--artifacts-destination", str(tmp_path / "kept")),
    ]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=environment(store), stdout=log, stderr=log, start_new_session=True)
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(240):
                try:
                    with urllib.request.urlopen(f"{address}/health", timeout=1):
                        break
                except OSError:
                    assert process.poll() is None, (tmp_path / "server.log").read_text()
                    time.sleep(0.25)
            yield address
        finally:
            os.killpg(process.pid, 15)
            process.wait(30)


@pytest.mark.slow
def test_on_a_tracking_server(server, table, tmp_path):
    settings = [
        f"table.path='{table}'",
        "budget=12.5%",
        f"out={tmp_path}/o",
        "candidates.bits=[2]",
        "tracking.register=small",
    ]
    run = subprocess.run(
        [sys.executable, "-m", "eigenselect", *settings],
        env=environment(server),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert f"UI:    {server}/#/experiments/" in run.stdout
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("eigenselect").experiment_id
    record = json.loads((tmp_path / "o" / "selection.json").read_text())
    names = {item.path for item in client.list_artifacts(record["run_id"])}
    assert names == {*FILES, "config.yaml"} - NOT_HERE
    over = [each for each in record["rejected"] if "over the budget" in each["reason"]]
    assert len(children(client, record["run_id"], experiment)) == len(record["rejected"]) + 1 - len(over)

    # The registry of the server gives the model back, rows and decision.
    version = client.get_model_version_by_alias("small", "champion")
    assert version.version == "1" and version.tags["chosen"] == record["chosen"]["name"]
    lookup = (
        "import mlflow, numpy\n"
        "print(mlflow.pyfunc.load_model('models:/small@champion').predict({'ids': numpy.arange(400)}).tolist())"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", lookup],
        env=environment(server),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert loaded.returncode == 0, loaded.stderr
    rows = load(tmp_path / "o" / "payload.safetensors").read(slice(0, 400))
    assert np.array_equal(np.array(json.loads(loaded.stdout), np.float32), rows)


@pytest.mark.slow
def test_evidence_of_ones_own_scores(table, tmp_path):
    store = f"sqlite:///{tmp_path}/mlflow.db"
    scores = "".join(f"uniform-b{bits},{bits / 10}\n" for bits in (1, 2, 4))
    (tmp_path / "my scores.csv").write_text(f"candidate,score\n{scores}")
    words = (
        f"'table.path={table}' budget=50% out={tmp_path}/o candidates.bits=[1,2,4] candidates.rates=[2] "
        f"'validate.scores={tmp_path}/my scores.csv'"
    )
    run = mlflow_run(store, "-e", "validate", "-P", f"overrides={words}")
    assert run.returncode == 0, run.stderr
    evidence = json.loads((tmp_path / "o" / "evidence.json").read_text())
    assert evidence["tasks"]["given"]["measures"]["eos"]["spearman"]["value"] == pytest.approx(1)
    assert only_parent(MlflowClient(store)).data.tags["worked_in"] == evidence["run_id"]
    parent = MlflowClient(store).get_run(evidence["run_id"])
    assert parent.info.status == "FINISHED" and parent.data.tags["role"] == "evidence"
    found = children(MlflowClient(store), evidence["run_id"], parent.info.experiment_id)
    assert {child.data.metrics["downstream_given"] for child in found} == {0.1, 0.2, 0.4}


def test_the_shipped_file_needs_what_the_model_is_pinned_to() -> None:
    other = packages(PROJECT / SHIPPED) - sys.stdlib_module_names
    assert other == {"mlflow", "numpy", "onnxruntime"} < set(SERVED_WITH)
    shipped = "eigenselect." + SHIPPED.removesuffix(".py").replace("/", ".")
    assert [name for name, others in graph().items() if shipped in others] == [], "it is copied, not imported"
