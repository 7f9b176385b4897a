"""Files of strangers run nothing: docs/security.md says what they can do."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from eigenselect.export.models.sessions import read_inputs
from eigenselect.selector.commands.composed import in_hand
from eigenselect.selector.commands.jobs import jobs
from eigenselect.selector.sources import read_table
from tests.cases import gaussian
from tests.export.hosts import make_host
from tests.running import command

ROOT = Path(__file__).parents[1]

GIVEN = ("table.path=t.npy", "budget=1kB", "out=o")

RUN = "{_target_: pathlib.Path.touch, self: {_target_: pathlib.Path, _args_: [RAN]}}"

HYDRA = {
    "callbacks": f"callbacks: {{theirs: {RUN}}}",
    "logging": "job_logging: {version: 1, root: {}, handlers: {theirs: {'()': os.mkdir, path: RAN}}}",
    "logging of hydra": "hydra_logging: {version: 1, root: {}, handlers: {theirs: {'()': os.mkdir, path: RAN}}}",
    "environment": "job: {env_set: {EIGENSELECT_THEIRS: set}}",
    "launcher": "launcher: {_target_: tests.theirs.Launcher}",
    "sweeper": "sweeper: {_target_: tests.theirs.Sweeper}",
    "folders": "run: {dir: RAN}\n  sweep: {dir: RAN}\n  output_subdir: RAN\n  job: {chdir: true}",
}
"""What a file says under `hydra` to run or write something of its own."""


def theirs(folder: Path, says: str) -> tuple[str, ...]:
    """Settings of a folder of somebody else's, one of whose files has that under `hydra`."""
    (folder / "theirs" / "candidates").mkdir(parents=True)
    pool = "candidates: {pool: {a: {_target_: eigenselect.compressors.Uniform, bits: 4}}}"
    says = says.replace("RAN", str(folder / "ran"))
    text = f"# @package _global_\n{pool}\nhydra:\n  {says}\n"
    (folder / "theirs" / "candidates" / "evil.yaml").write_text(text)
    return "--config-dir", str(folder / "theirs"), "candidates=evil"


@pytest.mark.parametrize(
    ("says", "flags"), [*((says, ()) for says in HYDRA), ("environment", ("-m",)), ("launcher", ("-m",))]
)
def test_nothing_that_a_file_says_of_hydra_is_run(
    says: str, flags: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*flags, *theirs(tmp_path, HYDRA[says]), *GIVEN, *["seed=1,2"] * len(flags)]
    composed, launcher = jobs("config", words)
    bits = []
    for each in composed:
        with in_hand(each) as job:
            bits.append(job.config.candidates.pool.a.bits)
    assert bits == [4] * (1 + len(flags)) and launcher is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs"]
    assert "EIGENSELECT_THEIRS" not in os.environ and Path.cwd() == tmp_path


def test_nothing_is_run_where_settings_are_printed(tmp_path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    every = "\n  ".join(HYDRA[says] for says in ("callbacks", "logging", "environment", "launcher"))
    assert command(*theirs(tmp_path, every), *GIVEN, "--cfg", "job") == 0
    assert "bits: 4" in capsys.readouterr().out and not (tmp_path / "ran").exists()
    assert "EIGENSELECT_THEIRS" not in os.environ and Path.cwd() == tmp_path


@pytest.mark.parametrize(
    "word",
    [
        *("hydra/sweeper=basic", "hydra.run.dir=x", "hydra.searchpath=[x]", "hydra.mode=MULTIRUN", "~hydra.callbacks"),
        *("+hydra.callbacks.a._target_=os.getcwd", "hydra.job.env_set={A:b}", "++hydra.launcher._target_=x"),
        "+candidates@hydra.callbacks=quick",
    ],
)
def test_settings_of_hydra_are_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*GIVEN, word) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"error: hydra[./]\S+ is a setting of Hydra, which composes the settings here .*\n", said), said


class _Runs:
    """Its pickle makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_no_pickle_is_read(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    objects = np.empty((3, 1), object)
    objects[:] = _Runs(ran)
    np.save(tmp_path / "t.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "t.npz", t=objects)
    torch.save({"embeddings": _Runs(ran)}, tmp_path / "t.pt")
    torch.save(_Runs(ran), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "t.pkl").write_bytes(pickle.dumps(_Runs(ran)))
    for name in ("t.npy", "t.npz", "t.pt", "old.pt", "t.pkl"):
        with pytest.raises(ValueError, match=re.escape(name)):
            read_table(tmp_path / name)
        for format in ("npy", "npz", "torch"):
            with pytest.raises(ValueError, match=re.escape(name)):
                read_table(tmp_path / name, format=format)
    for name in ("t.npy", "t.npz"):
        with pytest.raises(ValueError, match=re.escape(name)):
            read_inputs(tmp_path / name, make_host(gaussian(20, 6)))
    assert not ran.exists()
