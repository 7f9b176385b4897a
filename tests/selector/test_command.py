"""The main job through the command's own `main`, on a small table and a real tracking store."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import zlib
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import onnxruntime as ort
import pytest
from mlflow import MlflowClient

from eigenselect import compressors
from eigenselect.compressors import PCA, EmbeddingTable, KMeans, Uniform, load
from eigenselect.compressors.payloads.ops import NumpyOps
from eigenselect.export import OnnxDecoder, VerificationError
from eigenselect.export.verification.timing import LookupTimer
from eigenselect.selector.checking.examination import examine
from eigenselect.selector.commands.select import overrides
from eigenselect.selector.decision.record import read_decision
from eigenselect.selector.forms import FORMS
from eigenselect.selector.measures import Measures, higher_is_better, score
from eigenselect.selector.pool.digest import table_digest
from eigenselect.selector.run.selecting import select_table
from eigenselect.selector.sources import read_table
from eigenselect.selector.store.manifest import MANIFEST, write_manifest
from eigenselect.selector.store.output import FILES
from eigenselect.selector.store.tracker import connect
from tests.running import command, only

N, D = 500, 12
TOKENS = [f"token{i}" for i in range(N)]
POOL = [
    *("candidates.bits=[1,2,4]", "candidates.rates=[3]", "candidates.pool.pca_then_bits.rate=[2]"),
    *only("uniform", "kmeans", "pca", "pca_then_bits", "identity"),
]

ASKED_FOR = {"model.onnx.data", "words.onnx", "host.onnx", "host.onnx.data", *FORMS["static"].files}
"""Files of a hand-over that are only there on request, or of a model of a form."""


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One tracking store for all: making its schema takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def client(store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> MlflowClient:
    """The store, an experiment of this test's own as the environment's, an empty folder as the working folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", request.node.nodeid)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    monkeypatch.chdir(tmp_path)
    found = MlflowClient(store)
    found.create_experiment(request.node.nodeid, artifact_location=(tmp_path / "artifacts").as_uri())
    return found


@pytest.fixture
def table(tmp_path: Path) -> list[str]:
    """Settings that name a small table with tokens."""
    rng = np.random.default_rng(5)
    np.save(tmp_path / "t.npy", (rng.standard_normal((N, D)) * np.geomspace(3, 0.3, D)).astype(np.float32))
    (tmp_path / "t.txt").write_text("\n".join(TOKENS), encoding="utf-8")
    return [f"table.path={tmp_path / 't.npy'}", f"table.tokens={tmp_path / 't.txt'}"]


def runs(client: MlflowClient, name: str, role: str) -> list:
    experiment = client.get_experiment_by_name(name)
    return list(client.search_runs([experiment.experiment_id], f"tags.role = '{role}'", max_results=500))


def logged(client: MlflowClient, name: str, out: Path) -> list:
    """The candidates' runs under the run of the selection that was handed over to `out`."""
    parent = json.loads((out / "selection.json").read_text())["run_id"]
    return [run for run in runs(client, name, "candidate") if run.data.tags["mlflow.parentRunId"] == parent]


def candidates(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "o" / "candidates.csv").read_text())))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.nodeid


def test_hand_over_is_complete_and_true(client, table, name, tmp_path, capsys):
    assert command(*table, "budget=2kB", "out=o", *POOL) == 0
    printed, errors = capsys.readouterr()
    assert errors == "", "quiet when not a terminal"
    assert "Files: o" in printed and "/#/experiments/" in printed
    out = tmp_path / "o"
    assert {path.name for path in out.iterdir()} == {*FILES} - ASKED_FOR - {"id_map.csv", "decode_matrix.npy"}

    record = json.loads((out / "selection.json").read_text())
    assert {*record} == {
        *(
            "chosen",
            "runner_up",
            "rejected",
            "budget_bytes",
            "criterion",
            "criteria",
            "sensitive_to",
            "table",
            "question",
            "other_uses",
        ),
        *("verification", "seed", "versions", "run_id", "version", "reason", "lookup"),
        *("question", "other_uses"),
    }
    assert record["budget_bytes"] == 2000 and record["criterion"] == "eos" and record["seed"] == 0
    assert record["table"] | {"path": "", "digest": ""} == {
        **{"path": "", "digest": "", "n": N, "d": D, "rank": D, "dtype": "float32"},
        "settings": {
            "tokens": str(tmp_path / "t.txt"),
            **dict.fromkeys(("format", "tensor", "rows", "dimension", "dtype", "keep", "counts", "sha256")),
            "padding": "refuse",
            "duplicates": "error",
        },
        "remarks": [],
    }
    rows = candidates(tmp_path)
    assert len(rows) == len(record["rejected"]) + 1
    fitting = {row["name"]: float(row["eos"]) for row in rows if row["status"] == "measured"}
    assert record["chosen"]["name"] == max(fitting, key=lambda candidate: fitting[candidate])
    assert all(int(row["nbytes"]) <= 2000 for row in rows if row["status"] == "measured")
    assert {row["status"] for row in rows} == {"measured", "over_budget"}

    # The files are the choice: payload and model decode alike, and score what the record says.
    payload = load(out / "payload.safetensors")
    assert payload.nbytes == record["chosen"]["nbytes"]
    ids = np.arange(N)
    session = ort.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    vectors = session.run(None, {"ids": ids})[0]
    assert np.array_equal(vectors, payload.read(slice(0, N)))
    source = read_table(tmp_path / "t.npy", tokens=tmp_path / "t.txt")
    assert score(source, vectors)["eos"] == pytest.approx(record["chosen"]["measures"]["eos"], abs=1e-9)
    assert record["verification"]["eos_from_onnx"] == pytest.approx(record["chosen"]["measures"]["eos"], abs=1e-9)
    assert (out / "tokens.txt").read_text().split("\n")[:-1] == TOKENS


