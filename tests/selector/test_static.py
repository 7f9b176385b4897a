"""Folders of static models: what is read of them, and what a selection hands over of one."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnxruntime as ort
import pytest
from safetensors.numpy import save_file

from eigenselect.compressors.payloads.dense import Dense
from eigenselect.export import StaticModel
from eigenselect.export.tokens.static_model import Pooling
from eigenselect.export.verification import parity
from eigenselect.selector.checking.examination import examine
from eigenselect.selector.forms import FORMS, form_of
from eigenselect.selector.sources import static
from eigenselect.selector.store.output import FILES
from tests.running import command, only

pytest.importorskip("tokenizers")

N, ROWS, D = 300, 200, 8
WORDS = ["[UNK]", *(f"w{i}" for i in range(N - 1))]


def tokenizer(**settings: Any) -> dict[str, Any]:
    vocabulary = {word: id for id, word in enumerate(WORDS)}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    return {"version": "1.0", "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": model, **settings}


def table(n: int = N) -> np.ndarray:
    return (np.random.default_rng(n).standard_normal((n, D)) * np.geomspace(2, 0.5, D)).astype(np.float32)


def model2vec(folder: Path, *, merged: bool = False, **config: Any) -> Path:
    """A folder as model2vec leaves it; `merged` as its quantization of vocabularies does."""
    folder.mkdir()
    arrays = {"embeddings": table()}
    if merged:
        rng = np.random.default_rng(1)
        mapping, weights = rng.integers(0, ROWS, N), rng.random(N)
        arrays = {"embeddings": table(ROWS), "mapping": mapping, "weights": weights}
    save_file(arrays, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", **config}))
    modules = [{"idx": 0, "name": "0", "path": ".", "type": "sentence_transformers.models.StaticEmbedding"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def sentence_transformers(folder: Path, path: str, *others: str, **settings: Any) -> Path:
    """A folder as sentence-transformers leaves it."""
    (folder / path).mkdir(parents=True)
    save_file({"embedding.weight": table()}, folder / path / "model.safetensors")
    (folder / path / "tokenizer.json").write_text(json.dumps(tokenizer(**settings)))
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{name}" if i else path, "type": f"sentence_transformers.models.{name}"}
        for i, name in enumerate(["StaticEmbedding", *others])
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"similarity_fn_name": "cosine"}))
    return folder


# --- what is read -----------------------------------------------------------------------------------------------------

PADDING = {
    "strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": 3, "pad_type_id": 0,
    "pad_token": "w2",
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({}, Pooling(False, 512, (0,))),
        ({"normalize": True, "max_length": None}, Pooling(True, None, (0,))),
        ({"normalize": False, "max_length": 9}, Pooling(False, 9, (0,))),
    ],
)
def test_model2vec_leaves_unknown_tokens_out(config: dict[str, Any], pooling: Pooling, tmp_path: Path) -> None:
    found = static.read(model2vec(tmp_path / "m", **config))
    assert found is not None
    assert (found.tensor, found.shape, found.rows, found.weights) == ("embeddings", (N, D), None, None)
    assert (found.file, found.pooling) == (tmp_path / "m" / "model.safetensors", pooling)
    assert found.config == {"model_type": "model2vec", **config}


@pytest.mark.parametrize("path", ["", ".", "0_StaticEmbedding"])
@pytest.mark.parametrize(
    ("others", "settings", "pooling"),
    [
        ((), {}, Pooling(False, None, ())),
        (("Normalize",), {}, Pooling(True, None, ())),
        (("Normalize",), {"padding": PADDING}, Pooling(True, None, (3,))),
    ],
)
def test_sentence_transformers_leaves_padding_out(
    path: str, others: tuple[str, ...], settings: dict[str, Any], pooling: Pooling, tmp_path: Path
) -> None:
    found = static.read(sentence_transformers(tmp_path / "m", path, *others, **settings))
    assert found is not None
    assert (found.tensor, found.pooling) == ("embedding.weight", pooling)
    assert found.file == tmp_path / "m" / path / "model.safetensors"


def test_merged_tokens_share_rows_and_have_weights(tmp_path: Path) -> None:
    found = static.read(model2vec(tmp_path / "m", merged=True))
    assert found is not None and found.shape == (ROWS, D)
    assert found.rows is not None and found.weights is not None
    assert (found.rows.dtype, found.weights.dtype) == (np.int32, np.float32)
    texts = ["w1 w2 w2", "w298 unheard", ""]
    ids = [[2, 3, 3], [299], []]
    means = [
        np.mean([table(ROWS)[found.rows[id]] * found.weights[id] for id in each], axis=0) if each else np.zeros(D)
        for each in ids
    ]
    vectors = found.model(Dense(table(ROWS))).encode(texts)
    np.testing.assert_allclose(vectors, means, atol=1e-6)


def test_other_folders_are_not_static_models(tmp_path: Path) -> None:
    assert form_of(tmp_path / "nothing") is None
    assert form_of(tmp_path) is None
    other = model2vec(tmp_path / "m")
    assert form_of(other) is not None
    save_file({"embeddings": table(), "layer.weight": table()}, other / "model.safetensors")
    assert form_of(other) is None, "a table among others"
    (other / "tokenizer.json").unlink()
    assert form_of(other) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: (m / "modules.json").write_text((m / "modules.json").read_text().replace("Normalize", "Dense")),
            r"modules\.json has sentence_transformers\.models\.Dense after the embeddings, which is not followed: give "
            r"table\.path=.*model\.safetensors to compress the table alone$",
        ),
        (lambda m: (m / "modules.json").write_text("<html>"), r"modules\.json: not JSON \(.*\): fetch it again$"),
        (lambda m: (m / "tokenizer.json").write_text("{"), r"tokenizer\.json: not JSON \(.*\): fetch it again$"),
        (lambda m: (m / "model.safetensors").write_bytes(b"123"), r"model\.safetensors: not a whole safetensors file"),
    ],
)
def test_what_cannot_be_followed_is_named(change: Any, message: str, tmp_path: Path) -> None:
    folder = sentence_transformers(tmp_path / "m", "", "Normalize")
    change(folder)
    with pytest.raises(ValueError, match=message):
        static.read(folder)


# --- what is handed over ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def handed_over(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a static model whose tokens were merged, and what a selection made of it."""
    root = tmp_path_factory.mktemp("made")
    model2vec(root / "model", merged=True, normalize=True)
    (root / "texts.txt").write_text("w1 w2 w3\n\nunheard\nw7 w298 w9 w9\n", encoding="utf-8")
    assert selected(root, "export.inputs=texts.txt") == 0
    return root


