"""The rows that are kept and the counts that go with them: both follow the token, whatever the order of the files."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from eigenselect.compressors import EmbeddingTable
from eigenselect.compressors.data.views import ProjectedTable
from eigenselect.selector.measures import _Array
from eigenselect.selector.sources import FORMATS, read_table
from eigenselect.selector.sources.counts import counts_of_rows, read_counts
from tests.selector.test_sources import NAMES, OWN, refused, small, write

# Keep


def listed(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    return path


def stored(folder: Path, format: str, vectors: np.ndarray, tokens: list[bytes]) -> tuple[Path, dict[str, object]]:
    """The table's file and the settings that it is read with, tokens included."""
    path = write(folder / NAMES[format], format, vectors, tokens)
    if format in OWN:
        return path, {"format": format}
    return path, {"format": format, "tokens": listed(folder / "tokens.txt", *(token.decode() for token in tokens))}


@pytest.mark.parametrize("kind", ["txt", "parquet"])
@pytest.mark.parametrize("format", FORMATS)
def test_the_kept_rows_are_in_the_order_of_the_list(format, kind, tmp_path):
    vectors, tokens = small(8)
    path, options = stored(tmp_path, format, vectors, tokens)
    kept = [6, 0, 7, 3, 2]
    names = [f"tok{row}" for row in kept]
    keep = listed(tmp_path / "keep.txt", *names)
    if kind == "parquet":
        keep = keep.with_suffix(".parquet")
        parquet.write_table(pa.table({"token": names}), keep)
    table = read_table(path, keep=keep, **options)
    np.testing.assert_array_equal(table.vectors, vectors[kept])
    assert table.tokens == names
    assert table.source_rows.dtype == np.int64 and table.source_rows.tolist() == kept
    assert table.source_n == 8
    assert not isinstance(table.vectors, np.memmap)


@pytest.mark.parametrize("format", FORMATS)
def test_a_table_that_is_not_pruned_is_the_files_own(format, tmp_path):
    path, options = stored(tmp_path, format, *small(8))
    table = read_table(path, **options)
    assert (table.source_rows, table.source_n, table.counts) == (None, None, None)


@pytest.mark.parametrize("format", FORMATS)
def test_source_rows_are_of_the_file_where_duplicates_go_too(format, tmp_path):
    vectors, tokens = small(8)
    tokens[1], tokens[5] = tokens[0], tokens[2]
    path, options = stored(tmp_path, format, vectors, tokens)
    options |= {"keep": listed(tmp_path / "keep.txt", "tok7", "tok2", "tok0", "tok4")}
    refused(path, "2 duplicate tokens (first: 'tok0' at rows 0 and 1", "table.duplicates=first", **options)
    table = read_table(path, duplicates="first", **options)
    assert table.source_rows.tolist() == [7, 2, 0, 4] and table.source_n == 8
    np.testing.assert_array_equal(table.vectors, vectors[[7, 2, 0, 4]])
    # Dropped duplicates alone prune nothing: the ids are those of the rows that are left.
    del options["keep"]
    assert read_table(path, duplicates="first", **options).source_rows is None


def test_what_is_wrong_in_rows_that_go_does_not_matter(tmp_path):
    vectors, tokens = small()
    vectors[4, 1] = np.nan
    path, _ = stored(tmp_path, "glove", vectors, tokens)
    keep = listed(tmp_path / "keep.txt", "tok5", "tok1", "tok0")
    assert read_table(path, keep=keep).n == 3
    refused(path, "nan at row 3, column 1 (token 'tok4')", keep=listed(keep, "tok5", "tok1", "tok0", "tok4"))


