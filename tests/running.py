"""The command, run as a user does, in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from eigenselect import conf
from eigenselect.__main__ import run

QUICK = yaml.safe_load((Path(conf.__file__).parent / "candidates" / "quick.yaml").read_text(encoding="utf-8"))


def command(*arguments: str) -> int:
    """Exit code of `eigenselect arguments`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["eigenselect", *arguments])
        return run(arguments)


def only(*entries: str) -> list[str]:
    """Settings that leave `entries` of the default pool, in their order there."""
    unknown = set(entries) - set(QUICK["pool"])
    assert not unknown, unknown
    return [f"~candidates.pool.{entry}" for entry in QUICK["pool"] if entry not in entries]
