"""The rooms: who imports whom, read from the sources, and that the linter says the same."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from eigenselect.selector.store.model import SERVED_WITH

ROOT = Path(__file__).parent.parent
ROOMS = ("compressors", "export", "selector")
OURS = {*(f"eigenselect.{room}" for room in (*ROOMS, "conf")), "eigenselect", "tests", "benchmarks"}

ALLOWED = {
    "compressors": {"eigenselect.compressors"},
    "export": {"eigenselect.compressors", "eigenselect.export"},
    "selector": {"eigenselect.compressors", "eigenselect.export", "eigenselect.selector"},
}
"""Room -> what of ours it may import."""

SHIPPED = "selector/store/serving.py"
"""The file that travels inside a logged model, and runs where only what the model is pinned to is installed."""

ONLY_IN = {
    "mlflow": {"selector/store/"},
    "onnx": {"export/"},
    "onnxruntime": {"export/", SHIPPED},
    "hydra": {"selector/run/settings.py", "selector/commands/"},
    "omegaconf": {"selector/run/settings.py", "selector/commands/"},
    "rich": {"selector/"},
}
"""Package -> the files and folders that may import it."""


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Top-level packages that a file imports, wherever in it; rooms of our own; `.` for a relative import."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (place(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "eigenselect":
                yield from (place(f"eigenselect.{alias.name}") for alias in node.names)
            else:
                yield place(node.module) if node.module and not node.level else "."


def place(module: str) -> str:
    return ".".join(module.split(".")[: 2 if module.startswith("eigenselect.") else 1])


def test_imports_are_seen(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "import os.path, json\nfrom . import x\nfrom eigenselect import conf\nfrom eigenselect.export.host import z\n"
        "def f():\n    from onnx.helper import y\n"
    )
    assert list(imported(tmp_path / "a.py")) == ["os", "json", ".", "eigenselect.conf", "eigenselect.export", "onnx"]


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_inwards(room: str) -> None:
    assert sources(room)
    wrong = {
        str(path.relative_to(ROOT)): found
        for path in sources(room)
        if (found := {name for name in imported(path) if name in OURS | {"."}} - ALLOWED[room])
    }
    assert wrong == {}


@pytest.mark.parametrize("package", ONLY_IN)
def test_packages_are_spoken_to_in_one_place(package: str) -> None:
    users = {
        path.relative_to(ROOT).as_posix() for room in ROOMS for path in sources(room) if package in set(imported(path))
    }
    assert {user for user in users if not any(user.startswith(place) for place in ONLY_IN[package])} == set()
    assert users


def test_the_shipped_file_needs_what_the_model_is_pinned_to() -> None:
    other = set(imported(ROOT / SHIPPED)) - sys.stdlib_module_names
    assert other == {"mlflow", "numpy", "onnxruntime"} < set(SERVED_WITH)
    importers = [
        path for room in ROOMS for path in sources(room) if "eigenselect.selector.store.serving" in path.read_text()
    ]
    assert importers == [], "it is copied, not imported"


def lint(planted: str, line: str) -> subprocess.CompletedProcess[str]:
    """What ruff says, by the project's configuration, of a file with that line at that place."""
    pytest.importorskip("ruff")
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--no-cache",
            "--select=TID",
            f"--stdin-filename={ROOT / planted}",
            "-",
        ],
        input=f'"""A file that is not there."""\n\n{line}\n',
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("planted", "line"),
    [
        ("compressors/planted.py", "import eigenselect.export"),
        ("compressors/planted.py", "from eigenselect.selector import digest"),
        ("compressors/planted.py", "import onnx"),
        ("compressors/planted.py", "import hydra"),
        ("export/planted.py", "from eigenselect.selector.measures import score"),
        ("export/planted.py", "import mlflow"),
        ("selector/planted.py", "import mlflow"),
        ("selector/run/planted.py", "import mlflow"),
        ("selector/planted.py", "import onnxruntime"),
        ("selector/store/planted.py", "import onnxruntime"),
        ("selector/planted.py", "from . import digest"),
    ],
)
def test_the_linter_flags_a_planted_import(planted: str, line: str) -> None:
    run = lint(planted, line)
    assert run.returncode == 1, run.stdout + run.stderr
    assert "TID25" in run.stdout


@pytest.mark.parametrize(
    ("planted", "line"),
    [
        ("export/planted.py", "import eigenselect.compressors, onnx, onnxruntime"),
        ("selector/planted.py", "import eigenselect.compressors, eigenselect.export, hydra"),
        ("selector/store/planted.py", "import mlflow"),
        (SHIPPED, "import mlflow, onnxruntime"),
    ],
)
def test_the_linter_allows_what_is_allowed(planted: str, line: str) -> None:
    run = lint(planted, line)
    assert run.returncode == 0, run.stdout + run.stderr
