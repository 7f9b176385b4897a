"""Budgets: exact bytes from what people write, and a message for what cannot be read."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenselect.selector.pool.budget import Budget

pytestmark = pytest.mark.quick

N, D = 400_000, 300


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("16MB", 16_000_000),
        ("16MiB", 16_777_216),
        ("16mb", 16_000_000),
        ("16mib", 16_777_216),
        ("1.5kB", 1500),
        ("1.5KiB", 1536),
        ("2GB", 2_000_000_000),
        ("2GiB", 2 << 30),
        ("1TB", 10**12),
        ("1TiB", 1 << 40),
        (".5MB", 500_000),
        ("5.MB", 5_000_000),
        ("  16 MB ", 16_000_000),
        ("16\tMB", 16_000_000),
        ("12345", 12345),
        ("12345B", 12345),
        ("12345 b", 12345),
        (12345, 12345),
        (12345.0, 12345),
        (1e6, 1_000_000),  # what YAML makes of 1e6
        (1e22, 10**22),
        (1500.5, 1500),
        ("0.1MB", 100_000),  # not the 99,999 of floats
        ("1.1kB", 1100),
        ("100%", 4 * N * D),
        ("12.5%", N * D // 2),
        ("12.5 %", N * D // 2),
        ("0.1%", 480_000),
        ("8x", N * 150 + 16_384),
        ("8X", N * 150 + 16_384),
        ("32x", N * 38 + 16_384),  # 37.5 bytes a row: 1 bit of 300 columns takes 38
        ("1x", 4 * N * D + 16_384),
        ("1.5x", N * 800 + 16_384),
        ("7x", N * 172 + 16_384),
    ],
)
def test_budgets_are_exact(value, expected):
    assert Budget.parse(value).nbytes(N, D) == expected


def test_a_share_is_rounded_down_to_whole_bytes():
    assert Budget.parse("12.5%").nbytes(3, 3) == 4  # of 36 bytes: 4.5
    assert Budget.parse("1%").nbytes(1, 1) == 0


@given(st.integers(1, 10**7), st.integers(1, 5000), st.integers(1, 10**6))
def test_a_rate_is_rounded_up_per_row(n, d, thousandths):
    rate = Fraction(thousandths, 1000)
    allowed = Budget.parse(f"{thousandths / 1000:.3f}x").nbytes(n, d)
    row, rest = divmod(allowed - 16_384, n)
    assert rest == 0
    assert row == math.ceil(4 * d / rate)


@given(st.integers(1, 10**15))
def test_a_number_of_bytes_is_itself(count):
    for value in (count, str(count), f"{count}B", f" {count} "):
        assert Budget.parse(value).nbytes(N, D) == count


@given(st.integers(1, 10**9), st.sampled_from([("k", 1), ("M", 2), ("G", 3), ("T", 4)]))
def test_units_are_powers(thousandths, unit):
    prefix, power = unit
    text = f"{thousandths // 1000}.{thousandths % 1000:03d}"
    assert Budget.parse(f"{text}{prefix}B").nbytes(N, D) == thousandths * 1000**power // 1000
    assert Budget.parse(f"{text} {prefix}iB").nbytes(N, D) == thousandths * 1024**power // 1000


GARBAGE = ["", "MB", "16 MBs", "16XB", "16 M", "lots", "1e6", "16MB 3", "1,000", "16%%", "x8", "8 x x", "inf", "0x10"]


@pytest.mark.parametrize("garbage", [*GARBAGE, "16_000", "1..5MB", None, True, math.nan, math.inf, [16]], ids=repr)
def test_what_cannot_be_read_is_refused(garbage):
    with pytest.raises(ValueError, match=r"budget = .* cannot be read: give bytes \(16000000\), a size \(16MB, 16MiB"):
        Budget.parse(garbage)


@pytest.mark.parametrize(
    "nothing", ["0", 0, 0.0, "0MB", "0.0%", "0x", "-1", -1, -1e6, "-16MB", "-1.5%", "-8x"], ids=repr
)
def test_what_is_not_above_zero_is_refused(nothing):
    with pytest.raises(ValueError, match=r"budget = '-?[0-9.]*[A-Zx%]*' must be above zero"):
        Budget.parse(nothing)