def test_runs_hold_what_a_person_compares(client, table, name, tmp_path):
    assert command(*table, "budget=2kB", "out=o", *POOL) == 0
    record = json.loads((tmp_path / "o" / "selection.json").read_text())
    rows = {row["name"]: row for row in candidates(tmp_path)}
    (parent,) = runs(client, name, "selection")
    assert parent.info.run_id == record["run_id"] and parent.info.status == "FINISHED"
    assert parent.data.params["budget_bytes"] == "2000"
    assert parent.data.tags["chosen"] == record["chosen"]["name"]
    note = parent.data.tags["mlflow.note.content"].replace("\\", "")
    assert record["chosen"]["name"] in note and "2 kB" in note and f"run_uuid={parent.info.run_id}" in note
    assert parent.info.run_name == "select t.npy, 2 kB" and parent.data.tags["table"] == "t.npy"
    assert parent.data.metrics["eos"] == record["chosen"]["measures"]["eos"]
    (dataset,) = parent.inputs.dataset_inputs
    assert record["table"]["digest"].startswith(dataset.dataset.digest) and len(dataset.dataset.digest) == 32
    artifacts = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert artifacts == {*FILES, "config.yaml"} - ASKED_FOR - {"id_map.csv", "decode_matrix.npy"}
    config = Path(client.download_artifacts(parent.info.run_id, "config.yaml", str(tmp_path))).read_text()
    assert "budget: 2kB" in config and "${" not in config and "bits:" in config

    children = runs(client, name, "candidate")
    assert {child.info.run_name for child in children} == {n for n, row in rows.items() if row["status"] == "measured"}
    assert {row["run_id"] for row in rows.values() if row["status"] == "over_budget"} == {""}, "listed, and no runs"
    for child in children:
        row = rows[child.info.run_name]
        assert child.info.status == "FINISHED" and child.info.run_id == row["run_id"]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.metrics["bytes"] == int(row["nbytes"])
        assert child.data.params["compressor"] == row["compressor"]
        assert child.inputs.dataset_inputs[0].dataset.digest == dataset.dataset.digest
        assert child.data.tags["mlflow.user"] and child.data.tags["mlflow.source.name"]
        assert child.data.tags.get("chosen") == ("true" if child.info.run_name == record["chosen"]["name"] else None)
        scores = {key: value for key, value in child.data.metrics.items() if key not in ("bytes", "megabytes")}
        columns = {key: float(row[key]) for key in scores}
        assert scores == columns and ("eos" in scores) == (row["status"] == "measured")


def test_a_pruned_table_is_handed_over_with_its_id_map(client, table, tmp_path):
    rows = [*range(400, 100, -7), 3, 499]
    names = [TOKENS[row] for row in rows]
    keep, counts, out = tmp_path / "keep.txt", tmp_path / "counts.txt", tmp_path / "o"
    keep.write_text("\n".join(names))
    counts.write_text("\n".join(f"{token} {i}" for i, token in enumerate(TOKENS)))
    settings = [*table, "budget=1x", "out=o", "candidates.bits=[8]", "candidates.rates=[3]"]
    assert command(*settings, f"table.keep={keep}", f"table.counts={counts}") == 0
    assert {path.name for path in out.iterdir()} == {*FILES} - ASKED_FOR - {"decode_matrix.npy"}
    record = json.loads((out / "selection.json").read_text())["table"]
    assert (record["n"], record["pruned_from"]) == (len(rows), N)
    source = read_table(tmp_path / "t.npy", tokens=tmp_path / "t.txt", keep=keep, counts=counts)
    assert record["digest"] == table_digest(source)
    again = examine(out)
    assert {check.name: check.status for check in again.checks}["eos"] == "passed", "read again with keep and counts"
    assert (out / "tokens.txt").read_text().split("\n")[:-1] == names

    # The row of the whole table that is nearest to each decoded one is the row that the map names.
    with (out / "id_map.csv").open(encoding="utf-8", newline="") as file:
        mapped = list(csv.DictReader(file))
    assert [(int(row["id"]), row["token"]) for row in mapped] == list(enumerate(names))
    decoded = load(out / "payload.safetensors").read(slice(0, len(rows)))
    distances = np.linalg.norm(decoded[:, None] - np.load(tmp_path / "t.npy"), axis=2)
    assert distances.argmin(axis=1).tolist() == [int(row["source_id"]) for row in mapped] == rows

    assert command(*settings) == 0
    assert not (out / "id_map.csv").exists()
    assert "pruned_from" not in json.loads((out / "selection.json").read_text())["table"]


def test_over_budget_candidates_are_never_computed(client, table, monkeypatch):
    computed = []
    for method in (Uniform, KMeans, compressors.PCA, compressors.Identity):
        original = method._compress

        def spy(self, table, rng, original=original):
            computed.append((self.name, self.nbytes(table.n, table.d)))
            return original(self, table, rng)

        monkeypatch.setattr(method, "_compress", spy)
    assert command(*table, "budget=2kB", "out=o", *POOL) == 0
    assert computed and all(nbytes <= 2000 for _, nbytes in computed)


ONLY_PCA = [f"~candidates.pool.{entry}" for entry in ("uniform", "kmeans", "dccl", "tensor_train", "light_token")]

