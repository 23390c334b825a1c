"""The workloads by name, in the order of the table."""

from __future__ import annotations

from benchmarks.workloads import arrays, networks, pairwise, small
from benchmarks.workloads.problem import Workload

_NAMES = (
    "kernel_norm", "kernel_norm_large", "gelu", "black_scholes", "nbody", "sinkhorn", "multiplications", "document",
    "lstm", "softmax", "layer_norm", "softmax_layer_norm", "mlp", "transformer", "cnn", "sgemm", "unseen", "record",
    "record_grad",
)  # fmt: skip
_found = {w.name: w for m in (pairwise, arrays, small, networks) for w in m.WORKLOADS}
WORKLOADS: dict[str, Workload] = {name: _found[name] for name in _NAMES}
