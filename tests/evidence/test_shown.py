"""What validate prints: every statistic with its interval, and whether it tells a measure from EOS."""

from __future__ import annotations

import io

import pytest

from eigenselect.selector.evidence.analysis.report import LINES, show
from eigenselect.selector.evidence.analysis.statistics import STATISTICS
from eigenselect.selector.terminal import Terminal


def statistic(value: float | None, low: float | None, high: float | None, against: tuple[float | None, ...]) -> dict:
    one = {"value": value, "low": low, "high": high}
    return {
        name: {**one, "against_eos": dict(zip(("value", "low", "high"), against, strict=True))} for name in STATISTICS
    }


EVIDENCE = {
    "overall": {
        "eos": statistic(0.8, 0.7, 0.9, (0.0, 0.0, 0.0)),
        "weighted_eos_p1": statistic(0.85, 0.7, 0.9, (0.05, 0.01, 0.1)),
        "projected_reconstruction_error": statistic(0.79, 0.6, 0.9, (-0.01, -0.1, 0.1)),
        "pip_loss": statistic(0.3, 0.2, 0.4, (-0.5, -0.6, -0.4)),
        "delta": statistic(None, None, None, (None, None, None)),
    },
    "results": [{"candidate": "a", "scores": {"t": 1}}],
    "seeds": [0],
    "tasks": {"t": {}},
}


@pytest.mark.parametrize("width", [80, 160])
def test_intervals_and_what_they_distinguish(width: int) -> None:
    out = io.StringIO()
    show(Terminal(file=out, width=width, highlight=False, markup=False, emoji=False), EVIDENCE)
    lines = out.getvalue().splitlines()
    table = [line for line in lines if "[" in line or line.endswith("-")]
    assert all(len(line) <= width for line in table) and "…" not in out.getvalue()
    verdicts = {line.split()[0]: line[line.rindex("]") + 1 :].strip() for line in table if "[0." in line}
    assert verdicts["eos"] == "" and verdicts["weighted_eos_p1"] == "better" and verdicts["pip_loss"] == "worse"
    assert "no distinction" in verdicts.values() and lines.index(table[0]) == 1 and "0.850 [0.700, 0.900]" in table[0]
    assert (table[0].count("[") == len(STATISTICS)) == (width == 160)


def test_the_best_measures_are_printed_and_those_that_agree_once() -> None:
    many = {f"measure{i}": statistic(0.9 - i / 100, 0.1, 1.0, (0.1, -0.2, 0.3)) for i in range(LINES + 5)}
    overall = EVIDENCE["overall"] | many | {"alike": many["measure0"]}
    out = io.StringIO()
    show(Terminal(file=out, width=80, highlight=False, markup=False, emoji=False), {**EVIDENCE, "overall": overall})
    names = [line.split()[0] for line in out.getvalue().splitlines() if "[" in line]
    assert len(names) == LINES and "eos" in names and len({"alike", "measure0"} & {*names}) == 1
    assert f"evidence.html has {len(overall) - LINES} more measures." in " ".join(out.getvalue().split())
