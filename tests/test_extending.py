"""docs/extending.md: its package is written as it stands there, selected from, changed, exported and checked."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch

from eigenselect.compressors import load
from eigenselect.export import CompressedEmbedding
from tests import documents
from tests.running import command

DOCUMENT = Path(__file__).parents[1] / "docs" / "extending.md"
N, D = 400, 12


def forget() -> None:
    """Import the package again where it is asked for next."""
    for name in [name for name in sys.modules if name.startswith("mymethods")]:
        del sys.modules[name]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The files of the document in the working folder, installed there, and a table whose mean is far from zero."""
    assert documents.run(DOCUMENT, tmp_path, documents.Reader(runs=lambda text: False)) == 4
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    installed = tmp_path / "mymethods-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
    points = (f"{name} = {module}\n" for name, module in project["entry-points"]["eigenselect"].items())
    (installed / "entry_points.txt").write_text("[eigenselect]\n" + "".join(points))
    rng = np.random.default_rng(0)
    table = rng.standard_normal((N, D)) * np.geomspace(3, 0.3, D) + 3
    np.save(tmp_path / "t.npy", table.astype(np.float32))
    np.save(tmp_path / "newer.npy", (table + 0.01 * rng.standard_normal((N, D))).astype(np.float32))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield tmp_path
    forget()


def selected(*more: str) -> dict[str, dict[str, str]]:
    """The candidates of the document's command, by name."""
    (line,) = re.findall(r"^eigenselect (--config-dir .*)$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    given = line.replace("PATH", "t.npy").replace("16MB", "6kB").replace("DIR", "o")
    forget()
    assert command(*given.split(), *more) == 0
    with Path("o/candidates.csv").open() as file:
        return {row["name"]: row for row in csv.DictReader(file)}


SAME_NAME = """
from dataclasses import dataclass

from eigenselect import compressors


@dataclass(frozen=True)
class Uniform(compressors.Uniform):
    def _compress(self, table, rng):
        return compressors.Uniform(self.bits, "stochastic").compress(table, rng)
"""
"""A method with class, name, settings and bytes of one of ours."""


def chosen() -> dict[str, Any]:
    return json.loads(Path("o/selection.json").read_text())["chosen"]


@pytest.mark.slow
def test_a_method_from_outside_is_used_as_ours_are(package: Path) -> None:
    first = selected()
    theirs = {name for name, row in first.items() if "random" in name or row["compressor"].startswith("mymethods")}
    methods = Counter(row["compressor"] for row in first.values())
    centring, random = "mymethods.centred.Centring", "mymethods.RandomProjection"
    assert methods == {"Uniform": 3, random: 2, "ExactRows": 1, centring: 3} and len(theirs) == 6
    assert "random-k3-float32" in first, "fitted: 4 * 3 * (400 + 12) of 6,000 bytes"
    assert chosen()["compressor"] == centring, "with a payload kind of its own"

    # In another process, which imports what the package declares.
    words = ["check", "o", "table=newer.npy", "json=c.json"]
    path = os.pathsep.join((str(package), *sys.path))
    done = subprocess.run([sys.executable, "-m", "eigenselect", *words], env={**os.environ, "PYTHONPATH": path})
    drift = json.loads(Path("c.json").read_text())["drift"]
    assert done.returncode == 0 and drift["notes"] == [] and drift["eos"]["recompressed"] > 0.9

    (package / "mymethods_of_others.py").write_text(SAME_NAME)
    again = selected("candidates.pool.uniform._target_=mymethods_of_others.Uniform")
    assert {*again} == {*first}
    assert {name for name in first if again[name]["run_id"] == first[name]["run_id"]} == theirs, "the others are new"
    for name in {*first} - theirs:
        assert again[name]["compressor"] == "mymethods_of_others.Uniform" and again[name]["eos"] != first[name]["eos"]

    source = package / "mymethods" / "__init__.py"
    source.write_text(source.read_text() + "# another version\n")
    changed = selected()
    assert {name for name in first if changed[name]["run_id"] != first[name]["run_id"]} == theirs

    payload = load(Path("o/payload.safetensors"))
    with torch.no_grad():
        vectors = CompressedEmbedding(payload)(torch.arange(N)).numpy()
    assert np.array_equal(vectors, payload.read(slice(0, N)))
    session = ort.InferenceSession("o/model.onnx", providers=["CPUExecutionProvider"])
    assert np.array_equal(vectors, session.run(None, {"ids": np.arange(N)})[0])
