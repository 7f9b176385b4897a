"""Every promise of docs/reliability.md and docs/security.md names a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.quick

HERE = Path(__file__).parent


@pytest.mark.parametrize(("document", "least"), [("reliability", 20), ("security", 15)])
def test_the_tests_that_a_document_names_are_there(document, least):
    text = (HERE.parent / "docs" / f"{document}.md").read_text(encoding="utf-8")
    file, found = None, 0
    for name in re.findall(r"`([\w/]*test_\w+(?:\.py)?)`", text):
        if name.endswith(".py"):
            file = HERE / name
            assert file.is_file(), name
        else:
            assert file is not None and f"def {name}(" in file.read_text(encoding="utf-8"), f"{name} is not in {file}"
            found += 1
    assert found >= least
    for heading, _, *rows in (part.splitlines() for part in text.split("\n\n") if part.startswith("| ")):
        for row in rows:
            assert "shown by" not in heading or "`test_" in row, row
