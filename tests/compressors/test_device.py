"""Work on a device: the CPU stands in for it, by torch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from eigenselect.compressors import EmbeddingTable, device, training
from eigenselect.compressors.codebooks import lloyd
from eigenselect.compressors.codebooks.scalar import count_below
from eigenselect.compressors.data import views
from eigenselect.compressors.methods.trellis_code import device_viterbi, shares, viterbi
from tests.cases import forms, gaussian, payload_of

WINDOW = 8


BITS = [*([width] * 24 for width in (1, 2, 4, 8)), shares(np.ones(21), 8).tolist(), [0, 3, 5, 8, 0, 0, 4, 4]]


@pytest.fixture
def _on_the_cpu() -> Iterator[None]:
    with device.on_device("cpu"):
        yield


@pytest.mark.parametrize("bits", BITS, ids=str)
@pytest.mark.parametrize("reach", [0, 3])
def test_viterbi_chooses_the_same_windows(bits, reach, monkeypatch):
    rng, steps = np.random.default_rng(0), len(bits)
    rows = rng.integers(-40, 40, (70, steps - 1)).astype(np.float32) / 4  # many ways cost the same
    levels = rng.integers(-9, 9, 1 << WINDOW).astype(np.float32)
    weights = np.float32([1, 0.25])
    tables = np.outer(weights, levels * levels), np.outer(-2 * weights, levels)
    arguments = (rows, *tables, rng.integers(0, 2, steps), np.array(bits), reach)
    expected = viterbi.encode(*arguments)
    with device.on_device("cpu"):
        np.testing.assert_array_equal(device_viterbi.encode(*arguments), expected, strict=True)
        monkeypatch.setattr(device_viterbi, "AT_ONCE", 40 * 12 << WINDOW)
        np.testing.assert_array_equal(device_viterbi.encode(*arguments), expected, strict=True)


@pytest.mark.usefixtures("_on_the_cpu")
def test_levels_are_counted_alike():
    values = np.random.default_rng(0).integers(-9, 9, (50, 13)).astype(np.float32)  # many lie on a boundary
    boundaries = np.sort(np.random.default_rng(1).integers(-9, 9, 255)).astype(np.float32)
    with device.on_device(None):
        expected = count_below(values, boundaries)
    np.testing.assert_array_equal(count_below(values, boundaries), expected, strict=True)


@pytest.mark.usefixtures("_on_the_cpu")
@pytest.mark.parametrize(("v", "count"), [(1, 2), (4, 256), (20, 16)])
def test_the_nearest_codeword_is_found(v, count, monkeypatch):
    monkeypatch.setattr(lloyd, "DEVICE_BYTES", 4 * count * 30)
    rng = np.random.default_rng(0)
    points, codebook = rng.standard_normal((100, v), np.float32), rng.standard_normal((count, v), np.float32)
    distances = ((points[:, None] - codebook.astype(np.float64)) ** 2).sum(axis=2)
    found = lloyd.nearest(points, codebook)
    assert found.dtype == np.uint8 and lloyd.nearest(points[:0], codebook).shape == (0,)
    np.testing.assert_allclose(distances[np.arange(100), found], distances.min(axis=1), rtol=1e-5)


@pytest.mark.usefixtures("_on_the_cpu")
@pytest.mark.parametrize("case", forms(), ids=lambda case: case.id)
def test_rows_are_decoded_there(case):
    from eigenselect.compressors.payloads.on_device import reader

    payload = payload_of(case, "gaussian")
    read = reader(payload)
    for rows in (slice(0, 7), slice(100, 300)):
        found = read(rows)
        assert isinstance(found, torch.Tensor)
        np.testing.assert_allclose(found.numpy(), payload.read(rows), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(read(np.array([3, 1])), payload.read(np.array([3, 1])))


@pytest.mark.usefixtures("_on_the_cpu")
def test_products_are_made_there(monkeypatch):
    rows = gaussian(300, 13)
    rows.flags.writeable = False  # as those of a mapped file are
    table = EmbeddingTable(rows)
    seen: list[tuple[int, ...]] = []
    monkeypatch.setattr(device, "put", lambda array, real=device.put: seen.append(array.shape) or real(array))
    np.testing.assert_allclose(table.gram, rows.astype(np.float64).T @ rows, rtol=1e-12, atol=1e-12)
    projected = views.ProjectedTable(table, rows[:13]).read(slice(0, 9))
    np.testing.assert_allclose(projected, rows[:9] @ rows[:13], rtol=1e-4, atol=1e-5)
    assert seen == [(300, 13), (9, 13), (13, 13)]


def test_training_is_done_there():
    with device.on_device("meta"):
        assert training.device() == "meta"


def test_a_device_is_that_of_the_work_inside():
    with pytest.raises(ZeroDivisionError), device.on_device("cpu"):
        assert device.used() == "cpu"
        _ = 1 / 0
    assert device.used() is None


def test_a_device_that_torch_does_not_see_is_refused(monkeypatch):
    device.check_device(None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^device = 'cuda': torch \S+ sees no CUDA device here; leave it out"):
        device.check_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    device.check_device("cuda")
    with pytest.raises(ValueError, match=r"^device = 'tpu': must be cuda or None$"):
        device.check_device("tpu")
