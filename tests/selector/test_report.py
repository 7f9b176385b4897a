"""What a person sees: the CSV, the Pareto front, the picture, the page and the ranking."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import struct
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from eigenselect.compressors import PCA, EmbeddingTable, Uniform
from eigenselect.selector.decision import report
from eigenselect.selector.decision.lookup import Limit
from eigenselect.selector.decision.page import write_page
from eigenselect.selector.decision.palette import SYMBOLS, styles
from eigenselect.selector.decision.ranking import ranking
from eigenselect.selector.decision.selection import Candidate, Estimate, select, why
from eigenselect.selector.measures import Measures, score
from eigenselect.selector.measures.moments import moments
from eigenselect.selector.measures.portrait import portrait
from tests.decisions import with_times

KEYS = Measures().keys
NASTY = "<img src=http://evil.example/x onerror=alert(1)></script><b>&\"'"


def measured(name, nbytes, **measures):
    return Candidate(name, "Uniform", {"bits": 4, "rounding": "nearest"}, nbytes, "measured", measures, run_id="r1")


def pool(name="uniform-b4"):
    return [
        measured(name, 1_500_000, eos=0.1 + 0.2, pip_loss=12.5),
        measured("uniform-b2", 750_000, eos=0.25, pip_loss=20.0),
        Candidate("kmeans-b4", "KMeans", {"bits": 4}, 1_600_000, "failed", reason=f'a, "b"\nc {name}'),
        Candidate("identity", "Identity", {}, 9_000_000, "over_budget"),
    ]


# The CSV.


def test_the_csv_has_a_row_a_candidate_and_a_column_a_measure(tmp_path):
    path = tmp_path / "candidates.csv"
    report.write_csv(path, pool(), KEYS)
    with path.open(newline="", encoding="utf-8") as file:
        first, *rows = csv.DictReader(file)
    assert list(first)[:5] == ["name", "compressor", "parameters", "nbytes", "status"]
    assert list(first)[5 : 5 + len(KEYS)] == KEYS
    assert set(first) == {"name", "compressor", "parameters", "nbytes", "status", *KEYS, "reason", "run_id"}
    assert float(first["eos"]) == 0.1 + 0.2  # to the last bit
    assert json.loads(first["parameters"]) == {"bits": 4, "rounding": "nearest"}
    assert [row["status"] for row in (first, *rows)] == ["measured", "measured", "failed", "over_budget"]
    assert rows[1]["reason"] == 'a, "b"\nc uniform-b4'
    assert [first["delta1"], *(row["eos"] for row in rows[1:])] == ["", "", ""]  # undefined is empty, not 0


def test_pandas_reads_the_csv(tmp_path):
    path = tmp_path / "candidates.csv"
    report.write_csv(path, pool(NASTY), KEYS)
    frame = pd.read_csv(path).set_index("name")
    assert frame["nbytes"].tolist() == [1_500_000, 750_000, 1_600_000, 9_000_000]
    assert frame["eos"].isna().tolist() == [False, False, True, True]
    assert frame["run_id"].tolist()[0] == "r1"
    assert frame.index[0] == NASTY


# The Pareto front.


@st.composite
def scored(draw):
    values = st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5])
    count = draw(st.integers(0, 10))
    scores = [measured(f"c{i}", draw(st.integers(1, 6)), eos=draw(values), pip_loss=draw(values)) for i in range(count)]
    found = [with_times(each, draw(st.integers(1, 3))) for each in scores]
    return [*found, measured("other", 1, mean_cosine=1.0), Candidate("out", "Uniform", {}, 1, "over_budget")]


@given(scored(), st.sampled_from(["eos", "pip_loss"]), st.booleans())
def test_the_pareto_front_is_what_nothing_dominates(candidates, criterion, lookup):
    def at(candidate):
        value = candidate.measures[criterion]
        time = (candidate.costs["lookup_ratio_8192"],) if lookup else ()
        return candidate.nbytes, -value if criterion == "eos" else value, *time

    points = {at(c) for c in candidates if criterion in c.measures}
    free = {p for p in points if not any(q != p and all(a <= b for a, b in zip(q, p, strict=True)) for q in points)}
    front = [at(c) for c in report.pareto_front(candidates, criterion, lookup=lookup)]
    assert front == sorted(free)  # one of each, by increasing bytes


# Picture and page.


def test_the_picture_is_a_png(tmp_path):
    path = tmp_path / "pareto.png"
    report.write_picture(path, select(pool(), 2_000_000), pool())
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert width > 600 and height > 400
    assert len(data) > 10_000  # not blank


class Page(HTMLParser):
    """Tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._inside = [], "", ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.text += data


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    candidates = pool(NASTY)
    record = {"chosen": {"name": NASTY}, "seed": 0}
    write_page(path, select(candidates, 2_000_000), candidates, json.dumps(record, indent=2))
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_names_every_candidate_with_its_reason(page):
    for candidate in pool(NASTY):
        assert candidate.name in page.text
    assert "0.05 below" in page.text
    assert "failed: a" in page.text
    assert "350% over the budget" in page.text
    assert '"seed": 0' in page.text


