"""A hand-over examined again: what is right passes, what is not is named, and a newer table is seen to be newer."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from scipy.linalg import orth

from eigenselect.compressors import EmbeddingTable, KMeans, Uniform, load
from eigenselect.export import to_onnx
from eigenselect.export.verification import parity
from eigenselect.selector.checking import checks, drift, hand_over
from eigenselect.selector.checking.examination import Examination, examine
from eigenselect.selector.commands.check import main as command
from eigenselect.selector.decision.entries import Entry
from eigenselect.selector.decision.record import read_decision
from eigenselect.selector.sources import read_table
from eigenselect.selector.store.manifest import MANIFEST, write_manifest
from tests.running import command as eigenselect
from tests.running import only

N, D = 400, 8
TOKENS = [f"token{i}" for i in range(N)]
NAMES = ["manifest", "files", "record", "payload", "tokens", "providers", "model", "eos"]


def vectors() -> np.ndarray:
    return (np.random.default_rng(3).standard_normal((N, D)) * np.geomspace(2, 0.5, D)).astype(np.float32)


def write_table(path: Path, rows: np.ndarray, tokens: list[str] | None = None) -> list[str]:
    """Words of the command that name a table."""
    np.save(path.with_suffix(".npy"), rows.astype(np.float32))
    if tokens is None:
        return [f"table={path}.npy"]
    path.with_suffix(".txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    return [f"table={path}.npy", f"table.tokens={path}.txt"]


@pytest.fixture(scope="module")
def handed_over(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table and what the main job made of it."""
    root = tmp_path_factory.mktemp("made")
    write_table(root / "table", vectors(), TOKENS)
    settings = [f"table.path={root}/table.npy", f"table.tokens={root}/table.txt", "budget=1kB", f"out={root}/out"]
    pool = only("uniform", "kmeans", "spectral", "spectral_trellis", "blockwise")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.chdir(root)
        assert eigenselect(*settings, *pool, "candidates.bits=[1,2]") == 0
    return root


