"""Static models: the vectors of texts against sums that are written out, and the files that hold a model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from eigenselect.compressors.payloads.composed import Projected
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.export import StaticModel, VerificationError, sentences_to_onnx, verify_sentences
from eigenselect.export.operators.model import save
from eigenselect.export.tokens import static_model
from eigenselect.export.tokens.static_model import Pooling, ids_of

pytest.importorskip("tokenizers")

WORDS = ["?", *(f"word{i}" for i in range(40)), "xylophone"]
TEXTS = ["word3", "word1 word2 word2", "", "nothing known", "word5 nothing xylophone", "  word1   word4 "]


def tokenizer(**settings: Any) -> str:
    """A tokenizer of words, which takes unknown ones for `?`, id 0."""
    model = {"type": "WordLevel", "vocab": {word: id for id, word in enumerate(WORDS)}, "unk_token": "?"}
    return json.dumps({"version": "1.0", "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": model, **settings})


def payload() -> Projected:
    rng = np.random.default_rng(0)
    return Projected(
        Dense(rng.standard_normal((len(WORDS), 4)).astype(np.float32)), rng.standard_normal((4, 9)).astype(np.float32)
    )


def model(**pooling: Any) -> StaticModel:
    return StaticModel(tokenizer(), payload(), Pooling(**pooling))


def mean(text: str, skipped: tuple[int, ...] = (), most: int | None = None) -> np.ndarray:
    """The vector of a text, token by token, in float64."""
    ids = [WORDS.index(word) if word in WORDS else 0 for word in text.split()][:most]
    rows = [payload().read(np.array([id]))[0].astype(np.float64) for id in ids if id not in skipped]
    found: np.ndarray = np.sum(rows, axis=0) / len(rows) if rows else np.zeros(9)
    return found


def close(found: np.ndarray, expected: Any) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("skipped", [(), (0,), (0, 2)])
def test_a_vector_is_the_mean_of_the_rows_of_its_tokens(skipped: tuple[int, ...]) -> None:
    made = model(skipped=skipped)
    close(made.encode(TEXTS), [mean(text, skipped) for text in TEXTS])
    for text in TEXTS:
        close(made.encode(text), mean(text, skipped))
    assert made.encode([]).shape == (0, 9)


def test_vectors_have_length_one_where_the_model_or_the_caller_says_so() -> None:
    means = np.array([mean(text, (0,)) for text in TEXTS])
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    assert (lengths[[2, 3]] == 0).all(), "texts without a token that counts"
    unit = means / np.where(lengths, lengths, 1)
    close(model(skipped=(0,), normalize=True).encode(TEXTS), unit)
    close(model(skipped=(0,)).encode(TEXTS, normalize=True), unit)
    close(model(skipped=(0,), normalize=True).encode(TEXTS, normalize=False), means)


def test_a_text_is_cut_as_model2vec_cuts_it() -> None:
    # By characters first, as many as so many tokens of the median length, 6, have; then by tokens.
    made = model(max_length=2)
    close(made.encode("word1 word2 word3"), mean("word1 word2"))
    close(made.encode("xylophone word2"), mean("xylophone ?"))  # "xylophone wo"
    close(model(max_length=2, skipped=(0,)).encode("a b word3"), mean(""))


def test_many_texts_are_encoded_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(WORDS[id] for id in rng.integers(0, len(WORDS), count)) for count in rng.integers(0, 9, 50)]
    whole = model().encode(texts)
    monkeypatch.setattr(static_model, "BATCH", 7)
    monkeypatch.setattr("eigenselect.compressors.payloads.base.READ_BYTES", 4 * 9 * 5)
    close(model().encode(texts), whole)
    close(whole, [mean(text) for text in texts])


def test_padding_and_truncation_of_the_tokenizer_itself_change_nothing() -> None:
    padding = {
        "strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 1, "pad_type_id": 0,
        "pad_token": "word0",
    }  # fmt: skip
    truncation = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    made = StaticModel(tokenizer(padding=padding, truncation=truncation), payload())
    close(made.encode(TEXTS), [mean(text) for text in TEXTS])


def test_the_onnx_model_gives_the_vectors_of_the_loader(tmp_path: Path) -> None:
    made = model(skipped=(0,))
    save(sentences_to_onnx(made.payload), tmp_path / "sentences.onnx")
    assert verify_sentences(made.payload, tmp_path / "sentences.onnx", np.random.default_rng(0), CPU) <= 1e-6
    ids, offsets = made.tokenize(TEXTS)
    session = ort.InferenceSession(tmp_path / "sentences.onnx", providers=CPU)
    close(session.run(None, {"ids": ids, "offsets": offsets})[0], made.encode(TEXTS, normalize=True))


CPU = ["CPUExecutionProvider"]


def test_a_model_of_other_sentences_is_not_passed(tmp_path: Path) -> None:
    other = Projected(payload().part, -payload().matrix)
    save(sentences_to_onnx(other), tmp_path / "sentences.onnx")
    with pytest.raises(VerificationError, match=r"sentences\.onnx: a vector differs by .* from numpy's, allowed is 1e"):
        verify_sentences(payload(), tmp_path / "sentences.onnx", np.random.default_rng(0), CPU)
    more = np.concatenate([payload().read(slice(None)), np.zeros((2_000, 9), np.float32)])
    save(sentences_to_onnx(Dense(more)), tmp_path / "large.onnx")
    with pytest.raises(VerificationError, match=r"large\.onnx takes 7\d,?\d+ bytes, allowed are 17"):
        verify_sentences(payload(), tmp_path / "large.onnx", np.random.default_rng(0), CPU)


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_folder_holds_the_model_and_needs_no_runtime(tmp_path: Path) -> None:
    made = StaticModel(tokenizer(), payload(), Pooling(True, 5, (0,)), {"language": "en"})
    made.save(tmp_path / "folder")
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.json")
    }
    loaded = StaticModel.load(tmp_path / "folder")
    assert (loaded.pooling, loaded.source) == (made.pooling, made.source)
    assert json.loads(loaded.tokenizer) == json.loads(made.tokenizer)
    np.testing.assert_array_equal(loaded.encode(TEXTS), made.encode(TEXTS))
    code = (
        "import sys, eigenselect; v = eigenselect.StaticModel.load(sys.argv[1]).encode('word1 word2');"
        "print(v[0], *({'torch', 'onnx', 'onnxruntime', 'numba', 'mlflow'} & {*sys.modules}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "folder")], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [str(made.encode("word1 word2")[0])]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"is not the folder of a static model: .*config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), r"folder is not the folder of a static model: "),
        (lambda folder: (folder / "config.json").write_text("{}"), r"is not that of a compressed static model: "),
        (lambda folder: (folder / "model.safetensors").unlink(), r"model\.safetensors cannot be read as a payload"),
    ],
)
def test_another_folder_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    model().save(tmp_path / "folder")
    change(tmp_path / "folder")
    with pytest.raises(ValueError, match=message):
        StaticModel.load(tmp_path / "folder")


def test_a_tokenizer_with_more_ids_than_rows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^the tokenizer has the id 41, and there are 41 rows"):
        StaticModel(tokenizer(), Dense(np.ones((41, 2), np.float32)))


def test_ids_are_those_of_every_kind_of_tokenizer() -> None:
    added = [{"id": 2, "content": "[PAD]"}]
    assert ids_of({"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": added}) == {"a": 0, "b": 1, "[PAD]": 2}
    assert ids_of({"model": {"type": "Unigram", "vocab": [["<unk>", 0.0], ["a", -1.5]]}}) == {"<unk>": 0, "a": 1}


def test_without_the_package_of_tokenizers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"not installed: pip install 'eigenselect\[static\]'$"):
        model().encode("word1")
