"""Launchers: the jobs of a sweep in processes of their own, and who may name what spreads them."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import mlflow
import numpy as np
import pytest

from eigenselect.selector.commands import launchers
from eigenselect.selector.commands.composed import selections
from eigenselect.selector.commands.jobs import jobs
from eigenselect.selector.commands.launched import Done, Task, perform
from eigenselect.selector.commands.select import execute
from eigenselect.selector.commands.words import JOB
from tests.cases import gaussian
from tests.running import command, only
from tests.selector.launching import by_seed

ROOT = Path(__file__).parents[2]

GIVEN = ("table.path=t.npy", "budget=1kB", "out=o${hydra:job.num}")

PATIENCE = 30
"""Seconds that something may take on a machine with other work."""


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT / "src", ROOT))))
    monkeypatch.chdir(tmp_path)


def spread(launcher: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], *words: str) -> None:
    """Four jobs, two of which die: each printed whole, in order, and counted as what it is."""
    assert execute("config", by_seed, ["-m", *GIVEN, f"hydra/launcher={launcher}", *words, "seed=0,9,7,3"]) == 137
    assert selections == [("seed=0", 0), ("seed=3", 3)]
    out, err = capfd.readouterr()
    said = [(0, "begins"), (0, "ends"), (1, "begins"), (2, "begins"), (3, "begins"), (3, "ends")]
    assert out.splitlines() == [f"job {number} {verb}: o{number} in {tmp_path.name}" for number, verb in said]
    assert err.splitlines() == [
        *("seed 0", "seed 9", "error: job 1: its process ended with signal 9: it may take more memory than there is"),
        *("seed 7", "error: job 2: its process ended with code 7", "seed 3"),
    ]


def test_each_job_is_printed_whole_in_order_and_one_that_dies_is_a_failure_of_its_own(tmp_path, capfd):
    spread("joblib", tmp_path, capfd, "hydra.launcher.n_jobs=2")


@pytest.mark.slow
def test_ray_does_the_same(tmp_path, capfd):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    spread("ray", tmp_path, capfd, "hydra.launcher.ray.init.num_cpus=2", "hydra.launcher.ray.remote.num_cpus=1")


@pytest.mark.slow
def test_submitit_does_the_same(tmp_path, capfd):
    pytest.importorskip("submitit", reason="the extra submitit is not installed")
    spread("submitit_local", tmp_path, capfd, "hydra.launcher.timeout_min=2", "hydra.launcher.cpus_per_task=1")


SLURM = {
    "sbatch": """script="${@: -1}"; cp "$script" given.sh; echo "Submitted batch job 4242"
( for i in 0 1 2 3; do
    export SLURM_JOB_ID=$((5000 + i)) SLURM_ARRAY_JOB_ID=4242 SLURM_ARRAY_TASK_ID=$i SLURM_JOB_NODELIST=here
    export SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1
    bash "$script"
done ) > /dev/null 2>&1 &""",
    "srun": """while [ $# -gt 0 ]; do
    case "$1" in --output|--error) shift 2;; --*) shift;; *) break;; esac
done
exec "$@\"""",
    "sacct": 'echo "JobID|State|NodeList"; for i in 0 1 2 3; do echo "4242_$i|RUNNING|here"; done',
    "scontrol": "echo here",
}
"""Stand-ins of Slurm's commands, which run an array of four jobs on this machine."""


