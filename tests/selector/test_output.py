"""The output folder: complete or untouched."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from eigenselect.selector.store.manifest import MANIFEST, write_manifest
from eigenselect.selector.store.output import FILES, check_writable, staged
from tests.decisions import decision


def tree(root):
    """Every path under `root` with its text, hidden ones included."""
    return {str(p.relative_to(root)): p.read_text() if p.is_file() else None for p in sorted(root.rglob("*"))}


def hand_over(out, names=FILES, text="new"):
    with staged(out) as folder:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)


def written(names=FILES, text="new"):
    """The tree of a hand-over."""
    return {**dict.fromkeys(names, text), **{name.partition("/")[0]: None for name in names if "/" in name}}


def test_files_move_into_a_new_folder(tmp_path):
    out = tmp_path / "a" / "b" / "out"
    hand_over(out)
    assert tree(out) == written()
    assert set(tree(tmp_path)) == {"a", "a/b", "a/b/out", *(f"a/b/out/{name}" for name in written())}


def test_nothing_is_in_the_folder_before_the_end(tmp_path):
    out = tmp_path / "out"
    with staged(out) as folder:
        (folder / "model.onnx").write_text("new")
        assert folder != out
        assert folder.parent == tmp_path  # beside it, on one file system: a move is a rename
        assert not (out / "model.onnx").exists()
    assert tree(out) == {"model.onnx": "new"}
    with staged(out) as folder:
        assert folder.parent == out  # the folder above may not be writable


def test_files_of_others_stay_and_those_of_an_earlier_hand_over_go(tmp_path):
    out = tmp_path / "out"
    hand_over(out, text="old")
    (out / "notes.md").write_text("mine")
    (out / "more").mkdir()
    (out / "more" / "tokens.txt").write_text("mine")
    now = [name for name in FILES if name not in ("tokens.txt", "id_map.csv", "static_model/config.json")]
    assert len(now) == len(FILES) - 3
    hand_over(out, now)
    others = {"notes.md": "mine", "more": None, "more/tokens.txt": "mine"}
    assert tree(out) == written(now) | others
    now = [name for name in now if "/" not in name]
    hand_over(out, now)
    assert tree(out) == written(now) | others


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_an_earlier_hand_over_as_it_was(tmp_path, error):
    out = tmp_path / "out"
    hand_over(out, text="old")
    (out / "notes.md").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(error), staged(out) as folder:
        (folder / "model.onnx").write_text("new")
        raise error
    assert tree(tmp_path) == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_no_folders_behind(tmp_path, error):
    (tmp_path / "a").mkdir()
    with pytest.raises(error), staged(tmp_path / "a" / "b" / "c" / "out") as folder:
        (folder / "model.onnx").write_text("new")
        raise error
    assert tree(tmp_path) == {"a": None}


def test_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_writable(Path("out"))
    assert tree(tmp_path) == {}
    hand_over(Path("out"))
    hand_over(Path(), text="here")
    assert {"model.onnx": "here", "out/model.onnx": "new"}.items() <= tree(tmp_path).items()


@pytest.mark.parametrize("exists", [True, False])
def test_checking_leaves_no_trace(tmp_path, exists):
    out = tmp_path / "a" / "out"
    if exists:
        hand_over(out)
    before = tree(tmp_path)
    check_writable(out)
    assert tree(tmp_path) == before


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ValueError, match=r"out = .*out is a file: name a folder"):
        check_writable(tmp_path / "out")
    for inside in ("out/a", "out/a/b"):
        with pytest.raises(ValueError, match=r"out = .* cannot be written: .*; name a folder you may write to"):
            check_writable(tmp_path / inside)
    assert tree(tmp_path) == {"out": "mine"}


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    """By a refusing system call: the tests may run as root, who may write anywhere."""

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(ValueError, match=r"out = .*out cannot be written: Permission denied; name a folder"):
        check_writable(tmp_path / "a" / "out")
    assert tree(tmp_path) == {}


def test_the_manifest_lists_every_file_of_the_folder_but_itself(tmp_path):
    contents = {"model.onnx": b"\0" * 70_000, "words.onnx": b"", "a name.bin": bytes(range(256)), "in/a": b"inside"}
    (tmp_path / "in").mkdir()
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for _ in range(2):
        write_manifest(tmp_path, replace(decision(), versions={"numpy": "2"}))
        assert json.loads((tmp_path / MANIFEST).read_text()) == {
            "version": 1,
            "chosen": "uniform-b4",
            "table_digest": "abc",
            "run_id": "r",
            "versions": {"numpy": "2"},
            "files": {
                name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for name, content in contents.items()
            },
        }
        (tmp_path / MANIFEST).unlink()


def test_a_move_that_is_cut_short_is_not_described_by_the_new_manifest(tmp_path, monkeypatch):
    """Of the new hand-over the manifest comes last: with it, all is there."""
    out, moved = tmp_path / "out", []
    hand_over(out, text="old")
    real = Path.replace
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (moved.append(Path(to).relative_to(out).as_posix()), real(self, to))[1]
    )
    hand_over(out)
    assert moved[-1] == MANIFEST and {*moved} == {*FILES}