def test_the_page_escapes_names(page):
    tags = {tag for tag, _ in page.tags}
    assert "script" in tags  # the picture is there
    assert tags.isdisjoint({"img", "b"})
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert NASTY in page.text


def test_the_script_has_every_point_and_cannot_be_left(tmp_path):
    candidates = [with_times(each, 2.0) if each.measures else each for each in pool("</script><script>alert(1)//")]
    write_page(tmp_path / "report.html", select(candidates, 2_000_000), candidates, "{}")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 2 and len(text) < 60_000
    found = json.loads(re.search(r"application/json>(.*?)</script>", text, re.DOTALL)[1])
    assert [point["name"] for point in found["points"]] == [c.name for c in candidates if c.measures]
    assert found["points"][0]["chosen"] and found["lines"] == {"megabytes": ["budget", 2.0]}
    assert {"megabytes", "eos", "pip_loss", "lookup_ratio_8192"} == {*found["axes"]}
    assert (found["axes"]["eos"]["better"], found["axes"]["pip_loss"]["better"]) == (1, -1)
    assert {point["method"] for point in found["points"]} == {*found["styles"]}


def test_methods_differ_in_colour_and_symbol():
    names = [f"m{i:02}" for i in range(8)]
    looks = styles(names)
    assert len({colour for colour, _ in looks.values()}) == 8 and len({*looks.values()}) == 8
    assert styles(reversed(names)) == looks and all(symbol in SYMBOLS for _, symbol in looks.values())


def test_what_is_kept_of_a_table():
    """Against dense computations: directions, errors of the rows by frequency, neighbours."""
    rng = np.random.default_rng(5)
    x = (rng.standard_normal((300, 6)) * np.geomspace(4, 1, 6)).astype(np.float32)
    counts = rng.permutation(300).astype(float)
    tokens = [f"w{'abcdefghij'[i // 100]}{'abcdefghij'[i // 10 % 10]}{'abcdefghij'[i % 10]}" for i in range(300)]
    table = EmbeddingTable(x, tokens, counts)
    payload = Uniform(2).compress(table, rng)
    y = payload.read(slice(0, 300))
    found = portrait(moments(table, payload.read), table, payload)
    u, s, _ = np.linalg.svd(x.astype(float), full_matrices=False)
    basis, _ = np.linalg.qr(y.astype(float))
    assert np.allclose(found.spectrum, s / s[0], rtol=1e-5)
    assert np.allclose(found.kept, ((u.T @ basis) ** 2).sum(1), atol=1e-6)
    assert np.mean(found.kept) == pytest.approx(score(table, payload)["eos"])
    order = np.argsort(-counts)
    assert found.counted and [(band.first, band.last) for band in found.bands] == [
        (i + 1, i + 30) for i in range(0, 300, 30)
    ]
    first = order[:30]
    assert found.bands[0].error == pytest.approx(
        np.linalg.norm(x[first] - y[first]) / np.linalg.norm(x[first]), rel=1e-5
    )
    assert [each.token for each in found.neighbours] == [tokens[order[place]] for place in (20, 60, 200)]
    for each in found.neighbours:
        row = tokens.index(each.token)
        for rows, nearest in ((x, each.before), (y, each.after)):
            cosines = rows @ rows[row] / np.linalg.norm(rows, axis=1)
            cosines[row] = -np.inf
            assert {*nearest} == {tokens[i] for i in np.argsort(-cosines)[:5]} or len({*cosines}) < 300
    own = PCA(dim=3).compress(table, rng)
    elsewhere = portrait(moments(table, own.read, aligned=False), table, own)
    assert (
        elsewhere.bands == []
        and elsewhere.neighbours == []
        and np.allclose(elsewhere.kept, [1, 1, 1, 0, 0, 0], atol=1e-6)
    )
    bare = portrait(moments(table, payload.read), EmbeddingTable(x), payload)
    assert not bare.counted and bare.neighbours == [] and len(bare.bands) == 10