@pytest.mark.slow
def test_slurm_is_given_the_same_as_one_array(tmp_path, capfd, monkeypatch):
    pytest.importorskip("submitit", reason="the extra submitit is not installed")
    (tmp_path / "bin").mkdir()
    for name, does in SLURM.items():
        command = tmp_path / "bin" / name
        command.write_text(f"#!/bin/bash\n{does}\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    words = ["partition=gpu", "mem_gb=4", "array_parallelism=2", "setup=['export A=1']"]
    words += ["additional_parameters={mail-type: END}"]
    spread("submitit_slurm", tmp_path, capfd, *(f"hydra.launcher.{word}" for word in words))
    script = (tmp_path / "given.sh").read_text().splitlines()
    options = ["array=0-3%2", "mail-type=END", "mem=4GB", "partition=gpu", "time=60", "job-name=eigenselect"]
    assert {*(f"#SBATCH --{option}" for option in options), "export A=1"} <= {*script}


@pytest.mark.parametrize("by", ["the one that waits", "the end of that one"])
def test_a_process_is_stopped(by, tmp_path):
    """By the wish to stop, and where the process that waits for it is killed."""
    ((job,), _) = jobs("config", [*GIVEN, "seed=60"])
    task, stop, found = Task(by_seed, job, 80, str(tmp_path), {}), threading.Event(), list[Done]()
    if by == "the one that waits":
        waiting = threading.Thread(target=lambda: found.append(perform(task, stop)))
        waiting.start()
        wait_for(tmp_path / "begun")
        stop.set()
        waiting.join(PATIENCE)
        assert [done.code for done in found] == [128 + signal.SIGTERM] and "stopped: " in found[0].err
        return
    child = subprocess.Popen(
        [sys.executable, "-m", "eigenselect", JOB, str(tmp_path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdin is not None
    child.stdin.write(pickle.dumps(task))
    child.stdin.flush()
    wait_for(tmp_path / "begun")
    _, err = child.communicate(timeout=PATIENCE)  # which closes its stdin
    assert child.returncode == 128 + signal.SIGTERM and b"stopped: " in err


def wait_for(path: Path) -> None:
    for _ in range(10 * PATIENCE):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path.name} is not there")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-m", "hydra/launcher=basic"], "hydra/launcher = 'basic' is not a launcher: there are joblib, ray, submitit"),
        (["-m", "hydra/launcher=jobib"], "did you mean joblib?"),
        (["-m", "hydra/launcher=null"], "hydra/launcher = 'None' is not a launcher"),
        (["hydra/launcher=joblib"], "hydra/launcher = 'joblib' spreads the runs of -m, which is not given"),
        (["-m", "hydra.launcher.n_jobs=2"], "hydra.launcher.n_jobs is a setting of a launcher: name it, hydra/launch"),
        (["-m", "hydra/launcher=joblib", "hydra.launcher.jobs=2"], "there is no setting hydra.launcher.jobs: did you"),
        (["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "n_jobs = 0: must be an integer other than 0"),
        (["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1,2"], "hydra.launcher.n_jobs is a setting of Hydra"),
        (["-m", "hydra/launcher=joblib,ray"], "hydra/launcher is a setting of Hydra"),
        (["-m", "hydra/launcher=joblib", "hydra.launcher._target_=os.mkdir"], "no setting hydra.launcher._target_"),
        (["-m", "+hydra/launcher=joblib"], "hydra/launcher is a setting of Hydra"),
        (["-m", "hydra/launcher@hydra.sweeper=joblib"], "hydra/launcher is a setting of Hydra"),
    ],
)
def test_what_cannot_be_used_is_one_line(words, says, capsys):
    assert command(*words, *GIVEN, "seed=1") == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and says in err, err


@pytest.mark.parametrize(("name", "extra"), [("ray", "ray"), ("submitit_slurm", "submitit")])
def test_without_the_package_the_cure_is_named(name, extra, monkeypatch, capsys):
    monkeypatch.setattr(launchers, "find_spec", lambda package: None)
    assert command("-m", *GIVEN, f"hydra/launcher={name}", "seed=1,2") == 2
    said = f"error: hydra/launcher = '{name}': not installed: pip install 'eigenselect[{extra}]'\n"
    assert capsys.readouterr().err == said


def test_no_file_names_a_launcher(tmp_path, monkeypatch):
    monkeypatch.setattr(launchers, "LAUNCHERS", {})  # none could be named
    for folder in ("candidates", "hydra/launcher"):
        (tmp_path / "theirs" / folder).mkdir(parents=True)
    (tmp_path / "theirs" / "hydra" / "launcher" / "joblib.yaml").write_text("{_target_: os.mkdir, n_jobs: 7}\n")
    says = "# @package _global_\ndefaults: [override /hydra/launcher: joblib]\nhydra: {launcher: {n_jobs: 3}}\n"
    pool = "candidates: {pool: {a: {_target_: eigenselect.compressors.Uniform, bits: 4}}}\n"
    (tmp_path / "theirs" / "candidates" / "evil.yaml").write_text(says + pool)
    theirs = ["--config-dir", str(tmp_path / "theirs"), "candidates=evil", "seed=1,2"]
    composed, launcher = jobs("config", ["-m", *GIVEN, *theirs])
    assert launcher is None and [job.config.hydra.launcher.n_jobs for job in composed] == [3, 3]
    named = launchers.Joblib(n_jobs=2)
    monkeypatch.setattr(launchers, "LAUNCHERS", {"joblib": launchers.Joblib})
    assert jobs("config", ["-m", *GIVEN, *theirs, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"])[1] == named


@pytest.mark.slow
def test_a_sweep_by_joblib_is_that_of_one_process(tmp_path, monkeypatch, capfd):
    """On a new database, which two processes reach at once: runs with their children, records and the table."""
    np.save("t.npy", gaussian(400, 16))
    pool = only("uniform", "kmeans")
    tables = []
    for name, words in (("one", ()), ("two", ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"))):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/{name}.db")
        out = f"out={name}${{hydra:job.num}}"
        assert command("-m", *pool, "table.path=t.npy", "budget=2kB,4kB,10", out, "tracking.resume=false", *words) == 3
        printed = capfd.readouterr().out.splitlines()
        assert [line for line in printed if line.startswith("0: budget=2kB ---")]
        tables.append([line.split()[:3] for line in printed[-2:]])
        client = mlflow.MlflowClient()
        runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
        parents = {run.info.run_id: run for run in runs if run.data.tags["role"] == "selection"}
        assert sorted(run.info.status for run in parents.values()) == ["FAILED", "FINISHED", "FINISHED"]
        for number in (0, 1):
            record = json.loads(Path(f"{name}{number}/selection.json").read_text())
            children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == record["run_id"]]
            assert record["run_id"] in parents and record["chosen"]["name"] in {run.info.run_name for run in children}
    assert tables[0] == tables[1]
    for number in (0, 1):
        one, two = (Path(f"{name}{number}/payload.safetensors").read_bytes() for name in ("one", "two"))
        assert one == two


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_that_of_every_job(number, tmp_path):
    code = (
        "import sys\nfrom eigenselect.__main__ import guarded, listen\n"
        "from eigenselect.selector.commands.select import execute\nfrom tests.selector.launching import by_seed\n"
        "listen()\nsys.exit(guarded(lambda: execute('config', by_seed, sys.argv[1:])))"
    )
    words = ["-m", *GIVEN, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=60,60,60"]
    process = subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE)
    wait_for(tmp_path / "begun")
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number and err.count(b"\n") == 1, err
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "eigenselect --job" not in left
