"""Tokens that stay in a file are those that a list would hold, wherever tokens are taken from or asked for."""

from __future__ import annotations

import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from eigenselect.compressors import EmbeddingTable
from eigenselect.selector.pool.digest import table_digest
from eigenselect.selector.sources import read_table, stored_tokens
from eigenselect.selector.sources.rows import repeated
from eigenselect.selector.sources.stored_tokens import Gathered, StoredTokens, gathered
from eigenselect.selector.sources.tokens import read_tokens, write_tokens
from tests.cases import gaussian
from tests.running import command, only

N, D = 40, 6
WORDS = [f"word {i} é" for i in range(N)]


@pytest.fixture
def _in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_tokens, "LISTED", 3)
    monkeypatch.setattr(stored_tokens, "BLOCK", 7)


def in_a_file(tokens: list[str]) -> StoredTokens:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_tokens, "LISTED", -1)
        patch.setattr(stored_tokens, "BLOCK", 3)
        found = gathered([*tokens, "one at least"])
    assert isinstance(found, StoredTokens)
    return found[: len(tokens)]


@given(st.lists(st.text(st.characters())), st.slices(20), st.lists(st.integers(0, 19)))
def test_they_are_what_a_list_holds(tokens, part, drop):
    found = in_a_file(tokens)
    assert [*found] == tokens and [found[i] for i in range(-len(tokens), len(tokens))] == tokens * 2
    assert len(found) == len(tokens) and repeated(found) == repeated(tokens)
    if part.step in (None, 1):
        assert [*found[part]] == tokens[part]
    gone = {row for row in drop if row < len(tokens)}
    assert [*found.without(gone)] == [token for row, token in enumerate(tokens) if row not in gone]
    with pytest.raises(IndexError):
        found[len(tokens)]


@pytest.mark.usefixtures("_in_a_file")
def test_those_that_come_a_few_at_a_time_are_in_their_order():
    with Gathered() as found:
        for start in range(0, N, 5):
            found.add(WORDS[start : start + 5])
            found.add([])
        assert len(found) == N
        kept = found.done()
    assert isinstance(kept, StoredTokens) and [*kept] == WORDS


def test_a_few_are_a_list():
    assert gathered(iter(WORDS)) == WORDS and gathered([]) == []


@pytest.mark.usefixtures("_in_a_file")
@pytest.mark.parametrize("source", ["txt", "parquet list", "parquet table", "shards"])
def test_sources_leave_them_in_a_file(source, tmp_path):
    rows, path, options = gaussian(N, D), tmp_path / "table.npy", {}
    np.save(path, rows)
    if source == "txt":
        write_tokens(tmp_path / "tokens.txt", WORDS)
        options["tokens"] = tmp_path / "tokens.txt"
    elif source == "parquet list":
        parquet.write_table(pa.table({"token": WORDS}), tmp_path / "tokens.parquet", row_group_size=9)
        options["tokens"] = tmp_path / "tokens.parquet"
    else:
        vectors = pa.FixedSizeListArray.from_arrays(rows.ravel(), D)
        whole = pa.table({"token": WORDS, "vector": vectors})
        if source == "shards":
            (path := tmp_path / "shards").mkdir()
            parquet.write_table(whole.slice(0, 25), path / "part-1.parquet")
            parquet.write_table(whole.slice(25), path / "part-2.parquet")
        else:
            parquet.write_table(whole, path := tmp_path / "table.parquet", row_group_size=9)
    found = read_table(path, **options)
    assert isinstance(found.tokens, StoredTokens) and [*found.tokens] == WORDS
    np.testing.assert_array_equal(found.vectors, rows)
    assert table_digest(found) == table_digest(EmbeddingTable(rows, WORDS))
    first = read_table(path, **options, rows=30)
    assert [*first.tokens] == WORDS[:30] and first.n == 30


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
@pytest.mark.usefixtures("_in_a_file")
def test_a_full_disk_is_named_with_the_cure(tmp_path, monkeypatch):
    np.save(tmp_path / "table.npy", gaussian(N, D))
    write_tokens(tmp_path / "tokens.txt", WORDS)
    monkeypatch.setattr(stored_tokens, "TemporaryFile", lambda: open("/dev/full", "r+b", buffering=0))  # noqa: PTH123
    says = rf"^{tempfile.gettempdir()}: no room for 7 tokens; make room, or set TMPDIR to a folder on another disk$"
    with pytest.raises(ValueError, match=f".*{says[1:]}"):
        read_table(tmp_path / "table.npy", tokens=tmp_path / "tokens.txt")


