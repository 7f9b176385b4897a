"""What tests of whole models share."""

from __future__ import annotations

import pytest

from eigenselect.export.host import proof


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is not measured: that starts a process for each model."""
    monkeypatch.setattr(proof, "session_bytes", lambda path: 0)
