"""Signs that move out of sums and products inside kernels: values against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as torch

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 40, 30))
CASES = {
    "sum of negatives": (lambda x, y: (-x).sum(1), lambda x, y: (-x).sum(1)),
    "sum of a negative factor": (lambda x, y: (-x * y).sum(1), lambda x, y: (-x * y).sum(1)),
    "sum of two negative factors": (lambda x, y: (-x * -y).sum(0), lambda x, y: (x * y).sum(0)),
    "sum of a negative quotient": (lambda x, y: (-x / (2 + y * y)).sum(0), lambda x, y: (-x / (2 + y * y)).sum(0)),
    "product with a negative": (lambda x, y: -x @ y.t(), lambda x, y: -x @ y.T),
    "product of negatives": (lambda x, y: -x @ -y.t(), lambda x, y: x @ y.T),
    "two differences, mirrored": (
        lambda x, y: ((x - y) * x).sum(1) + 2 * ((y - x) * x * y).sum(1),
        lambda x, y: ((x - y) * x).sum(1) + 2 * ((y - x) * x * y).sum(1),
    ),
    "largest negative": (lambda x, y: (-x).amax(1), lambda x, y: (-x).max(1)),
}


@pytest.mark.parametrize("tier", ["0", "1"])
@pytest.mark.parametrize("name", CASES)
def test_signs(name, tier):
    ours, numpys = CASES[name]
    x, y = torch.tensor(X, dtype=torch.float64), torch.tensor(Y, dtype=torch.float64)
    with torch.configure(tier=tier):
        found = ours(x, y).numpy()
    np.testing.assert_allclose(found, numpys(X, Y), rtol=1e-12, atol=1e-12)


def test_a_sum_is_never_negative_zero():
    zeros = torch.zeros(20, 30)
    for out in ((-zeros).sum(1), -zeros @ torch.zeros(30, 40), (zeros * -1.0).sum()):
        assert not np.signbit(out.numpy()).any()
