"""Bags of rows: summed before the decode's matrix, and still the sums of the decoded rows, in every execution."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from eigenselect.compressors import Payload
from eigenselect.compressors.payloads.base import kinds
from eigenselect.compressors.payloads.composed import Projected, Replaced, Scaled, Sum, Unaligned
from eigenselect.compressors.payloads.dense import Dense
from eigenselect.compressors.payloads.mapped import Mapped
from eigenselect.compressors.payloads.ops import NumpyOps
from eigenselect.compressors.payloads.torch_ops import TorchOps
from eigenselect.export import CompressedEmbeddingBag, replace_embeddings, torch_to_onnx
from eigenselect.export.tokens.sentences import sentences_to_onnx
from tests.cases import Case, decode, forms, payload_of

N = 300
IDS = np.random.default_rng(0).integers(0, N, 60)
BAGS = np.array([0, 0, 7, 7, 30, 60])
"""The first bag is empty, one in the middle, and the last."""

every_form = pytest.mark.parametrize("case", forms(), ids=lambda case: case.id)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def of_tokens(part: Payload) -> Payload:
    """A payload as a static model has it: of ids that share rows, with a weight each."""
    rows = np.random.default_rng(1).integers(0, part.n, N).astype(np.int32)
    return Scaled(Mapped(part, rows), Dense(np.abs(normal(N, 1, seed=2))))


def projected() -> Payload:
    return Projected(Dense(normal(N, 5)), normal(5, 13, seed=1))


COMPOSED: dict[str, Callable[[], Payload]] = {
    "of tokens": lambda: of_tokens(projected()),
    "sum": lambda: Sum((projected(), Projected(Dense(normal(N, 3)), normal(3, 13, seed=2)))),
    "replaced": lambda: Replaced(projected(), np.array([0, 7, 299], np.int32), normal(3, 13, seed=3)),
    "unaligned": lambda: Unaligned(projected()),
    "every column scaled": lambda: Scaled(projected(), Dense(normal(N, 13, seed=4))),
}


def sums(payload: Payload, ids: np.ndarray = IDS, bags: np.ndarray = BAGS) -> np.ndarray:
    """(b, k) float64 sums of rows of the decoded table, one bag after the other."""
    table = decode(payload).astype(np.float64)
    ends = [*bags[1:], len(ids)]
    return np.stack([table[ids[start:end]].sum(axis=0) for start, end in zip(bags, ends, strict=True)])


def agree(found: np.ndarray, expected: np.ndarray) -> None:
    assert (found.dtype, found.shape) == (np.float32, expected.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6 * np.abs(expected).max())  # torch sums in float32


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)


def check(payload: Payload, *exports: dict[str, Any]) -> None:
    expected = sums(payload)
    agree(payload.read_sums(IDS, BAGS), expected)
    agree(payload.read_sums(IDS - N, BAGS), expected)
    ops = TorchOps()
    bags = torch.from_numpy(BAGS)
    agree(payload.pooled(torch.from_numpy(IDS), ops, lambda a: ops.sum_bags(a, bags)).numpy(), expected)
    agree(CompressedEmbeddingBag(payload, "sum")(torch.from_numpy(IDS), bags).numpy(), expected)
    for settings in ({}, *exports):
        agree(session(payload, **settings).run(None, {"ids": IDS, "offsets": BAGS})[0], unit(expected))
    for wrong in (np.array([0, N]), np.array([-N - 1, 0])):
        with pytest.raises(IndexError):
            payload.read_sums(wrong, np.array([0]))


def session(payload: Payload, **settings: Any) -> ort.InferenceSession:
    model = sentences_to_onnx(payload, **settings)
    onnx.checker.check_model(model, full_check=True)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@every_form
def test_a_bag_is_the_sum_of_its_rows_everywhere(case: Case) -> None:
    check(payload_of(case, "gaussian"))


@pytest.mark.parametrize("name", COMPOSED)
def test_a_bag_of_what_is_composed_is_the_sum_of_its_rows_everywhere(name: str) -> None:
    check(COMPOSED[name](), {"opset": 13}, {"target": "cpu"})


class Counting(NumpyOps):
    """Counts the rows that a matrix is applied to."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def scope(self, name: str) -> Counting:
        return self

    def matmul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.rows.append(len(a))
        return super().matmul(a, b)


@pytest.mark.parametrize(("name", "products"), [("of tokens", 1), ("sum", 2), ("replaced", 1), ("unaligned", 1)])
def test_a_matrix_is_applied_once_a_bag(name: str, products: int) -> None:
    made, ops = COMPOSED[name](), Counting()
    made.pooled(IDS, ops, lambda rows: ops.sum_bags(rows, BAGS))
    assert ops.rows == [len(BAGS)] * products
    made.decode(IDS, ops)
    assert ops.rows[products:] == [len(IDS)] * products
    steps = [step for step in CompressedEmbeddingBag(made)._steps if step[1] in ("sum_bags", "matmul")]
    assert [verb for _, verb, _ in steps[:2]] == ["sum_bags", "matmul"]
    nodes = [node.op_type for node in sentences_to_onnx(made).graph.node]
    assert nodes.count("MatMul") == products and nodes.index("CumSum") < nodes.index("MatMul")


def test_sums_of_many_rows_lose_nothing_to_those_before_them() -> None:
    # Running sums in float32 would be off by 1e-3 here.
    table = np.array([[1, 1, 1], [0.1, 0.2, 0.3]], np.float32)
    ids, bags = np.append(np.zeros(50_000, np.int64), 1), np.array([0, 50_000])
    found = session(Dense(table)).run(None, {"ids": ids, "offsets": bags})[0]
    np.testing.assert_allclose(found, unit(np.stack([table[0], table[1]])), atol=1e-6)


