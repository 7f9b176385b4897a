"""A model that takes tokens: a LabelEncoder in front of the decode, for runtimes with strings.

The strings are stored in the file, beyond what the budget is charged. LabelEncoder is of the domain ai.onnx.ml; its
version 2 is the oldest with strings and int64 in attributes, and the one that old runtimes have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from eigenselect.export.operators.model import MAX_FILE_BYTES, save
from eigenselect.export.verification.parity import SAMPLED_ROWS, OnnxDecoder, VerificationError

ML_OPSET = 2

POLICIES = ("error", "zeros")
"""What becomes of a token that is not in the vocabulary, unless a token whose row it gets is named."""

ENTRY_BYTES = 16
"""At most so many bytes hold the length and the id of a token."""

SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Words:
    """A verified model with string input.

    Attributes:
        file: its name.
        file_bytes: its size, outside of the budget.
        oov: what becomes of a token that is not in the vocabulary.
        rows: tokens compared with the model that takes ids, the first and the last among them.
    """

    file: str
    file_bytes: int
    oov: str
    rows: int


def check_vocabulary(tokens: Sequence[str] | None, oov: str) -> None:
    """Raise a ValueError unless a model with string input can be made of `tokens` with the policy `oov`."""
    if tokens is None:
        raise ValueError(
            "export.words=true needs the tokens and the table has none: give them as table.tokens=FILE, or drop it"
        )
    if SURROGATE.search("".join(tokens)):
        row = next(row for row, token in enumerate(tokens) if SURROGATE.search(token))
        raise ValueError(
            f"export.words=true: token {tokens[row]!r} at row {row} holds half of a surrogate pair, which the UTF-8 of "
            "an ONNX model cannot hold: replace it, or drop export.words"
        )
    check_policy(tokens, oov)


def check_policy(tokens: Sequence[str], oov: str) -> None:
    """Raise a ValueError unless `oov` is a policy or one of the tokens."""
    if oov not in POLICIES and oov not in tokens:
        raise ValueError(
            f"export.oov = {oov!r} is neither {' nor '.join(POLICIES)} nor a token of the table: name one that it has"
        )


def to_words(model: onnx.ModelProto, tokens: Sequence[str], oov: str) -> onnx.ModelProto:
    """The model `tokens (batch,) string -> vectors (batch, k)` of one that takes ids (batch,) int64.

    Args:
        model: gives row i of n for id i.
        tokens: the n tokens, each once.
        oov: for a token that is not among them: `error`, `zeros` for a zero vector, or the token whose row it gets.

    Raises:
        ValueError: `oov` is neither a policy nor a token, or the strings do not fit one ONNX file.
    """
    check_vocabulary(tokens, oov)
    encoded = [token.encode() for token in tokens]
    size = model.ByteSize() + sum(map(len, encoded)) + ENTRY_BYTES * len(encoded)
    if size > MAX_FILE_BYTES:
        raise ValueError(
            f"{len(encoded)} tokens and the payload take {size} bytes, one ONNX file holds {MAX_FILE_BYTES}: "
            "export.words=false leaves the tokens out"
        )
    words = onnx.ModelProto()
    words.CopyFrom(model)
    graph = words.graph
    zeros = oov == "zeros"
    # The operator's own default, -1, is the last row. No id is n: the decode refuses it.
    default = -1 if zeros else len(encoded) if oov == "error" else tokens.index(oov)
    front = [
        helper.make_node(
            "LabelEncoder",
            ["tokens"],
            ["words.found" if zeros else "ids"],
            name="words.LabelEncoder",
            domain="ai.onnx.ml",
            keys_strings=encoded,
            values_int64s=range(len(encoded)),
            default_int64=default,
        )
    ]
    back = []
    if zeros:
        (last,) = (node for node in graph.node if "vectors" in node.output)
        last.output[:] = ["words.vectors" if output == "vectors" else output for output in last.output]
        graph.initializer.extend(
            numpy_helper.from_array(array, name)
            for name, array in (
                ("words.first", np.array(0, np.int64)),
                ("words.columns", np.array([-1], np.int64)),
                (
                    "words.zero",
                    np.array(0, helper.tensor_dtype_to_np_dtype(graph.output[0].type.tensor_type.elem_type)),
                ),
            )
        )
        front.append(helper.make_node("Max", ["words.found", "words.first"], ["ids"], name="words.Max"))
        back = [
            helper.make_node("Less", ["words.found", "words.first"], ["words.unknown"], name="words.Less"),
            helper.make_node("Unsqueeze", ["words.unknown", "words.columns"], ["words.row"], name="words.Unsqueeze"),
            helper.make_node("Where", ["words.row", "words.zero", "words.vectors"], ["vectors"], name="words.Where"),
        ]
    nodes = [*front, *graph.node, *back]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("tokens", onnx.TensorProto.STRING, ["batch"]))
    words.opset_import.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    onnx.checker.check_model(words, full_check=True)
    return words


def write_words(
    model: Path, path: Path, tokens: Sequence[str], oov: str, rng: np.random.Generator, providers: Sequence[str]
) -> Words:
    """Write the model with string input of the file `model` to `path`, and verify it.

    Raises:
        ValueError: see `to_words`.
        VerificationError: see `verify_words`.
    """
    save(to_words(onnx.load(model), tokens, oov), path)
    return verify_words(model, path, tokens, oov, rng, providers)


def verify_words(
    model: Path, path: Path, tokens: Sequence[str], oov: str, rng: np.random.Generator, providers: Sequence[str]
) -> Words:
    """Check that the file `path` gives the rows of the file `model`, and does as `oov` says.

    Raises:
        VerificationError: it does not.
    """
    ids = np.unique(np.concatenate([[0, len(tokens) - 1], rng.integers(0, len(tokens), SAMPLED_ROWS)]))
    by_id, by_token = OnnxDecoder(model, providers), OnnxDecoder(path, providers)
    expected = by_id.decode(ids)
    if not np.array_equal(by_token.decode(_strings([tokens[i] for i in ids]), "tokens"), expected):
        raise VerificationError(f"{path.name}: the rows of {len(ids)} tokens are not those of {model.name}")
    empty = by_token.decode(_strings([]), "tokens")
    if empty.shape != (0, expected.shape[1]):
        raise VerificationError(f"{path.name}: no tokens give vectors of shape {empty.shape}")
    _verify_unknown(by_token, by_id, tokens, oov, path.name)
    return Words(path.name, path.stat().st_size, oov, len(ids))


def _verify_unknown(by_token: OnnxDecoder, by_id: OnnxDecoder, tokens: Sequence[str], oov: str, name: str) -> None:
    unknown, known = "?", {*tokens}
    while unknown in known:
        unknown += "?"
    batch = _strings([tokens[0], unknown, tokens[-1]])
    if oov == "error":
        try:
            by_token.decode(batch, "tokens")
        except VerificationError:
            return
        raise VerificationError(f"{name}: the unknown token {unknown!r} is not an error")
    expected = by_id.decode(np.array([0, 0 if oov == "zeros" else tokens.index(oov), len(tokens) - 1]))
    if oov == "zeros":
        expected[1] = 0
    if not np.array_equal(by_token.decode(batch, "tokens"), expected):
        raise VerificationError(f"{name}: the vector of the unknown token {unknown!r} is not that of oov = {oov!r}")


def _strings(tokens: Sequence[str]) -> npt.NDArray[np.object_]:
    return np.array(tokens, dtype=object)
