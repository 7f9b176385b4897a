"""What a person sees on the terminal: whole lines at 80 columns, strings as data, a time left that is right."""

from __future__ import annotations

import csv
import io
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenselect.compressors import (
    DCCL,
    PCA,
    Bands,
    ByteCodebook,
    Identity,
    KMeans,
    LightToken,
    ProductQuantization,
    Spectral,
    TrellisCode,
    Uniform,
    training,
)
from eigenselect.selector.decision.advice import advice
from eigenselect.selector.decision.escaping import in_csv, in_markdown, on_terminal
from eigenselect.selector.decision.ranking import across, ranking, rest
from eigenselect.selector.decision.report import write_csv
from eigenselect.selector.decision.selection import Candidate, select
from eigenselect.selector.run.forecast import Forecast
from eigenselect.selector.sources.tokens import write_id_map
from eigenselect.selector.store import view
from eigenselect.selector.terminal import Terminal
from tests.decisions import decision, with_times

LONGEST = "rows12-spectral0.5-norm8-bands0.15-trellis10-b3-trellis10-b2-and-more"


def candidates(count: int, longest: str = "spectral0.5-norm8-codebook-b2") -> list[Candidate]:
    measures = {
        **dict.fromkeys(("weighted_eos_p1", "weighted_eos_p2", "pip_loss_relative", "mean_cosine"), 0.1234),
        "reconstruction_error_relative": 0.8765,
    }
    names = [longest, *(f"uniform-{i}" for i in range(1, count))]
    found = [
        Candidate(name, "Uniform", {}, 123_456_789 - i, "measured", {"eos": 0.9 - i / 1000, **measures})
        for i, name in enumerate(names)
    ]
    return [with_times(each, 12.34) for each in found]


def printed(renderable: object, width: int) -> list[str]:
    out = io.StringIO()
    Terminal(file=out, width=width, markup=False, emoji=False, highlight=False).print(renderable)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("name", ["uniform-0", "spectral0.5-norm8-codebook-b2", LONGEST])
def test_no_figure_is_cut_at_any_width(width, name):
    selection = select(candidates(14, name), 200_000_000)
    lines = printed(ranking(selection, 1_000_000_000, width), width)
    assert all(len(line) <= width for line in lines) and not any("…" in line for line in lines)
    first = " ".join(lines[:4])
    for shown in ("MB", "rate", "EOS", "lookup", "rel. error", "123.46", "8.1x", "0.9000", "12.3x", "0.8765"):
        assert shown in first
    assert name in "".join(line.split()[1 if line.split()[0] == "1" else 0] for line in lines[1:4])
    assert ("cosine" in lines[0]) >= (width == 160) and ("cosine" in lines[0]) <= (width > 80)
    assert rest(selection) == "... and 4 more, down to uniform-13 with 0.8870"
    jobs = [(f"budget={budget}MB", selection) for budget in (8, 16)]
    assert not any("…" in line or len(line) > width for line in printed(across(jobs), width))


def test_ten_rows_and_the_rest_counted():
    few = select(candidates(10), 200_000_000)
    assert rest(few) is None and len(printed(ranking(few, 1, 160), 160)) == 11
    assert len(printed(ranking(select(candidates(40), 200_000_000), 1, 160), 160)) == 11


def test_every_string_is_data_on_the_terminal():
    nasty = "a[red]b[/red] :smile: [/] \x1b[31mc\r\x07\u202e\udcff"
    (line,) = printed(nasty, 160)
    assert line == r"a[red]b[/red] :smile: [/] \x1b[31mc\r\x07\u202e\udcff"
    selection = select(candidates(1, nasty), 200_000_000)
    assert line in "\n".join(printed(ranking(selection, 1, 160), 160))


