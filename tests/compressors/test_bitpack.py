"""Bit packing: an inverse of itself, at the stated size, in the stated layout."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eigenselect.compressors.payloads import bitpack
from eigenselect.compressors.payloads.bitpack import (
    pack,
    planar,
    plane_bytes,
    plane_widths,
    row_bytes,
    split,
    unpack,
    unpack_table,
)

pytestmark = pytest.mark.quick


@st.composite
def codes_and_bits(draw: st.DrawFn, widths: tuple[int, ...]) -> tuple[np.ndarray, int]:
    bits = draw(st.sampled_from(widths))
    shape = (draw(st.integers(0, 5)), draw(st.integers(1, 40)))
    return draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 2**bits - 1))), bits


@given(codes_and_bits((1, 2, 4, 8)))
def test_unpack_inverts_pack(given: tuple[np.ndarray, int]) -> None:
    codes, width = given
    packed = pack(codes, width)
    assert packed.dtype == np.uint8
    assert packed.shape == (len(codes), math.ceil(codes.shape[1] * width / 8))
    np.testing.assert_array_equal(unpack(packed, width, codes.shape[1]), codes)


@given(codes_and_bits((1, 2, 4, 8)))
def test_value_j_is_in_the_bits_that_the_layout_says(given: tuple[np.ndarray, int]) -> None:
    codes, width = given
    # The same layout by an independent road: every code as bits, lowest first, and numpy's little-endian packing.
    bits = (codes[..., None] >> np.arange(width)) & 1
    by_numpy = np.packbits(bits.reshape(len(codes), codes.shape[1] * width), axis=1, bitorder="little")
    np.testing.assert_array_equal(pack(codes, width), by_numpy)


@given(codes_and_bits(tuple(range(1, 9))))
def test_planes_recombine_to_the_codes(given: tuple[np.ndarray, int]) -> None:
    codes, bits = given
    planes, widths = split(codes, bits), plane_widths(bits)
    value = np.zeros(codes.shape, dtype=np.int64)
    for plane, width in zip(planes, widths, strict=True):
        assert (plane < 2**width).all()
        value = value * 2**width + plane
    np.testing.assert_array_equal(value, codes)


def test_planes_of_every_width() -> None:
    assert {bits: plane_widths(bits) for bits in range(1, 9)} == {
        1: [1],
        2: [2],
        3: [2, 1],
        4: [4],
        5: [4, 1],
        6: [4, 2],
        7: [4, 2, 1],
        8: [8],
    }


@given(st.integers(1, 1000), st.sampled_from((1, 2, 4, 8)))
def test_row_bytes_where_the_bits_divide_a_byte(d: int, bits: int) -> None:
    assert row_bytes(d, bits) == plane_bytes(d, bits) == math.ceil(d * bits / 8)


@given(st.integers(1, 1000), st.sampled_from((3, 5, 6, 7)))
def test_row_bytes_of_planes_waste_less_than_a_byte_each(d: int, bits: int) -> None:
    exact = d * bits / 8
    assert exact <= row_bytes(d, bits) < exact + len(plane_widths(bits))


def test_layout_by_hand() -> None:
    # Two bits each, value 0 lowest: 1 + 2*4 + 3*16 + 0*64 = 57, then 3.
    np.testing.assert_array_equal(pack(np.array([[1, 2, 3, 0, 3]], np.uint8), 2), [[57, 3]])
    np.testing.assert_array_equal(pack(np.array([[1, 0, 0, 0, 0, 0, 0, 1, 1]], np.uint8), 1), [[129, 1]])
    np.testing.assert_array_equal(pack(np.array([[10, 11, 12]], np.uint8), 4), [[10 + 11 * 16, 12]])
    np.testing.assert_array_equal(pack(np.array([[200, 7]], np.uint8), 8), [[200, 7]])
    # 6 = 11|0, 1 = 00|1, 3 = 01|1: the planes of 3-bit codes.
    high, low = split(np.array([[6, 1, 3]], np.uint8), 3)
    np.testing.assert_array_equal(high, [[3, 0, 1]])
    np.testing.assert_array_equal(low, [[0, 1, 1]])


def test_unpack_table_by_hand() -> None:
    np.testing.assert_array_equal(unpack_table(4)[0xA7], [0x7, 0xA])
    np.testing.assert_array_equal(unpack_table(2)[0b11_10_01_00], [0, 1, 2, 3])
    assert [unpack_table(width).shape for width in (1, 2, 4, 8)] == [(256, 8), (256, 4), (256, 2), (256, 1)]


@given(
    width=st.sampled_from([1, 2, 4, 8]),
    d=st.integers(1, 40),
    n=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_planar_bytes_hold_the_same_codes(width: int, d: int, n: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 1 << width, (n, d)).astype(np.uint8)
    turned = planar(pack(codes, width), width, d)
    w = turned.shape[1]
    for column in range(d):
        byte, place = turned[:, column % w], column // w
        np.testing.assert_array_equal(byte >> (place * width) & ((1 << width) - 1), codes[:, column])
    assert np.bitwise_count(turned).sum() == np.bitwise_count(unpack(pack(codes, width), width, d)).sum()


def test_planar_goes_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = np.random.default_rng(0).integers(0, 256, (50, 7), dtype=np.uint8)
    whole = planar(packed, 2, 26)
    monkeypatch.setattr(bitpack, "PLANAR_BYTES", 100)
    np.testing.assert_array_equal(planar(packed, 2, 26), whole)
