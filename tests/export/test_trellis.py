"""The operator for trellis codes: its table, its name, and rows of any number of axes, none of them too."""

from __future__ import annotations

import numpy as np
import pytest

from eigenselect.compressors.payloads.trellis import Trellis
from eigenselect.compressors.payloads.windows import Windows
from eigenselect.export.operators.decode import decode_graph
from eigenselect.export.operators.trellis import CACHED, trellis_name, trellis_table, trellis_windows
from tests.export.graphs import model_of, run

every_width = pytest.mark.parametrize("bits", [1, 2, 4])


@every_width
@pytest.mark.parametrize("more", range(17))
def test_levels_are_repeated_no_more_than_a_cache_holds(bits: int, more: int) -> None:
    windows = Windows(bits, bits + more)
    rows, columns = trellis_table(windows)
    assert rows == 8 // bits and columns % (1 << windows.size) == 0
    assert columns <= max(CACHED, 1 << windows.size)
    assert trellis_windows(trellis_name(*windows)) == windows


def test_other_operators_have_no_windows() -> None:
    assert trellis_windows("DequantizeGather") is trellis_windows("DequantizeGatherU2") is None


@every_width
@pytest.mark.parametrize("opset", [13, 14, 18])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (0, 5), (2, 1, 3)])
def test_ids_of_any_shape(bits: int, opset: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(bits)
    packed = rng.integers(0, 256, (9, -(-11 * bits // 8)), dtype=np.uint8)
    payload = Trellis(packed, rng.standard_normal(1 << 9, dtype=np.float32), bits, 11)
    ids = rng.integers(-9, 9, shape)
    got = run(model_of(decode_graph(payload, "ids", opset=opset), 11, ids), ids)
    np.testing.assert_array_equal(got, payload.read(ids), strict=True)