@pytest.mark.usefixtures("_in_a_file")
def test_rows_are_taken_with_their_tokens(tmp_path):
    np.save(tmp_path / "table.npy", rows := gaussian(N, D))
    twice = [*WORDS[:-2], WORDS[3], WORDS[0]]
    write_tokens(tmp_path / "tokens.txt", twice)
    given = {"path": tmp_path / "table.npy", "tokens": tmp_path / "tokens.txt"}
    with pytest.raises(ValueError, match=r"2 duplicate tokens \(first: 'word 3 é' at rows 3 and 38, 'word 0 é' at"):
        read_table(**given)
    found = read_table(**given, duplicates="first")
    assert [*found.tokens] == WORDS[:-2] and found.n == N - 2
    write_tokens(tmp_path / "kept.txt", kept := [WORDS[place] for place in (9, 2, 3, 30, 4, 5, 6)])
    found = read_table(**given, duplicates="first", keep=tmp_path / "kept.txt")
    assert [*found.tokens] == kept and found.source_rows.tolist() == [9, 2, 3, 30, 4, 5, 6]
    write_tokens(tmp_path / "tokens.txt", [*WORDS[:-3], "<padding 1>"])
    found = read_table(**given, padding="keep")
    assert [*found.tokens][-3:] == ["<padding 1>", "<padding 0>", "<padding 2>"]
    np.testing.assert_array_equal(found.vectors, rows)


@pytest.mark.usefixtures("_in_a_file")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'a\nb\n!json x"\nc\n', None),
        (b'a\nb\nc\nd\n!json "x\ne\n', "line 5: '!json \"x' is not a JSON string after !json"),
        (b"a\nb\nc\nd\ne\0\n", "it is not UTF-8 but holds NUL bytes or a mark of UTF-16"),
        (b"\xff\xfea\nb\n", "it is not UTF-8 but holds NUL bytes or a mark of UTF-16"),
        (b"\xef\xbb\xbfa\r\nb\r\n\xff\xfe\n\nlast", None),
        (b"\xef\xbb\xbf", None),
    ],
)
def test_a_list_is_read_or_refused_as_before(content, says, tmp_path):
    (path := tmp_path / "tokens.txt").write_bytes(content)
    if says is not None:
        with pytest.raises(ValueError, match=r"tokens\.txt") as error:
            read_tokens(path)
        assert says in str(error.value)
        return
    lines = content.decode("utf-8-sig", "backslashreplace").split("\n")
    assert [*read_tokens(path)] == [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


@pytest.mark.usefixtures("_in_a_file")
def test_a_selection_hands_them_over(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    np.save("table.npy", gaussian(N, D))
    write_tokens(Path("given.txt"), WORDS)
    words = ["table.path=table.npy", "table.tokens=given.txt", "budget=50%", "out=o", "export.words=true"]
    assert command(*only("uniform"), *words, "workers=2", 'exact_rows=[3,"word 7 é"]') == 0
    assert Path("o/tokens.txt").read_bytes() == Path("given.txt").read_bytes()
    assert Path("o/words.onnx").is_file()
    assert command("check", "o") == 0
    assert mlflow.search_runs(search_all_experiments=True).shape[0] > 1
