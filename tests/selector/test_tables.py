"""One budget over many tables, through the command: files, tensors of one file, and a model with all its tables."""

from __future__ import annotations

import csv
import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from mlflow import MlflowClient
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from eigenselect.compressors import load
from eigenselect.export.host import proof
from eigenselect.export.verification import parity
from eigenselect.selector.checking.examination import examine
from eigenselect.selector.decision import report
from eigenselect.selector.decision.split import Curve, Point
from eigenselect.selector.decision.tables import read_tables_decision
from tests.running import command, only
from tests.selector.test_command import client, name, runs, store
from tests.selector.test_split import by_dynamic_programming

__all__ = ["client", "name", "store"]  # fixtures

SIZES = {"users": 400, "items": 120, "days": 12}
PAIR = ("users", "days")
D = 8
POOL = ["candidates.bits=[1,2,4]", *only("uniform")]


def tables() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {
        name: (rng.standard_normal((n, D)) * np.geomspace(2, 0.3, D)).astype(np.float32) for name, n in SIZES.items()
    }


@pytest.fixture(autouse=True)
def nothing_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long for each table is not what is new here: memory is measured, and pictures drawn, for one table."""
    for module in (parity, proof):
        monkeypatch.setattr(module, "session_bytes", lambda *model: 0)
    monkeypatch.setattr(report, "write_picture", lambda path, *others: path.write_bytes(b""))


@pytest.fixture
def files(client: MlflowClient) -> str:
    """The setting that names each table by its file."""
    for one in PAIR:
        np.save(f"{one}.npy", tables()[one])
    return f"tables=[{','.join(f'{one}.npy' for one in PAIR)}]"


def two_towers(values: dict[str, np.ndarray]) -> onnx.ModelProto:
    """y = <users[user], items[item] + days[day]>."""
    node = helper.make_node
    nodes = [node("Gather", [name, f"{name}_id"], [f"{name}_row"]) for name in SIZES]
    nodes += [
        node("Add", ["items_row", "days_row"], ["tower"]),
        node("Mul", ["users_row", "tower"], ["products"]),
        node("ReduceSum", ["products", "axis"], ["y"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "towers",
        [helper.make_tensor_value_info(f"{name}_id", TensorProto.INT64, ["batch"]) for name in SIZES],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch"])],
        [numpy_helper.from_array(each, name) for name, each in {**values, "axis": np.array([1])}.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_a_budget_is_split_and_all_is_handed_over(client, files, name, tmp_path, capsys):
    assert command(files, "budget=10%", "out=o", *POOL) == 0
    printed, errors = capsys.readouterr()
    assert errors == ""
    out = tmp_path / "o"
    found = read_tables_decision(out / "tables.json")
    whole = sum(4 * SIZES[each] * D for each in PAIR)
    assert {path.name for path in out.iterdir()} == {*PAIR, "tables.json", "torchrec.json"}
    assert found.float32_bytes == whole and found.budget_bytes == whole // 10
    assert [each.name for each in found.tables] == [*PAIR]
    assert found.nbytes == sum(each.nbytes for each in found.tables) <= found.budget_bytes

    curves = [Curve(each.name, each.weight, each.curve) for each in found.tables]
    assert found.score == found.bound == pytest.approx(by_dynamic_programming(curves, found.budget_bytes), abs=1e-9)
    assert found.even_score is None or found.even_score <= found.score
    for each in found.tables:
        assert all(check.status != "failed" for check in examine(out / each.folder).checks)
        record = json.loads((out / each.folder / "selection.json").read_text())
        assert (record["chosen"]["name"], record["budget_bytes"]) == (each.chosen, each.nbytes)
        assert record["table"]["digest"] == each.digest and each.name in printed
        rows = list(csv.DictReader((out / each.folder / "candidates.csv").read_text().splitlines()))
        within = [row for row in rows if row["eos"] and int(row["nbytes"]) <= each.nbytes]
        assert max(float(row["eos"]) for row in within) == pytest.approx(each.score)
        assert load(out / each.folder / "payload.safetensors").nbytes == each.nbytes

    (parent,) = runs(client, name, "selection")
    children = {run.info.run_name: run for run in runs(client, name, "table")}
    assert parent.info.run_name == "select 2 tables, 1.3 kB" and parent.info.status == "FINISHED"
    assert parent.data.metrics["weighted_sum"] == found.score and parent.data.metrics["bytes"] == found.nbytes
    assert {item.path for item in client.list_artifacts(parent.info.run_id)} == {
        *("tables.json", "torchrec.json", "config.yaml")
    }
    assert {*children} == {*PAIR}
    for each in found.tables:
        child = children[each.name]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id and child.info.run_id == each.run_id
        assert child.info.status == "FINISHED" and child.data.tags["chosen"] == each.chosen
    candidates = runs(client, name, "candidate")
    assert {run.data.tags["mlflow.parentRunId"] for run in candidates} == {run.info.run_id for run in children.values()}
    assert sum(run.data.tags.get("chosen") == "true" for run in candidates) == len(PAIR)

    # What was measured is measured once, whatever the budget; a weight moves bytes to its table.
    heavy = files.replace("days.npy", "{path: days.npy, name: dates, weight: 50}")
    assert command(heavy, f"budget={found.budget_bytes}", "out=o", *POOL) == 0
    again = read_tables_decision(out / "tables.json")
    assert {path.name for path in out.iterdir()} == {"users", "dates", "tables.json", "torchrec.json"}
    assert again.tables[1].weight == 50 and again.tables[1].nbytes >= found.tables[1].nbytes
    measured = [run for run in runs(client, name, "candidate") if run.data.tags["status"] == "measured"]
    keys = {run.data.tags["candidate_key"] for run in measured}
    assert len(keys) == len(measured) == len(candidates)
    assert f"{len(candidates)} candidates were measured by earlier runs and are reused" in capsys.readouterr().out


def test_a_model_gets_all_its_tables_at_once(client, tmp_path):
    values = tables()
    onnx.save(two_towers(values), "towers.onnx")
    words = ["table.path=towers.onnx", "tables=['*']", "budget=30%", "out=o", "candidates=torchrec"]
    assert command(*words) == 0
    out = tmp_path / "o"
    decoded = {name: load(out / name / "payload.safetensors").read(slice(0, n)) for name, n in SIZES.items()}
    rng = np.random.default_rng(0)
    ids = {f"{name}_id": rng.integers(0, n, 50) for name, n in SIZES.items()}
    got = ort.InferenceSession(out / "host.onnx").run(None, ids)[0]
    wanted = ort.InferenceSession(two_towers(decoded).SerializeToString()).run(None, ids)[0]
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    assert np.abs(got - ort.InferenceSession("towers.onnx").run(None, ids)[0]).max() > 1e-4
    host = read_tables_decision(out / "tables.json").host
    assert host is not None and len(host.tables) == 3 and host.relative_error < 1e-5
    assert host.file_bytes == (out / "host.onnx").stat().st_size

    reported = json.loads((out / "torchrec.json").read_text())["embedding_bag_configs"]
    chosen = {name: json.loads((out / name / "selection.json").read_text())["chosen"]["name"] for name in SIZES}
    types = {"float32": "FP32", "float16": "FP16", **{f"row-minmax-b{bits}": f"INT{bits}" for bits in (2, 4, 8)}}
    assert {each["name"]: each["data_type"] for each in reported} == {
        name: types[each] for name, each in chosen.items()
    }
    assert all(each["num_embeddings"] == SIZES[each["name"]] and "not_mapped" not in each for each in reported)


def test_tensors_that_fit_a_pattern_are_tables(client, tmp_path, capsys):
    few = np.ones((3, D), np.float32)
    layers = {f"layer.{name}": each for name, each in tables().items()}
    save_file({**layers, "layer.few": few, "bias": few[0]}, "m.safetensors")
    assert command("table.path=m.safetensors", "tables=['layer.*']", "budget=1%", "out=o", *POOL) == 3
    printed, error = capsys.readouterr()
    assert "of the 3 tables need" in error and "for layer.users" in error
    assert f"3 tables, 17 kB in float32; budget {sum(SIZES.values()) * 4 * D // 100} bytes" in printed
    assert "layer.few is left as it is: 3 rows of 8 columns are too few to be compressed" in printed


MISTAKES = {
    "the same twice": ("tables=[users.npy,users.npy]", "'users' and 'users' would have the same folder users"),
    "no file": ("tables=[users.npy,x.npy]", "tables: x: x.npy: no such file"),
    "another setting": (
        "tables=[{path: users.npy, wieght: 2}]",
        "tables[0].wieght: did you mean tables[0].weight?",
    ),
    "no path": ("tables=[{weight: 2}]", "tables[0].path: required and not given"),
    "a weight of nothing": ("tables=[{path: users.npy, weight: 0}]", "tables[0].weight = 0: must be a number above 0"),
    "no list": ("tables=users.npy", "tables = 'users.npy': must be a list"),
    "a number": ("tables=[3]", "tables[0] = 3: give its settings one by one"),
    "a pattern of a file with one": ("tables=[{path: users.npy, tensor: 'u*'}]", "a npy file holds one table"),
    "a file's name": ("tables=[{path: users.npy, name: tables.json}]", "has the name of a file of the hand-over"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(case, client, files, tmp_path, capsys):
    given, expected = MISTAKES[case]
    assert command(given, "budget=1kB", "out=o", *POOL) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1 and not (tmp_path / "o").exists()


def test_an_unknown_pattern_names_what_there_is(client, files, capsys):
    onnx.save(two_towers(tables()), "towers.onnx")
    assert command("table.path=towers.onnx", "tables=['*emb*']", "budget=1kB", "out=o") == 2
    assert "no table fits '*emb*'; there are users, items, days" in capsys.readouterr().err
    assert command(files, "budget=1kB", "out=o", "tracking.register=x", *POOL) == 2
    assert "tracking.register = 'x': it is for one table" in capsys.readouterr().err
    assert command("validate", files, "budget=1kB", "out=o", "table.path=users.npy", "validate.tasks=x") == 2
    assert "this is for one table" in capsys.readouterr().err


def test_minima_over_the_budget_are_named(client, files, name, tmp_path, capsys):
    assert command(files, "budget=427", "out=o", *POOL) == 3
    error = capsys.readouterr().err
    assert "the smallest candidates of the 2 tables need 428 together, 408 of them for users" in error
    assert not (tmp_path / "o").exists()
    (parent,) = runs(client, name, "selection")
    assert parent.info.status == "FAILED" and runs(client, name, "candidate") == []


def test_what_it_would_cost(client, files, name, tmp_path, capsys):
    assert command("plan", files, "budget=12.5%", "out=o", "json=p.json", *POOL) == 0
    printed, found = capsys.readouterr().out, json.loads((tmp_path / "p.json").read_text())
    assert [each["name"] for each in found["tables"]] == [*PAIR] and found["timed"] == "users"
    assert all(f"\n{each} " in printed for each in PAIR) and "an estimate for this machine" in printed
    assert found["tables"][0]["smallest_bytes"] == 408 and found["tables"][0]["candidates"] == 2
    assert found["tables"][1]["largest_bytes"] == 4 * SIZES["days"] * D, "as it is"
    assert not (tmp_path / "o").exists() and runs(client, name, "selection") == []
    assert command("plan", files, "budget=427", *POOL) == 3
    assert "need 428 together" in capsys.readouterr().err


def test_the_points_of_a_record_are_read_back(tmp_path):
    path = tmp_path / "tables.json"
    path.write_text('{"version": 9}')
    with pytest.raises(ValueError, match="version 9"):
        read_tables_decision(path)
    assert Point("a", 1, 0.5) == Point("a", 1, 0.5)
