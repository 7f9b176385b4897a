"""Where compiled loops are kept, and who hears that something is compiled."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eigenselect.compressors.training import Update, reporter

SOURCE = """
from eigenselect.compressors.compiled import compiled, inlined

@inlined
def once(number):
    return number + 1

@compiled("int64(int64)")
def twice(number):
    return once(once(number))
"""


def reports_of(path: Path) -> list[str]:
    """What is reported while the file is imported, as if by a new process."""
    found = []

    @contextmanager
    def listen(label: str) -> Iterator[Update]:
        found.append(label)
        yield lambda done, total: None
        found.append("done")

    token = reporter.set(listen)
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        reporter.reset(token)
    assert module.twice(3) == 5
    return found


COMPILED = ["compiling (once)", "done"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have the user's cache elsewhere")
@pytest.mark.parametrize(
    ("beside", "user", "again"),
    [("folder", "folder", []), ("file", "folder", []), ("file", "file", COMPILED)],
    ids=["beside the file", "in the user's cache", "nowhere"],
)
def test_what_is_compiled_is_kept_where_it_can_be(
    beside: str, user: str, again: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the place of a folder stands for one that cannot be written, which nothing is for root."""
    made = {"folder": Path.mkdir, "file": Path.touch}
    package, cache = tmp_path / "package", tmp_path / "cache"
    package.mkdir()
    made[beside](package / "__pycache__")
    made[user](cache)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    path = package / "loops.py"
    path.write_text(SOURCE)
    assert reports_of(path) == COMPILED
    assert reports_of(path) == again
    kept = {"beside" if package in file.parents else "user" for file in tmp_path.rglob("*.nbi")}
    assert kept == ({"beside"} if beside == "folder" else {"user"} if user == "folder" else set())