def selected(root: Path, *settings: str, model: str = "model", out: str = "out") -> int:
    """Exit code of a selection of one candidate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        patch.setattr(parity, "session_bytes", lambda path, ids: 0)
        patch.chdir(root)
        asked = [f"table.path={root}/{model}", "budget=1200", f"out={out}", "candidates.bits=[2]"]
        return command(*asked, *only("uniform"), *settings)


def test_the_folder_comes_out_as_it_went_in_with_the_payload(handed_over: Path) -> None:
    out, given = handed_over / "out", static.read(handed_over / "model")
    assert given is not None
    record = json.loads((out / "selection.json").read_text())["model"]
    assert record["form"] == "static" and record["files"] == [*FORMS["static"].files]
    assert {*record["files"]} <= {*FILES}
    assert record["nbytes"] == sum(path.stat().st_size for path in (out / "static_model").iterdir())
    assert record["nbytes_before"] == given.nbytes
    before, after = given.model(Dense(table(ROWS))), StaticModel.load(out / "static_model")
    assert after.pooling == given.pooling and after.source == given.config
    texts = ["w1 w2 w3", "unheard", "w7 w298 w9 w9"]
    cosines = (before.encode(texts) * after.encode(texts)).sum(axis=1)
    cosines[1] = 1  # a text without a token
    measures = record["measures"]
    assert measures == pytest.approx({"sentence_cosine": cosines.mean(), "sentence_cosine_least": cosines.min()})
    assert 0.5 < measures["sentence_cosine_least"] < 0.9999, "a compressed table, and the same one"
    ids, offsets = after.tokenize(texts)
    session = ort.InferenceSession(out / "sentences.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(
        session.run(None, {"ids": ids, "offsets": offsets})[0], after.encode(texts), rtol=0, atol=1e-6
    )


def test_mlflow_has_its_measures_and_files(handed_over: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{handed_over}/mlflow.db")
    record = json.loads((handed_over / "out" / "selection.json").read_text())
    run = client.get_run(record["run_id"])
    model = record["model"]
    assert {"model_bytes": model["nbytes"], **model["measures"]}.items() <= run.data.metrics.items()
    listed = [file.path for file in client.list_artifacts(record["run_id"], "static_model")]
    assert sorted(listed) == sorted(file for file in model["files"] if "/" in file)


def test_a_check_goes_over_it(handed_over: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "session_bytes", lambda path, ids: 0)
    out = Path(shutil.copytree(handed_over / "out", tmp_path / "out"))
    found = {check.name: check for check in examine(out).checks}
    assert {check.status for check in found.values()} == {"passed"}
    assert re.fullmatch(
        r"static_model holds the payload; sentences\.onnx gives its sentence vectors to \d\.\de-0[789]|.* to 0\.0e\+00",
        found["model form"].says,
    )
    config = out / "static_model" / "config.json"
    config.write_text(config.read_text().replace("true", "false"))
    found = {check.name: check for check in examine(out).checks}
    assert (found["files"].status, found["model form"].status) == ("failed", "skipped")
    assert "config.json has bytes" in found["files"].says


def test_another_payload_in_the_folder_is_found(handed_over: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(handed_over / "out", tmp_path / "out"))
    form = FORMS["static"]
    arguments = (["CPUExecutionProvider"], np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"static_model/model\.safetensors does not hold the arrays of the payload"):
        form.verify(out, Dense(table(ROWS)), *arguments)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["table.keep=keep.txt", "table.tokens=all.txt"], r"table is \(200, 8\) and \(9, 8\) of it are read"),
        (["export.inputs=x.npz"], r"export\.inputs = x\.npz: a static model is compared on texts, one a line"),
        (["export.inputs=missing.txt"], r"export\.inputs = missing\.txt cannot be read: .*; give a text file in UTF-8"),
        (["export.inputs=empty.txt"], r"export\.inputs = empty\.txt has no text: write one a line"),
    ],
)  # fmt: skip
def test_what_cannot_be_handed_over_is_refused_before_the_work(
    settings: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model2vec(tmp_path / "model", merged=True)
    (tmp_path / "all.txt").write_text("".join(f"t{i}\n" for i in range(ROWS)))
    (tmp_path / "keep.txt").write_text("".join(f"t{i}\n" for i in range(9)))
    (tmp_path / "empty.txt").write_text("\n \n")
    assert selected(tmp_path, *settings) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_without_texts_some_are_made(handed_over: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence_transformers(handed_over / "other", "0_StaticEmbedding", "Normalize")
    assert selected(handed_over, model="other", out="more") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert re.search(
        r"static_model takes [\d,]+ bytes, .* Vectors of 1,000 texts of random tokens have a cosine of", printed
    )
    assert StaticModel.load(handed_over / "more" / "static_model").pooling.normalize
