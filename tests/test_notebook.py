"""The notebook of the tutorials runs, and gives what is stored in it; the site's page has all of that."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.documents import alike

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("notebook", ROOT / "scripts" / "notebook.py")
notebook = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(notebook)

STORED: dict[str, Any] = json.loads(notebook.PATH.read_text(encoding="utf-8"))


def words(output: dict[str, Any]) -> str:
    """What a reader of an output reads."""
    data = output.get("data", {"text/plain": output.get("text")})
    text = re.sub(r"<[^>]*>", " ", "".join(data.get("text/html", data["text/plain"])))
    return re.sub(r"[\[\](),]", " ", text)


def test_its_cells_give_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = notebook.outputs(STORED)
    for cell, found in zip(notebook.code(STORED), made, strict=True):
        assert [each.get("data", {}).keys() for each in found] == [
            each.get("data", {}).keys() for each in cell["outputs"]
        ]
        for wanted, given in zip(cell["outputs"], found, strict=True):
            assert alike(words(wanted), words(given)), f"{words(given)}\nstored:\n{words(wanted)}"
    kinds = {kind for found in made for each in found for kind in each.get("data", {})}
    assert kinds == {"text/plain", "text/html", "image/png"}


def test_it_is_a_notebook_of_format_4_5() -> None:
    assert (STORED["nbformat"], STORED["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in STORED["cells"]}) == len(STORED["cells"])
    assert [cell["execution_count"] for cell in notebook.code(STORED)] == [*range(1, len(notebook.code(STORED)) + 1)]


def test_the_page_shows_every_cell_and_what_it_gives() -> None:
    page = notebook.markdown(STORED)
    assert all("".join(cell["source"]) in page for cell in STORED["cells"])
    assert page.count("<table>") == 1 and page.count("data:image/png;base64,") == 1 and "```text\n" in page
