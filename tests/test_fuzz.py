"""The readers on files that nobody wrote, in short; `make fuzz` tries a hundred thousand."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, Target, clear

SLOW = {"torch", "host", "inputs of a host", "static model", "configuration file", "settings"}
"""Those that take more than some milliseconds an input."""


@pytest.mark.parametrize(
    "target", [target for target in TARGETS if target.name != "hand-over"], ids=lambda each: each.name
)
def test_a_changed_file_is_read_or_refused_in_one_line(target: Target, tmp_path: Path) -> None:
    (tmp_path / "seeds").mkdir()
    (folder := tmp_path / "input").mkdir()
    seeds = target.seeds(tmp_path / "seeds")
    for seed in seeds[:3]:
        assert target.try_on(seed, folder), "as it is"
        clear(folder)

    @settings(max_examples=3 if target.name in SLOW else 10, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(range(len(seeds))), st.randoms(use_true_random=False))
    def law(seed: int, random: Random) -> None:
        target.try_on(target.changed(seeds[seed], random), folder)
        clear(folder)

    law()
