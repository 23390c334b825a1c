"""Tests of plans and kernels: everything is planned, and compiled before it runs. Importing the fixture applies it."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as torch
from wengert.runtime import evaluate


@pytest.fixture(autouse=True)
def compiled_first():
    with torch.configure(tier="1"):
        yield
    evaluate.forget_plans()


def numbers(*shape: int, seed: int = 0, dtype: str = "f4") -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)
