"""Dtypes: promotion, limits, conversions between numbers and what is stored. The tables are PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as torch
from wengert import dtypes

CODES = dict(zip("bucsilhgfdFD", dtypes.ALL, strict=True))
# A row for each dtype, in the order of CODES: what it becomes with each of the others.
PROMOTED = """
    bucsilhgfdFD uussilhgfdFD cscsilhgfdFD ssssilhgfdFD iiiiilhgfdFD llllllhgfdFD
    hhhhhhhffdFD ggggggfgfdFD fffffffffdFD ddddddddddDD FFFFFFFFFDFD DDDDDDDDDDDD
""".split()
BESIDE_A_0D_TENSOR = """
    bucsilhgfdFD uuuuuuhgfdFD cccccchgfdFD sssssshgfdFD iiiiiihgfdFD llllllhgfdFD
    hhhhhhhhhhFF ggggggggggFF ffffffffffFF ddddddddddDD FFFFFFFFFFFF DDDDDDDDDDDD
""".split()
BESIDE_A_NUMBER = "blfF uufF ccfF ssfF iifF llfF hhhF gggF fffF dddD FFFF DDDD".split()  # True, 1, 1.0, 1j


def rows(table: list[str]) -> list[tuple[str, str]]:
    return list(zip(CODES, table, strict=True))


@pytest.mark.parametrize(("code", "row"), rows(PROMOTED))
def test_promotion_of_tensors(code, row):
    for other, expected in zip(CODES.values(), row, strict=True):
        d = CODES[code]
        assert torch.promote_types(d, other) is CODES[expected]
        assert torch.result_type(torch.zeros(2, dtype=d), torch.zeros(1, dtype=other)) is CODES[expected]
        assert (torch.ones(2, dtype=d) * torch.ones(2, dtype=other)).dtype is CODES[expected]


@pytest.mark.parametrize(("code", "row"), rows(BESIDE_A_0D_TENSOR))
def test_promotion_of_0d_tensors(code, row):
    for other, expected in zip(CODES.values(), row, strict=True):
        x, y = torch.ones(2, dtype=CODES[code]), torch.ones((), dtype=other)
        assert torch.result_type(x, y) is CODES[expected]
        assert torch.result_type(y, x) is CODES[expected]
        assert (x * y).dtype is CODES[expected]
        assert (y * x).dtype is CODES[expected]


@pytest.mark.parametrize(("code", "row"), rows(BESIDE_A_NUMBER))
@pytest.mark.parametrize("shape", [(2,), ()])
def test_promotion_of_numbers(code, row, shape):
    x = torch.ones(shape, dtype=CODES[code])
    for number, expected in zip((True, 1, 1.0, 1j), row, strict=True):
        assert torch.result_type(x, number) is CODES[expected]
        assert (x * number).dtype is CODES[expected]
        assert (number * x).dtype is CODES[expected]
        assert (x == number).dtype is torch.bool


def test_casts_that_promotion_may_make():
    kinds = "biiiiiffffcc"
    for a, low in zip(dtypes.ALL, kinds, strict=True):
        for b, high in zip(dtypes.ALL, kinds, strict=True):
            assert torch.can_cast(a, b) == ("bifc".index(low) <= "bifc".index(high))


@pytest.mark.parametrize("d", [d for d in dtypes.ALL if d.np.kind in "ui" and d is not dtypes.bfloat16], ids=repr)
def test_limits_of_integers(d):
    found, expected = torch.iinfo(d), np.iinfo(d.np)
    assert (found.bits, found.min, found.max, found.dtype) == (expected.bits, expected.min, expected.max, d.name)


@pytest.mark.parametrize("d", [torch.float16, torch.float32, torch.float64, torch.complex64], ids=repr)
def test_limits_of_floats(d):
    found, expected = torch.finfo(d), np.finfo(d.np)
    for name in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution"):
        assert getattr(found, name) == pytest.approx(float(getattr(expected, name)), rel=1e-3)
    assert found.dtype == np.finfo(d.np).dtype.name


def test_limits_as_text():
    assert repr(torch.finfo(torch.bfloat16)) == (
        "finfo(resolution=0.01, min=-3.38953e+38, max=3.38953e+38, eps=0.0078125, smallest_normal=1.17549e-38,"
        " tiny=1.17549e-38, dtype=bfloat16)"
    )
    assert repr(torch.iinfo(torch.uint8)) == "iinfo(min=0, max=255, dtype=uint8)"
    assert torch.finfo().dtype == "float32"
    with pytest.raises(TypeError, match=r"torch\.iinfo\(\) requires an integer input type"):
        torch.iinfo(torch.float16)
    with pytest.raises(TypeError, match=r"torch\.finfo\(\) requires a floating point input type"):
        torch.finfo(torch.int8)
    with pytest.raises(TypeError, match="is not supported"):
        torch.iinfo(torch.bool)


def test_attributes():
    assert [d.itemsize for d in dtypes.ALL] == [1, 1, 1, 2, 4, 8, 2, 2, 4, 8, 8, 16]
    assert [d for d in dtypes.ALL if not d.is_signed] == [torch.bool, torch.uint8]
    assert (torch.half, torch.short, torch.int, torch.cfloat) == (
        torch.float16, torch.int16, torch.int32, torch.complex64,
    )  # fmt: skip
    assert torch.complex128.to_real() is torch.float64
    assert torch.float64.to_complex() is torch.complex128
    assert torch.bfloat16.to_complex() is torch.complex64
    with pytest.raises(RuntimeError, match="Unknown Complex ScalarType"):
        torch.int8.to_complex()


# -- halves, bit by bit --


def patterns(n: int = 20_000) -> np.ndarray:
    """Floats of any bit pattern, and those where roundings change."""
    rng = np.random.default_rng(0)
    wild = rng.integers(0, 1 << 32, n, dtype=np.uint32).view(np.float32)
    high, low = rng.integers(0, 1 << 16, n, dtype=np.uint32), rng.integers(0, 2, n, dtype=np.uint32)
    near = ((high << 16) + low).view(np.float32)
    ties = [65504, 65519.99, 65520, 2.0**-24, 2.0**-25, 1.5 * 2**-25, 2.0**-14, 2.0**-14 - 2.0**-25, 1 + 2**-11]
    edges = np.array([0, np.inf, np.nan, *ties, 1 + 3 * 2**-11, 1 + 2**-8, 1 + 3 * 2**-8, 3.4e38], np.float32)
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate([wild, near, edges, -edges, halves, halves * np.float32(1 + 2**-11)])


def bfloat16_by_hand(x: float) -> float:
    """The nearest number of 8 binary digits, by comparing distances exactly; the even one of two."""
    bits = int(np.float32(x).view(np.uint32)) & ~0xFFFF
    low, high = (float(np.uint32(b).view(np.float32)) for b in (bits, min(bits + 0x10000, 0xFFFFFFFF)))
    if np.isinf(high):
        high = np.copysign(2.0**128, x)
    down, up = abs(x - low), abs(high - x)
    if down == up:
        out = low if bits >> 16 & 1 == 0 else high
    else:
        out = low if down < up else high
    return float(np.copysign(np.inf, x)) if abs(out) >= 2.0**128 else out


def test_bfloat16_is_rounded_to_nearest_even():
    x = patterns(2000)[: 2000 + 60]
    x = x[np.isfinite(x)]
    found = dtypes.decode(dtypes.encode(x, torch.bfloat16), torch.bfloat16)
    assert found.tolist() == [bfloat16_by_hand(float(n)) for n in x]
    assert np.isnan(dtypes.decode(dtypes.encode(np.array(np.nan, np.float32), torch.bfloat16), torch.bfloat16))


def same_halves(a: np.ndarray, b: np.ndarray) -> None:
    """Equal bits; one NaN is as good as another."""
    nan = np.isnan(a)
    np.testing.assert_array_equal(nan, np.isnan(b))
    np.testing.assert_array_equal(np.where(nan, 0, a.view(np.int32)), np.where(nan, 0, b.view(np.int32)))


@pytest.mark.parametrize("tier", ["0", "1", "reference"])
@pytest.mark.parametrize("d", [torch.float16, torch.bfloat16], ids=repr)
def test_conversions_have_the_same_bits_everywhere(d, tier):
    x = patterns()
    expected = dtypes.decode(dtypes.encode(x, d), d).astype(np.float32)
    flags = {"backend": "reference"} if tier == "reference" else {"tier": tier}
    with torch.configure(**flags):
        same_halves(torch.tensor(x).to(d).float().numpy(), expected)
        stored = torch.tensor(x).to(d)
        stored.tolist()
        same_halves(stored.float().numpy(), expected)


def test_integers_wrap_and_floats_saturate_at_64_bits():
    x = np.array([0.9, -0.9, 300.5, -1.5, 3e9, -3e9, 1e30, -1e30, np.nan, np.inf])
    whole = [0, 0, 300, -1, 3_000_000_000, -3_000_000_000, 2**63 - 1, -(2**63), 0, 2**63 - 1]
    for d in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        low = torch.iinfo(d).min
        expected = [(n - low) % (1 << 8 * d.itemsize) + low for n in whole]
        for dt in (np.float64, np.float32):
            for flags in ({"tier": "0"}, {"tier": "1"}, {"backend": "reference"}):
                with torch.configure(**flags):
                    assert torch.tensor(x.astype(dt)).to(d).tolist() == expected
        assert torch.tensor(whole).to(d).tolist() == expected