@pytest.mark.parametrize("bags", [[], [0], [0, 0]])
def test_without_rows_there_are_zeros(bags: list[int]) -> None:
    payload, none = COMPOSED["of tokens"](), np.array([], np.int64)
    offsets = np.array(bags, np.int64)
    zeros = np.zeros((len(bags), 13), np.float32)
    np.testing.assert_array_equal(payload.read_sums(none, offsets), zeros)
    np.testing.assert_array_equal(session(payload).run(None, {"ids": none, "offsets": offsets})[0], zeros)
    found = CompressedEmbeddingBag(payload)(torch.from_numpy(none), torch.from_numpy(offsets))
    np.testing.assert_array_equal(found.numpy(), zeros)


# --- ids that share rows ----------------------------------------------------------------------------------------------


def test_ids_that_share_a_row_are_refused_outside_of_it() -> None:
    part = Dense(normal(4, 3))
    for rows in ([], [4], [-1, 0]):
        with pytest.raises(ValueError, match=r"^Mapped\.rows must be one or more rows from 0 to 3$"):
            Mapped(part, np.array(rows, np.int32))
    with pytest.raises(ValueError, match=r"^Mapped\.rows is int64 of shape \(1,\): it must be 1-D int32$"):
        Mapped(part, np.array([0]))
    assert kinds()["Mapped"] is Mapped


# --- the torch module -------------------------------------------------------------------------------------------------


@cache
def table() -> torch.Tensor:
    return torch.from_numpy(decode(COMPOSED["of tokens"]()))


def pair(**settings: Any) -> tuple[CompressedEmbeddingBag, nn.EmbeddingBag]:
    made = CompressedEmbeddingBag(COMPOSED["of tokens"](), **settings)
    return made, nn.EmbeddingBag.from_pretrained(table(), **settings)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("padding", [None, 7, -1])
def test_it_is_an_embedding_bag_of_the_decoded_table(mode: str, padding: int | None) -> None:
    made, expected = pair(mode=mode, padding_idx=padding)
    ids = torch.from_numpy(IDS).clone()
    ids[[3, 12, 20]], ids[[4, 5, 6]] = 7, 299
    offsets = torch.from_numpy(BAGS)
    close(made(ids, offsets), expected(ids, offsets))
    close(made(ids.int(), offsets.int()), expected(ids.int(), offsets.int()))
    close(made(ids.reshape(5, 12)), expected(ids.reshape(5, 12)))
    close(made(ids.reshape(60, 1)[:0]), expected(ids.reshape(60, 1)[:0]))
    ended = torch.tensor([0, 5, 60])
    made, expected = pair(mode=mode, padding_idx=padding, include_last_offset=True)
    close(made(ids, ended), expected(ids, ended))
    if mode == "sum":
        weights = torch.rand(60, generator=torch.Generator().manual_seed(0))
        close(made(ids, ended, weights), expected(ids, ended, weights))
        both = ids.reshape(5, 12), None, weights.reshape(5, 12)
        close(made(*both), expected(*both))


def test_what_a_bag_is_not_made_of_is_refused() -> None:
    made, _ = pair(mode="mean")
    with pytest.raises(ValueError, match=r"^mode = 'max': it must be sum or mean$"):
        CompressedEmbeddingBag(COMPOSED["sum"](), "max")
    with pytest.raises(ValueError, match=r"^ids are 1-D: they must be 1-D with offsets, or 2-D without$"):
        made(torch.tensor([1]))
    with pytest.raises(ValueError, match=r"^per_sample_weights are given with mode = 'mean': they are for the mode"):
        made(torch.tensor([[1]]), None, torch.ones(1, 1))
    with pytest.raises(IndexError, match=r"^ids are from 0 to 300: they must be from 0 to 299$"):
        made(torch.tensor([[0, 300]]))
    assert "mode='mean'" in repr(made)
    with pytest.raises(AttributeError, match="CompressedEmbeddingBag has no weight"):
        _ = made.weight


class Sentences(nn.Module):
    """Bags of words and a layer on them."""

    def __init__(self, mode: str = "mean") -> None:
        super().__init__()
        self.words = nn.EmbeddingBag.from_pretrained(table().clone(), mode=mode)
        self.head = nn.Linear(13, 2)

    def forward(self, ids: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.words(ids, offsets))
        return found


@pytest.mark.slow
def test_a_model_of_bags_is_compressed_and_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model = Sentences().eval()
    ids, offsets = torch.from_numpy(IDS), torch.from_numpy(BAGS)
    expected = model(ids, offsets)
    (made,) = replace_embeddings(model, COMPOSED["of tokens"]())
    assert made.names == ("words",) and isinstance(model.words, CompressedEmbeddingBag)
    close(model(ids, offsets), expected)
    path = tmp_path / "model.onnx"
    shapes = ({0: "tokens"}, {0: "bags"})
    torch_to_onnx(model, (ids, offsets), path, dynamic_shapes=shapes, input_names=["ids", "offsets"])
    found = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count, bags in ((60, BAGS), (9, np.array([0, 4]))):
        given = {"ids": IDS[:count], "offsets": bags}
        close(torch.from_numpy(found.run(None, given)[0]), model(ids[:count], torch.from_numpy(bags)))
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert operators.index("CumSum") < operators.index("MatMul")


def test_the_largest_of_a_bag_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^not replaced: words takes the max of a bag: sum and mean are supported\."):
        replace_embeddings(Sentences("max"), bits=4)