def test_the_page_stands_alone(page):
    loading = {"src", "href", "data", "action", "srcset", "poster"}
    references = [(tag, name) for tag, attributes in page.tags for name in attributes if name in loading]
    assert references == []
    assert {tag for tag, _ in page.tags}.isdisjoint({"link", "iframe", "base", "object", "embed"})


def test_times_are_shown_beside_the_scores(tmp_path):
    scores = {"fast": (2000, 0.5, 1.25), "slow": (900, 0.9, 31.0), NASTY: (2000, 0.4, 1.5)}
    candidates = [with_times(measured(name, size, eos=eos), time) for name, (size, eos, time) in scores.items()]
    selection = select(candidates, 2000, limit=Limit.parse("2x"))
    out = io.StringIO()
    Console(file=out, width=200).print(ranking(selection, 8000, 200))
    head, first, *_ = [re.split(r"\s{2,}", line.strip()) for line in out.getvalue().splitlines()]
    assert first[head.index("lookup")] == "1.25x" and first[1] == "fast"
    write_page(tmp_path / "report.html", selection, candidates, "{}")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "fast0.0020.51.25x62yeschosen" in page.text and "slow0.00090.931x1,550yesslower than" in page.text
    assert f"{NASTY}0.0020.41.5x750.1 below" in page.text and "Times were measured on Abacus, 2 threads" in page.text
    assert {tag for tag, _ in page.tags}.isdisjoint({"img", "b"})
    report.write_csv(tmp_path / "c.csv", candidates, ["eos", "lookup_ratio_8192"])
    assert pd.read_csv(tmp_path / "c.csv")["lookup_ratio_8192"].tolist() == [1.25, 31.0, 1.5]


# Text.


def test_the_choice_in_one_sentence():
    text = why(select(pool(), 2_000_000))
    assert text.startswith("uniform-b4 has the best eos, 0.3000, of the 2 candidates measured within 2,000,000 bytes")
    assert "it takes 1,500,000. The runner-up, uniform-b2, has 0.2500 (0.05 away) at 750,000." in text
    assert "runner-up" not in why(select(pool(), 1_000_000))


def doubtful():
    """The first has the best EOS and is not known from the second, which has the better weighted score."""
    names = {"uniform-b4": (0.30001, 0.5), NASTY: (0.3, 0.6)}
    replicates = [math.sin(i) for i in range(64)], [math.cos(i) for i in range(64)]
    return [
        Candidate(name, "Uniform", {}, 1000, "measured", {"eos": eos, "weighted_eos_p1": weighted}, replicates=found)
        for (name, (eos, weighted)), found in zip(
            names.items(), ({"eos": tuple(values)} for values in replicates), strict=True
        )
    ]


