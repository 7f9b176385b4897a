"""Digests: of the contents, of all of the contents, and of nothing else."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import eigenselect.compressors.data.table
from eigenselect.compressors import PCA, EmbeddingTable, Uniform
from eigenselect.selector.pool import digest as module
from eigenselect.selector.pool.digest import candidate_key, code_digest, method_name, source_digest, table_digest


def rows(dtype=np.float32):
    return np.arange(30, dtype=dtype).reshape(10, 3)


def test_the_same_contents_have_the_same_digest(tmp_path, monkeypatch):
    tokens = [str(i) for i in range(10)]
    known = table_digest(EmbeddingTable(rows(), tokens))
    assert len(known) == 64
    np.save(tmp_path / "table.npy", rows())
    mapped = np.load(tmp_path / "table.npy", mmap_mode="r")
    assert table_digest(EmbeddingTable(mapped, tuple(tokens))) == known
    assert table_digest(EmbeddingTable(np.asfortranarray(rows()), tokens)) == known
    assert table_digest(EmbeddingTable(np.repeat(rows(), 2, axis=1)[:, ::2], tokens)) == known
    monkeypatch.setattr(eigenselect.compressors.data.table, "BLOCK_BYTES", 1)
    assert table_digest(EmbeddingTable(rows(), tokens)) == known


def test_any_change_of_contents_changes_the_digest():
    changed = rows()
    changed[9, 2] = np.nextafter(changed[9, 2], 0)
    tables = [
        EmbeddingTable(rows()),
        EmbeddingTable(changed),
        EmbeddingTable(rows()[::-1]),
        EmbeddingTable(rows()[:9]),
        EmbeddingTable(rows(np.float16)),
        EmbeddingTable(rows().reshape(15, 2)),
        EmbeddingTable(np.zeros((6, 4), np.float16)),
        EmbeddingTable(np.zeros((6, 2), np.float32)),  # the same bytes as the one above
        *(EmbeddingTable(rows()[:3], tokens) for tokens in (["a", "b", "c"], ["a", "c", "b"], ["a", "b", "d"])),
        *(EmbeddingTable(rows()[:3], tokens) for tokens in (["ab", "c", ""], ["a", "bc", ""], ["", "", "abc"])),
        *(EmbeddingTable(rows()[:3], tokens) for tokens in (["a\nb", "c", "d"], ["a", "b\nc", "d"])),
        EmbeddingTable(rows()[:3], ["\udc80", "b", "c"]),  # a byte that was no UTF-8
        *(EmbeddingTable(rows()[:3], counts=np.array(counts)) for counts in ([0.0, 0, 0], [1.0, 2, 3], [1.0, 3, 2])),
        EmbeddingTable(rows()[:3], ["a", "b", "c"], np.array([1.0, 2, 3])),
    ]
    assert len({table_digest(table) for table in tables}) == len(tables)


def test_the_digest_is_of_what_the_table_is_and_not_of_where_it_was():
    """The digests that runs of earlier versions are found again by stay: a table without counts has the same."""
    tokens = [str(i) for i in range(10)]
    known = "be6df06ac3944ad4d969ffc88f7ec39973374718f1e501d1637fee6b042b2ba8"
    assert table_digest(EmbeddingTable(rows(), tokens)) == known
    assert table_digest(EmbeddingTable(rows(), tokens, source_rows=np.arange(10) * 3, source_n=40)) == known


def test_the_code_digest_is_the_same_in_another_process():
    program = "from eigenselect.selector.pool.digest import code_digest; print(code_digest())"
    root = Path(module.__file__).parents[1]
    other = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == code_digest()


@pytest.mark.parametrize("change", ["edit", "add", "rename"])
def test_the_code_digest_changes_with_any_source(change, tmp_path, monkeypatch):
    fresh = code_digest.__wrapped__
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "deep").mkdir()
    source = tmp_path / "deep" / "method.py"
    source.write_text("LEVELS = 3\n")
    monkeypatch.setattr(module.compressors, "__file__", str(tmp_path / "__init__.py"))
    before = fresh()
    assert before != code_digest()
    (tmp_path / "deep" / "notes.txt").write_text("no source")
    assert fresh() == before
    if change == "edit":
        source.write_text("LEVELS = 4\n")
    elif change == "add":
        (tmp_path / "deep" / "another.py").write_text("")
    else:
        source.rename(tmp_path / "deep" / "methods.py")
    assert fresh() != before


def test_a_candidate_is_found_again_by_all_that_its_score_rests_on(monkeypatch):
    known = candidate_key("Uniform", {"bits": 4, "rounding": "nearest"}, "s", "t", 0, [1])
    assert candidate_key("Uniform", {"rounding": "nearest", "bits": 4}, "s", "t", 0, (1,)) == known
    others = [
        candidate_key("KMeans", {"bits": 4, "rounding": "nearest"}, "s", "t", 0, [1]),
        candidate_key("Uniform", {"bits": 3, "rounding": "nearest"}, "s", "t", 0, [1]),
        candidate_key("Uniform", {"bits": 4, "rounding": "stochastic"}, "s", "t", 0, [1]),
        candidate_key("Uniform", {"bits": 4, "rounding": "nearest"}, "r", "t", 0, [1]),
        candidate_key("Uniform", {"bits": 4, "rounding": "nearest"}, "s", "u", 0, [1]),
        candidate_key("Uniform", {"bits": 4, "rounding": "nearest"}, "s", "t", 1, [1]),
        candidate_key("Uniform", {"bits": 4, "rounding": "nearest"}, "s", "t", 0, [1, "max"]),
    ]
    monkeypatch.setattr(module, "code_digest", lambda: "other code")
    others.append(candidate_key("Uniform", {"bits": 4, "rounding": "nearest"}, "s", "t", 0, [1]))
    assert len({known, *others}) == 9


def test_methods_are_named_apart_from_ours_and_from_each_other(mine):
    assert method_name(Uniform) == "Uniform"
    assert method_name(type(mine().then)) == "nested.Uniform"
    assert method_name(type(mine())) == "mine.half.Half"


FILES = {
    "mine/__init__.py": "",
    "mine/half.py": """
        from dataclasses import dataclass

        from base_of_mine import Base
        from eigenselect.compressors import Compressor
        from kinds_of_mine import Kind

        @dataclass(frozen=True)
        class Half(Base):
            then: Compressor
            name = "half"
            nbytes = lambda self, n, d: 1
            _compress = lambda self, table, rng: Kind()
    """,
    "mine/deep/helper.py": "LEVELS = 3",
    "base_of_mine.py": "from eigenselect.compressors import Compressor\n\nclass Base(Compressor): pass",
    "kinds_of_mine.py": "from eigenselect.compressors import Payload\n\nclass Kind(Payload): pass",
    "nested.py": """
        from dataclasses import dataclass

        from eigenselect import compressors

        @dataclass(frozen=True)
        class Uniform(compressors.Uniform): pass
    """,
}
"""A method from outside with all that it rests on: a package, a base class, a payload kind, a method inside of it."""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Makes the compressor of `FILES`, whose sources are in a folder of their own, as a new process would."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)

    def forget():
        for name in [
            name for name in sys.modules if name.partition(".")[0] in {Path(file).stem for file in FILES} | {"mine"}
        ]:
            del sys.modules[name]

    def made():
        forget()
        return importlib.import_module("mine.half").Half(importlib.import_module("nested").Uniform(4))

    yield made
    forget()


@pytest.mark.parametrize("file", FILES)
def test_a_source_digest_changes_with_any_source_from_outside(mine, tmp_path, file):
    before = source_digest(mine())
    (tmp_path / "mine" / "notes.txt").write_text("no source")
    assert source_digest(mine()) == before
    (tmp_path / file).write_text((tmp_path / file).read_text() + "\n# another version\n")
    assert source_digest(mine()) != before


def test_a_class_is_known_by_the_source_that_it_was_loaded_from(mine, tmp_path):
    half = mine()
    before = source_digest(half)
    (tmp_path / "mine" / "half.py").write_text("# written while the program runs\n")
    assert source_digest(half) == before


def test_a_class_without_a_source_file_is_never_the_same_and_said_once(capsys, monkeypatch):
    made = {}
    exec(textwrap.dedent(FILES["nested.py"]), {"__name__": "__console__"}, made)
    method = made["Uniform"](4)
    assert source_digest(method) != source_digest(method)
    assert source_digest(PCA(dim=2, then=method)) != source_digest(PCA(dim=2, then=method))
    said = "__console__.Uniform has no source file: its candidates are computed in every run\n"
    assert capsys.readouterr().err == said