BAD_INPUT = {
    "misspelt key": (["budgett=5MB"], "budgett"),
    "added key": (["+budgett=5MB"], "there is no setting budgett: did you mean budget?"),
    "added tracking key": (["+tracking.resumed=1"], "tracking.resumed: did you mean tracking.resume?"),
    "misspelt table key": (["+table.pathh=x"], "did you mean table.path?"),
    "misspelt argument": (["+candidates.pool.uniform.bitz=3"], "Uniform has no setting bitz: did you mean bits?"),
    "unknown pool": (["candidates=nope"], "nope"),
    "bits": (["candidates.bits=[9]"], "bits = 9: must be an integer from 1 to 8"),
    "k over d": (["candidates.pool.pca.rate=null", "candidates.pool.pca.dim=13"], "dim = 13"),
    "budget text": (["budget=lots"], "'lots' cannot be read"),
    "budget below zero": (["budget=-5MB"], "must be above zero"),
    "criterion": (["criterion=f1"], "'f1' is no measure"),
    "lambdas": (["measures.lambdas=[0]"], "measures.lambdas"),
    "exponents": (["measures.exponents=[-1]"], "measures.exponents"),
    "opset": (["export.opset=3"], "opset = 3"),
    "provider": (["export.providers=[Abacus]"], "Abacus"),
    "exact rows": (["exact_rows=[500]"], "exact_rows holds 500"),
    "exact token": (['exact_rows=["[PAD]"]'], "'[PAD]'"),
    "nothing to hold exact rows": (["exact_rows=[0]", "candidates=seeds", *ONLY_PCA], "the pool has none: give PCA"),
    "words without tokens": (["export.words=true", "table.tokens=null"], "export.words=true needs the tokens"),
    "words of an unknown token": (["export.words=true", 'export.oov="[UNK]"'], "export.oov = '[UNK]' is neither"),
    "words of a token without quotes": (["export.words=true", "export.oov=[UNK]"], "must be error, zeros or a token"),
    "policy without words": (["export.oov=zeros"], "add export.words=true"),
    "limit": (["limits.lookup=quick"], "limits.lookup = 'quick': must be times a float32 Gather (2x)"),
    "seed": (["seed=-1"], "seed = -1"),
    "share": (["allowed_failures=2"], "allowed_failures = 2"),
    "missing table": (["table.path=nowhere.npy"], "nowhere.npy"),
    "missing list to keep": (["table.keep=nowhere.txt"], "nowhere.txt"),
    "no counts": (["table.counts=t.npy"], "t.npy: it is not UTF-8 but holds NUL bytes"),
    "format": (["table.format=pdf"], "pdf"),
    "out is a file": (["out=t.npy"], "is a file"),
    "override syntax": (["no override"], "no override"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_exit_2(case, client, table, name, tmp_path, capsys):
    given, expected = BAD_INPUT[case]
    before = sorted(tmp_path.iterdir())
    assert command(*table, "budget=2kB", "out=o", *given) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and errors.count("\n") == 1 and expected in errors, errors
    assert sorted(tmp_path.iterdir()) == before, "nothing is left behind"
    assert runs(client, name, "selection") == []


def test_required_settings_are_named(client, capsys):
    assert command("budget=2kB") == 2
    assert capsys.readouterr().err == "error: required and not given: out=..., table.path=...\n"


def test_unreachable_tracking_server(client, table, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert command(*table, "budget=2kB", "out=o") == 2
    errors = capsys.readouterr().err
    assert "http://127.0.0.1:9" in errors and "MLFLOW_TRACKING_URI" in errors and errors.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_nothing_fits(client, table, name, tmp_path, capsys):
    assert command(*table, "budget=600", "out=o", "candidates.bits=[4]", "candidates.rates=[1]") == 3
    errors = capsys.readouterr().err
    assert "nothing fits the budget of 600 bytes" in errors and "pca-4x-keep-kmeans-b1" in errors
    (parent,) = runs(client, name, "selection")
    assert parent.info.status == "FAILED" and "nothing fits" in parent.data.tags["reason"]
    assert not (tmp_path / "o").exists()


def _break_kmeans(monkeypatch):
    def fail(self, table, rng):
        raise ValueError("no centroid today")

    monkeypatch.setattr(KMeans, "_compress", fail)


def test_failed_candidate_is_a_failed_run_and_the_sweep_goes_on(client, table, name, tmp_path, monkeypatch, capsys):
    _break_kmeans(monkeypatch)
    assert command(*table, "budget=2kB", "out=o", *POOL, "allowed_failures=1") == 0
    assert "kmeans-b1 failed: ValueError: no centroid today" in capsys.readouterr().err
    record = json.loads((tmp_path / "o" / "selection.json").read_text())
    assert record["chosen"]["compressor"] == "Uniform"
    assert {"name": "kmeans-b1", "reason": "failed: ValueError: no centroid today"} in record["rejected"]
    (failed,) = (run for run in runs(client, name, "candidate") if run.info.run_name == "kmeans-b1")
    assert failed.info.status == "FAILED" and "eos" not in failed.data.metrics
    assert failed.data.tags["reason"] == "ValueError: no centroid today"


def test_too_many_failures_hand_nothing_over(client, table, name, tmp_path, monkeypatch, capsys):
    _break_kmeans(monkeypatch)
    assert command(*table, "budget=2kB", "out=o", *POOL) == 4
    assert "candidates failed, allowed is a share of 0.25" in capsys.readouterr().err
    assert runs(client, name, "selection")[0].info.status == "FAILED"
    assert not (tmp_path / "o").exists()


def test_nothing_measured(client, table, monkeypatch, capsys):
    _break_kmeans(monkeypatch)
    only = ["~candidates.pool." + entry for entry in ("uniform", "pca", "pca_then_bits", "identity")]
    assert command(*table, "budget=2kB", "out=o", *POOL, *only, "allowed_failures=1") == 4
    assert "no candidate that fits" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["verify", "eos"])
def test_failed_verification_hands_nothing_over(fault, client, table, name, tmp_path, monkeypatch, capsys):
    if fault == "verify":

        def refuse(*arguments):
            raise VerificationError("relative_error is 0.5, allowed is 1e-06")

        monkeypatch.setattr("eigenselect.export.onnx_export.verify", refuse)
    else:

        class Ones(OnnxDecoder):
            def read(self, rows):
                return np.ones_like(super().read(rows))

        monkeypatch.setattr("eigenselect.selector.run.handover.OnnxDecoder", Ones)
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "selection.json").write_text("of an earlier run")
    assert command(*table, "budget=2kB", "out=o", *POOL) == 1
    assert ("relative_error" if fault == "verify" else "EOS is 0.") in capsys.readouterr().err
    assert runs(client, name, "selection")[0].info.status == "FAILED"
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["selection.json"]
    assert (tmp_path / "o" / "selection.json").read_text() == "of an earlier run"


def test_a_stopped_sweep_continues(client, table, name, tmp_path, monkeypatch, capsys):
    settings = [*table, "budget=2kB", "out=o", *POOL]
    original, computed = Uniform._compress, []

    def stop_at_the_second(self, table, rng):
        if computed:
            raise KeyboardInterrupt
        computed.append(self.name)
        return original(self, table, rng)

    with monkeypatch.context() as patch:
        patch.setattr(Uniform, "_compress", stop_at_the_second)
        assert command(*settings) == 130
    assert [run.info.status for run in runs(client, name, "selection")] == ["KILLED"]
    assert [run.info.run_name for run in runs(client, name, "candidate")] == computed == ["uniform-b1"]

    computed.clear()
    monkeypatch.setattr(Uniform, "_compress", lambda *a: (computed.append(a[0].name), original(*a))[1])
    assert command(*settings) == 0
    assert "uniform-b1" not in computed and "uniform-b2" in computed
    children = {run.info.run_name: run for run in logged(client, name, tmp_path / "o")}
    measured_here = [row for row in candidates(tmp_path) if row["status"] == "measured"]
    assert len(children) == len(logged(client, name, tmp_path / "o")) == len(measured_here)
    assert [one for one, run in children.items() if run.data.tags["status"] == "reused"] == ["uniform-b1"]
    first = (tmp_path / "o" / "payload.safetensors").read_bytes()
    scores = [row for row in candidates(tmp_path) if row["status"] == "measured"]
    record = json.loads((tmp_path / "o" / "selection.json").read_text())
    assert "eos_stderr" in scores[0] and record["runner_up"]["margin"] > 0

    # All over again: nothing is computed but the choice, whose payload is needed, and it is the same.
    computed.clear()
    capsys.readouterr()
    assert command(*settings) == 0
    measured = len(scores)
    statuses = [run.data.tags["status"] for run in logged(client, name, tmp_path / "o")]
    assert statuses.count("reused") == measured and len(statuses) == len(children) and len(computed) <= 1
    assert f"{measured} candidates were measured by earlier runs and are reused" in capsys.readouterr().out
    assert (tmp_path / "o" / "payload.safetensors").read_bytes() == first
    assert [row for row in candidates(tmp_path) if row["status"] == "measured"] == scores
    again = json.loads((tmp_path / "o" / "selection.json").read_text())
    assert {**again, "run_id": record["run_id"], "verification": record["verification"]} == record

    # Another seed, another λ or another exponent is another result.
    assert command(*settings, "seed=1") == 0
    assert command(*settings, "measures.lambdas=[1,max]") == 0
    assert command(*settings, "measures.exponents=[1,3]") == 0
    statuses = [run.data.tags["status"] for run in runs(client, name, "candidate")]
    assert statuses.count("measured") == 4 * measured


def test_what_was_over_one_budget_is_measured_once_under_another(client, table, name, tmp_path):
    for budget in ("1200", "2kB", "2kB"):
        assert command(*table, f"budget={budget}", "out=o", *POOL) == 0
        names = [run.info.run_name for run in logged(client, name, tmp_path / "o")]
        fit = [row["name"] for row in candidates(tmp_path) if row["status"] == "measured"]
        assert sorted(names) == sorted(fit), "each once, whatever was before"
    measured = [run.info.run_name for run in runs(client, name, "candidate") if run.data.tags["status"] == "measured"]
    assert sorted(measured) == sorted(row["name"] for row in candidates(tmp_path) if row["status"] == "measured")
    for row in candidates(tmp_path):
        assert bool(row["run_id"]) == (row["status"] == "measured")


def test_what_would_not_be_made_again_is_handed_over_as_it_was_measured(client, table, name, tmp_path, monkeypatch):
    made, compress = [], KMeans._compress

    def by_the_clock(self, table, rng):
        made.append(self.name)
        noise = np.random.default_rng(len(made)).normal(0, 0.3, (N, D))
        return compress(self, EmbeddingTable((table.vectors + noise).astype(np.float32)), rng)

    monkeypatch.setattr(KMeans, "_compress", by_the_clock)
    monkeypatch.setattr(KMeans, "reproducible", property(lambda self: False))
    pool = own_pool(tmp_path, "pool: {k: {_target_: eigenselect.compressors.KMeans, bits: [1, 2]}}")
    handed_over = []
    for _ in range(2):
        assert command(*pool, *table, "budget=2kB", "out=o") == 0
        handed_over.append((tmp_path / "o" / "payload.safetensors").read_bytes())
    assert handed_over[0] == handed_over[1] and made == ["kmeans-b1", "kmeans-b2"]

    # Without what was kept its measures are worth nothing: it is measured again.
    for run in runs(client, name, "candidate"):
        for kept in (tmp_path / "artifacts" / run.info.run_id).rglob("payload.safetensors"):
            kept.unlink()
    for _ in range(2):
        assert command(*pool, *table, "budget=2kB", "out=o") == 0
    assert made == ["kmeans-b1", "kmeans-b2"] * 2


def test_the_function_logs_and_reuses_where_it_is_given_a_tracker(client, table, name, tmp_path, monkeypatch):
    source = read_table(tmp_path / "t.npy", tokens=tmp_path / "t.txt")
    assert command(*table, "budget=2kB", "out=o", *POOL) == 0
    made, compress = [], Uniform._compress
    monkeypatch.setattr(Uniform, "_compress", lambda *given: (made.append(given[0].name), compress(*given))[1])
    found = select_table(source, "2kB", candidates=[Uniform(1), Uniform(2), Uniform(4)], tracker=connect("other"))
    assert repr(found).startswith("Chosen(uniform-b2, ") and made == ["uniform-b2"], "for its payload alone"
    (parent,) = (run for run in runs(client, name, "selection") if run.info.run_name == "select_table")
    children = [
        run for run in runs(client, name, "candidate") if run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    ]
    assert sorted(run.data.tags["status"] for run in children) == ["reused", "reused"]


def test_a_limit_of_lookups_decides_and_says_what_it_cost(client, table, name, tmp_path, capsys):
    settings = [*table, "budget=2kB", "out=o", *POOL]
    assert command(*settings) == 0
    head, first, *_ = capsys.readouterr().out.splitlines()[2:]
    free = json.loads((tmp_path / "o" / "selection.json").read_text())
    timed = [row for row in candidates(tmp_path) if row["status"] == "measured"]
    assert all(float(row["lookup_ns_32_all"]) == 1000 * float(row["lookup_ratio_8192"]) > 0 for row in timed)
    assert "lookup" in head.split() and f"{free['chosen']['costs']['lookup_ratio_8192']:.3g}x" in first.split()
    assert free["lookup"]["timed_on"]["target"] == "portable" and "limit" not in free["lookup"]

    # The time in the tests is the size of the model: the limit takes what is smaller.
    most = min(float(row["lookup_ratio_8192"]) for row in timed if row["name"] != free["chosen"]["name"]) + 0.01
    fast = {row["name"]: float(row["eos"]) for row in timed if float(row["lookup_ratio_8192"]) <= most}
    assert command(*settings, f"limits.lookup={most:.4f}x") == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "o" / "selection.json").read_text())
    chosen, best = found["chosen"], free["chosen"]
    assert chosen["name"] == max(fast, key=lambda each: fast[each]) != best["name"]
    assert found["lookup"]["best_without_limit"] == best["name"] and found["lookup"]["limit"] == f"{most:.4f}x"
    assert found["lookup"]["criterion_lost"] == best["measures"]["eos"] - chosen["measures"]["eos"] > 0
    reasons = {each["name"]: each["reason"] for each in found["rejected"]}
    assert reasons[best["name"]].endswith(f"as measured, limits.lookup allows {most:.4f}x")
    assert f"it would be {best['name']}" in " ".join(printed.split()) and "are reused" in printed
    parent = client.get_run(found["run_id"])
    assert parent.data.metrics["lookup_ratio_8192"] == chosen["costs"]["lookup_ratio_8192"]
    assert parent.data.params["lookup_limit"] == f"{most:.4f}x"

    assert command(*settings, "limits.lookup=1ns") == 3
    fastest = min(timed, key=lambda row: (float(row["lookup_ns_8192"]), row["name"]))
    assert f"as fast as limits.lookup=1ns: the fastest, {fastest['name']}, takes" in capsys.readouterr().err


