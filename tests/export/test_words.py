"""A model that takes tokens: the rows of the one that takes ids, and what becomes of a token that it does not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from eigenselect.export import OnnxExport, VerificationError, save, to_onnx, verify_words
from eigenselect.export.tokens import string_input as words
from eigenselect.export.tokens.string_input import check_vocabulary, to_words, write_words
from tests.cases import CASES, Case, decode, forms, payload_of

ODD = ["", " ", "\t", "a\0b", "\r", "x\n", "é", "e\u0301", "日本語", "😀", "\u200b", "zeros", "error", "-1", "[UNK]"]
"""Tokens that differ in what is easily lost: nothing, whitespace, ends of strings, composed and wide characters."""

CPU = ["CPUExecutionProvider"]

every_form = pytest.mark.parametrize("case", forms(), ids=lambda case: case.id)


def vocabulary(n: int) -> list[str]:
    return [*ODD, *(f"token{i}" for i in range(n - len(ODD)))]


def session(built: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # a failing run also writes to the log
    return ort.InferenceSession(built.SerializeToString(), options, providers=CPU)


def look_up(runtime: ort.InferenceSession, tokens: list[str]) -> np.ndarray:
    return runtime.run(None, {"tokens": np.array(tokens, dtype=object)})[0]


@every_form
def test_every_kind_gives_its_rows_by_token(case: Case) -> None:
    made = payload_of(case, "gaussian")
    tokens, model = vocabulary(made.n), to_onnx(made)
    expected = session(model).run(None, {"ids": np.arange(made.n)})[0]
    for oov in ("error", "zeros", "[UNK]"):
        runtime = session(to_words(model, tokens, oov))
        np.testing.assert_array_equal(look_up(runtime, tokens), expected, strict=True)
        assert look_up(runtime, []).shape == (0, made.k)
        batch = [tokens[-1], "Token1", tokens[0], "", "É"]
        if oov == "error":
            with pytest.raises(Exception, match=r"out of data bounds|out of bounds|out of range"):
                look_up(runtime, batch)
        else:
            rows = expected[[-1, tokens.index("[UNK]"), 0, 0, tokens.index("[UNK]")]]
            if oov == "zeros":
                rows[[1, 4]] = 0
            np.testing.assert_array_equal(look_up(runtime, batch), rows, strict=True)
    assert session(model).run(None, {"ids": np.arange(made.n)})[0].shape == expected.shape, "the model is left alone"


def small(name: str = "uniform-b4") -> tuple[onnx.ModelProto, list[str], np.ndarray]:
    (case,) = (case for case in CASES if case.id == name)
    made = payload_of(case, "gaussian")
    return to_onnx(made), vocabulary(made.n), decode(made)


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("target", ["portable", "cpu"])
def test_other_opsets_and_targets(opset: int, target: str) -> None:
    (case,) = (case for case in CASES if case.id == "uniform-b4")
    made = payload_of(case, "gaussian")
    tokens, model = vocabulary(made.n), to_onnx(made, opset=opset, target=target)
    expected = session(model).run(None, {"ids": np.arange(made.n)})[0]
    np.testing.assert_array_equal(look_up(session(to_words(model, tokens, "zeros")), tokens), expected, strict=True)


def test_the_encoder_is_of_the_oldest_version_with_strings() -> None:
    model, tokens, _ = small()
    built = to_words(model, tokens, "error")
    assert {entry.domain: entry.version for entry in built.opset_import} == {
        **{entry.domain: entry.version for entry in model.opset_import},
        "ai.onnx.ml": 2,
    }
    assert built.ir_version == model.ir_version
    encoder = built.graph.node[0]
    assert (encoder.op_type, encoder.domain) == ("LabelEncoder", "ai.onnx.ml")
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in encoder.attribute}
    assert found == {
        "keys_strings": [token.encode() for token in tokens],
        "values_int64s": [*range(len(tokens))],
        "default_int64": len(tokens),  # the operator's own default would be the last row
    }
    (given,), (got,) = session(built).get_inputs(), session(built).get_outputs()
    assert (given.name, given.type, given.shape) == ("tokens", "tensor(string)", ["batch"])
    assert (got.name, got.type, got.shape) == ("vectors", "tensor(float)", ["batch", 13])


def test_infinite_rows_are_no_hindrance_to_zeros() -> None:
    """Zero times infinity would not be zero."""
    model, tokens, _ = small("float32")
    (table,) = model.graph.initializer
    table.CopyFrom(onnx.numpy_helper.from_array(np.full((300, 13), np.inf, np.float32), table.name))
    assert not look_up(session(to_words(model, tokens, "zeros")), ["unknown"]).any()


def test_write_words_tells_what_it_wrote(tmp_path: Path) -> None:
    model, tokens, _ = small()
    save(model, tmp_path / "model.onnx")
    made = OnnxExport(words=True, oov="[UNK]").write_words(
        tmp_path / "model.onnx", tmp_path / "words.onnx", tokens, np.random.default_rng(0)
    )
    size = (tmp_path / "words.onnx").stat().st_size
    assert (made.file, made.file_bytes, made.oov) == ("words.onnx", size, "[UNK]")
    assert made.rows > 290
    strings = sum(len(token.encode()) for token in tokens)
    entries = words.ENTRY_BYTES * len(tokens)
    model_bytes = (tmp_path / "model.onnx").stat().st_size
    assert model_bytes + strings < size < model_bytes + strings + entries


def test_unknown_tokens_are_sought_beyond_the_vocabulary(tmp_path: Path) -> None:
    model, tokens, _ = small()
    tokens[20:23] = ["?", "??", "???"]
    save(model, tmp_path / "model.onnx")
    write_words(tmp_path / "model.onnx", tmp_path / "w.onnx", tokens, "error", np.random.default_rng(0), CPU)


# --- what is not right ------------------------------------------------------------------------------------------------


def refused(model: onnx.ModelProto, built: onnx.ModelProto, tokens: list[str], oov: str, folder: Path) -> str:
    save(model, folder / "model.onnx")
    save(built, folder / "words.onnx")
    with pytest.raises(VerificationError) as error:
        verify_words(folder / "model.onnx", folder / "words.onnx", tokens, oov, np.random.default_rng(0), CPU)
    return str(error.value)


@pytest.mark.parametrize("row", [0, -1])
def test_the_first_and_the_last_token_are_always_compared(
    row: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "SAMPLED_ROWS", 0)
    model, tokens, _ = small()
    tokens[row], tokens[150] = tokens[150], tokens[row]
    built = to_words(model, tokens, "zeros")
    tokens[row], tokens[150] = tokens[150], tokens[row]
    assert "the rows of 2 tokens are not those of model.onnx" in refused(model, built, tokens, "zeros", tmp_path)


@pytest.mark.parametrize("made", ["error", "zeros", "[UNK]"])
@pytest.mark.parametrize("stated", ["error", "zeros", "[UNK]", "token7"])
def test_another_policy_than_the_stated_one_is_seen(made: str, stated: str, tmp_path: Path) -> None:
    model, tokens, _ = small()
    if made == stated:
        save(model, tmp_path / "model.onnx")
        rng = np.random.default_rng(0)
        assert write_words(tmp_path / "model.onnx", tmp_path / "words.onnx", tokens, made, rng, CPU).oov == made
    else:
        reported = refused(model, to_words(model, tokens, made), tokens, stated, tmp_path)
        if made == "error":
            assert reported.startswith("words.onnx gives no rows: ")
        else:
            assert reported.startswith("words.onnx: the ") and "unknown token '?' is" in reported


def test_the_default_of_the_operator_would_be_seen(tmp_path: Path) -> None:
    """Unknown tokens would get the last row."""
    model, tokens, _ = small()
    built = to_words(model, tokens, "error")
    (default,) = (attribute for attribute in built.graph.node[0].attribute if attribute.name == "default_int64")
    default.i = -1
    assert refused(model, built, tokens, "error", tmp_path) == "words.onnx: the unknown token '?' is not an error"


def test_an_empty_batch_of_another_shape_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens, expected = small()
    real = words.OnnxDecoder.decode
    monkeypatch.setattr(words.OnnxDecoder, "decode", lambda *given: real(*given) if len(given[1]) else expected[:1])
    reported = refused(model, to_words(model, tokens, "error"), tokens, "error", tmp_path)
    assert reported == "words.onnx: no tokens give vectors of shape (1, 13)"


def test_a_vocabulary_that_does_not_fit_one_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens, _ = small()
    size = model.ByteSize() + sum(len(token.encode()) for token in tokens) + 16 * len(tokens)
    monkeypatch.setattr(words, "MAX_FILE_BYTES", size)
    to_words(model, tokens, "error")
    monkeypatch.setattr(words, "MAX_FILE_BYTES", size - 1)
    with pytest.raises(ValueError, match=rf"^300 tokens and the payload take {size} bytes, one ONNX file holds \d+: "):
        to_words(model, tokens, "error")


@pytest.mark.parametrize(
    ("tokens", "oov", "message"),
    [
        (
            None,
            "error",
            r"^export\.words=true needs the tokens and the table has none: give them as table\.tokens=FILE",
        ),
        (
            ["a", "\udc80b"],
            "a",
            r"^export\.words=true: token '\\udc80b' at row 1 holds half of a surrogate pair, .* or drop export\.words$",
        ),
        (["a", "b"], "[UNK]", r"^export\.oov = '\[UNK\]' is neither error nor zeros nor a token of the table"),
    ],
)
def test_what_cannot_be_made_is_refused_early(tokens: list[str] | None, oov: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_vocabulary(tokens, oov)
    with pytest.raises(ValueError, match=message):
        OnnxExport(words=True, oov=oov).check_tokens(tokens)
    OnnxExport().check_tokens(tokens)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"words": "yes"}, r"^export\.words = 'yes': must be true or false$"),
        ({"words": True, "oov": 0}, r"^export\.oov = 0: must be error, zeros or a token, in quotes$"),
        (
            {"oov": "zeros"},
            r"^export\.oov = 'zeros' is for tokens, and no model takes them: add export\.words=true, or",
        ),
    ],
)
def test_settings_that_make_no_sense(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OnnxExport(**settings)
