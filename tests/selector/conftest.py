"""Settings of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eigenselect.export.verification.timing import BATCHES, LookupTime, LookupTimer, all_threads


@pytest.fixture(scope="package", autouse=True)
def fixed_times() -> Iterator[None]:
    """No lookup is timed, which would differ each time: a nanosecond is a byte of the model, 1,000 are a Gather."""

    def times(self: LookupTimer, model: Path) -> list[LookupTime]:
        size = model.stat().st_size
        return [
            LookupTime(batch, threads, float(size), size / 1000)
            for threads in sorted({1, all_threads()})
            for batch in BATCHES
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LookupTimer, "times", times)
        yield
