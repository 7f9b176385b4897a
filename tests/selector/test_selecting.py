"""The main job as a function: a table in, the decision and the payload out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from eigenselect.compressors import PCA, EmbeddingTable, ExactRows, KMeans, Spectral, TrellisCode, Uniform
from eigenselect.selector.decision.selection import NothingFitsError
from eigenselect.selector.measures import score
from eigenselect.selector.run.lookups import Lookups
from eigenselect.selector.run.selecting import select_table
from eigenselect.selector.run.sweep import TooManyFailedError

N, D = 300, 6
VECTORS = (np.random.default_rng(1).standard_normal((N, D)) * np.geomspace(3, 0.3, D)).astype(np.float32)
POOL = [Uniform(2), KMeans(4), KMeans(2), Uniform(4), KMeans(8)]


def test_the_best_that_fits_is_chosen_and_compressed_once(monkeypatch):
    made = []
    for method in (Uniform, KMeans):
        original = method._compress
        monkeypatch.setattr(
            method, "_compress", lambda self, *given, original=original: (made.append(self), original(self, *given))[1]
        )
    found = select_table(VECTORS, 1_200, candidates=POOL, seed=3)
    assert made == POOL[:4], "each that fits once, and the chosen one not again"
    scores = {each.name: each.measures["eos"] for each in found.candidates if each.status == "measured"}
    assert len(scores) == 4 and found.selection.chosen.name == max(scores, key=lambda name: scores[name])
    assert found.compressor.name == found.selection.chosen.name
    again = found.compressor.compress(EmbeddingTable(VECTORS), np.random.default_rng(3))
    assert np.array_equal(found.payload.read(slice(0, N)), again.read(slice(0, N)))
    assert [trial.payload for trial in found.trials if trial.candidate is not found.selection.chosen] == [None] * 4
    first, heads, *ranked = repr(found).splitlines()
    assert first == f"Chosen({found.compressor.name}, {found.payload.nbytes:,} bytes, eos {max(scores.values()):.4f})"
    assert heads.split()[:5] == ["#", "candidate", "MB", "rate", "EOS"] and len(ranked) == 4
    best = [f"{score:.4f}" for score in sorted(scores.values(), reverse=True)]
    assert [line.split()[4] for line in ranked] == best
    with monkeypatch.context() as patch:
        patch.setattr("rich.console._is_jupyter", lambda: True)
        assert repr(found).splitlines() == [first, heads, *ranked], "Jupyter asks for it beside the HTML"
    page = found._repr_html_()
    assert page.count("<tr>") == 5 and all(f"<td>{score}" in page for score in best)
    assert repr(found.payload).endswith(f"(300 x 6, {found.payload.nbytes:,} bytes)")
    assert repr(found.selection).startswith(
        f"Selection({found.compressor.name}, {found.payload.nbytes:,} of 1,200 bytes"
    )
    rows = np.asarray(found.payload)
    assert rows.dtype == np.float32 and np.array_equal(rows, found.payload.read(slice(0, N)))
    assert np.asarray(found.payload, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="holds no decoded rows"):
        np.array(found.payload, copy=False)
    table = EmbeddingTable(VECTORS.astype(np.float16), [str(i) for i in range(N)])
    assert repr(table) == "EmbeddingTable(300 x 6 float16, 7,200 bytes in float32, with tokens)"
    assert np.array_equal(np.asarray(table), table.vectors) and np.asarray(table).dtype == np.float16
    assert score(VECTORS, found.payload)["eos"] == pytest.approx(scores[found.compressor.name])


def test_a_table_may_be_an_array_a_table_or_a_file(tmp_path):
    np.save(tmp_path / "t.npy", VECTORS)
    tokens = [f"w{i}" for i in range(N)]
    forms = [VECTORS.tolist(), EmbeddingTable(VECTORS, tokens), tmp_path / "t.npy", str(tmp_path / "t.npy")]
    found = [
        select_table(np.float32(form) if isinstance(form, list) else form, "8x", candidates=POOL) for form in forms
    ]
    assert len({each.payload.read(slice(0, N)).tobytes() for each in found}) == 1
    kept = select_table(VECTORS, "50%", tokens=tokens, candidates=POOL, exact_rows=[0, "w7"]).compressor
    assert isinstance(kept, ExactRows) and kept.rows == (0, 7)


def test_lookups_are_timed_only_where_they_are_limited(monkeypatch):
    free = select_table(VECTORS, "8x", candidates=POOL)
    assert free.compressor == KMeans(8) and not any(each.costs for each in free.candidates)
    monkeypatch.setattr(Lookups, "__call__", lambda self, payload: {"lookup_ratio_8192": payload.nbytes / 400})
    found = select_table(VECTORS, "8x", candidates=POOL, lookup="3x")
    assert found.compressor == KMeans(4) and found.payload.nbytes <= 3 * 400 < free.payload.nbytes
    assert found.selection.unlimited is not None and found.selection.unlimited.name == "kmeans-b8"
    assert next(each.payload for each in found.trials if each.candidate is found.selection.chosen) is found.payload
    with pytest.raises(NothingFitsError, match=r"the fastest, kmeans-b2, takes"):
        select_table(VECTORS, "8x", candidates=POOL, lookup="1x")


def test_criterion_and_pool_are_those_of_the_command():
    found = select_table(VECTORS, "25%", criterion="weighted_eos", seed=1)
    assert found.selection.criterion == "weighted_eos_p1" and len(found.candidates) > 30
    assert found.selection.chosen.nbytes <= N * D == found.selection.budget


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"budget": "lots"}, r"^budget = 'lots' cannot be read"),
        ({"candidates": "quik"}, r"did you mean quick\?$"),
        ({"candidates": []}, r"^candidates is empty: give at least one compressor"),
        ({"candidates": ["uniform"]}, r"^candidates holds 'uniform': each must be a compressor"),
        ({"candidates": [Uniform(4), Uniform(4)]}, r"^candidates holds uniform-b4 a second time"),
        ({"candidates": [PCA(dim=99)]}, r"dim = 99: must be at most"),
        ({"criterion": "f1"}, r"^criterion = 'f1' is no measure"),
        ({"lookup": "fast"}, r"^limits.lookup = 'fast': must be times a float32 Gather"),
        ({"use": "cold"}, r"^use = 'cold': must be trained, frozen, retrieval or None$"),
        ({"seed": -1}, r"^seed = -1: must be an integer of at least 0$"),
        ({"allowed_failures": 2}, r"^allowed_failures = 2: must be a share from 0 to 1$"),
        ({"exact_rows": "ab"}, r"^exact_rows = 'ab': must be a list"),
        ({"table": EmbeddingTable(VECTORS), "tokens": ["a"]}, r"^tokens are for an array"),
    ],
)
def test_what_cannot_be_used_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        select_table(**({"table": VECTORS, "budget": "50%", "candidates": POOL} | given))


def test_without_matrices_the_overlap_is_the_same_and_the_bytes_are_fewer():
    pool = [Spectral(then=KMeans(4)), Spectral(then=KMeans(4), fold=True)]
    whole, left = (
        select_table(VECTORS, "90%", candidates=pool[:count], use=use) for count, use in ((1, None), (2, "trained"))
    )
    assert [candidate.name for candidate in left.candidates] == [pool[1].name]
    assert left.selection.chosen.nbytes == whole.selection.chosen.nbytes - 2 * VECTORS.shape[1] ** 2
    assert left.selection.chosen.measures["eos"] == pytest.approx(whole.selection.chosen.measures["eos"], abs=1e-6)
    with pytest.raises(ValueError, match=r"^use = 'trained' leaves decode matrices out, and exact_rows needs"):
        select_table(VECTORS, "90%", candidates=pool, use="trained", exact_rows=[0])


def test_the_errors_of_a_selection(monkeypatch, capsys):
    with pytest.raises(NothingFitsError, match=r"^nothing fits the budget of 10 bytes"):
        select_table(VECTORS, 10, candidates=POOL)
    monkeypatch.setattr(KMeans, "_compress", lambda *given: 1 / 0)
    with pytest.raises(TooManyFailedError):
        select_table(VECTORS, "50%", candidates=POOL)
    assert select_table(VECTORS, "50%", candidates=POOL, allowed_failures=1).compressor == Uniform(4)


def test_a_candidate_with_a_clock_in_it_cannot_be_made_again(monkeypatch):
    monkeypatch.setattr(TrellisCode, "reproducible", property(lambda self: False))
    assert KMeans(4).reproducible and not TrellisCode(2).reproducible
    assert not ExactRows((1,), TrellisCode(2)).reproducible and ExactRows((1,), KMeans(2)).reproducible


def test_no_tracking_is_imported():
    code = """
import sys, numpy as np
from eigenselect.compressors import Uniform
from eigenselect.selector.run.selecting import select_table
found = select_table(np.arange(1, 28, dtype=np.float32).reshape(9, 3), "1kB", candidates=[Uniform(1)])
print(found, {"mlflow", "torch"} & {*sys.modules})
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("Chosen(uniform-b1, ") and run.stdout.endswith(" set()\n")
