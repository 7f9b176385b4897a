"""The output folder: complete or untouched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eigenselect.compressors import Uniform, load, whole
from eigenselect.compressors.data.table import EmbeddingTable
from eigenselect.compressors.whole import MANIFEST, UNFINISHED
from eigenselect.selector.store import output
from eigenselect.selector.store.manifest import read_manifest, write_manifest
from eigenselect.selector.store.output import FILES, check_writable, staged
from tests.decisions import decision
from tests.kills import killed_at_lines


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
        assert folder.parent.parent == tmp_path  # beside it, on one file system
        assert not out.exists()
    assert tree(tmp_path) == {"out": None, "out/model.onnx": "new"}


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

    monkeypatch.setattr(whole, "_locked", refuse)
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


NOW = [name for name in FILES if name != "tokens.txt"]

MINE = {"notes.md": "mine", "more": None, "more/tokens.txt": "mine", "static_model/notes.md": "mine"}

OLD, NEW = {**written(FILES, "old"), **MINE}, {**written(NOW), **MINE}


EVERY = pytest.mark.parametrize(
    "every", [pytest.param(1, marks=pytest.mark.slow, id="every line"), pytest.param(29, id="some lines")]
)


@EVERY
@pytest.mark.parametrize(
    ("before", "one_step"), [({}, True), (OLD, True), (OLD, False)], ids=["first", "exchanged", "moved"]
)
def test_a_kill_at_any_line_leaves_a_whole_hand_over_and_the_next_run_removes_the_rest(
    before, one_step, every, tmp_path, monkeypatch
):
    """The earlier one or the new one; where the system cannot exchange folders, or a folder that says what it is."""
    if not one_step:
        monkeypatch.setattr(output, "_exchanged", lambda new, out: False)
    place, after = tmp_path / "place", {name: text for name, text in NEW.items() if before or name not in MINE}

    def prepare():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for name, text in before.items():
            if text is not None:
                (place / "out" / name).parent.mkdir(exist_ok=True, parents=True)
                (place / "out" / name).write_text(text)

    prepare()
    states = set()
    for _ in killed_at_lines(lambda: hand_over(place / "out", NOW), whole, output, every=every):
        found = tree(place / "out")
        state = "unfinished" if found.pop(UNFINISHED, None) is not None else found.get("model.onnx", "none")
        if state != "unfinished":
            handed = {name: text for name, text in {"none": {}, "old": before, "new": after}[state].items()}
            assert {name: text for name, text in found.items() if name not in MINE} == {
                name: text for name, text in handed.items() if name not in MINE
            }
        states.add(state)
        hand_over(place / "out", NOW)
        assert tree(place) == {"out": None, **{f"out/{name}": text for name, text in after.items()}}
        prepare()
    possible = {"old" if before else "none", "new", *(["unfinished"] if before and not one_step else [])}
    assert states <= possible and "new" in states and (states == possible or every > 1)


@EVERY
def test_others_of_the_folder_are_back_after_a_kill(every, tmp_path):
    """They are away between the exchange of the folders and the return of what is not of the hand-over."""
    out, away = tmp_path / "out", 0
    for lines in killed_at_lines(lambda: hand_over(out), whole, output, every=every):
        away += lines > 0 and (out / "model.onnx").exists() and not (out / "notes.md").exists()
        check_writable(out)
        assert not lines or (out / "notes.md").read_text() == "mine"
        hand_over(out, text="old")
        (out / "notes.md").write_text("mine")
    assert away or every > 1


def test_a_second_run_into_a_folder_is_refused_by_name_until_the_first_is_done(tmp_path, monkeypatch):
    out = tmp_path / "out"
    say = "import sys; from pathlib import Path; from eigenselect.selector.store.output import check_writable"
    command = [sys.executable, "-c", f"{say}; check_writable(Path('out'))"]
    with staged(out) as folder:
        (folder / "model.onnx").write_text("first")
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert f"TakenError: out = {out} is being written by process {os.getpid()} on " in run.stderr
        assert "wait until it is done, or give another out" in run.stderr
        with staged(tmp_path / "other") as another:
            (another / "model.onnx").write_text("second")
    check_writable(out)
    assert tree(tmp_path) == {
        "other": None, "other/model.onnx": "second", "out": None, "out/model.onnx": "first"
    }  # fmt: skip


def test_a_folder_of_another_owner_or_the_working_one_keeps_its_place(tmp_path, monkeypatch):
    """It is not exchanged: who stands in it would go on seeing the old one."""
    hand_over(tmp_path, text="old")
    here = tmp_path.stat().st_ino
    monkeypatch.chdir(tmp_path)
    hand_over(Path())
    assert tmp_path.stat().st_ino == here and tree(tmp_path) == written()


def test_the_rights_of_the_folder_stay(tmp_path):
    hand_over(tmp_path / "out", text="old")
    (tmp_path / "out").chmod(0o711)
    hand_over(tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o711


def test_a_link_to_a_folder_stays_one(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "out").symlink_to("there")
    for _ in range(2):
        hand_over(tmp_path / "out")
    assert (tmp_path / "out").is_symlink() and tree(tmp_path / "there") == written()


def test_what_is_in_the_way_is_refused(tmp_path):
    (tmp_path / "gone").symlink_to("nowhere")
    with pytest.raises(ValueError, match=r"out = .*gone is a link to nowhere, which is not there: name a folder"):
        check_writable(tmp_path / "gone")
    (tmp_path / "out" / "model.onnx").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"out = .* has a folder model\.onnx: move it away, or name another"):
        check_writable(tmp_path / "out")
    with pytest.raises(ValueError, match=r"out = .* cannot be written: File name too long; name a folder"):
        check_writable(tmp_path / ("x" * 256))
    check_writable(tmp_path / ("x" * 255))


def test_temporary_files_of_a_run_go_with_it(tmp_path):
    before = tempfile.gettempdir()
    with pytest.raises(KeyboardInterrupt), staged(tmp_path / "out"):
        left = Path(tempfile.mkdtemp())
        assert tmp_path in left.parents
        raise KeyboardInterrupt
    assert tree(tmp_path) == {} and tempfile.gettempdir() == before


def test_a_folder_of_files_that_are_being_moved_is_refused(tmp_path):
    hand_over(tmp_path)
    (tmp_path / UNFINISHED).touch()
    refused = "is not whole: its files were being replaced .*; run the selection again"
    for read in (read_manifest, lambda folder: load(folder / "payload.safetensors")):
        with pytest.raises(ValueError, match=refused):
            read(tmp_path)


def test_a_payload_that_the_manifest_beside_it_does_not_list_is_refused(tmp_path):
    payloads = [
        Uniform(bits).compress(EmbeddingTable(np.eye(4, dtype=np.float32)), np.random.default_rng(0)) for bits in (2, 4)
    ]
    path = tmp_path / "payload.safetensors"
    payloads[0].save(path)
    write_manifest(tmp_path, decision())
    assert load(path).nbytes == payloads[0].nbytes
    payloads[1].save(path)
    with pytest.raises(ValueError, match=r"is not the file that .*manifest.json lists: .* select again, or take"):
        load(path)
    for other in ("{", '{"files": ["payload.safetensors"]}', "[" * 100_000, '{"files": {}}'):
        (tmp_path / MANIFEST).write_text(other)
        assert load(path).nbytes == payloads[1].nbytes


def test_the_disk_holds_the_files_before_they_take_their_place(tmp_path, monkeypatch):
    out, done = tmp_path / "out", []
    names = {}

    def opened(path, *flags, **more):
        descriptor = real_open(path, *flags, **more)
        names[descriptor] = Path(path)
        return descriptor

    real_open, exchanged = os.open, output._exchanged
    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", lambda file: done.append(names[file].name))
    monkeypatch.setattr(output, "_exchanged", lambda new, out: done.append("exchanged") or exchanged(new, out))
    for _ in range(2):
        done.clear()
        with staged(out) as new:
            (new / "selection.json").write_text("{}")
            (new / "static_model").mkdir()
            (new / "static_model" / "config.json").write_text("{}")
        swap = done.index("exchanged") if "exchanged" in done else len(done) - 1
        assert {*done[:swap]} == {"new", "selection.json", "static_model", "config.json"}
    assert done[swap:] == ["exchanged", tmp_path.name, "out"]
