"""What a tracking store refuses, loses, or finds left behind: said in one line, with nothing that was measured lost."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from eigenselect.compressors import Uniform
from eigenselect.selector.store import closing
from eigenselect.selector.store.lost import named, reason_of
from eigenselect.selector.store.output import journal_of
from eigenselect.selector.store.process import Process
from tests.running import command, only
from tests.servers import Server, mlflow_server, postgres
from tests.stores import make_store

SELECT = [
    *("table.path=t.npy", "budget=2kB", "out=o", "candidates.bits=[1,2]"),
    *only("uniform", "kmeans"),
]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A store, a table and a working folder of the test's own."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    uri = make_store(tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    np.save("t.npy", np.random.default_rng(5).standard_normal((300, 8)).astype(np.float32))
    return MlflowClient(uri)


def runs(client: MlflowClient, role: str = "") -> list:
    found = [run for each in client.search_experiments() for run in client.search_runs([each.experiment_id])]
    return [run for run in found if not role or run.data.tags.get("role") == role]


def deleted_experiment(client, monkeypatch):
    client.delete_experiment(client.create_experiment("eigenselect"))
    return r"the experiment 'eigenselect' was deleted: restore it, .*--experiment-id 1, or .*tracking\.experiment=NAME"


def deleted_experiment_by_id(client, monkeypatch):
    number = client.create_experiment("gone")
    client.delete_experiment(number)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", number)
    return "the experiment 'gone' was deleted: restore it"


def deleted_run(client, monkeypatch):
    run = client.create_run(client.create_experiment("x")).info.run_id
    client.delete_run(run)
    monkeypatch.setenv("MLFLOW_RUN_ID", run)
    return f"MLFLOW_RUN_ID names the run {run}, which was deleted: unset it, or .*mlflow runs restore --run-id {run}"


def artifacts_without_their_package(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    client.create_experiment("eigenselect", artifact_location="s3://bucket/x")
    return r"artifacts cannot be written to s3://bucket/x: .* pip install boto3; give .*tracking\.experiment=NAME"


def artifacts_that_cannot_be_written(client, monkeypatch):
    client.create_experiment("eigenselect", artifact_location="/proc/nowhere/x")
    return "artifacts cannot be written to /proc/nowhere/x: .*No such file"


def artifacts_of_a_server(client, monkeypatch):
    client.create_experiment("eigenselect", artifact_location="mlflow-artifacts:/1")
    return "artifacts cannot be written to mlflow-artifacts:/1: .* must be a valid http"


def a_driver_that_is_missing(client, monkeypatch):
    for module in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@localhost/x")
    driver = r"pip install ('eigenselect\[postgresql\]'|psycopg2)"
    return rf"the tracking store postgresql://me:\*\*\*@localhost/x cannot be used: .*{driver}"


def files(client, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///tmp/nowhere")
    return "cannot be used: The filesystem tracking backend .*; set MLFLOW_TRACKING_URI to a database, sqlite:///"


def an_older_schema(client, monkeypatch):
    with sqlite3.connect("mlflow.db") as store:
        store.execute("UPDATE alembic_version SET version_num = 'cfd24bdc0731'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")  # MLflow has not looked at one of that address
    return "out-of-date database schema .*; save a copy of it, then: mlflow db upgrade"


def no_database(client, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path('t.npy').resolve()}")
    return "cannot be used: .*file is not a database"


REFUSED = (
    *(deleted_experiment, deleted_experiment_by_id, deleted_run, artifacts_without_their_package),
    *(artifacts_that_cannot_be_written, artifacts_of_a_server, a_driver_that_is_missing, files, an_older_schema),
    no_database,
)


@pytest.mark.parametrize("prepare", REFUSED, ids=lambda prepare: prepare.__name__)
def test_what_would_be_refused_later_is_refused_before_any_work(prepare, client, monkeypatch, capsys):
    expected = prepare(client, monkeypatch)
    before = len(runs(client))
    monkeypatch.setattr(Uniform, "_compress", None)
    assert command(*SELECT) == 2
    errors = capsys.readouterr().err
    assert re.match(f"error: .*{expected}", errors) and errors.count("\n") == 1 and len(errors) < 500, errors
    assert not Path("o").exists() and sorted(path.name for path in Path().iterdir()) == ["mlflow.db", "t.npy"]
    assert len(runs(client)) == before


def test_passwords_are_not_printed():
    assert named("no route to mysql://me:pass@host:3306/x?y=a@b") == "no route to mysql://me:***@host:3306/x?y=a@b"
    assert reason_of(MlflowException("one. two")) == "one" and reason_of(OSError()) == "OSError"


def test_an_outer_run_of_other_settings_gets_a_child(client, monkeypatch):
    outer = client.create_run(client.create_experiment("x")).info.run_id
    client.log_param(outer, "budget", "1GB")
    monkeypatch.setenv("MLFLOW_RUN_ID", outer)
    assert command(*SELECT) == 0
    (parent,) = runs(client, "selection")
    assert parent.data.tags["mlflow.parentRunId"] == outer and parent.data.params["budget"] == "2kB"
    assert client.get_run(outer).data.params == {"budget": "1GB"}


class Outage:
    """A store of which every call fails from the `first` call of one function on, until it is over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, function: str, first: int) -> None:
        self.calls, self.down = 0, False
        for name in ("create_run", "log_batch", "set_tag", "set_terminated", "search_runs", "log_artifacts"):
            original = getattr(MlflowClient, name)

            def call(client, *args, name=name, original=original, **kwargs):
                self.calls += name == function
                self.down = self.down or self.calls == first
                if self.down:
                    raise MlflowException("(sqlite3.OperationalError) database or disk is full")
                return original(client, *args, **kwargs)

            monkeypatch.setattr(MlflowClient, name, call)


