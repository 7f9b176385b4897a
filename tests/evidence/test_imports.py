"""The modules of the evidence: no circle among them, wherever in a file an import stands, and each can come first."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = {
    ".".join(("eigenselect", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted((ROOT / "selector" / "evidence").rglob("*.py"))
}
"""Module -> file."""

EACH_FIRST = """
import importlib, sys
for module in sys.argv[1:]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "eigenselect"]:
        del sys.modules[name]
    importlib.import_module(module)
"""
"""Imports each module as the first of ours; what is not ours is imported once."""


def imported(path: Path) -> set[str]:
    """The modules of the room that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & {*MODULES} or {str(node.module)} & {*MODULES}
    return found


def test_imports_have_no_circle() -> None:
    TopologicalSorter({module: imported(path) - {module} for module, path in MODULES.items()}).prepare()
    assert len(imported(MODULES["eigenselect.selector.evidence.tasks.catalogue"])) > 5


def test_each_module_can_be_imported_first() -> None:
    subprocess.run([sys.executable, "-c", EACH_FIRST, *MODULES], check=True)
