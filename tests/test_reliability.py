"""Every promise of docs/reliability.md names a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.quick

HERE = Path(__file__).parent


def test_the_tests_that_the_document_names_are_there():
    text = (HERE.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
    file, found = None, 0
    for name in re.findall(r"`([\w/]*test_\w+(?:\.py)?)`", text):
        if name.endswith(".py"):
            file = HERE / name
            assert file.is_file(), name
        else:
            assert file is not None and f"def {name}(" in file.read_text(encoding="utf-8"), f"{name} is not in {file}"
            found += 1
    assert found >= 20
    for line in text.splitlines():
        assert not line.startswith("| ") or "---" in line or "shown by" in line or "`test_" in line, line
