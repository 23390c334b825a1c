"""Anomaly detection: backward stops at the first node that makes a NaN, and says which call of the program that was."""

from __future__ import annotations

import linecache
import warnings
from types import TracebackType
from typing import Any

import numpy as np

from wengert.record.graph import Node
from wengert.record.value import Value, line_of_call
from wengert.runtime.evaluate import read


class Anomaly:
    """Whether passes check what their nodes give; one for the process, as in PyTorch."""

    enabled = False
    check_nan = True

    def check(self, node: Node, grads: list[Value | None]) -> None:
        """Look at every gradient that a node gave.

        Raises:
            RuntimeError: if there is a NaN in one.
        """
        for k, g in enumerate(grads):
            if g is not None and np.isnan(read(g)).any():
                where = _described(node)
                warnings.warn(
                    f"Error detected in {node.name()}. Traceback of forward call that caused the error:\n{where}",
                    UserWarning,
                    stacklevel=2,
                )
                raise RuntimeError(
                    f"Function '{node.name()}' returned nan values in its {k}th output. The forward call:\n{where}"
                )


def _described(node: Node) -> str:
    """The line of the program that called the operation, as a traceback shows it."""
    if node.code is None:
        return "  (recorded by no line of a program)"
    line = line_of_call(node.code, node.lasti)
    text = linecache.getline(node.code.co_filename, line).strip()
    return f'  File "{node.code.co_filename}", line {line}, in {node.code.co_name}' + (f"\n    {text}" if text else "")


anomaly = Anomaly()


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on."""
    return anomaly.enabled


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly detection looks for NaN."""
    return anomaly.check_nan


class set_detect_anomaly:
    """Switch anomaly detection: at once when called, and back at the end of a `with` block.

    While it is on, each node's gradients are evaluated and searched for NaN; with `check_nan=False`, not searched.

    >>> import warnings, wengert
    >>> x = wengert.tensor([-1.0], requires_grad=True)
    >>> with wengert.autograd.set_detect_anomaly(True), warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     x.sqrt().sum().backward()
    Traceback (most recent call last):
    ...
    RuntimeError: Function 'SqrtBackward0' returned nan values in its 0th output. The forward call:
    ...
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = anomaly.enabled, anomaly.check_nan
        anomaly.enabled, anomaly.check_nan = bool(mode), check_nan

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> Any:
        anomaly.enabled, anomaly.check_nan = self._before


class detect_anomaly(set_detect_anomaly):
    """Anomaly detection within a `with` block; see `set_detect_anomaly`."""

    def __init__(self, check_nan: bool = True) -> None:
        super().__init__(True, check_nan)
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for"
            " debugging.",
            UserWarning,
            stacklevel=2,
        )
