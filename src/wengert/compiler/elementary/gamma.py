"""The logarithm of the gamma function, and its derivative digamma."""

from __future__ import annotations

import math

from wengert.compiler.elementary.logarithm import log
from wengert.compiler.elementary.terms import Body, Term, in_double, paired
from wengert.compiler.elementary.trigonometric import circle, half_turns, quotient

# lgamma(x) / ((x - 1) (x - 2)) and digamma(x) / (x - zero) in x - 3/2, for 1 <= x <= 2
_LGAMMA_NEAR = (
    0.4831289505409809, -0.14595989591430594, 0.06291140107456389, -0.03130848750105418, 0.016797098631340344,
    -0.009425622444766347, 0.00544645783573219, -0.0032120742226229627, 0.0019229164010948156, -0.001164411342387231,
    0.0007115177484210361, -0.0004380355152088624, 0.00027132573171386294, -0.00016856962055265958,
    0.00010528764704075272, -6.794526900378123e-05, 4.3257092528998565e-05, -2.1471845577419555e-05,
    1.275422701605931e-05, -1.8541141737468717e-05, 1.2485402344561718e-05,
)  # fmt: skip
_DIGAMMA_NEAR = (
    0.951055876031833, -0.4236274212814572, 0.24054248424076247, -0.14840492305488032, 0.09498872445649754,
    -0.061922133189184575, 0.04076083373266198, -0.02697580007824091, 0.017907254513930902, -0.011908145668618296,
    0.007926913664628775, -0.005280911648162367, 0.0035192880427202433, -0.00233749994723155, 0.0015550472988255116,
    -0.001077878805645248, 0.0007287129886283129, -0.00035437923060592405, 0.00021709575149341946,
    -0.0003787140243368478, 0.0002677933924993658,
)  # fmt: skip
_ZERO = (1.4616321449683622, 9.549995429965697e-17)  # of digamma, as a sum
# what is left of Stirling's formula, times x, and of log(x) - 1 / (2 x), times x^2, in 1 / x^2, for x >= 3
_LGAMMA_FAR = (
    0.08333333333333191, -0.002777777775785629, 0.0007936502936786504, -0.0005951887176157976, 0.0008392493926973943,
    -0.0018435542504348123, 0.005030400841001592, -0.012191824711644173, 0.016345758384987922,
)  # fmt: skip
_DIGAMMA_FAR = (
    0.08333333333333051, -0.008333333328510384, 0.0039682524689882625, -0.004166481584164775, 0.00756388978444899,
    -0.020640769028435396, 0.07223228293974894, -0.25554697678729527, 0.6838718351787777, -0.9271472334493537,
)  # fmt: skip


def _argument(x: Term) -> tuple[Term, Term, Term, Term]:
    """(b, u, a logarithm's argument, its sign): b = x, or 1 - x on the left; u in [0, 1] is b less its integer part,
    of which 2 at most is taken. The function at 1 + u, and a step of its recurrence unless 1 <= b < 2, give it at b;
    from 3 on an asymptotic series does, with log b."""
    b = (x.bits() < 0).where(1.0 - x, x)
    u = b - (b < 1.0).where(b.of(0.0), (b < 2.0).where(b.of(1.0), 2.0))
    argument = (b < 1.0).where(b, (b < 2.0).where(b.of(1.0), (b < 3.0).where(u + 1.0, b)))
    return b, u, argument, (b < 1.0).where(b.of(-1.0), 1.0)


def _lgamma_core(x: Term) -> Term:
    b, u, argument, sign = _argument(x)
    t = u - 0.5
    logarithm = log(argument)
    near = (u * (u - 1.0)).fma(paired(t, t * t, _LGAMMA_NEAR), sign * logarithm)
    inverse = 1.0 / b
    v = inverse * inverse
    rest = inverse.fma(paired(v, v * v, _LGAMMA_FAR), math.log(2 * math.pi) / 2 - 0.5)
    return (b < 3.0).where(near, (b - 0.5).fma(logarithm - 1.0, rest))


def _lgamma(x: Term) -> Term:
    """By reflection on the left: lgamma(x) = log(pi / |sin(pi x)|) - lgamma(1 - x)."""
    core = _lgamma_core(x)
    a = x.abs()
    sine = circle(*half_turns(a), "f64").abs()
    reflected = -log(sine * (1 / math.pi)) - core
    whole = a.rint().eq(a)
    reflected = x.ne(x).where(x, whole.where(x.of(math.inf), reflected))
    return (x.bits() < 0).rare(reflected, core)


def _digamma_core(x: Term) -> Term:
    b, u, argument, sign = _argument(x)
    t = u - 0.5
    step = ((b < 1.0) | (b >= 2.0)).where(sign / argument, 0.0)
    near = ((u - (_ZERO[0] - 1.0)) - _ZERO[1]).fma(paired(t, t * t, _DIGAMMA_NEAR), step)
    inverse = 1.0 / b
    v = inverse * inverse
    return (b < 3.0).where(near, log(argument) - inverse.fma(0.5, v * paired(v, v * v, _DIGAMMA_FAR)))


def _digamma(x: Term) -> Term:
    """By reflection on the left: digamma(x) = digamma(1 - x) - pi / tan(pi x)."""
    core = _digamma_core(x)
    a = x.abs()
    q, r, low = half_turns(a)
    reflected = quotient(q + 1, r, low, "f64").fma(-math.pi, core)
    whole = a.rint().eq(a) & (a > 0.0)
    reflected = whole.where(x.of(math.nan), reflected)
    return (x.bits() < 0).rare(a.eq(0.0).where(x.of(math.inf), reflected), core)


BODIES: dict[str, tuple[Body, Body]] = {
    "lgamma": (in_double(_lgamma), _lgamma),
    "digamma": (in_double(_digamma), _digamma),
}
