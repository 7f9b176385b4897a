"""Candidates over several processes: the bytes, scores and choice of one, whatever becomes of the processes."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import cloudpickle
import ml_dtypes
import mlflow
import numpy as np
import pytest

from eigenselect.compressors import PCA, ByteCodebook, Compressor, EmbeddingTable, KMeans, Spectral, Uniform, load
from eigenselect.compressors.data import table as tables
from eigenselect.compressors.data.stored import StoredRows
from eigenselect.compressors.data.table import Table
from eigenselect.selector.measures import score
from eigenselect.selector.run import ray_engine, sharing
from eigenselect.selector.run.search import Search, candidates
from eigenselect.selector.run.selecting import Chosen, choose
from eigenselect.selector.run.sharing import packed, packed_work, unpacked
from eigenselect.selector.sources.numbers import floats
from tests.cases import CASES, compress, gaussian
from tests.running import command, only
from tests.selector.dying import Dying, DyingAtRows
from tests.servers import mlflow_server, postgres

ROOT = Path(__file__).parents[2]

TIMES = ("costs", "lookup", "session_bytes")

POOL = [Uniform(2), Uniform(8), ByteCodebook(1), PCA(dim=4, then=KMeans(4)), Spectral(then=KMeans(2)), Uniform(3)]


def chosen(
    workers: int, pool: list[Compressor], share: float = 0.0, engine: str = "processes", budget: int = 6_000
) -> Chosen:
    table = EmbeddingTable(gaussian(500, 16), [f"token {i}" for i in range(500)])
    compressors, left_out = candidates(table, budget, pool)
    return choose(
        Search(
            table=table,
            budget=budget,
            compressors=compressors,
            left_out=left_out,
            workers=workers,
            engine=engine,  # type: ignore[arg-type]
            allowed_failures=share,
        )
    )


def test_two_processes_choose_as_one_does():
    one, two = chosen(1, POOL), chosen(2, POOL)
    assert two.candidates == one.candidates and two.selection == one.selection
    assert two.payload.arrays().keys() == one.payload.arrays().keys()
    for name, array in two.payload.arrays().items():
        np.testing.assert_array_equal(array, one.payload.arrays()[name], strict=True)


@pytest.mark.slow
@pytest.mark.parametrize("spread", ["candidates", "rows"])
def test_ray_chooses_as_one_process_does(spread, monkeypatch):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    if spread == "rows":
        monkeypatch.setattr(tables, "BLOCK_BYTES", 1 << 13)
        monkeypatch.setattr(ray_engine, "BY_ROWS", 0)
    one, two = chosen(1, POOL), chosen(2, POOL, engine="ray")
    assert two.candidates == one.candidates and two.selection == one.selection
    for name, array in two.payload.arrays().items():
        np.testing.assert_array_equal(array, one.payload.arrays()[name], strict=True)


@pytest.mark.slow
def test_a_process_of_ray_that_dies_is_replaced_and_its_rows_are_done_again(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT / "src", ROOT))))
    monkeypatch.setenv("MLFLOW_RUN_ID", "of the parent")
    monkeypatch.setattr(tables, "BLOCK_BYTES", 1 << 13)
    monkeypatch.setattr(ray_engine, "BY_ROWS", 0)
    for name, marks in (("once", 1), ("always", 9)):
        (tmp_path / name).mkdir()
        for mark in range(marks):
            (tmp_path / name / str(mark)).touch()
    pool = [Uniform(2), DyingAtRows(str(tmp_path / "once")), DyingAtRows(str(tmp_path / "always"))]
    found = {each.name: each for each in chosen(2, pool, 0.5, "ray", 40_000).candidates}
    assert [each.status for each in found.values()] == ["measured", "measured", "failed"]
    assert found["dying-once"].measures["reconstruction_error"] == 0 and not [*(tmp_path / "once").iterdir()]


@pytest.mark.slow
def test_a_process_that_dies_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "of the parent")
    before = dict(os.environ)
    for name, marks in (("once", 1), ("always", 9)):
        (tmp_path / name).mkdir()
        for mark in range(marks):
            (tmp_path / name / str(mark)).touch()
    pool = [Uniform(1), Dying(str(tmp_path / "always")), Uniform(2), Dying(str(tmp_path / "once")), KMeans(2)]
    found = {each.name: each for each in chosen(2, pool, 0.5).candidates}
    assert [each.status for each in found.values()] == ["measured", "failed", "measured", "measured", "measured"]
    assert found["dying-once"].measures == found["uniform-b2"].measures
    assert "its process ended 2 times with signal 9" in str(found["dying-always"].reason)
    assert len([*(tmp_path / "always").iterdir()]) == 7 and dict(os.environ) == before


@pytest.mark.slow
def test_the_record_and_the_runs_are_those_of_one_process(tmp_path, monkeypatch):
    stores = [f"sqlite:///{tmp_path}/mlflow{workers}.db" for workers in (1, 2)]
    the_same_with_two(stores, tmp_path, monkeypatch)
    assert load(Path("out2/payload.safetensors")).n == 400


@pytest.mark.slow
def test_it_is_so_with_a_server_on_postgresql(tmp_path, monkeypatch):
    database = postgres(tmp_path)
    database.start()
    server = mlflow_server(tmp_path, database.address)
    server.start()
    try:
        the_same_with_two([server.address] * 2, tmp_path, monkeypatch)
    finally:
        server.stop()
        database.stop()


def the_same_with_two(stores: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A selection by one process and by two, each into its store: the same record, runs and files."""
    monkeypatch.chdir(folder)
    np.save("table.npy", gaussian(400, 16))
    records = []
    for workers, store in zip((1, 2), stores, strict=True):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
        words = [*only("uniform", "kmeans", "spectral"), "table.path=table.npy", "budget=12.5%", f"out=out{workers}"]
        names = ["tracking.resume=false", f"tracking.experiment=by-{workers}", f"workers={workers}"]
        assert command(*words, *names) == 0
        text = Path(f"out{workers}/selection.json").read_text()
        client = mlflow.MlflowClient()
        runs = client.search_runs([client.get_experiment_by_name(f"by-{workers}").experiment_id])
        (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        children = [run for run in runs if run is not parent]
        assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
        for run in runs:
            text = text.replace(run.info.run_id, run.info.run_name)
        records.append((without_times(json.loads(text)), sorted(run.info.run_name for run in children)))
    one, two = records
    assert one == two
    for name in ("payload.safetensors", "model.onnx"):
        assert Path(f"out1/{name}").read_bytes() == Path(f"out2/{name}").read_bytes()


def without_times(record: Any) -> Any:
    """A record without what is measured of this machine."""
    if isinstance(record, dict):
        return {key: without_times(value) for key, value in record.items() if key not in TIMES}
    return [without_times(each) for each in record] if isinstance(record, list) else record


ONE_OF_EACH = {type(each.compressor): each for each in CASES if not re.search("gumbel|lighttoken", each.id)}.values()
"""A case of each method, without those that train with torch: their blocks are worked on here."""


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda case: case.id)
def test_rows_may_be_worked_on_by_other_processes_in_any_order(case, tmp_path, monkeypatch):
    """Every method and the measures: what they give to `shards` is handed over, and stores nothing of its own."""
    monkeypatch.setattr(tables, "BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr(sharing, "LARGE", 1_000)

    def made() -> tuple[dict[str, Any], dict[str, float]]:
        payload = compress(case, table := EmbeddingTable(gaussian(100, 13)))
        return payload.arrays(), score(table, payload) if case.family else {}

    def elsewhere(table: Table, work: Any) -> Any:
        place = tmp_path / str(len([*tmp_path.iterdir()]))
        given = unpacked(packed_work(work, place, [], cloudpickle.CloudPickler))
        found = {rows.start: given(rows) for rows in reversed([*table.spans()])}
        yield from (found[rows.start] for rows in table.spans())

    arrays, scores = made()
    with tables.sharded_by(elsewhere):
        others, again = made()
    assert again == scores and others.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(others[name], array, strict=True)


# --- what the processes share -----------------------------------------------------------------------------------------


def _made(table: Table) -> StoredRows:
    return StoredRows((table.n, table.d), np.dtype(np.float32), lambda rows: 2 * table.read(rows), "twice", 1)


@pytest.mark.quick
@pytest.mark.parametrize("kind", ["memory", "map", "rows of a map", "columns first", "bfloat16", "some", "closure"])
def test_large_arrays_are_mapped_and_not_copied(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "LARGE", 100)
    rows = gaussian(300, 8)
    np.save(tmp_path / "a.npy", np.asfortranarray(rows) if kind == "columns first" else rows)
    stored = np.load(tmp_path / "a.npy", mmap_mode="r")
    vectors = {
        "memory": rows,
        "map": stored,
        "rows of a map": stored[7:200],
        "columns first": stored,
        "bfloat16": floats(rows.astype(ml_dtypes.bfloat16)),
        "some": floats(rows.astype(ml_dtypes.bfloat16)).only(np.arange(280, 3, -2)),  # type: ignore[union-attr]
        "closure": _made(EmbeddingTable(rows)),
    }[kind]
    table = EmbeddingTable(vectors)
    expected = np.array(table.read(slice(None)))
    given = packed(table, tmp_path / "shared")
    assert len(given) < 3_000 < len(pickle.dumps(rows))
    files = len([*(tmp_path / "shared").iterdir()])
    assert files == (0 if kind in ("map", "rows of a map", "columns first") else 2 if kind == "some" else 1)
    np.testing.assert_array_equal(unpacked(given).read(slice(None)), expected, strict=True)
