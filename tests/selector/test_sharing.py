"""A hand-over for others: its model card, and a repository of the Hub, of which there is a stand-in here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

import eigenselect
from eigenselect.compressors import EmbeddingTable, Uniform, load
from eigenselect.export import save, to_onnx
from eigenselect.selector.sharing.card import card
from eigenselect.selector.sharing.hub import push
from eigenselect.selector.store.manifest import write_manifest
from tests.cases import gaussian
from tests.decisions import decision
from tests.running import command
from tests.selector.hub import COMMIT, Hub, hub

pytestmark = pytest.mark.quick


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A hand-over, as far as others need it."""
    out = tmp_path / "out"
    out.mkdir()
    payload = Uniform(4).compress(EmbeddingTable(gaussian(100, 8)), np.random.default_rng(0))
    payload.save(out / "payload.safetensors")
    save(to_onnx(payload), out / "model.onnx")
    found = decision()
    (out / "selection.json").write_text(found.text(), encoding="utf-8")
    write_manifest(out, found)
    return out


def test_a_card_has_the_choice_and_shows_what_users_name(folder: Path) -> None:
    assert command("card", str(folder), "license=pddl") == 0
    text = (folder / "README.md").read_text(encoding="utf-8")
    _, metadata, body = text.split("---\n", 2)
    entries = dict(line.split(": ", 1) for line in metadata.splitlines())
    assert json.loads(entries["library_name"]) == "eigenselect" and json.loads(entries["license"]) == "pddl"
    assert "onnx" in json.loads(entries["tags"])
    for part in ("uniform-b4", "800 of a budget of 1,000: 4.0x", "eos 0.9000", "| `model.onnx` |", "| eos | 0.9 |"):
        assert part in body.replace("\\", ""), part
    assert "words.onnx" not in body


def test_the_code_of_a_card_runs(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(folder)
    code = card(folder).split("```python\n")[1].split("```")[0]
    exec(code)
    rows = np.array(capsys.readouterr().out.replace("[", " ").replace("]", " ").split(), dtype=np.float32)
    assert np.allclose(rows, load(folder / "payload.safetensors").read(slice(0, 2)).ravel(), atol=1e-6)


def test_a_card_can_be_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("card", str(folder), "out=-") == 0
    assert capsys.readouterr().out == card(folder) and "license" not in card(folder)
    assert not (folder / "README.md").exists()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The Hub that this process takes for it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "t")
    with hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server


def test_what_is_pushed_is_loaded_again(server: Hub, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "notes.txt").write_text("not of the hand-over")
    assert command("push", str(folder), "repo=owner/name", "private=true") == 0
    assert capsys.readouterr().out == f"{server.address}/owner/name/commit/{COMMIT}\n"
    assert server.created["visibility"] == "private"
    assert {*server.files} == {"README.md", "manifest.json", "model.onnx", "payload.safetensors", "selection.json"}
    assert b'load_from_hub("owner/name")' in server.files["README.md"]
    assert server.files["model.onnx"] == (folder / "model.onnx").read_bytes()
    again = eigenselect.load_from_hub("owner/name")
    assert np.array_equal(again.read(slice(0, 100)), load(folder / "payload.safetensors").read(slice(0, 100)))


def test_a_card_of_ones_own_is_pushed(server: Hub, folder: Path) -> None:
    (folder / "README.md").write_text("mine")
    push(folder, "owner/name")
    assert server.files["README.md"] == b"mine"


def test_what_is_not_as_it_was_handed_over_is_neither_pushed_nor_loaded(server: Hub, folder: Path, capsys) -> None:
    push(folder, "owner/name")
    server.files["payload.safetensors"] = server.files["payload.safetensors"][:-1] + b"x"
    with pytest.raises(ValueError, match="is not the file that"):
        eigenselect.load_from_hub("owner/name")
    (folder / "model.onnx").write_bytes(b"")
    assert command("push", str(folder), "repo=owner/name") == 2
    assert "model.onnx has bytes 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("repo", "says"),
    [
        ("owner/other", "owner/other is not on the Hub, or private: check it, or log in: hf auth login"),
        ("owner/name", "owner/name has no payload.safetensors: it is not a hand-over that eigenselect pushed"),
    ],
)
def test_what_the_hub_has_not(repo: str, says: str, server: Hub) -> None:
    with pytest.raises(ValueError, match=says):
        eigenselect.load_from_hub(repo)


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="the Hub refused owner/name or cannot be reached"):
        eigenselect.load_from_hub("owner/name")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["push", "{}"], "required and not given: repo=..."),
        (["push", "{}", "repo=a", "private=x"], "private = 'x': must be true or false"),
        (["push"], "give the folder of a hand-over: eigenselect push DIR repo=OWNER/NAME"),
        (["push", "{}", "repo=a b"], "repo = 'a b' is not a name of the Hub: give OWNER/NAME"),
        (["card", "{}/no"], "no is not a folder"),
        (["card", "{}", "out={}/no/x"], "cannot be written: No such file or directory; name another file"),
    ],
)
def test_what_cannot_be_used_is_answered_in_a_line(words, says, folder, capsys) -> None:
    assert command(*(word.format(folder) for word in words)) == 2
    printed = capsys.readouterr().err
    assert says in printed and printed.count("\n") == 1


def test_without_the_package_its_extra_is_named(folder, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert command("push", str(folder), "repo=a/b") == 2
    assert "pip install 'eigenselect[hub]'" in capsys.readouterr().err