@pytest.mark.parametrize(
    ("function", "first"),
    [
        ("log_batch", 4),
        pytest.param("create_run", 3, marks=pytest.mark.slow),
        pytest.param("log_artifacts", 1, marks=pytest.mark.slow),
    ],
)
def test_a_store_that_fails_in_the_middle_costs_nothing_that_was_measured(function, first, client, monkeypatch, capsys):
    measured, original = [], Uniform._compress
    monkeypatch.setattr(Uniform, "_compress", lambda *args: (measured.append(args[0].name), original(*args))[1])
    began = Process.this()
    with monkeypatch.context() as patch:
        patch.setattr(Process, "this", lambda: replace(began, started="0"))  # its process will be another's
        Outage(patch, function, first)
        assert command(*SELECT) == 5
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "database or disk is full; what was measured is kept: when the store" in errors
    assert not Path("o").exists() and journal_of(Path("o")).exists() == (function != "log_artifacts")
    (parent,) = runs(client, "selection")
    assert parent.info.status == "RUNNING"  # the store was not there to be reported

    before = len(measured)
    assert command(*SELECT) == 0
    printed = capsys.readouterr().out
    assert "Closed what stopped processes had left open: 1 run" in printed
    again = [name for name in measured[before:] if name in measured[:before]]
    assert len(again) <= 1, "but the choice, whose payload is needed"
    assert {run.info.status for run in runs(client)} == {"FINISHED", "KILLED"}
    done = [run for run in runs(client, "candidate") if run.data.tags["status"] == "measured"]
    assert len(done) == len({run.data.tags["candidate_key"] for run in done}) == 4
    assert not journal_of(Path("o")).exists() and not [*Path().glob(".eigenselect-*")]


def test_runs_of_the_living_and_of_other_machines_are_left_alone(client):
    experiment = client.create_experiment("eigenselect")
    here = Process.this()
    others = {
        "alive": (here, "RUNNING"),
        "elsewhere": (replace(here, host="elsewhere", pid=1 << 22), "RUNNING"),
        "in another container": (replace(here, namespace="pid:[1]", pid=1 << 22), "RUNNING"),
        "gone": (replace(here, pid=1 << 22), "KILLED"),
        "before the machine was started": (replace(here, boot="another"), "KILLED"),
        "another of its number": (replace(here, started="1"), "KILLED"),
    }
    for name, (process, _) in others.items():
        tag = json.dumps(process.__dict__)
        client.create_run(experiment, run_name=name, tags={closing.PROCESS: tag, "role": "selection"})
    client.create_run(experiment, run_name="not read", tags={closing.PROCESS: "{", "role": "selection"})
    assert command(*SELECT) == 0
    found = {run.info.run_name: run.info.status for run in runs(client, "selection")}
    assert {name: found[name] for name in others} == {name: status for name, (_, status) in others.items()}
    assert found["not read"] == "RUNNING"