def test_a_list_that_cannot_be_kept(tmp_path):
    path, _ = stored(tmp_path, "glove", *small())
    keep = tmp_path / "keep.txt"
    absent = [f"new{i}" for i in range(7)]
    refused(
        path,
        "table.keep has 7 of 10 tokens that the table lacks (first: 'new0', 'new1', 'new2', 'new3', 'new4'): drop them",
        keep=listed(keep, "tok2", *absent, "tok1", "tok0"),
    )
    refused(
        path,
        "table.keep has 1 duplicate token (first: 'tok2' at rows 0 and 3): name each once in the list",
        keep=listed(keep, "tok2", "tok1", "tok0", "tok2"),
    )
    few = "table has n = 2 rows and d = 3 columns: n must be at least d; keep more tokens"
    refused(path, few, keep=listed(keep, "tok2", "tok1"))
    array, options = stored(tmp_path, "npy", *small())
    refused(array, "table.keep is given for a table without tokens: give them as table.tokens", keep=keep)
    keep.write_bytes(b"")
    with pytest.raises(ValueError, match=r"keep\.txt: empty, 0 bytes"):
        read_table(array, keep=keep, **options)
    with pytest.raises(ValueError, match=r"none\.txt: no such file"):
        read_table(array, keep=tmp_path / "none.txt", **options)
    refused(array, "2 tokens for a table of 6 rows", keep=keep, tokens=listed(keep, "tok0", "tok1"))


def test_an_array_without_rows_is_refused_as_such(tmp_path):
    np.save(tmp_path / "t.npy", np.float32(3))
    tokens = listed(tmp_path / "one.txt", "a")
    refused(tmp_path / "t.npy", "table has 0 dimension(s)", tokens=tokens, keep=tokens, counts=listed(tokens, 1))


# Counts

NUMBERS = st.floats(min_value=0, allow_infinity=False) | st.integers(0, 10**12)
NAMED = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=6)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(NUMBERS, min_size=1), ending=st.sampled_from(["\n", "\r\n", " \n"]), mark=st.booleans())
def test_counts_in_row_order(numbers, ending, mark, tmp_path):
    path = tmp_path / "counts.txt"
    for tail in ("", ending, "\n\n \n"):
        path.write_bytes(("\ufeff" * mark + ending.join(map(str, numbers)) + tail).encode())
        counts = counts_of_rows(read_counts(path), len(numbers), None)
        assert counts.dtype == np.float64 and counts.tolist() == [float(number) for number in numbers]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_counts_by_token(data, tmp_path):
    numbers = data.draw(st.dictionaries(NAMED.filter(lambda token: token[:1] != "\ufeff"), NUMBERS, min_size=1))
    others = data.draw(st.lists(NAMED.filter(lambda token: token not in numbers), unique=True))
    known = data.draw(st.lists(st.sampled_from([*numbers]), min_size=1, unique=True))
    tokens = data.draw(st.permutations(known + others))
    lines = [token + data.draw(st.sampled_from(" \t")) + str(number) for token, number in numbers.items()]
    path = tmp_path / "counts.txt"
    path.write_bytes(data.draw(st.sampled_from(["\n", "\r\n"])).join(lines).encode())
    counts = counts_of_rows(read_counts(path), len(tokens), tokens)
    assert counts.dtype == np.float64 and counts.tolist() == [float(numbers.get(token, 0)) for token in tokens]


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.lists(st.sampled_from([*"ab 01.e-+\t\r\n", "nan", "inf", "\ufeff", "é"])).map("".join))
def test_any_content_gives_counts_or_names_the_line(content, tmp_path):
    path = tmp_path / "counts.txt"
    path.write_text(content, encoding="utf-8", newline="")
    try:
        counts = read_counts(path)
    except ValueError as error:
        line = int(re.fullmatch(rf"{re.escape(str(path))}, line (\d+): .*; repair that line", str(error))[1])
        assert line <= content.count("\n") + 1
    else:
        values = np.array([*counts.values()] if isinstance(counts, dict) else counts)
        assert len(values) and np.isfinite(values).all() and (values >= 0).all()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1", "-2", "3"], "line 2: count '-2' is not a finite number of at least 0"),
        (["1", "2", "nan"], "line 3: count 'nan'"),
        (["1", "inf", "2"], "line 2: count 'inf'"),
        (["1e999", "2"], "line 1: count '1e999'"),
        (["1", "", "2"], "line 2: count ''"),
        (["1", "1_0"], "line 2: count '1_0'"),
        (["one"], "line 1: count 'one'"),
        (["1", "a 2"], "line 2: count 'a 2'"),
        (["a 1", "b -1"], "line 2: count '-1'"),
        (["a\t1", "b\tnan"], "line 2: count 'nan'"),
        (["token count", "a 1"], "line 1: count 'count'"),
        (["a 1", "b"], "line 2: 'b' is not a token and a count with a space or tab between"),
        (["a 1", "", "b 1"], "line 2: '' is not a token and a count"),
        (["a 1", "b 1", "a 2"], "line 3: a second count of 'a'"),
    ],
)
def test_a_line_that_is_no_count_is_named(lines, message, tmp_path):
    path = listed(tmp_path / "counts.txt", *lines)
    with pytest.raises(ValueError, match=rf"^{re.escape(f'{path}, {message}')}.*; repair that line$"):
        read_counts(path)


