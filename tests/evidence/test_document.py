"""docs/evidence.md is what benchmarks/evidence.py makes of the results beside it; and it makes it rightly."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parents[2]


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setattr("eigenselect.selector.evidence.analysis.statistics.RESAMPLES", 20)
    return importlib.import_module("evidence")


def rows_without_intervals(document: str) -> list[str]:
    """The rows of its tables; the intervals need more resamples than a test has time for."""
    return [re.sub(r" \[[^]]*\]", "", line) for line in document.splitlines() if line.startswith("|")]


def test_no_figure_was_written_by_hand(writer: ModuleType) -> None:
    document = writer.DOCUMENT.read_text(encoding="utf-8")
    assert rows_without_intervals(writer.written(document)) == rows_without_intervals(document)
    assert document.count(" [") > 20, "and there are intervals"


@pytest.fixture
def small(writer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Results of one small run of each kind in the place of the real ones, through what keeps an `evidence.json`."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(8):
        for seed in range(2):
            measures = {key: float(rng.random()) for key in (*writer.MEASURES, "delta1", "delta2")}
            measures |= {f"weighted_eos_p{p}": float(rng.random()) for p in (0.5, 2)}
            scores = {
                task: float(rng.random()) for task in ("cnn_MR", "linear_MR", "linear_MPQA", "linear_Subj", "analogy")
            }
            rows.append(
                {"candidate": f"c{i}", "nbytes": 100 + i // 4, "seed": seed, "measures": measures, "scores": scores}
            )
            rows[-1] |= {"status": "measured", "reason": None, "run_id": "r"}
    found = {
        "table": {"path": "/somewhere/private", "n": 12_345, "d": 7, "digest": "0"},
        "budget_bytes": 107,
        "criterion": "eos",
        "seeds": [0, 1],
        "tasks": {"cnn_MR": {"missing": 0.0}},
        "results": rows,
    }
    monkeypatch.setattr(writer, "RESULTS", tmp_path)
    for name in ("study-glove50", "criterion-glove50"):
        writer.keep(name, writer.kept(found))
    (tmp_path / "theory.json").write_text((ROOT / "benchmarks" / "evidence" / "theory.json").read_text())
    return found


def column(rows: list[dict], value) -> np.ndarray:
    return np.array([value(row) for row in rows])


def test_a_small_document_has_the_figures_of_its_results(writer: ModuleType, small: dict, tmp_path: Path) -> None:
    empty = "".join(f"<!-- {name} -->\n<!-- end -->\n" for name in writer.SECTIONS)
    document = writer.written(empty)
    assert "private" not in (tmp_path / "study-glove50.json").read_text()
    assert writer.written(document) == document, "written over itself it stays"

    rows = small["results"]
    mr = column(rows, lambda row: row["scores"]["cnn_MR"])
    eos = column(rows, lambda row: row["measures"]["eos"])
    points = stats.spearmanr(eos, mr).statistic
    means = stats.spearmanr(eos.reshape(8, 2).mean(axis=1), mr.reshape(8, 2).mean(axis=1)).statistic
    published = json.loads((ROOT / "benchmarks" / "published.json").read_text())["tables"][writer.PUBLISHED]["MR"][
        "eos"
    ]
    (line,) = [line for line in document.splitlines() if line.startswith("| MR | eos | .29 |")]
    cells = [re.sub(r" \[.*", "", each.strip()) for each in line.strip("|").split("|")]
    assert cells[3:] == [writer.number(each) for each in (points, points - published[0], means)]

    loss = column(rows, lambda row: -row["measures"]["delta2"])
    last = document.split("<!-- lambdas -->")[1].split("<!-- end -->")[0]
    (line,) = [line for line in last.splitlines() if line.startswith("| GloVe 50-d, MR | delta2 |")]
    assert line.split("|")[5].strip() == writer.number(stats.spearmanr(loss, mr).statistic)

    of_c3 = [row for row in rows if row["candidate"] == "c3"]
    (line,) = [line for line in document.splitlines() if line.startswith("| c3 |")]
    assert f"{100 * column(of_c3, lambda row: row['scores']['cnn_MR']).mean():.2f} ±" in line


def test_the_exponent_is_chosen_on_the_tuning_tasks_alone(writer: ModuleType, small: dict) -> None:
    text = writer.criterion()
    tuning, *_ = [line for line in text.splitlines() if line.startswith("| GloVe 50-d, tuned")]
    errors = [float(each) for each in tuning.split("|")[2:-1]]
    chosen = ("0 (EOS)", "0.5", "2")[int(np.argmin(errors))]
    assert f"**p = {chosen} errs least on the tuning tasks over all pairs" in text
    assert "cnn_MR" not in tuning and "analogies (1)" in text and "study's candidates, sentence" in text


def test_a_document_without_its_marks_is_refused(writer: ModuleType) -> None:
    with pytest.raises(ValueError, match="<!-- study -->"):
        writer.written("no marks")


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, ".50"), (-0.123, "−.12"), (1.25, "1.25"), (None, "–"), (-0.001, ".00")]
)
def test_numbers(writer: ModuleType, value: float | None, text: str) -> None:
    assert writer.number(value) == text
