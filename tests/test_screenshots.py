"""The pictures of the documentation are made by one command."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[1] / "scripts" / "screenshots.py"
SPEC = importlib.util.spec_from_file_location("screenshots", PATH)
screenshots = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(screenshots)


@pytest.mark.slow
@pytest.mark.skipif(screenshots.browser() is None, reason="no Chromium")
def test_pictures(tmp_path):
    np.save(tmp_path / "t.npy", np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32))
    screenshots.main(tmp_path / "images", [f"table.path={tmp_path}/t.npy", "budget=50%"])
    shown = (tmp_path / "images" / "terminal.svg").read_text()
    assert "candidate" in shown and "rel" in shown and "…" not in shown
    assert (tmp_path / "images" / "report.pdf").read_bytes().startswith(b"%PDF")
    for name, (width, height) in {**screenshots.SIZES, "mlflow": (1500, 950)}.items():
        data = (tmp_path / "images" / f"{name}.png").read_bytes()
        assert struct.unpack(">II", data[16:24]) == (width, height) and len(data) > 20_000