def test_counts_that_fit_no_table(tmp_path):
    path, options = stored(tmp_path, "npy", *small())
    counts = tmp_path / "counts.txt"
    for wrong in (5, 7):
        refused(
            path,
            f"table.counts has {wrong} lines for a table of 6 rows: one count a row is needed",
            counts=listed(counts, *range(wrong)),
        )
    refused(path, "table.counts names tokens for a table without tokens", counts=listed(counts, "tok0 1"))
    other = listed(counts, "Tok0 1", "Tok1 2")
    refused(path, "table.counts has 2 tokens, none of them in the table (first: 'Tok0')", counts=other, **options)
    with pytest.raises(ValueError, match=r"none\.txt: no such file"):
        read_table(path, counts=tmp_path / "none.txt")


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_counts_follow_their_rows(format, named, tmp_path):
    vectors, tokens = small(8)
    path, options = stored(tmp_path, format, vectors, tokens)
    lines = [f"tok{row} {10 * row}" for row in (5, 3, 6, 1, 7, 4, 2)] if named else [10 * row for row in range(8)]
    options |= {"counts": listed(tmp_path / "counts.txt", *lines)}
    assert read_table(path, **options).counts.tolist() == [0, 10, 20, 30, 40, 50, 60, 70]
    keep = listed(tmp_path / "keep.txt", "tok6", "tok0", "tok3")
    assert read_table(path, keep=keep, **options).counts.tolist() == [60, 0, 30]

    tokens[1], tokens[5] = tokens[0], tokens[2]
    path, again = stored(tmp_path, format, vectors, tokens)
    options |= again | {"duplicates": "first"}
    assert read_table(path, **options).counts.tolist() == [0, 20, 30, 40, 60, 70]
    assert read_table(path, keep=keep, **options).counts.tolist() == [60, 0, 30]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.ones(5), r"^5 counts for a table of 6 rows: one count a row is needed$"),
        (np.array([1, 2, np.nan, 1, -1, 1]), r"^count nan at row 2: every count must be finite and at least 0; corr"),
        (np.array([1, 2, 1, 1, -1, np.inf]), r"^count -1\.0 at row 4: every count must be finite"),
        (np.array([1, 2, 1, 1, 1, np.inf]), r"^count inf at row 5: every count must be finite"),
        (np.ones(6, int), r"^counts are int64 of shape \(6,\): they must be float64, one a row$"),
        (np.ones((6, 1)), r"^counts are float64 of shape \(6, 1\): they must be float64, one a row$"),
    ],
)
def test_a_table_refuses_counts(counts, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingTable(small()[0], counts=counts)


def test_a_table_names_the_token_of_a_count_and_counts_its_source_rows():
    vectors, tokens = small()[0], [f"tok{row}" for row in range(6)]
    with pytest.raises(ValueError, match=r"^count -1\.0 at row 3 \(token 'tok3'\): every count"):
        EmbeddingTable(vectors, tokens, np.array([1.0, 1, 1, -1, 1, 1]))
    with pytest.raises(ValueError, match=r"^5 source rows for a table of 6 rows: one source row a row is needed$"):
        EmbeddingTable(vectors, tokens, source_rows=np.arange(5), source_n=9)


def test_a_projected_table_passes_the_counts_on():
    counts = np.arange(6.0)
    matrix = np.ones((3, 2), np.float32)
    table = EmbeddingTable(small()[0], counts=counts)
    assert ProjectedTable(ProjectedTable(table, matrix), matrix[:2]).counts is counts
    assert ProjectedTable(EmbeddingTable(small()[0]), matrix).counts is None
    assert _Array(small()[0]).counts is None
