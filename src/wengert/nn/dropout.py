"""Dropout as modules."""

from __future__ import annotations

from typing import Any

from wengert.nn.applied import Applied


class Dropout(Applied):
    """While training, zeros with probability p, and 1 / (1 - p) times the input elsewhere.

    >>> import wengert
    >>> wengert.nn.Dropout(0.5).eval()(wengert.ones(2))
    tensor([1., 1.])
    """

    function = "dropout"
    settings = {"p": 0.5, "inplace": False}
    shown = ("p", "inplace")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= self.p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {self.p}")

    def forward(self, *inputs: Any) -> Any:
        return self._function()(*inputs, self.p, self.training, self.inplace)


class Dropout1d(Dropout):
    """Dropout of whole channels of (N, C, L) or (C, L)."""

    function = "dropout1d"


class Dropout2d(Dropout):
    """Dropout of whole channels of (N, C, H, W)."""

    function = "dropout2d"


class Dropout3d(Dropout):
    """Dropout of whole channels of (N, C, D, H, W)."""

    function = "dropout3d"


class AlphaDropout(Dropout):
    """Dropout that keeps mean 0 and variance 1, for networks of SELUs."""

    function = "alpha_dropout"


class FeatureAlphaDropout(Dropout):
    """Alpha dropout of whole channels."""

    function = "feature_alpha_dropout"


__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]