def test_a_model_that_cannot_be_run_is_the_candidates_failure(client, table, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(LookupTimer, "times", lambda *given: 1 / 0)
    assert command(*table, "budget=2kB", "out=o", *POOL) == 4
    assert "uniform-b1 failed: ZeroDivisionError: division by zero" in capsys.readouterr().err


@pytest.mark.slow
def test_times_of_earlier_runs_are_kept_and_those_of_other_models_taken(client, table, name, tmp_path, monkeypatch):
    source = read_table(tmp_path / "t.npy", tokens=tmp_path / "t.txt")
    pool = own_pool(tmp_path, "pool: {u: {_target_: eigenselect.compressors.Uniform, bits: [1, 2]}}")
    select_table(source, "2kB", candidates=[Uniform(1), Uniform(2)], tracker=connect("other"))
    (first, *_) = measured = runs(client, name, "candidate")
    assert len(measured) == 2 and "lookup_ratio_8192" not in first.data.metrics, "nothing limits it"

    asked, times = [], LookupTimer.times
    monkeypatch.setattr(LookupTimer, "times", lambda *given: (asked.append(given), times(*given))[1])
    models = [("portable", "float32")] * 2 + [("cpu", "float32")] * 2 + [("cpu", "float16")]
    for count, (target, output) in zip((2, 2, 4, 4, 6), models, strict=True):
        made = (f"export.target={target}", f"export.output={output}")
        assert command(*pool, *table, "budget=2kB", "out=o", *made) == 0
        assert len(asked) == count
        record = json.loads((tmp_path / "o" / "selection.json").read_text())
        timed_on = record["lookup"]["timed_on"]
        assert (timed_on["target"], timed_on["output"]) == (target, output)
        for row in candidates(tmp_path):
            run = client.get_run(row["run_id"])
            assert run.info.run_id in {each.info.run_id for each in measured}, "measured once"
            assert run.data.metrics["lookup_ratio_8192"] == float(row["lookup_ratio_8192"])
            assert json.loads(run.data.tags["lookup_timed_on"])["target"] == target


def test_resume_can_be_switched_off(client, table, name):
    for _ in range(2):
        assert command(*table, "budget=2kB", "out=o", *POOL, "tracking.resume=false") == 0
    names = [run.info.run_name for run in runs(client, name, "candidate")]
    assert len(names) == 2 * len({*names})


def test_multirun_is_one_selection_for_each_budget(client, table, name, tmp_path, capsys):
    assert command("-m", *table, "budget=1500,2kB", "out=o${hydra:job.num}", *POOL) == 0
    printed = capsys.readouterr().out
    shown = [line for line in printed.splitlines() if line.startswith("UI: ")]
    *_, head, first, second = printed.splitlines()
    assert head.split()[:2] == ["job", "chosen"] and "0: budget=1500 ---" in printed and "1: budget=2kB ---" in printed
    assert first.startswith("budget=1500  ") and second.startswith("budget=2kB  ")
    records = [json.loads((tmp_path / f"o{i}" / "selection.json").read_text()) for i in (0, 1)]
    assert [record["budget_bytes"] for record in records] == [1500, 2000] and len(runs(client, name, "selection")) == 2
    for i, record in enumerate(records):
        children = logged(client, name, tmp_path / f"o{i}")
        ranked = [each["name"] for each in every(record) if "over the budget" not in each.get("reason", "")]
        assert sorted(run.info.run_name for run in children) == sorted(ranked)
        assert shown[i].endswith(f"&viewStateShareKey={record['run_id']}"), "each address shows its own selection"
        views = client.get_experiment(children[0].info.experiment_id).tags
        view = json.loads(views[f"mlflow.sharedViewState.{record['run_id']}"])
        state = json.loads(zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;"))))
        assert view["name"] == f"select t.npy, {(1.5, 2)[i]} kB" and record["run_id"] in state["searchFilter"]
    reused = [run for run in children if run.data.tags["status"] == "reused"]
    assert reused
    for run in reused:
        first = client.get_run(run.data.tags["measured_by"])
        assert first.data.tags["status"] == "measured" and first.data.metrics == run.data.metrics
        assert first.data.params == run.data.params


def every(record: dict) -> list[dict]:
    """Every candidate of a record."""
    return [record["chosen"], *record["rejected"]]


def test_multirun_gives_the_worst_exit_code(client, table, tmp_path):
    assert command("-m", *table, "budget=2kB,10", "out=o${hydra:job.num}", *POOL) == 3
    assert (tmp_path / "o0" / "model.onnx").exists() and not (tmp_path / "o1").exists()


@pytest.mark.parametrize("sweep", [False, True])
def test_outer_run(sweep, client, table, name, monkeypatch):
    experiment = client.get_experiment_by_name(name).experiment_id
    outer = client.create_run(experiment, run_name="outer").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", outer)
    assert command(*["-m"] * sweep, *table, "budget=2kB", "out=o", *POOL) == 0
    (parent,) = runs(client, name, "selection")
    if sweep:
        assert parent.data.tags["mlflow.parentRunId"] == outer != parent.info.run_id
    else:
        assert parent.info.run_id == outer and parent.info.run_name == "outer"
    children = runs(client, name, "candidate")
    assert children and all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in children)
    if not sweep:  # the same script again, after a stop for example
        assert command(*table, "budget=2kB", "out=o", *POOL) == 0
        assert len(runs(client, name, "candidate")) == len(children), "nothing is logged twice within one selection"


def test_the_weighted_criterion_and_what_others_would_choose(client, table, name, tmp_path, capsys):
    exponents = "measures.exponents=[2,0.5]"
    assert command(*table, "budget=2kB", "out=o", *POOL, "criterion=weighted_eos", exponents) == 0
    printed = " ".join(capsys.readouterr().out.split())
    record = json.loads((tmp_path / "o" / "selection.json").read_text())
    assert record["criterion"] == "weighted_eos_p2"
    rows = [row for row in candidates(tmp_path) if row["status"] == "measured"]
    values = {row["name"]: float(row["weighted_eos_p2"]) for row in rows}
    chosen = record["chosen"]["name"]
    assert values[chosen] == max(values.values())
    assert {"eos_stderr", "weighted_eos_p2_stderr", "weighted_eos_p0.5_stderr"} < {*record["chosen"]["measures"]}

    known = {key for row in rows for key in Measures(exponents=[2, 0.5]).keys if row[key]}
    assert {*record["criteria"]} == known - {"weighted_eos_p2"}
    for key, choice in record["criteria"].items():
        values = {row["name"]: float(row[key]) for row in rows if row[key]}
        ordered = sorted(values.values(), reverse=higher_is_better(key))
        assert choice["value"] == values[choice["chosen"]] == pytest.approx(ordered[0], rel=1e-9)
        assert choice["value_of_choice"] == values.get(chosen) and choice["ranked"] == len(values)
        if chosen in values:
            assert ordered[choice["rank_of_choice"] - 1] == pytest.approx(values[chosen], rel=1e-9)
    overlaps = {"eos", "weighted_eos_p0.5"}
    assert {*record["sensitive_to"]} == {key for key in overlaps if not record["criteria"][key]["tie"]}
    assert ("The choice is sensitive" in printed) == bool(record["sensitive_to"])

    (parent,) = runs(client, name, "selection")
    assert parent.data.params["criterion"] == "weighted_eos_p2"
    for run in runs(client, name, "candidate"):
        if run.data.tags["status"] == "measured":
            assert {"eos_stderr", "weighted_eos_p0.5"} < {*run.data.metrics}
            assert len(json.loads(run.data.tags["replicates.weighted_eos_p2"])) == 64


@pytest.mark.parametrize(("criterion", "best"), [("pip_loss", min), ("mean_cosine", max)])
def test_other_criteria(criterion, best, client, table, tmp_path):
    assert command(*table, "budget=2kB", "out=o", *POOL, f"criterion={criterion}") == 0
    rows = [row for row in candidates(tmp_path) if row[criterion]]
    chosen = json.loads((tmp_path / "o" / "selection.json").read_text())["chosen"]
    assert chosen["measures"][criterion] == best(float(row[criterion]) for row in rows)


POOLS = {
    "quick": [],
    "auto": ["candidates.largest=1", "+candidates.pool.light_token.steps=9"],
    "seeds": ["candidates.pool.dccl.epochs=1", "candidates.pool.dccl.learning_rate=0.01"],
    "study": ["candidates.pool.dccl.epochs=1", "candidates.pool.dccl.learning_rate=0.01"],
    "equal_bytes": ["candidates.bits=[2,4]", "candidates.whitening=[0,1]", "candidates.pool.dccl.bits=2", "budget=15%"],
    # What takes long on every table is tested with its method.
    "full": [
        *("candidates.bits=[1,4]", "candidates.rates=[3]"),
        *(f"~candidates.pool.{entry}" for entry in ("dccl", "light_token", "tensor_train", "trellis")),
    ],
}


@pytest.mark.parametrize(
    "pool", [pytest.param(pool, marks=[pytest.mark.slow] if pool in ("seeds", "full") else []) for pool in POOLS]
)
def test_every_pool_composes_and_runs(pool, client, table, tmp_path):
    assert command(*table, "budget=25%", "out=o", f"candidates={pool}", *POOLS[pool]) == 0
    rows = candidates(tmp_path)
    assert len(rows) >= 12 and {row["status"] for row in rows} == {"measured", "over_budget"}


def test_exact_rows_are_kept_by_every_candidate(client, table, name, tmp_path, capsys):
    pool = [*POOL, "candidates.pool.pca.keep_dimension=[true,false]", "~candidates.pool.pca_then_bits"]
    assert command(*table, "budget=4kB", "out=o", *pool, 'exact_rows=[7,"token499"]') == 0
    printed = capsys.readouterr().out
    assert "1 settings cannot be used here and are left out:\n  pca-3x: it decodes to coordinates of its own" in printed
    assert {row["name"].partition("-")[0] for row in candidates(tmp_path)} == {"exact7+499"}
    payload = load(tmp_path / "o" / "payload.safetensors")
    exact = np.load(tmp_path / "t.npy")[[7, 499]].astype(np.float16)
    assert np.array_equal(payload.decode(np.array([7, 499]), NumpyOps()), exact.astype(np.float32))
    record = json.loads((tmp_path / "o" / "selection.json").read_text())["chosen"]
    assert (record["compressor"], record["parameters"]["rows"]) == ("ExactRows", [7, 499])
    (parent,) = runs(client, name, "selection")
    assert parent.data.params["exact_rows"] == "[7, 'token499']"


def test_every_row_may_be_exact(client, table, tmp_path):
    rows = str([*range(N)]).replace(" ", "")
    pool = own_pool(tmp_path, "pool: {u: {_target_: eigenselect.compressors.Uniform, bits: [1, 2]}}")
    assert command(*pool, *table, "budget=1x", "out=o", f"exact_rows={rows}") == 0
    names = sorted(row["name"] for row in candidates(tmp_path))
    assert len(names) == 2 and all(re.fullmatch(rf"exact{N}rows-[0-9a-f]{{8}}-uniform-b[12]", name) for name in names)


def own_pool(folder: Path, text: str) -> list[str]:
    """Settings that choose a pool written as `text`."""
    (folder / "mine" / "candidates").mkdir(parents=True)
    (folder / "mine" / "candidates" / "own.yaml").write_text(text)
    return ["--config-dir", str(folder / "mine"), "candidates=own"]


def test_a_users_own_pool(client, table, tmp_path):
    pool = own_pool(tmp_path, "pool: {u: {_target_: eigenselect.compressors.Uniform, bits: [1, 2]}}")
    assert command(*pool, *table, "budget=2kB", "out=o") == 0
    assert [row["name"] for row in candidates(tmp_path)] == ["uniform-b1", "uniform-b2"]


def test_a_given_table_and_bands_are_candidates(client, table, tmp_path, capsys):
    folder = tmp_path / "mine" / "candidates"
    folder.mkdir(parents=True)
    groups = "defaults: [/compressor@pool.ready: given, /compressor@pool.bands: bands, _self_]"
    (folder / "rows.yaml").write_text(f"{groups}\npool: {{ready: {{label: half}}, bands: {{by: [order, counts]}}}}\n")
    rows = np.random.default_rng(0).permutation(N)
    np.save(tmp_path / "half.npy", np.load(tmp_path / "t.npy")[rows, : D // 2])
    (tmp_path / "half.txt").write_text("\n".join(TOKENS[row] for row in rows))
    (tmp_path / "counts.txt").write_text("\n".join(map(str, range(N))))
    pool = ["--config-dir", str(tmp_path / "mine"), "candidates=rows"]
    given = [f"candidates.pool.ready.table.{key}=half.{ending}" for key, ending in (("path", "npy"), ("tokens", "txt"))]
    settings = [*pool, *table, *given, "budget=100kB", "out=o", "criterion=eos"]
    assert command(*settings, "table.counts=counts.txt") == 0
    found = {row["name"]: row for row in candidates(tmp_path)}
    assert {*found} == {"given-half", *(f"bands0.1{by}-codebook-b4-codebook-b1" for by in ("", "-counts"))}
    assert float(found["given-half"]["eos"]) == pytest.approx(0.5, abs=1e-6)
    assert found["given-half"]["mean_cosine"] == "" and {row["status"] for row in found.values()} == {"measured"}
    capsys.readouterr()

    assert command(*settings, "allowed_failures=0.5", "tracking.resume=false") == 0
    errors = capsys.readouterr().err
    assert "bands0.1-counts" in errors and "give them as table.counts=FILE" in errors and errors.count("\n") == 1
    assert command(*pool, *table, "budget=100kB", "out=o") == 2
    assert "required and not given: candidates.pool.ready.table.path=..." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "rank"), [("zero", 0), ("deficient", D - 2)], ids=["all-zero table", "rank-deficient table"]
)
def test_degenerate_tables_work_and_their_rank_is_printed(values, rank, client, table, tmp_path, capsys):
    rows = np.load(tmp_path / "t.npy")
    rows[:, D - 2 :] = rows[:, :2]
    np.save(tmp_path / "t.npy", rows if values == "deficient" else np.zeros_like(rows))
    assert command(*table, "budget=2kB", "out=o", *POOL) == 0
    assert json.loads((tmp_path / "o" / "selection.json").read_text())["table"]["rank"] == rank
    assert f"rank is {rank} of {D}" in capsys.readouterr().out


def test_words_from_mlflow_run():
    assert overrides(["table.path=a b", "-m"]) == ["table.path=a b", "-m"]
    assert overrides(["--mlproject", "a=1 'b=x y' c=[1,2]"]) == ["a=1", "b=x y", "c=[1,2]"]
    assert overrides(["--mlproject", ""]) == []
    with pytest.raises(ValueError, match=r"--budget 3.*put settings into -P overrides"):
        overrides(["--mlproject", "a=1", "--budget", "3"])


def test_settings_that_cannot_be_used_on_the_table_are_left_out_with_the_reason(client, table, tmp_path, capsys):
    pool = [*POOL, "candidates.pool.pca.rate=null", "candidates.pool.pca.dim=[4,13]"]
    assert command(*table, "budget=12kB", "out=o", *pool, "candidates=quick") == 0
    assert "1 settings cannot be used here and are left out:\n  pca-k13-keep: PCA dim = 13" in capsys.readouterr().out
    assert "pca-k4-keep" in {row["name"] for row in candidates(tmp_path)}


def test_a_folded_table_leaves_its_matrix_to_the_consumer(client, table, tmp_path, capsys):
    then = "{_target_: eigenselect.compressors.KMeans, bits: 8}"
    pool = own_pool(tmp_path, f"pool: {{s: {{_target_: eigenselect.compressors.Spectral, fold: true, then: {then}}}}}")
    assert command(*pool, *table, "budget=9kB", "out=o") == 0
    assert "decode_matrix.npy, 12 x 12 and not charged to its bytes" in capsys.readouterr().out
    record = json.loads((tmp_path / "o" / "selection.json").read_text())
    (output,) = client.get_run(record["run_id"]).outputs.model_outputs
    assert "decode_matrix.npy: vectors @" in client.get_logged_model(output.model_id).tags["left_to_consumer"]
    chosen = record["chosen"]
    assert chosen["left_to_consumer"]["shape"] == [12, 12] and chosen["left_to_consumer"]["file"] == "decode_matrix.npy"
    # The columns are not the table's: what compares entries is absent.
    assert "reconstruction_error" not in chosen["measures"] and "eos" in chosen["measures"]
    decoded, matrix = (
        load(tmp_path / "o" / "payload.safetensors").read(slice(0, N)),
        np.load(tmp_path / "o" / "decode_matrix.npy"),
    )
    vectors = np.load(tmp_path / "t.npy")
    assert np.linalg.norm(decoded - vectors) > 0.5 * np.linalg.norm(vectors)
    # A factor for all rows is in the payload: the matrix has its own unit.
    assert np.linalg.norm(decoded @ matrix.astype(np.float32) - vectors) < 0.03 * np.linalg.norm(vectors)
    assert "use" not in record
    # The same where it is asked for by what the rows are for.
    assert command(*pool, *table, "budget=9kB", "out=o", "use=trained", "candidates.pool.s.fold=false") == 0
    assert "use=trained: what is trained on top" in " ".join(capsys.readouterr().out.split())
    asked = json.loads((tmp_path / "o" / "selection.json").read_text())
    assert asked["use"] == "trained" and asked["chosen"] == chosen
    # Gone with the next hand-over that needs none.
    assert command(*table, "budget=9kB", "out=o", "candidates.bits=[4]", "candidates.rates=[3]") == 0
    assert not (tmp_path / "o" / "decode_matrix.npy").exists()


def test_auto_proposes_what_comes_nearest_to_the_budget(client, table, tmp_path):
    assert command(*table, "budget=3kB", "out=o", "candidates=auto", "+candidates.pool.light_token.steps=9") == 0
    rows = candidates(tmp_path)
    assert all(int(row["nbytes"]) <= 3000 for row in rows if row["status"] == "measured")
    assert {row["name"] for row in rows if row["name"].startswith("uniform")} == {"uniform-b3", "uniform-b2"}
    (name,) = [row["name"] for row in rows if row["name"].startswith("pca-") and row["name"].endswith("kmeans-b4")]
    dim = int(name.split("-")[1][1:])
    fits = [PCA(dim=k, keep_dimension=True, then=KMeans(4)).nbytes(N, D) <= 3000 for k in (dim, dim + 1)]
    assert dim < D and fits == [True, False]


@pytest.mark.parametrize("oov", ["error", "zeros", "token7"])
def test_a_model_that_takes_tokens(oov, client, table, name, tmp_path):
    assert command(*table, "budget=2kB", "out=o", *POOL, "export.words=true", f"export.oov={oov}") == 0
    out = tmp_path / "o"
    record = json.loads((out / "selection.json").read_text())
    path = out / "words.onnx"
    assert record["words"] == {
        **{"file": "words.onnx", "file_bytes": path.stat().st_size, "oov": oov, "rows": record["words"]["rows"]},
        "use": "tokens (batch,) string -> vectors; its strings are not charged to the budget",
    }
    assert record["chosen"]["nbytes"] <= 2000 < path.stat().st_size
    (parent,) = runs(client, name, "selection")
    assert "words.onnx" in {item.path for item in client.list_artifacts(parent.info.run_id)}
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    got = session.run(None, {"tokens": np.array(TOKENS[::-1], dtype=object)})[0]
    assert np.array_equal(got[::-1], load(out / "payload.safetensors").read(slice(0, N)))

    checked = {check.name: check for check in examine(out).checks}
    assert checked["words"].status == "passed" and checked["words"].says.endswith(f"; an unknown one: {oov}")
    if oov == "error":
        path.write_bytes(path.read_bytes().replace(b"token7", b"token_"))
        (out / MANIFEST).unlink()
        write_manifest(out, read_decision(out / "selection.json"))
        checked = {check.name: check for check in examine(out).checks}
        assert checked["files"].status == "passed" and checked["words"].status == "failed"
        assert checked["words"].says.startswith("words.onnx")
    # Gone with the next hand-over that has none.
    assert command(*table, "budget=2kB", "out=o", *POOL) == 0
    assert not path.exists() and "words" not in json.loads((out / "selection.json").read_text())


def test_float16_rows_on_request(client, table, name, tmp_path, capsys):
    words = ("export.words=true", "export.oov=zeros")
    assert command(*table, "budget=2kB", "out=o", *POOL, *words, "export.output=float16") == 0
    assert "float16 rows differ from numpy by at most 0.0e+00 beyond their rounding" in capsys.readouterr().out
    out = tmp_path / "o"
    record = read_decision(out / "selection.json")
    rounded = load(out / "payload.safetensors").read(slice(0, N)).astype(np.float16)
    for file, ids in (
        ("model.onnx", {"ids": np.arange(N)}),
        ("words.onnx", {"tokens": np.array(TOKENS, dtype=object)}),
    ):
        session = ort.InferenceSession(out / file, providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(session.run(None, ids)[0], rounded, strict=True)
    exact = record.chosen.measures["eos"]
    assert record.verification.output == "float16" and 0 < abs(record.verification.eos_from_onnx - exact) < 2**-11
    assert {check.status for check in examine(out).checks} == {"passed"}
    (model,) = client.search_logged_models([client.get_experiment_by_name(name).experiment_id])
    served = mlflow.pyfunc.load_model(model.model_uri)
    assert served.metadata.signature.outputs.inputs[0].type == np.float16
    np.testing.assert_array_equal(served.predict({"ids": np.array([3, 1])}), rounded[[3, 1]], strict=True)


def test_rows_of_low_rank_are_refused_in_float16(client, table, tmp_path, capsys):
    pool = own_pool(tmp_path, "pool: {p: {_target_: eigenselect.compressors.PCA, dim: 4, keep_dimension: true}}")
    assert command(*pool, *table, "budget=9kB", "out=o", "export.output=float16") == 1
    assert "export.output=float32 does not round its rows" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
