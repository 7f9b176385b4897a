"""The rooms: who imports whom, read from the sources, and that the linter reports the same."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

pytestmark = pytest.mark.quick

ROOT = Path(__file__).parent.parent
ROOMS = ("compressors", "export", "selector")

ORDER = (
    "version",
    "conf",
    *(f"compressors.{name}" for name in ("words", "documents", "threads", "whole", "device", "training", "compiled")),
    *("compressors.data", "compressors.plugins", "compressors.payloads"),
    *("compressors.base", "compressors.settings", "compressors.codebooks", "compressors.methods", "compressors"),
    *("export.choices", "export.native", "export.operators", "export.verification", "export.models", "export.host"),
    *("export.tokens", "export.torch", "export.onnx_export", "export"),
    *("selector.sources", "selector.measures", "selector.pool", "selector.decision", "selector.store"),
    *("selector.forms", "selector.terminal", "selector.progress", "selector.run", "selector.checking"),
    "selector.sharing",
    *("selector.evidence", "selector.commands", "selector"),
    *("", "__main__"),
)
"""The rooms and the files beside them, inside `eigenselect`: each may import itself and those before it.

`compressors`, `export`, `selector` and the empty name are the `__init__` of these rooms and of the package: faces, for
those who come after them.
"""

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


def modules() -> dict[str, Path]:
    """Every module of ours by its name."""
    paths = [path for room in (*ROOMS, "conf") for path in sources(room)]
    found = {f"eigenselect.{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}": path for path in paths}
    found |= {f"eigenselect.{path.stem}": path for path in sources("src/eigenselect")}
    return {name.removesuffix(".__init__"): path for name, path in found.items()}


@cache
def imported(path: Path) -> list[tuple[str, str]]:
    """Each import of a file, wherever in it: the module, and the name that is taken from it, if any."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [("." * node.level + (node.module or ""), alias.name) for alias in node.names]
    return found


def packages(path: Path) -> set[str]:
    """Top-level names that a file imports."""
    return {module.split(".")[0] for module, _ in imported(path)}


@cache
def graph() -> dict[str, set[str]]:
    """Module of ours -> those of ours that it imports. A module taken from its package is no import of the package."""
    ours = modules()
    return {
        name: {
            found
            for module, taken in imported(path)
            if (found := whole if (whole := f"{module}.{taken}") in ours else module) in ours and found != name
        }
        for name, path in ours.items()
    }


def place(module: str) -> str:
    """The entry of `ORDER` that a module belongs to."""
    return ".".join(module.split(".")[1:3])


def test_imports_are_seen(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "import os.path, json\nfrom . import x\nfrom eigenselect import conf\ndef f():\n    from onnx.helper import y\n"
    )
    assert imported(tmp_path / "a.py") == [
        *(("os.path", ""), ("json", ""), (".", "x"), ("eigenselect", "conf"), ("onnx.helper", "y"))
    ]
    found = graph()
    assert found["eigenselect.export.host.rewrite"] > {"eigenselect.export.host.match"}
    assert {place(module) for module in ("eigenselect", "eigenselect.export", "eigenselect.export.host.match")} == {
        *("", "export", "export.host")
    }


def test_every_import_is_of_what_comes_before() -> None:
    unplaced = {place(module) for module in modules()} - {*ORDER}
    assert unplaced == set(), "give it its place in ORDER"
    backwards = [
        f"{module} imports {other}"
        for module, others in graph().items()
        for other in sorted(others)
        if ORDER.index(place(other)) > ORDER.index(place(module))
    ]
    assert backwards == []


def test_no_import_goes_in_a_circle() -> None:
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_nothing_of_ours_is_imported_from_outside_of_the_package() -> None:
    paths = [*modules().values()]
    assert [path for path in paths if packages(path) & {"", *ROOMS, "conf", "tests", "benchmarks"}] == []


@pytest.mark.parametrize("package", ONLY_IN)
def test_packages_are_spoken_to_in_one_place(package: str) -> None:
    users = {path.relative_to(ROOT).as_posix() for path in modules().values() if package in packages(path)}
    assert {user for user in users if not any(user.startswith(place) for place in ONLY_IN[package])} == set()
    assert users


def lint(planted: str, line: str) -> subprocess.CompletedProcess[str]:
    """What ruff reports, by the project's configuration, of a file with that line at that place."""
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
