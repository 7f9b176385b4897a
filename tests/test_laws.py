"""The laws that every method keeps, each checked over all cases of `tests/cases.py`.

What a method makes is checked for every case on every table. What depends on the payload alone is checked for every
case on one table, and for each form of payload on the others.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from safetensors.numpy import load_file

import eigenselect.compressors.data.table
from eigenselect.compressors import EmbeddingTable, Payload, load
from eigenselect.compressors.payloads.ops import NumpyOps
from eigenselect.compressors.payloads.ranges import check_decode
from eigenselect.compressors.payloads.torch_ops import TorchOps
from eigenselect.export import save, to_onnx
from eigenselect.export.verification.parity import OVERHEAD_BYTES
from eigenselect.selector.measures import score
from tests.cases import CASES, FAMILIES, ON_TABLES, TABLES, Case, compress, decode, forms, payload_of
from tests.digests import digest

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def _on(pairs: Iterable[tuple[Case, str]]) -> pytest.MarkDecorator:
    """Each case on its table, those on the plain table among the quick tests."""
    marks = {"gaussian": [pytest.mark.quick]}
    params = [pytest.param(case, name, id=f"{case.id}-{name}", marks=marks.get(name, [])) for case, name in pairs]
    return pytest.mark.parametrize(("case", "name"), params)


on_every_table = _on(ON_TABLES)
of_every_form = _on((case, name) for case, name in ON_TABLES if name == "gaussian" or case in forms())
random_cases = pytest.mark.parametrize("case", [case for case in CASES if case.random], ids=lambda case: case.id)
other_cases = pytest.mark.parametrize("case", [case for case in CASES if not case.random], ids=lambda case: case.id)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """‖a − b‖_F in float64, over ‖b‖_F unless that is 0."""
    wide = b.astype(np.float64)
    return float(np.linalg.norm(a - wide) / (np.linalg.norm(wide) or 1.0))


def test_case_names_are_unique() -> None:
    names = [case.id for case in CASES]
    assert sorted(set(names)) == sorted(names)


# --- what a payload promises ------------------------------------------------------------------------------------------


@on_every_table
def test_nbytes_is_promised_made_and_stored(case: Case, name: str, tmp_path: Path) -> None:
    table, payload = TABLES[name], payload_of(case, name)
    payload.save(tmp_path / "payload.safetensors")
    stored = load_file(tmp_path / "payload.safetensors")
    assert case.compressor.nbytes(table.n, table.d) == sum(array.nbytes for array in stored.values())
    assert payload.nbytes == sum(array.nbytes for array in stored.values())
    assert (payload.n, payload.k) == decode(payload).shape


def test_what_is_made_is_seen_to_be_finite_without_reading_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    payloads = [payload_of(case, name) for case, name in ON_TABLES if name != "huge"]
    monkeypatch.setattr(Payload, "read", None)
    for payload in payloads:
        check_decode(payload)


@of_every_form
def test_saved_is_loaded(case: Case, name: str, tmp_path: Path) -> None:
    payload = payload_of(case, name)
    payload.save(tmp_path / "payload.safetensors")
    loaded = load(tmp_path / "payload.safetensors")
    assert type(loaded) is type(payload)
    assert digest(loaded) == digest(payload)
    np.testing.assert_array_equal(decode(loaded), decode(payload), strict=True)
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "payload.safetensors").read_bytes()


@on_every_table
def test_decoded_is_finite_float32_of_the_promised_width(case: Case, name: str) -> None:
    table, payload = TABLES[name], payload_of(case, name)
    decoded = decode(payload)
    assert decoded.dtype == np.float32
    assert np.isfinite(decoded).all()
    assert len(decoded) == table.n
    assert (decoded.shape[1] == table.d) == case.keeps_dimension or table.d == payload.k
    # Nothing is written beyond the largest row of the table: a row's norm bounds its projections.
    norms = np.linalg.norm(table.vectors.astype(np.float64), axis=1)
    longest = np.linalg.norm(norms) if case.joint else norms.max()
    assert np.abs(decoded).max() <= longest * (1 + 2**-11)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("case", [case for case in CASES if case.lossless], ids=lambda case: case.id)
def test_lossless_is_lossless(case: Case, name: str) -> None:
    assert distance(decode(payload_of(case, name)), TABLES[name].vectors) <= 1e-6


# --- one decode, however it is run ------------------------------------------------------------------------------------


@of_every_form
def test_decode_of_some_rows_is_some_rows_of_the_decode(case: Case, name: str) -> None:
    payload = payload_of(case, name)
    whole = decode(payload)
    n = payload.n
    picks: list[slice | np.ndarray] = [
        slice(3, 4),
        slice(n - 7, n),
        np.array([n - 1, 0, 3, 3, 0]),
        np.array([-1, -n, 2], dtype=np.int32),
        np.array([], dtype=np.int64),
    ]
    for pick in picks:
        part = payload.decode(pick, NumpyOps())
        assert part.shape == whole[pick].shape
        assert part.dtype == np.float32
        if case.parity == "bit":
            np.testing.assert_array_equal(part, whole[pick])
        else:
            assert distance(part, whole[pick]) <= 1e-6
    blocks = [payload.read(slice(start, min(start + 16, n))) for start in range(0, n, 16)]
    assert distance(np.concatenate(blocks), whole) <= (0 if case.parity == "bit" else 1e-6)


@of_every_form
def test_numpy_is_torch_is_onnx(case: Case, name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    payload = payload_of(case, name)
    save(to_onnx(payload), tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_size <= payload.nbytes + OVERHEAD_BYTES * payload.bands
    session = ort.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    ops = TorchOps()
    n = payload.n
    for ids in (np.arange(n), np.array([n - 1, 0, -1, -n, 3, 3]), np.array([], dtype=np.int64)):
        expected = payload.decode(ids, NumpyOps())
        by_torch = payload.decode(torch.from_numpy(ids), ops).numpy()
        (by_onnx,) = session.run(None, {"ids": ids})
        for other in (by_torch, by_onnx):
            assert other.dtype == np.float32
            assert other.shape == expected.shape == (len(ids), payload.k)
            if case.parity == "bit":
                np.testing.assert_array_equal(other, expected)
            else:
                assert distance(other, expected) <= 1e-6


# --- the same bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.quick
@every_case
def test_the_same_seed_gives_the_same_bytes(case: Case) -> None:
    again = EmbeddingTable(TABLES["gaussian"].vectors.copy())
    assert digest(compress(case, again)) == digest(payload_of(case, "gaussian"))


@random_cases
def test_another_seed_gives_other_bytes(case: Case) -> None:
    assert digest(compress(case, TABLES["gaussian"], seed=1)) != digest(payload_of(case, "gaussian"))


@other_cases
def test_no_seed_matters_without_randomness(case: Case) -> None:
    assert digest(compress(case, TABLES["gaussian"], seed=1)) == digest(payload_of(case, "gaussian"))


def _of_a_wide_table(threads: int, call: str) -> subprocess.Popen[str]:
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    return subprocess.Popen(
        [sys.executable, "-c", f"import json\nfrom tests.digests import *\nprint(json.dumps({call}))"],
        env=os.environ | dict.fromkeys(names, str(threads)),
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_threads_and_order_do_not_matter() -> None:
    started = [
        _of_a_wide_table(1, "of_a_wide_table(CASES)"),
        _of_a_wide_table(2, "of_a_wide_table(reversed(CASES))"),
    ]
    found = []
    for run in started:
        printed, errors = run.communicate()
        assert run.returncode == 0, errors
        found.append(json.loads(printed))
    assert len(found[0]) == len(CASES) + 1
    assert found[0] == found[1]


@every_case
def test_the_block_size_does_not_matter(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = payload_of(case, "gaussian")
    table = EmbeddingTable(TABLES["gaussian"].vectors)
    monkeypatch.setattr(eigenselect.compressors.data.table, "BLOCK_BYTES", 7 * 4 * table.d)
    assert len(list(table.spans())) == -(-table.n // 7)
    other = compress(case, table)
    if case.one_pass:
        assert digest(other) == digest(payload)
    else:
        assert distance(decode(other), decode(payload)) <= 1e-6


# --- quality ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("family", FAMILIES)
def test_more_bits_never_reconstruct_worse(family: str, name: str) -> None:
    table = TABLES[name]
    errors = [distance(decode(payload_of(case, name)), table.vectors) for case in FAMILIES[family]]
    assert len(errors) >= 3
    assert all(more <= fewer for fewer, more in itertools.pairwise(errors)), errors


@_on((case, name) for case, name in ON_TABLES if case in (forms() if name == "gaussian" else CASES[:4]))
def test_eos_is_a_symmetric_score(case: Case, name: str) -> None:
    x, y = TABLES[name].vectors, decode(payload_of(case, name))
    eos = score(x, y)["eos"]
    assert 0 <= eos <= 1
    assert score(y, x)["eos"] == pytest.approx(eos, abs=1e-9)
    assert score(y, y)["eos"] == pytest.approx(1, abs=1e-9)


@every_case
def test_eos_ignores_an_invertible_right_multiplication(case: Case) -> None:
    x, y = (a.astype(np.float64) for a in (TABLES["gaussian"].vectors, decode(payload_of(case, "gaussian"))))
    rng = np.random.default_rng(0)
    right = rng.standard_normal((y.shape[1], y.shape[1])) + 4 * np.eye(y.shape[1])
    left = rng.standard_normal((x.shape[1], x.shape[1])) + 4 * np.eye(x.shape[1])
    eos = score(x, y)["eos"]
    assert score(x, y @ right)["eos"] == pytest.approx(eos, abs=1e-9)
    assert score(x @ left, y)["eos"] == pytest.approx(eos, abs=1e-9)
    assert score(x, x @ left)["eos"] == pytest.approx(1, abs=1e-9)


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["uniform-b4", "uniform-b2-stochastic", "uniform-b7", "kmeans-b4", "pca-k6-keep-uniform-b4"]
)
def test_memory_is_the_payload_and_a_few_blocks(name: str) -> None:
    (case,) = (case for case in CASES if case.id == name)
    assert _blocks_held(case, 200_000) <= 6


@pytest.mark.parametrize(
    "name", ["uniform-b4", "uniform-b2-stochastic", "uniform-b7", "kmeans-b4", "pca-k6-keep-uniform-b4"]
)
def test_memory_does_not_grow_with_the_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eigenselect.compressors.data.table, "BLOCK_BYTES", 1 << 20)
    (case,) = (case for case in CASES if case.id == name)
    for dtype in (np.float32, np.float16):
        few, many = _blocks_held(case, 20_000, dtype), _blocks_held(case, 160_000, dtype)
        # How many blocks the threads have in hand at the peak is chance; bytes kept of the 34 more would be 9 blocks.
        assert many <= few + 4


def _blocks_held(case: Case, n: int, dtype: type[np.floating] = np.float32) -> float:
    """Blocks of memory above the table and the payload at the peak of compressing an (n, 64) table."""
    table = EmbeddingTable(np.random.default_rng(0).standard_normal((n, 64), dtype=np.float32).astype(dtype))
    tracemalloc.start()
    try:
        payload = compress(case, table)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (peak - payload.nbytes) / eigenselect.compressors.data.table.BLOCK_BYTES
