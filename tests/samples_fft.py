"""Samples of Fourier transforms: even, odd and single lengths, cut off and continued, along one axis and several."""

from __future__ import annotations

from samples import Sample, _one

from wengert.ops import fourier as ft


def _complex() -> list[Sample]:
    out = [_one(ft.fft, s) for s in ((6,), (2, 5), (1,), (0, 3))]
    out += [_one(lambda x, m=m: ft.ifft(x, 4, 0, m), (s, 2)) for m, s in (("ortho", 6), ("forward", 3), (None, 4))]
    out += [
        _one(lambda x: ft.fftn(x, (3, 4), (2, 0), "ortho"), (2, 3, 5)),
        _one(lambda x: ft.ifftn(x, dim=(0, 1)), (3, 4)),
        _one(lambda x: ft.fft(x) * ft.fft(x), (4,)),
    ]
    return out


def _to_half() -> list[Sample]:
    out = [_one(lambda x, n=n: ft.rfft(x, n), (2, 5), complex=False) for n in (None, 1, 2, 6)]
    out += [_one(lambda x, m=m: ft.ihfft(x, 4, 0, m), (3, 2), complex=False) for m in ("backward", "ortho", "forward")]
    squares = lambda x: ft.rfft(x) * ft.rfft(x)  # noqa: E731
    return [*out, _one(lambda x: ft.rfftn(x, None, (1, 0)), (3, 4), complex=False), _one(squares, (5,), complex=False)]


def _from_half() -> list[Sample]:
    out = [_one(lambda x, n=n: ft.irfft(x, n), (2, 3)) for n in (None, 1, 2, 3, 5, 8)]
    out += [_one(lambda x, m=m: ft.hfft(x, 5, 0, m), (4, 2)) for m in ("backward", "ortho", "forward")]
    squares = lambda x: ft.irfft(x) * ft.irfft(x)  # noqa: E731
    return [*out, _one(lambda x: ft.irfftn(x, (4, 3), (1, 0)), (3, 4)), _one(squares, (4,))]


FOURIER = {"fft_c2c": _complex(), "fft_r2c": _to_half(), "fft_c2r": _from_half()}