@given(st.text())
def test_what_is_escaped_holds_nothing_that_is_obeyed(text):
    shown = on_terminal(text)
    assert all(character == "\n" or character.isprintable() or character == "\xad" or ord(character) > 159
               for character in shown)  # fmt: skip
    shown.encode()  # no half of a character is left
    assert not in_csv(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert "\n" not in in_markdown(text)


def test_no_formula_and_no_markup_leaves_for_a_file(tmp_path):
    nasty = Candidate("=cmd()", "@Method", {}, 1, "failed", reason="+1|x](http://evil)")
    write_csv(tmp_path / "c.csv", [nasty], [])
    (row,) = csv.DictReader((tmp_path / "c.csv").read_text().splitlines())
    assert [row["name"], row["compressor"], row["reason"]] == ["'=cmd()", "'@Method", "'+1|x](http://evil)"]
    write_id_map(tmp_path / "m.csv", np.array([0, 1]), ["=1", "-"])
    assert [row["token"] for row in csv.DictReader((tmp_path / "m.csv").read_text().splitlines())] == [
        '!json "=1"',
        '!json "-"',
    ]
    made = decision(table=replace(decision().table, path="a[b](http://evil)<img src=x>|c"))
    note = made.description("pareto.png")
    assert r"a\[b\]\(http://evil\)\<img src=x\>\|c" in note and "| uniform-b4 |" in note


def test_advice_says_what_to_do_next():
    chosen = Candidate("a", "Uniform", {}, 600, "measured", {"eos": 0.9, "weighted_eos_p1": 0.5})
    other = Candidate("b", "Uniform", {}, 600, "measured", {"eos": 0.8, "weighted_eos_p1": 0.6})
    assert advice(select([chosen], 620), fitted=False) == []
    (unused,) = advice(select([chosen], 1000), fitted=False)
    assert unused == "40% of the budget is unused: candidates=auto fits each method to it."
    assert "auto" not in advice(select([chosen], 1000), fitted=True)[0]
    assert "criterion=weighted_eos_p1 takes b" in advice(select([chosen, other], 600), fitted=False)[0]
    measured = (("a", 0.9, 9.0), ("b", 0.8, 5.0), ("c", 0.7, 2.0))
    timed = [with_times(Candidate(name, "U", {}, 600, "measured", {"eos": eos}), time) for name, eos, time in measured]
    says = "A lookup takes 9 times a float32 Gather: limits.lookup=2.4x takes c, 2 times, eos 0.7000."
    assert advice(select(timed, 600), fitted=False) == [says]
    assert advice(select(timed[2:], 600), fitted=False) == []
    tie = [timed[0], replace(timed[2], measures=timed[0].measures)]
    assert advice(select(tie, 600), fitted=False)[0].endswith("takes c, 2 times, a tie.")


# The time that is left.

MADE = [
    (Uniform(3), 2.5), (Uniform(2), 2.0), (KMeans(3), 3.0), (PCA(dim=136, then=KMeans(8)), 2.0),
    (Spectral(then=TrellisCode(2)), 8.5), (Spectral(norm="uint8", then=TrellisCode(2)), 6.4),
    (Spectral(then=ByteCodebook(2)), 6.3), (Spectral(norm="uint8", then=ByteCodebook(2)), 6.2),
    (Spectral(then=KMeans(2)), 2.6), (Spectral(then=ProductQuantization(6)), 4.0),
    (Spectral(then=Bands(0.2, TrellisCode(3), TrellisCode(2))), 12.3),
    (Spectral(then=Bands(0.15, TrellisCode(3), TrellisCode(2))), 10.2),
    (ProductQuantization(95), 14.4), (ProductQuantization(383, 16), 4.5), (DCCL(books=101, codewords=4), 10.4),
    (DCCL(books=27), 4.5), (LightToken(8.0), 32.9), (LightToken(8.0, stages=1), 16.4),
]  # fmt: skip
"""Candidates of `auto` on 3,750 x 384 with the seconds that each took on two busy cores."""


def test_the_forecast_is_right_or_absent():
    forecast = Forecast([compressor for compressor, _ in MADE])
    shown = []
    for place, (_, seconds) in enumerate(MADE):
        true = sum(each for _, each in MADE[place:])
        if (expected := forecast.left(0.0)) is not None:
            shown.append(place)
            assert 0.5 < expected / true < 2 or abs(expected - true) < 25, (place, expected, true)
            assert forecast.left(1.0) == pytest.approx(expected - 1)
        forecast.took(seconds)
    assert shown == list(range(5, len(MADE)))  # from the first on that is not a few passes
    assert forecast.left(0.0) is None


def test_a_candidate_that_takes_much_longer_than_expected_silences_the_forecast():
    forecast = Forecast([Uniform(1), Uniform(2), Uniform(3)])
    forecast.took(10)
    assert forecast.left(4.0) == pytest.approx(16) and forecast.left(12.0) == pytest.approx(10)
    assert forecast.left(25.0) is None


def test_what_is_done_once_is_no_forecast(monkeypatch):
    monkeypatch.setattr(training, "_once", [])
    clock = iter([0.0, 100.0, 100.0, 190.0, 203.0, 203.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    forecast = Forecast([Uniform(1), Uniform(2)])  # at 0
    forecast.begin()  # at 100
    with training.reported_once("compiling"):  # from 100 to 190
        pass
    forecast.done()  # at 203
    monkeypatch.undo()
    assert forecast.left(0.0) == pytest.approx(13)


def test_cheap_candidates_have_a_forecast_from_the_second_on():
    forecast = Forecast([Uniform(1), KMeans(2), Identity()])
    assert forecast.left() is None
    forecast.took(10)
    assert forecast.left(0.0) == pytest.approx(20)


# Where the runs are shown.


class Server(BaseHTTPRequestHandler):
    """Has one run, as MLflow's server would."""

    def do_GET(self):
        known = self.path.endswith("run_id=mine")
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"run": {"info": {"run_id": "mine"}}} if known else {}).encode())

    def log_message(self, *given):
        pass


def test_the_address_is_one_that_is_served_or_could_be(monkeypatch):
    server = HTTPServer(("127.0.0.1", 0), Server)
    port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setattr(view, "PORT", port)
        monkeypatch.setattr(view, "get_tracking_uri", lambda: "sqlite:////tmp/a b/mlflow.db")
        mine = view.View.of("7", "mine")
        assert mine.command is None and mine.address.startswith(f"http://127.0.0.1:{port}/#/experiments/7/runs?")
        assert "workflowType=machine_learning" in mine.address and len(mine.lines()) == 1
        other = view.View.of("7", "other")
        assert other.command is not None and f":{port}/" not in other.address
        assert other.lines()[1:] == ["Nothing serves that address now. This does:", other.command]
        assert "'sqlite:////tmp/a b/mlflow.db'" in other.command
    finally:
        server.shutdown()
        server.server_close()
    monkeypatch.setattr(view, "get_tracking_uri", lambda: "postgresql://me:secret@db/mlflow")
    assert "secret" not in " ".join(view.View.of("7", "mine").lines())
    monkeypatch.setattr(view, "get_tracking_uri", lambda: "http://me:secret@team:5000/")
    assert view.View.of("7", "mine").lines()[0].startswith("UI:    http://team:5000/#/experiments/7/runs?")
