"""A selection whose candidates are encoded and measured on a device: the CPU stands in for it, by torch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from eigenselect.compressors import (
    PCA,
    ByteCodebook,
    EmbeddingTable,
    KMeans,
    ProductQuantization,
    Spectral,
    TrellisCode,
    Uniform,
)
from eigenselect.compressors.device import on_device
from eigenselect.compressors.payloads.on_device import reader
from eigenselect.selector.measures import Measures
from eigenselect.selector.run import trial
from eigenselect.selector.run.search import Search, candidates
from eigenselect.selector.run.selecting import Chosen, choose
from eigenselect.selector.run.sweep import Runs
from tests.cases import gaussian
from tests.running import command, only

N, D = 500, 16
POOL = [
    *(Uniform(2), KMeans(3), ByteCodebook(2), TrellisCode(2, window=8), ProductQuantization(4, 16)),
    *(PCA(dim=4, then=KMeans(4)), Spectral(then=KMeans(2)), Spectral(fold=True)),
]


def table(rows: np.ndarray) -> EmbeddingTable:
    return EmbeddingTable(rows, counts=np.arange(len(rows), dtype=np.float64))


@pytest.mark.parametrize("scale", [1.0, 1e-4])  # the second one is ill-conditioned, and measured by QR
@pytest.mark.parametrize("method", POOL, ids=lambda method: method.name)
def test_measures_are_those_of_numpy(method, scale):
    rows = gaussian(N, D)
    rows[:, 0] *= scale
    given = table(rows)
    payload = method.compress(given, np.random.default_rng(0))
    measures = Measures()
    expected = measures(measures.reference(given), payload.read, aligned=payload.aligned)
    with on_device("cpu"):
        found = measures(measures.reference(table(rows)), reader(payload), aligned=payload.aligned)
    assert found.values == pytest.approx(expected.values, rel=1e-9, abs=1e-12)
    assert found.replicates.keys() == expected.replicates.keys()
    for key, replicates in found.replicates.items():
        assert replicates == pytest.approx(expected.replicates[key], rel=1e-9, abs=1e-12)


def chosen(device: str | None) -> Chosen:
    given = table(gaussian(N, D))
    compressors, left_out = candidates(given, 20_000, POOL)
    return choose(Search(table=given, budget=20_000, compressors=compressors, left_out=left_out, device=device))


def test_a_selection_on_a_device_chooses_as_one_without(monkeypatch):
    used = []
    monkeypatch.setattr(trial, "_reader", lambda payload, real=trial._reader: used.append(real(payload)) or used[-1])
    one, other = chosen(None), chosen("cpu")
    assert [read.__name__ for read in used] == ["read"] * 2 * len(POOL)
    assert [hasattr(read, "__self__") for read in used] == [True] * len(POOL) + [False] * len(POOL)
    assert other.selection.chosen.name == one.selection.chosen.name
    for mine, its in zip(other.candidates, one.candidates, strict=True):
        assert mine.status == its.status == "measured"
        assert mine.measures["eos"] == pytest.approx(its.measures["eos"], abs=1e-6)


def test_what_was_measured_on_a_device_is_no_result_of_another():
    given = table(gaussian(N, D))
    compressors, left_out = candidates(given, 6_000, [Uniform(2)])
    search = Search(table=given, budget=6_000, compressors=compressors, left_out=left_out)
    untried = trial.untried(*compressors[0])
    searches = (dataclasses.replace(search, device=name) for name in (None, "cuda"))
    keys = {Runs(each, None, {}, frozenset())._key(untried, 0) for each in searches}
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["device=cuda"], "device = 'cuda': torch"),
        (["device=cuda", "engine=ray"], "device = 'cuda' is of this machine, not of a cluster: leave out engine=ray"),
        (["device=tpu"], "device = 'tpu': must be cuda or null"),
    ],
)
def test_a_device_that_is_not_there_is_refused_in_a_line(words, says, tmp_path, monkeypatch, capsys):
    if "engine=ray" in words:
        pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    np.save(tmp_path / "table.npy", gaussian(400, 16))
    given = [*only("uniform"), f"table.path={tmp_path}/table.npy", "budget=50%", f"out={tmp_path}/out"]
    assert command(*given, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
