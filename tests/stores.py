"""Tracking stores in files of their own; the tables are made once, which takes a second or ten."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from mlflow import MlflowClient


def make_store(path: Path) -> str:
    """The address of a new database with the tables of this MLflow."""
    path.write_bytes(_new_store())
    return f"sqlite:///{path}"


@cache
def _new_store() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        MlflowClient(f"sqlite:///{path}").search_experiments()
        return path.read_bytes()