@pytest.fixture
def out(handed_over: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the hand-over. What a session takes is a process each: `test_a_true_folder_passes` starts it."""
    monkeypatch.setattr(parity, "session_bytes", lambda path, ids: 0)
    return Path(shutil.copytree(handed_over / "out", tmp_path / "out"))


def true_eos(x: np.ndarray, y: np.ndarray) -> float:
    """By SVD of both, whole."""
    return float(np.linalg.norm(orth(x).T @ orth(y)) ** 2 / D)


def found(examination: Examination) -> dict[str, str]:
    return {each.name: each.status for each in examination.checks}


def says(examination: Examination, name: str) -> str:
    (one,) = (each for each in examination.checks if each.name == name)
    return one.says


# --- what is right ----------------------------------------------------------------------------------------------------


def test_a_true_folder_passes(handed_over: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = handed_over / "out"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert command([str(folder), f"json={tmp_path}/report.json"]) == 0
    printed, errors = capsys.readouterr()
    assert errors == "" and all(name in printed for name in NAMES)
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["exit_code"], report["drift"], report["folder"]) == (0, None, str(folder))
    assert [(one["name"], one["status"]) for one in report["checks"]] == [(name, "passed") for name in NAMES]
    record = json.loads((folder / "selection.json").read_text())
    by_name = {one["name"]: one["says"] for one in report["checks"]}
    assert f"eos {record['chosen']['measures']['eos']:.6f} and " in by_name["eos"]
    assert f"{record['chosen']['nbytes']:,} bytes as recorded" in by_name["payload"]
    assert "session 0 MB" not in by_name["model"] and "on CPUExecutionProvider" in by_name["model"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_json_may_go_to_the_output_alone(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command([str(out), "json=-"]) == 0
    printed, errors = capsys.readouterr()
    assert json.loads(printed)["exit_code"] == 0 and "passed" in errors


def test_a_table_elsewhere_is_known_by_its_digest(out: Path, tmp_path: Path, handed_over: Path) -> None:
    words = write_table(tmp_path / "copy", vectors(), TOKENS)
    record = json.loads((out / "selection.json").read_text())
    forge(out, lambda record: record["table"].update(path="nowhere.npy"))
    assert found(examine(out))["eos"] == "skipped"
    assert says(examine(out), "eos").startswith("the table is not at hand (nowhere.npy: no such file")
    same = examine(out, read_table(tmp_path / "copy.npy", tokens=tmp_path / "copy.txt"))
    assert found(same)["eos"] == "passed" and same.drift is None
    assert command([str(out), *words]) == 0
    assert record["table"]["settings"]["tokens"] == f"{handed_over}/table.txt"


# --- what is not ------------------------------------------------------------------------------------------------------


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


CHANGED = {
    "truncated model": (lambda out: truncate(out / "model.onnx"), r"^model\.onnx has bytes \d+, the manifest \d+$"),
    "flipped byte": (
        lambda out: flip(out / "model.onnx", 900),
        r"^model\.onnx has sha256 \w{64}, the manifest \w{64}$",
    ),
    "flipped byte of the payload": (
        lambda out: flip(out / "payload.safetensors", -1),
        r"^payload\.safetensors has sha",
    ),
    "edited record": (lambda out: flip(out / "selection.json", 40), r"^selection\.json has sha256 "),
    "missing file": (lambda out: (out / "tokens.txt").unlink(), r"^tokens\.txt is missing$"),
    "a folder for a file": (
        lambda out: ((out / "report.html").unlink(), (out / "report.html").mkdir()),
        r"^report\.html is missing$",
    ),
    "of an earlier hand-over": (
        lambda out: (out / "id_map.csv").write_text("id"),
        r"^id_map\.csv is not a file of this hand-over$",
    ),
    "not listed": (
        lambda out: edit(out / MANIFEST, lambda manifest: manifest["files"].pop("model.onnx")),
        r"^model\.onnx is not listed; model\.onnx is not a file of this hand-over$",
    ),
    "wrong entry": (
        lambda out: edit(out / MANIFEST, lambda manifest: manifest["files"]["model.onnx"].clear()),
        r"^model\.onnx has bytes \d+, the manifest None$",
    ),
}


@pytest.mark.parametrize("case", CHANGED)
def test_a_changed_file_is_named_and_never_opened(case: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change, expected = CHANGED[case]
    change(out)
    name = expected[1:].split(" ")[0].replace("\\", "")
    opened = []

    def watch(module: ModuleType, reader: str) -> None:
        real = getattr(module, reader)
        monkeypatch.setattr(module, reader, lambda path, *more: (opened.append(path.name), real(path, *more))[1])

    for reader in ("load", "read_decision", "read_tokens"):
        watch(hand_over, reader)
    watch(checks, "OnnxDecoder")
    examination = examine(out)
    assert found(examination)["files"] == "failed" and examination.exit_code == 1
    assert re.search(expected, says(examination, "files"))
    assert name not in opened
    assert "failed" not in {status for one, status in found(examination).items() if one != "files"}
    if name in hand_over.NEEDED:
        assert found(examination)["model"] == found(examination)["eos"] == "skipped"
        why = f"{name} is not as it was handed over"
        assert why in says(examination, "model") or "which did not pass" in says(examination, "model")


def forge(out: Path, change) -> None:
    """Change the record and describe the folder again: only what the files hold can show it."""
    edit(out / "selection.json", change)
    described_again(out)


def described_again(out: Path) -> None:
    (out / MANIFEST).unlink()
    write_manifest(out, read_decision(out / "selection.json"))


def other_model(out: Path) -> None:
    record = json.loads((out / "selection.json").read_text())["chosen"]
    method = Uniform if record["compressor"] == "KMeans" else KMeans
    other = method(record["parameters"]["bits"]).compress(EmbeddingTable(vectors()), np.random.default_rng(0))
    onnx.save_model(to_onnx(other), out / "model.onnx")


def other_payload(out: Path) -> None:
    Uniform(1).compress(EmbeddingTable(vectors()), np.random.default_rng(0)).save(out / "payload.safetensors")


def padded_model(out: Path) -> None:
    model = onnx.load(out / "model.onnx")
    model.doc_string = "x" * (16 << 10)
    onnx.save_model(model, out / "model.onnx")


def other_input(out: Path) -> None:
    model = onnx.load(out / "model.onnx")
    model.graph.input[0].name = model.graph.node[0].input[2] = "rows"
    onnx.save_model(model, out / "model.onnx")


def newer_payload(out: Path) -> None:
    path = out / "payload.safetensors"
    path.write_bytes(path.read_bytes().replace(b'\\"version\\": 1', b'\\"version\\": 2'))


FORGED = {
    "truncated model": (
        lambda out: truncate(out / "model.onnx"),
        "model",
        r"^model\.onnx cannot be loaded by ONNX Run",
    ),
    "no model": (
        lambda out: (out / "model.onnx").write_bytes(b""),
        "model",
        r"^model\.onnx (cannot be loaded|gives no)",
    ),
    "other model": (other_model, "model", r"^model\.onnx: relative_error is .*, allowed is 1e-06"),
    "padded model": (padded_model, "model", r"^model\.onnx: file_bytes is "),
    "other input": (other_input, "model", r"^model\.onnx gives no rows: "),
    "other payload": (other_payload, "payload", r"^the payload takes \d+ bytes, the record has \d+$"),
    "newer payload": (newer_payload, "payload", r"it has payload format 2, this program reads 1: upgrade eigenselect$"),
    "damaged payload": (lambda out: truncate(out / "payload.safetensors"), "payload", r"cannot be read as a payload"),
    "token gone": (
        lambda out: (out / "tokens.txt").write_text("a\nb\n"),
        "tokens",
        r"^tokens\.txt has 2 lines for 400 rows: line i is not id i$",
    ),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_folder_described_again_is_known_by_what_it_holds(case: str, out: Path) -> None:
    change, name, expected = FORGED[case]
    change(out)
    described_again(out)
    examination = examine(out)
    assert found(examination)["files"] == "passed"
    assert found(examination)[name] == "failed" and examination.exit_code == 1
    assert re.search(expected, says(examination, name)), says(examination, name)
    assert all("\n" not in one.says for one in examination.checks)


RECORDS = {
    "eos": (
        lambda r: r["chosen"]["measures"].update(eos=r["chosen"]["measures"]["eos"] + 2e-6),
        "eos",
        r"^eos of model",
    ),
    "error": (
        lambda r: r["chosen"]["measures"].update(reconstruction_error_relative=0.1),
        "eos",
        r"^reconstruction_error_relative of model\.onnx is 0\.\d+, recorded is 0\.100000000: they may differ by 1",
    ),
    "budget": (lambda r: r.update(budget_bytes=100), "payload", r"^the payload takes \d+ bytes, the budget was 100$"),
    "rows": (lambda r: r["table"].update(n=399), "payload", r"^the payload has 400 rows, the recorded table 399$"),
    "lacks": (lambda r: r.pop("seed"), "record", r"^selection\.json lacks 'seed': it is of another version"),
    "lacks a measure": (lambda r: r["chosen"]["measures"].pop("eos"), "record", r"lacks 'eos'"),
    "no number": (
        lambda r: r["chosen"]["measures"].update(eos="high"),
        "record",
        r"holds something else than a record",
    ),
    "no measures": (lambda r: r["chosen"].update(measures=[1]), "record", r"holds something else than a record"),
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_forged_record_is_known_by_what_the_files_hold(case: str, out: Path) -> None:
    change, name, expected = RECORDS[case]
    original = read_decision(out / "selection.json")
    edit(out / "selection.json", change)
    (out / MANIFEST).unlink()
    write_manifest(out, original)
    examination = examine(out)
    assert found(examination)["files"] == "passed"
    assert found(examination)[name] == "failed" and examination.exit_code == 1
    assert re.search(expected, says(examination, name)), says(examination, name)


def test_a_record_that_is_not_json(out: Path) -> None:
    record = read_decision(out / "selection.json")
    for content in (b"{", b"\xff\xfe", b"[]"):
        (out / "selection.json").write_bytes(content)
        (out / MANIFEST).unlink()
        write_manifest(out, record)
        examination = examine(out)
        assert found(examination)["record"] == "failed" and examination.exit_code == 1
        assert says(examination, "record").startswith("selection.json ")
        for name in ("payload", "providers", "model", "eos"):
            assert found(examination)[name] == "skipped" and "did not pass" in says(examination, name)


def test_the_manifest_and_the_record_are_of_one_selection(out: Path) -> None:
    edit(out / MANIFEST, lambda manifest: manifest.update(run_id="another"))
    examination = examine(out)
    assert found(examination)["record"] == "failed"
    assert says(examination, "record").endswith("the manifest 'another'")


# --- what cannot be checked here --------------------------------------------------------------------------------------


def test_a_table_that_was_changed_is_not_its_own(out: Path, tmp_path: Path) -> None:
    rows = vectors()
    rows[7, 3] += 1
    write_table(tmp_path / "changed", rows, TOKENS)
    forge(out, lambda record: record["table"].update(path=str(tmp_path / "changed.npy")))
    examination = examine(out)
    assert found(examination)["eos"] == "skipped" and examination.exit_code == 0
    assert "changed.npy is another table now, digest " in says(examination, "eos")


def test_a_table_read_in_a_way_that_is_not_known(out: Path) -> None:
    forge(out, lambda record: record["table"]["settings"].update(shard=3))
    assert "how the table" in says(examine(out), "eos") and found(examine(out))["eos"] == "skipped"


def test_a_provider_that_is_not_here_is_named(out: Path) -> None:
    absent = "VitisAIExecutionProvider"
    assert absent not in checks.available_providers()
    forge(out, lambda record: record["verification"].update(providers=[absent, "CPUExecutionProvider"]))
    examination = examine(out)
    assert found(examination) == dict.fromkeys(NAMES, "passed") | {"providers": "skipped"}
    assert says(examination, "providers") == (
        f"{absent}, on which it was verified, is not on this machine: what follows is checked on CPUExecutionProvider"
    )


# --- what cannot be used ----------------------------------------------------------------------------------------------

UNUSABLE = {
    "no folder": (lambda out: shutil.rmtree(out), [], "is not a folder"),
    "no manifest": (lambda out: (out / MANIFEST).unlink(), [], "has no manifest.json"),
    "no manifest, and no table": (lambda out: (out / MANIFEST).unlink(), ["table=nowhere.npy"], "has no manifest.json"),
    "newer manifest": (
        lambda out: edit(out / MANIFEST, lambda manifest: manifest.update(version=2)),
        [],
        "is of version 2, this program reads 1: upgrade eigenselect",
    ),
    "no JSON": (lambda out: (out / MANIFEST).write_text("{"), [], "manifest.json cannot be read as JSON"),
    "no object": (lambda out: (out / MANIFEST).write_text("[1]"), [], "manifest.json holds a list"),
    "no files": (lambda out: edit(out / MANIFEST, lambda manifest: manifest.update(files=["a"])), [], "lists no files"),
    "outside": (
        lambda out: edit(out / MANIFEST, lambda manifest: manifest["files"].update({"../x": {}})),
        [],
        "lists '../x': a hand-over holds files of its own folder alone",
    ),
    "unknown key": (lambda out: None, ["tables=x"], "there is no setting tables: did you mean table?"),
    "no table": (lambda out: None, ["table=nowhere.npy"], "nowhere.npy: no such file"),
    "options without a table": (lambda out: None, ["table.tokens=x"], "table.tokens is given without table=PATH"),
    "tolerance": (lambda out: None, ["tolerance=some"], "tolerance = 'some': must be a number from 0 to 1"),
    "tolerance below zero": (lambda out: None, ["tolerance=-1"], "tolerance = '-1'"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_used_is_one_line_and_exit_2(case: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, words, expected = UNUSABLE[case]
    change(out)
    assert command([str(out), *words]) == 2
    printed, errors = capsys.readouterr()
    assert printed == "" and errors.startswith("error: ") and errors.count("\n") == 1 and expected in errors, errors


def test_a_refusal_is_in_the_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command([str(tmp_path), "json=-"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert report["exit_code"] == 2 and "has no manifest.json" in report["error"]


def test_a_folder_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert command([]) == 2
    assert "eigenselect check DIR" in capsys.readouterr().err


def test_json_that_cannot_be_written(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command([str(out), f"json={out}"]) == 2
    assert capsys.readouterr().err.endswith("cannot be written: Is a directory; name another file\n")


# --- a newer table ----------------------------------------------------------------------------------------------------


def decoded(out: Path) -> np.ndarray:
    return load(out / "payload.safetensors").read(slice(None))


def compared(out: Path, tmp_path: Path, rows: np.ndarray, tokens: list[str] | None, **settings) -> drift.Drift:
    words = dict(word.split("=") for word in write_table(tmp_path / "newer", rows, tokens))
    table = read_table(words["table"], tokens=words.get("table.tokens"))
    examination = examine(out, table, **settings)
    assert found(examination)["eos"] == "passed", "its own table is at hand as well"
    assert examination.drift is not None
    assert examination.exit_code == (3 if examination.drift.verdict == "re-select" else 0)
    return examination.drift


def recorded(out: Path) -> dict:
    return json.loads((out / "selection.json").read_text())["chosen"]


@pytest.mark.parametrize(("noise", "verdict"), [(0.01, "keep"), (0.5, "re-select")])
def test_noise_costs(noise: float, verdict: str, out: Path, tmp_path: Path) -> None:
    rows = (vectors() + noise * np.random.default_rng(0).standard_normal((N, D))).astype(np.float32)
    verdicts = compared(out, tmp_path, rows, TOKENS)
    chosen = recorded(out)
    method = {"KMeans": KMeans, "Uniform": Uniform}[chosen["compressor"]](chosen["parameters"]["bits"])
    again = method.compress(EmbeddingTable(rows), np.random.default_rng(0)).read(slice(None))
    assert verdicts.eos["recorded"] == chosen["measures"]["eos"]
    assert verdicts.eos["deployed"] == pytest.approx(true_eos(rows, decoded(out)), abs=1e-6)
    assert verdicts.eos["recompressed"] == pytest.approx(true_eos(rows, again), abs=1e-6)
    assert verdicts.cost == verdicts.eos["recompressed"] - verdicts.eos["deployed"]
    error = np.linalg.norm(decoded(out) - rows) / np.linalg.norm(rows)
    assert verdicts.reconstruction_error_relative["deployed"] == pytest.approx(error, rel=1e-5)
    assert verdicts.verdict == verdict and verdicts.notes == []
    assert verdicts.rows == {"by": "token", "compared": N, "new": 0, "gone": 0, "moved": 0}


def test_the_tolerance_decides(out: Path, tmp_path: Path) -> None:
    rows = vectors() + 0.1 * np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
    cost = compared(out, tmp_path, rows, TOKENS).cost
    assert cost is not None and cost > 0
    assert compared(out, tmp_path, rows, TOKENS, tolerance=cost).verdict == "keep"
    assert compared(out, tmp_path, rows, TOKENS, tolerance=0.99 * cost).verdict == "re-select"
    words = [str(out), *write_table(tmp_path / "newer", rows, TOKENS)]
    assert command([*words, "tolerance=1"]) == 0 and command([*words, "tolerance=0"]) == 3


def test_a_rotation_is_kept_with_a_note(out: Path, tmp_path: Path) -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((D, D)))
    verdicts = compared(out, tmp_path, vectors() @ rotation, TOKENS, tolerance=0.05)
    assert verdicts.eos["deployed"] == pytest.approx(recorded(out)["measures"]["eos"], abs=1e-5)
    assert verdicts.verdict == "keep" and verdicts.notes[0].startswith("it spans what the newer table spans, in other")


def test_rows_in_another_order_cost_nothing(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order = np.random.default_rng(0).permutation(N)
    verdicts = compared(out, tmp_path, vectors()[order], [TOKENS[row] for row in order])
    assert verdicts.eos["deployed"] == pytest.approx(recorded(out)["measures"]["eos"], abs=1e-9)
    assert verdicts.cost == pytest.approx(0, abs=1e-9) and verdicts.verdict == "keep"
    moved = int((order != np.arange(N)).sum())
    assert verdicts.rows == {"by": "token", "compared": N, "new": 0, "gone": 0, "moved": moved}
    assert "take ids from this folder's tokens.txt" in verdicts.notes[0]
    words = write_table(tmp_path / "newer", vectors()[order], [TOKENS[row] for row in order])
    assert command([str(out), *words, f"json={tmp_path}/report.json"]) == 0
    assert json.loads((tmp_path / "report.json").read_text())["drift"]["rows"]["moved"] == moved
    assert "keep: staying costs 0.0000 of EOS, allowed is 0.01." in capsys.readouterr().out


def test_tokens_without_a_vector_ask_for_a_new_selection(out: Path, tmp_path: Path) -> None:
    rows = np.concatenate([vectors(), np.ones((2, D), np.float32)])
    verdicts = compared(out, tmp_path, rows, [*TOKENS, "[new]", "[more]"])
    assert verdicts.verdict == "re-select" and verdicts.cost == pytest.approx(0, abs=1e-9)
    assert verdicts.reason == "2 of its 402 tokens have no vector here (first: '[new]', '[more]')"
    assert verdicts.rows == {"by": "token", "compared": N, "new": 2, "gone": 0, "moved": 0}


def test_tokens_that_are_gone_are_left_out(out: Path, tmp_path: Path) -> None:
    verdicts = compared(out, tmp_path, vectors()[50:], TOKENS[50:])
    assert verdicts.eos["deployed"] == pytest.approx(true_eos(vectors()[50:], decoded(out)[50:]), abs=1e-6)
    assert verdicts.rows == {"by": "token", "compared": N - 50, "new": 0, "gone": 50, "moved": N - 50}
    assert verdicts.verdict == "keep"


def test_no_token_in_common(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = compared(out, tmp_path, vectors(), [f"other{i}" for i in range(N)])
    assert verdicts.verdict == "re-select" and verdicts.cost is None and verdicts.eos["deployed"] is None
    assert verdicts.reason.endswith("no token of the newer table has a vector here")
    assert command([str(out), *write_table(tmp_path / "a", vectors(), [f"other{i}" for i in range(N)])]) == 3
    assert "re-select: 400 of its 400 tokens" in capsys.readouterr().out


def test_without_tokens_rows_are_compared_by_their_place(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = vectors()
    rows[3] *= 2
    verdicts = compared(out, tmp_path, rows, None)
    assert verdicts.rows == {"by": "row", "compared": N, "new": None, "gone": None, "moved": None}
    command([str(out), *write_table(tmp_path / "changed", rows)])
    assert "400 rows compared, row i for id i: the tokens of one of the tables" in capsys.readouterr().out
    assert verdicts.eos["deployed"] == pytest.approx(true_eos(rows, decoded(out)), abs=1e-6)
    assert command([str(out), *write_table(tmp_path / "longer", np.concatenate([rows, rows]))]) == 2
    assert capsys.readouterr().err == (
        "error: the newer table has 800 rows and the deployed one 400, and the newer table has no tokens to pair them "
        "by: give table.tokens=FILE, or select again\n"
    )


def test_a_method_that_cannot_be_repeated_is_held_against_its_record(out: Path, tmp_path: Path) -> None:
    edit(out / "selection.json", lambda record: record["chosen"].update(compressor="Mine"))
    described_again(out)
    verdicts = compared(out, tmp_path, vectors() + np.float32(0.01), TOKENS)
    assert verdicts.eos["recompressed"] is None
    assert verdicts.cost == verdicts.eos["recorded"] - verdicts.eos["deployed"]
    assert "(Mine is not a method of this program, nor of an installed package that declares it" in verdicts.notes[0]


def test_a_folder_that_failed_is_not_compared(out: Path, tmp_path: Path) -> None:
    flip(out / "report.html", 100)
    newer = EmbeddingTable(vectors() + np.float32(0.01), TOKENS)
    assert (examine(out, newer).drift, examine(out, newer).exit_code) == (None, 1)


def test_the_method_is_repeated_with_its_seed() -> None:
    table = EmbeddingTable(vectors(), TOKENS)
    payload = Uniform(2, "stochastic").compress(table, np.random.default_rng(5))
    settings = {"bits": 2, "rounding": "stochastic"}
    chosen = Entry(name="u", compressor="Uniform", parameters=settings, nbytes=payload.nbytes, measures={"eos": 0.5})
    whole, pairs = payload.read(slice(None)), drift.pair(N, TOKENS, table)
    costs = [drift.drift(table, pairs, lambda ids: whole[ids], chosen, aligned=True, seed=seed).cost for seed in (5, 6)]
    assert costs[0] == 0 != costs[1]


def test_the_comparison_holds_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, order = vectors(), np.random.default_rng(0).permutation(N)[:300]
    tokens = [TOKENS[row] for row in order]
    payload = Uniform(2).compress(EmbeddingTable(rows), np.random.default_rng(0))
    whole = payload.read(slice(None))
    chosen = Entry(name="u", compressor="Uniform", parameters={"bits": 2}, nbytes=0, measures={"eos": 0.5})
    asked = []

    def decode(ids: np.ndarray) -> np.ndarray:
        asked.append(len(ids))
        return whole[ids]

    def once() -> drift.Drift:
        newer = EmbeddingTable(rows[order] + np.float32(0.1), tokens)
        return drift.drift(newer, drift.pair(N, TOKENS, newer), decode, chosen, aligned=True, seed=0)

    at_once = once()
    monkeypatch.setattr("eigenselect.compressors.data.table.BLOCK_BYTES", 4 * D * 64)
    asked.clear()
    by_blocks = once()
    assert max(asked) == 64 and sum(asked) >= 300
    assert by_blocks.eos["deployed"] == pytest.approx(at_once.eos["deployed"], abs=1e-12)
    assert by_blocks.eos["deployed"] == pytest.approx(true_eos(rows[order] + np.float32(0.1), whole[order]), abs=1e-6)


# --- the manifest -----------------------------------------------------------------------------------------------------


def test_the_manifest_lists_what_is_there(handed_over: Path) -> None:
    out = handed_over / "out"
    manifest = json.loads((out / MANIFEST).read_text())
    record = json.loads((out / "selection.json").read_text())
    assert {*manifest["files"]} == {path.name for path in out.iterdir()} - {MANIFEST}
    for name, entry in manifest["files"].items():
        content = (out / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert {key: manifest[key] for key in ("chosen", "table_digest", "run_id", "versions")} == {
        "chosen": record["chosen"]["name"],
        "table_digest": record["table"]["digest"],
        "run_id": record["run_id"],
        "versions": record["versions"],
    }
    assert manifest["version"] == 1
