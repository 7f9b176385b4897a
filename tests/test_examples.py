"""The examples in docstrings run, and print what they say."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

from eigenselect import compressors
from tests.test_imports import modules

WITH_EXAMPLES = [
    pytest.param(name, marks=() if name.startswith("eigenselect.export.torch") else pytest.mark.quick)
    for name, path in modules().items()
    if ">>> " in path.read_text(encoding="utf-8")
]
"""Those of torch are not quick: importing it takes seconds."""


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_run(name: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert found.attempted
    assert found.failed == 0


@pytest.mark.parametrize("name", [name for name in compressors.__all__ if isinstance(getattr(compressors, name), type)])
def test_every_class_of_the_compressors_has_an_example(name: str) -> None:
    assert ">>> " in (getattr(compressors, name).__doc__ or "")
