"""The modified Bessel functions of order 0 and 1, also scaled by exp(-|x|)."""

from __future__ import annotations

import math

from wengert.compiler.elementary.exponential import exp
from wengert.compiler.elementary.terms import Body, Term, in_double, paired

# The power series in x^2 / 4, for |x| <= 8: all of its terms have one sign.
_SERIES = [tuple([1 / (math.factorial(k) * math.factorial(k + order)) for k in range(23)]) for order in (0, 1)]
# exp(-x) sqrt(x) times the function, in 8 / x, for x >= 8
_FAR = [
    (
        0.3989422804014326, 0.00623347313132947, 0.0004382910716218357, 5.706961485496109e-05, 1.0908713276571902e-05,
        3.0514974396776874e-06, -2.8687978364758556e-06, 3.4763590100683614e-05, -0.00023177927187838357,
        0.0011720834226768176,
        -0.004521828973891912, 0.013470886274885244, -0.031176870308834162, 0.05614274697954118, -0.07842613761986536,
        0.08430564194573538, -0.06876320479803508, 0.0416055710812823, -0.01801208027742655, 0.005249745700597265,
        -0.0009174670649977045, 7.206604258549632e-05,
    ),
    (
        0.39894228040143276, -0.018700419393876358, -0.0007304851243687109, -7.989729097079859e-05,
        -1.402921030327434e-05,
        -3.6746377468159056e-06, 2.8168823898002382e-06, -3.572591223130077e-05, 0.00023740616900805704,
        -0.0011979218475221657,
        0.004610062862781679, -0.013695989886216196, 0.03159942382074578, -0.05670115590264758, 0.07887803243943523,
        -0.08437605043258092, 0.06841560452361443, -0.041097568752109334, 0.017632700589740556, -0.0050803139378521045,
        0.0008744160214963719, -6.724477206766152e-05,
    ),
]  # fmt: skip


def _bessel(order: int, scaled: bool) -> Body:
    def body(x: Term) -> Term:
        a = x.abs()
        small = a < 8.0
        z = a * a * 0.25
        z = small.where(z, 0.0)
        near = paired(z, z * z, _SERIES[order])
        u = 8.0 / small.where(a.of(8.0), a)
        far = paired(u, u * u, _FAR[order]) / a.sqrt()
        # exp(a) in two factors, which overflow only where the result does
        half = exp(a * (-0.5 if scaled else 0.5))
        y = small.where(near * half * half if scaled else near, far if scaled else far * half * half)
        if not scaled:
            y = a.eq(math.inf).where(a, y)
        if order:
            y = small.where(x * 0.5 * y, (x < 0.0).where(-y, y))
        return x.ne(x).where(x, y)

    return body


BODIES: dict[str, tuple[Body, Body]] = {
    name + ("e" if scaled else ""): (in_double(_bessel(order, scaled)), _bessel(order, scaled))
    for order, name in enumerate(("i0", "i1"))
    for scaled in (False, True)
}
