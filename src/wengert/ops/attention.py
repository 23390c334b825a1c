"""Attention: a softmax over keys as weights of values, without storing the table of scores where it is virtual."""

from __future__ import annotations

import math

from wengert import dtypes
from wengert.ops import elementwise as ew
from wengert.ops.composite import matmul
from wengert.ops.movement import expand, reshape, transpose
from wengert.ops.reduction import amax, sum
from wengert.ops.source import iota
from wengert.record.primitive import frozen
from wengert.record.value import Value


@ew.once_rounded
def attention(
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    keep: Value | None = None,
) -> Value:
    """softmax(query key^T scale + mask) value; `keep` multiplies the weights (dropout).

    The division by the sum of the exponentials comes after the product with the values, so that the scores are gone
    through once. A row with every key masked is 0.
    """
    _check(query, key, value, attn_mask, is_causal)
    if enable_gqa:
        key, value = (_repeated(x, query.shape[-3] // x.shape[-3]) for x in (key, value))
    scores = matmul(query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale), transpose(key))
    if is_causal:
        attn_mask = _causal(query.shape[-2], key.shape[-2])
    if attn_mask is not None:
        allowed = attn_mask.dtype is dtypes.bool_
        scores = ew.where(attn_mask, scores, -math.inf) if allowed else scores + attn_mask
    top = amax(frozen(scores), -1, True)
    weights = ew.exp(scores - ew.where(ew.eq(top, -math.inf), 0, top))
    total = sum(weights, -1, True)
    out = matmul(weights if keep is None else weights * keep, value)
    return out / ew.where(ew.eq(total, 0), 1, total)


def _check(query: Value, key: Value, value: Value, attn_mask: Value | None, is_causal: bool) -> None:
    parts = {"query": query, "key": key, "value": value}
    if any(len(x.shape) < 2 for x in parts.values()):
        raise RuntimeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got "
            + " ".join(f"{k}.dim: {len(x.shape)}" for k, x in parts.items())
        )
    if len({x.dtype.name for x in parts.values()}) > 1:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got "
            + " ".join(f"{k}.dtype: {x.dtype.name}" for k, x in parts.items())
        )
    if attn_mask is None:
        return
    if is_causal:
        raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    if attn_mask.dtype is not dtypes.bool_ and not attn_mask.dtype.is_floating_point:
        raise RuntimeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype:"
            f" {attn_mask.dtype.name} and  query.dtype: {query.dtype.name} instead."
        )


def _causal(rows: int, columns: int) -> Value:
    """True where the key is not after the query."""
    return ew.le(iota(columns, dtypes.int64), reshape(iota(rows, dtypes.int64), (rows, 1)))


def _repeated(x: Value, times: int) -> Value:
    """Each head of (..., heads, length, size) `times` times."""
    *lead, heads, length, size = x.shape
    each = expand(reshape(x, (*lead, heads, 1, length, size)), (*lead, heads, times, length, size))
    return reshape(each, (*lead, heads * times, length, size))