def test_a_choice_is_registered_once(client, capsys):
    register = [*SELECT, "tracking.register=small"]
    for _ in range(2):
        assert command(*register) == 0
        assert "version 1 of small, which champion now points to" in capsys.readouterr().out
    assert command(*register, "export.output=float16") == 0
    assert "version 2 of small" in capsys.readouterr().out, "it is another model"
    assert command(*register) == 0
    assert {version.version for version in client.search_model_versions("name = 'small'")} == {1, 2}
    assert client.get_model_version_by_alias("small", "champion").version == 1


@pytest.mark.slow
def test_an_alias_stays_at_a_version_that_was_made_later(client, monkeypatch, capsys):
    """Another selection ends between the two steps of this one."""
    original = MlflowClient.create_model_version

    def overtaken(self, name, source, **kwargs):
        made = original(self, name, source, **kwargs)
        other = original(self, name, source)
        self.set_registered_model_alias(name, "champion", other.version)
        return made

    monkeypatch.setattr(MlflowClient, "create_model_version", overtaken)
    assert command(*SELECT, "tracking.register=small") == 0
    assert "version 1 of small; champion stays at version 2, which was made meanwhile" in capsys.readouterr().out
    assert client.get_model_version_by_alias("small", "champion").version == 2


def test_no_room_is_found_before_the_work_and_in_the_middle(client, monkeypatch, capsys):
    assert command(*SELECT) == 0
    before = {path.name: path.read_bytes() for path in Path("o").iterdir()}
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100}))
        assert command(*SELECT) == 2
    assert re.match(r"error: out = .*/o: 100 bytes are free there, the hand-over may take \d", capsys.readouterr().err)

    def full(self, path):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("eigenselect.compressors.Payload.save", full)
        assert command(*SELECT) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: No space left on device: ") and "make room or name another out" in errors
    assert errors.count("\n") == 1
    assert {path.name: path.read_bytes() for path in Path("o").iterdir()} == before
    assert not [*Path().glob(".eigenselect-*")]


def test_a_full_folder_of_temporary_files_is_named(client, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    assert command(*SELECT) == 2
    assert re.match(
        r"error: no temporary file can be written to .*: No space left .*; set TMPDIR", capsys.readouterr().err
    )


@pytest.fixture(params=["mlflow server", "PostgreSQL"])
def server(request: pytest.FixtureRequest, client: MlflowClient, tmp_path: Path, monkeypatch) -> Iterator[Server]:
    """A real one, which runs and is the store."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = mlflow_server(folder) if request.param == "mlflow server" else postgres(folder)
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    yield server
    server.stop()


@pytest.mark.slow
def test_a_server_that_is_stopped_in_the_middle_is_gone_on_with(server, monkeypatch, capsys):
    original, calls = Uniform._compress, []

    def compress(*args):
        calls.append(args[0].name)
        if len(calls) == 2:
            server.stop()
        return original(*args)

    began = Process.this()
    with monkeypatch.context() as patch:
        patch.setattr(Process, "this", lambda: replace(began, started="0"))
        patch.setattr(Uniform, "_compress", compress)
        assert command(*SELECT) == 5
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "what was measured is kept" in errors and journal_of(Path("o")).exists()
    assert command(*SELECT) == 2
    assert re.match("error: the tracking store .* cannot be used: .*", capsys.readouterr().err)
    server.start()
    assert command(*SELECT) == 0
    assert "Closed what stopped processes had left open: 1 run" in capsys.readouterr().out
    there = MlflowClient(server.address)
    assert {run.info.status for run in runs(there)} == {"FINISHED", "KILLED"}
    done = [run for run in runs(there, "candidate") if run.data.tags["status"] == "measured"]
    assert len(done) == len({run.data.tags["candidate_key"] for run in done}) == 4
    assert not journal_of(Path("o")).exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "PostgreSQL"])
def test_first_runs_at_once_on_a_new_database_all_go_through(kind, client, tmp_path, monkeypatch):
    new = postgres(tmp_path) if kind == "PostgreSQL" else None
    if new is not None:
        new.start()
    # That of `client` is open in this process, whatever becomes of its file.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/new.db" if new is None else new.address)
    words = [word for word in SELECT if not word.startswith("out=")]
    try:
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "eigenselect", *words, f"out=o{i}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            for i in range(4)
        ]
        for process in started:
            printed = process.communicate(timeout=900)[0].decode()
            assert process.returncode == 0, printed
        there = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
        assert len(runs(there, "selection")) == 4 and {run.info.status for run in runs(there)} == {"FINISHED"}
    finally:
        if new is not None:
            new.stop()
    assert not [*Path().glob("*.lock")]
