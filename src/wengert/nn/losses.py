"""Losses as modules: a function of `nn.functional` with its settings. Weights of classes are buffers."""

from __future__ import annotations

from typing import Any

from wengert.nn.applied import Applied
from wengert.nn.linear import PairwiseDistance
from wengert.ops.losses import mode_of


class _Loss(Applied):
    """A loss, whose old arguments `size_average` and `reduce` become a `reduction` at once."""

    hidden = ("size_average", "reduce")
    tensors = ("weight", "pos_weight")
    reduction: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reduction = mode_of(
            self.__dict__.pop("size_average", None), self.__dict__.pop("reduce", None), self.reduction
        )


_OLD = {"size_average": None, "reduce": None}
_COMMON = {**_OLD, "reduction": "mean"}
_WEIGHTED = {"weight": None, **_COMMON}


class L1Loss(_Loss):
    """The absolute difference.

    >>> import wengert
    >>> wengert.nn.L1Loss()(wengert.tensor([1.0, 2.0]), wengert.tensor([1.0, 4.0]))
    tensor(1.)
    """

    function = "l1_loss"
    settings = _COMMON


class MSELoss(_Loss):
    """The squared difference."""

    function = "mse_loss"
    settings = _COMMON


class SmoothL1Loss(_Loss):
    """Quadratic within beta, then linear; divided by beta."""

    function = "smooth_l1_loss"
    settings = {**_COMMON, "beta": 1.0}


class HuberLoss(_Loss):
    """Quadratic within delta, then linear."""

    function = "huber_loss"
    settings = {"reduction": "mean", "delta": 1.0}


class NLLLoss(_Loss):
    """The negative log-probability of the target class."""

    function = "nll_loss"
    settings = {"weight": None, "size_average": None, "ignore_index": -100, "reduce": None, "reduction": "mean"}


class CrossEntropyLoss(_Loss):
    """The cross entropy of logits with class numbers or probabilities."""

    function = "cross_entropy"
    settings = {**NLLLoss.settings, "label_smoothing": 0.0}


class BCELoss(_Loss):
    """The cross entropy of probabilities of yes with targets in [0, 1]."""

    function = "binary_cross_entropy"
    settings = _WEIGHTED


class BCEWithLogitsLoss(_Loss):
    """The cross entropy of logits of yes with targets in [0, 1]."""

    function = "binary_cross_entropy_with_logits"
    settings = {**_WEIGHTED, "pos_weight": None}


class KLDivLoss(_Loss):
    """The Kullback-Leibler divergence of log-probabilities from targets."""

    function = "kl_div"
    settings = {**_COMMON, "log_target": False}


class CTCLoss(Applied):
    """Connectionist temporal classification: labels against log-probabilities of classes in time."""

    function = "ctc_loss"
    settings = {"blank": 0, "reduction": "mean", "zero_infinity": False}


class PoissonNLLLoss(_Loss):
    """The negative log-likelihood of counts."""

    function = "poisson_nll_loss"
    settings = {
        "log_input": True, "full": False, "size_average": None, "eps": 1e-8, "reduce": None, "reduction": "mean",
    }  # fmt: skip


class GaussianNLLLoss(_Loss):
    """The negative log-likelihood of normal targets; called with input, target and variance."""

    function = "gaussian_nll_loss"
    settings = {"full": False, "eps": 1e-6, "reduction": "mean"}


class CosineEmbeddingLoss(_Loss):
    """1 - cos for pairs that belong together (target 1), max(0, cos - margin) for others (-1)."""

    function = "cosine_embedding_loss"
    settings = {"margin": 0.0, **_COMMON}


class HingeEmbeddingLoss(_Loss):
    """A distance where the target is 1, max(0, margin - distance) where it is -1."""

    function = "hinge_embedding_loss"
    settings = {"margin": 1.0, **_COMMON}


class MarginRankingLoss(_Loss):
    """max(0, margin - target (input1 - input2))."""

    function = "margin_ranking_loss"
    settings = {"margin": 0.0, **_COMMON}


class TripletMarginLoss(_Loss):
    """max(0, margin + |anchor - positive| - |anchor - negative|)."""

    function = "triplet_margin_loss"
    settings = {"margin": 1.0, "p": 2.0, "eps": 1e-6, "swap": False, **_COMMON}


class TripletMarginWithDistanceLoss(_Loss):
    """The triplet margin loss with a distance of one's own."""

    function = "triplet_margin_with_distance_loss"
    distance_function: Any
    settings = {"distance_function": None, "margin": 1.0, "swap": False, "reduction": "mean"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.distance_function is None:
            del self.distance_function
            self.distance_function = PairwiseDistance()
        if self.margin <= 0:
            raise ValueError(
                f"TripletMarginWithDistanceLoss: expected margin to be greater than 0, got {self.margin} instead"
            )


class MultiMarginLoss(_Loss):
    """Hinges between the target class and every other."""

    function = "multi_margin_loss"
    settings = {"p": 1, "margin": 1.0, "weight": None, **_COMMON}


class MultiLabelMarginLoss(_Loss):
    """Hinges between each label and every class that is none."""

    function = "multilabel_margin_loss"
    settings = _COMMON


class MultiLabelSoftMarginLoss(_Loss):
    """The binary cross entropy of each class, averaged over classes."""

    function = "multilabel_soft_margin_loss"
    settings = _WEIGHTED


class SoftMarginLoss(_Loss):
    """log(1 + exp(-target input))."""

    function = "soft_margin_loss"
    settings = _COMMON


__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CTCLoss", "CosineEmbeddingLoss", "CrossEntropyLoss", "GaussianNLLLoss",
    "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss", "MarginRankingLoss", "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss", "MultiMarginLoss", "NLLLoss", "PoissonNLLLoss", "SmoothL1Loss", "SoftMarginLoss",
    "TripletMarginLoss", "TripletMarginWithDistanceLoss",
]  # fmt: skip