def test_doubts_are_reported(tmp_path):
    selection = select(doubtful(), 2000)
    text = why(selection)
    assert re.search(r"That is a tie: .* rows, as many and alike, the difference would vary by 0\.2\d either", text)
    assert (
        f"The choice is sensitive to the criterion: it would be {NASTY} by weighted_eos_p1 "
        "(0.6, the chosen one has 0.5 and place 2 of 2). The question was"
    ) in text
    write_page(tmp_path / "report.html", selection, doubtful(), "{}")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    error = selection.chosen.standard_errors["eos_stderr"]
    assert f"0.30001 ± {error:.1g}0.5--yeschosen" in page.text  # a row of the candidates
    assert f"weighted_eos_p1{NASTY}0.60.52 of 2" in page.text  # and one of the criteria
    assert text in page.text and {tag for tag, _ in page.tags}.isdisjoint({"img", "b"})
    sure = why(select(pool(), 2_000_000))
    assert "tie" not in sure and "sensitive" not in sure


def test_weighted_scores_are_shown_and_their_errors_written(tmp_path):
    out = io.StringIO()
    selection = select(doubtful(), 2000)
    Console(file=out, width=200).print(ranking(selection, 8000, 200))
    head, *lines = out.getvalue().splitlines()
    assert re.split(r"\s{2,}", head.strip())[-5:] == ["EOS", "rel. error", "EOS p1", "rel. PIP", "cosine"]
    assert lines[0].split()[-5:] == ["0.3000", "-", "0.5000", "-", "-"]
    report.write_csv(tmp_path / "c.csv", doubtful(), ["eos", "weighted_eos_p1", "eos_stderr"])
    frame = pd.read_csv(tmp_path / "c.csv")
    assert frame["weighted_eos_p1"].tolist() == [0.5, 0.6]
    assert frame["eos_stderr"].tolist() == [c.standard_errors["eos_stderr"] for c in doubtful()]


@pytest.mark.parametrize("criterion", ["eos", "pip_loss"])
def test_the_ranking_is_printed_best_first(criterion):
    out = io.StringIO()
    selection = select(pool(), 2_000_000, criterion)
    Console(file=out, width=200).print(ranking(selection, 12_000_000, 200))
    head, *lines = [line.split() for line in out.getvalue().splitlines()]
    assert [line[:2] for line in lines] == [[str(i), c.name] for i, c in enumerate(selection.ranking, start=1)]
    rates = {line[1]: line[3] for line in lines}
    assert rates == {"uniform-b4": "8.0x", "uniform-b2": "16.0x"}
    assert "-" in lines[0]  # a measure that it lacks
    assert math.isclose(selection.budget, 2_000_000) and "candidate" in head


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, "PCA"),
        ({"then": "Identity", "then.dtype": "float32"}, "PCA"),
        ({"then": "Spectral", "then.then": "TrellisCode", "then.then.bits": 2}, "PCA, Spectral, TrellisCode"),
    ],
)
def test_methods_are_named_from_the_outermost_on(parameters: dict, expected: str) -> None:
    assert Candidate("x", "PCA", parameters, 1, "measured").method == expected
    assert Candidate("x", "Identity", {"dtype": "float16"}, 1, "measured").method == "Identity"


# What a sample of rows left out.


@pytest.mark.parametrize(("value", "says"), [(0.27, True), (0.2, False)])
def test_less_of_the_budget_may_buy_what_a_sample_left_out(value, says, tmp_path):
    reported = Estimate("eos", value, 0.01, 16_384, 0.999, "uniform-b4", 0.3 - value, 0.02)
    left_out = Candidate("pca", "PCA", {}, 700_000, "screened", reason=str(reported), estimate=reported)
    candidates = [*pool(), left_out]
    selection = select(candidates, 1_900_000)
    write_page(tmp_path / "report.html", selection, candidates, "{}")
    page = " ".join((tmp_path / "report.html").read_text(encoding="utf-8").split())
    sentence = f"By a sample of 16,384 rows pca would be better, about {value:.4f}."
    assert (sentence in page) == says and "3 candidates that were not measured" in page
    assert f"<td>{reported}" in page and dict((c.name, reason) for c, reason in selection.rejected)["pca"] == str(
        reported
    )
    assert "Of 1 more, samples of rows show that each is worse than one that was measured (99.9%)." in why(selection)
    assert [c.name for c in selection.ranking] == ["uniform-b4", "uniform-b2"] and left_out not in selection.ranking
