"""Rows of zeros: kept by every candidate that can keep them, and said of every one that cannot."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from eigenselect.compressors import (
    PCA,
    Blockwise,
    EmbeddingTable,
    ExactRows,
    Identity,
    KMeans,
    Spectral,
    Uniform,
    load,
)
from eigenselect.export import OnnxDecoder
from eigenselect.selector.checking.examination import examine
from eigenselect.selector.pool.candidates import Room, expand
from eigenselect.selector.pool.digest import table_digest
from eigenselect.selector.pool.zero_rows import MOST, fate, with_zero_rows
from eigenselect.selector.sources import read_table
from eigenselect.selector.sources.tokens import token_of
from tests.cases import gaussian
from tests.running import command, only
from tests.selector.test_command import client, store  # noqa: F401

N, D = 300, 16


def table(*zeros: int) -> EmbeddingTable:
    vectors = gaussian(N, D)
    vectors[list(zeros)] = 0
    return EmbeddingTable(vectors)


def test_the_rows_of_zeros_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eigenselect.compressors.data.table.BLOCK_BYTES", 4 * D * 7)
    vectors = table(0, 6, 7, 299).vectors
    vectors[6, 3], vectors[7, 3] = 1e-45, -0.0
    for dtype in (np.float32, np.float16):  # where 1e-45 is zero
        found = EmbeddingTable(vectors.astype(dtype)).zero_rows
        assert found.dtype == np.int64
        assert found.tolist() == ([0, 7, 299] if dtype == np.float32 else [0, 6, 7, 299])
    assert table().zero_rows.tolist() == []


def test_they_are_exact_where_a_method_would_lose_them() -> None:
    own, keeps = PCA(dim=2, then=Uniform(4)), [Identity(), Blockwise(4), Spectral(), PCA(dim=2, keep_dimension=True)]
    pool = [*keeps, own, KMeans(4), ExactRows((5, 9), Uniform(4)), ExactRows((5,), KMeans(4))]
    assert with_zero_rows(pool, np.array([5, 2])) == [
        *keeps,
        own,
        ExactRows((2, 5), KMeans(4)),
        ExactRows((2, 5, 9), Uniform(4)),
    ]
    assert with_zero_rows(pool, np.array([], np.int64)) == pool
    assert with_zero_rows(pool, np.arange(MOST + 1)) == pool
    assert with_zero_rows([Uniform(1)], np.arange(MOST)) == [ExactRows((*range(MOST),), Uniform(1))]


def test_what_is_fitted_to_the_budget_leaves_room_for_them() -> None:
    then = {"_target_": "eigenselect.compressors.KMeans", "bits": 8}
    fit = {"a": {"_target_": "eigenselect.compressors.PCA", "dim": "fit", "keep_dimension": True, "then": then}}
    made = PCA(dim=4, keep_dimension=True, then=KMeans(8))
    budget = made.nbytes(N, D)
    assert expand(fit, Room(N, D, budget)) == [made]
    assert expand(fit, Room(N, D, budget, zeros=1)) == [PCA(dim=3, keep_dimension=True, then=KMeans(8))]
    row = {"a": {"_target_": "eigenselect.compressors.Blockwise", "bits": [2, 4, 8]}}
    exactly = Room(N, D, Blockwise(8).nbytes(N, D), zeros=1)
    assert expand(row, exactly, largest=1) == [Blockwise(8)], "a method that keeps them is not charged"


def test_what_becomes_of_them_is_said() -> None:
    few, many = table(0), table(*range(MOST + 6))
    assert fate(table(), Uniform(4), Uniform(4).compress(table(), np.random.default_rng(0))) is None

    def reported(of: EmbeddingTable, compressor: Uniform | Blockwise | ExactRows | PCA) -> tuple[str | None, str]:
        found = fate(of, compressor, compressor.compress(of, np.random.default_rng(0)))
        assert found is not None and found.table_norm == pytest.approx(np.linalg.norm(of.vectors) / N**0.5)
        return found.kept_by, found.says

    assert reported(few, Blockwise(4)) == ("method", "1 row of the table is zero: row-absmax-b4 keeps that.")
    assert reported(few, ExactRows((0, 3), Uniform(4)))[0] == "exact_rows"
    by, says = reported(many, Uniform(4))
    assert by is None
    assert says.startswith("70 rows of the table are zero, and uniform-b4 decodes such to vectors of length ")
    assert says.endswith(": exact_rows=[id,...] keeps those that it names.")
    assert reported(few, PCA(dim=2, then=Uniform(4)))[1].endswith("coordinates keep up to 64 of them.")


@pytest.mark.usefixtures("client")
def test_a_hand_over_keeps_its_padding_and_its_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    odd = ["\n", "\r\n", "a\nb", "a\0", "", " ", "\u2028", '!json "x"', "\\n", "\ufeff", "king"]
    tokens = [*odd, *(f"w{i}" for i in range(N - len(odd)))]
    np.save("t.npy", np.concatenate([table(0).vectors[::-1], gaussian(1, D)]))
    parquet.write_table(pa.table({"token": [*tokens[::-1], "gone"]}), "t.parquet")
    parquet.write_table(pa.table({"token": tokens}), "keep.parquet")
    drop = only("uniform", "kmeans")
    settings = ["table.path=t.npy", "table.tokens=t.parquet", "table.keep=keep.parquet", "budget=20%", "out=o", *drop]
    few = ["candidates.bits=[4]", "export.words=true"]
    assert command(*settings, *few) == 0

    record = json.loads(Path("o/selection.json").read_text())
    assert record["chosen"]["name"] == "exact0-kmeans-b4" and record["chosen"]["nbytes"] <= record["budget_bytes"]
    decoded = load(Path("o/payload.safetensors")).read(slice(0, N))
    assert not decoded[0].any() and decoded[1:].any(axis=1).all()
    found = record["table"]["zero_rows"]
    assert (found["count"], found["kept_by"], found["decoded_norm"]) == (1, "exact_rows", 0)
    assert found["says"] in capsys.readouterr().out

    lines = Path("o/tokens.txt").read_text(encoding="utf-8").split("\n")
    assert len(lines) == N + 1 and lines.index("king") == 10 and lines.index("w0") == 11
    again = read_table("t.npy", tokens="t.parquet", keep="o/tokens.txt")
    assert again.tokens == tokens and table_digest(again) == record["table"]["digest"]
    np.save("kept.npy", decoded)
    assert read_table("kept.npy", tokens="o/tokens.txt").tokens == tokens
    with Path("o/id_map.csv").open(encoding="utf-8", newline="") as file:
        mapped = [(int(row["source_id"]), token_of(row["token"])) for row in csv.DictReader(file)]
    assert mapped == [(N - 1 - i, token) for i, token in enumerate(tokens)]
    words = OnnxDecoder(Path("o/words.onnx"), ["CPUExecutionProvider"])
    assert np.array_equal(words.decode(np.array(tokens, dtype=object), "tokens"), decoded)
    assert {check.status for check in examine(Path("o"), again).checks} == {"passed"}
