"""The examples in the docstrings run, and every class of the public face has one."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from eigenselect import compressors
from eigenselect.compressors import training

CLASSES = [name for name in compressors.__all__ if isinstance(getattr(compressors, name), type)]


def attempted(thing: object, name: str, module: ModuleType) -> int:
    """Examples of a docstring that were run; none may fail."""
    found = doctest.DocTestFinder(recurse=False).find(thing, name, module)
    runner = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST)
    return sum(runner.run(test).attempted for test in found if not runner.failures)


@pytest.mark.parametrize("name", CLASSES)
def test_examples_of_the_public_face(name: str) -> None:
    assert attempted(getattr(compressors, name), name, compressors) >= 2


def test_the_example_of_a_reporter() -> None:
    assert attempted(training.reported, "reported", training) >= 2
