"""Grad mode and inference mode: whether what is recorded can be differentiated, now or ever.

Each is a context manager and a decorator.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from wengert.record.value import recorder


class _Mode:
    """Sets grad mode within a block. A generator that it decorates has the mode only while its own code runs."""

    mode = True

    def __init__(self) -> None:
        self._outer: list[tuple[bool, bool]] = []

    def __enter__(self) -> None:
        self._outer.append((recorder().grad, recorder().inference))
        self._set()

    def __exit__(self, *_: Any) -> None:
        recorder().grad, recorder().inference = self._outer.pop()

    def _set(self) -> None:
        recorder().grad = self.mode and not recorder().inference

    def _again(self) -> _Mode:
        return type(self)()

    def __call__(self, function: Callable) -> Callable:
        if inspect.isclass(function):
            raise TypeError(f"{type(self).__name__} decorates functions, not the class {function.__name__!r}")
        if inspect.isgeneratorfunction(function):
            return self._generator(function)

        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return inner

    def _generator(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            it = function(*args, **kwargs)
            step: Callable = functools.partial(next, it)
            try:
                while True:
                    try:
                        with self._again():
                            item = step()
                    except StopIteration as stop:
                        return stop.value
                    try:
                        step = functools.partial(it.send, (yield item))
                    except GeneratorExit:
                        raise
                    except BaseException as error:
                        step = functools.partial(it.throw, error)
            finally:
                with self._again():
                    it.close()

        return inner


class no_grad(_Mode):
    """Record without derivatives: `with no_grad(): ...`, `@no_grad()` or `@no_grad`.

    >>> import wengert
    >>> x = wengert.ones(2, requires_grad=True)
    >>> with wengert.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    mode = False

    def __new__(cls, function: Callable | None = None) -> Any:
        self = super().__new__(cls)
        if function is None:
            return self
        self.__init__()  # type: ignore[misc]
        return self(function)


class enable_grad(no_grad):
    """Record with derivatives, inside `no_grad`."""

    mode = True


class set_grad_enabled(_Mode):
    """Switch grad mode: at once when called, for a block as a context manager, for calls as a decorator."""

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.mode = bool(mode)
        self._before = recorder().grad
        self._set()

    def __enter__(self) -> None:
        self._outer.append((self._before, recorder().inference))
        self._set()

    def _again(self) -> _Mode:
        return enable_grad() if self.mode else no_grad()

    def __call__(self, function: Callable) -> Callable:
        recorder().grad = self._before  # decorating leaves the mode as it was
        return super().__call__(function)


class inference_mode(_Mode):
    """Record without derivatives, and make tensors that backward can never use; `inference_mode(False)` undoes it.

    `with inference_mode(): ...`, `@inference_mode()` or `@inference_mode`. Tensors made inside answer True to
    `is_inference()`, count no versions, and are refused, with PyTorch's errors, where backward would have to save them
    and where they are written to outside. Views of normal tensors stay normal.

    >>> import wengert
    >>> x = wengert.ones(2, requires_grad=True)
    >>> with wengert.inference_mode():
    ...     y = x * 2
    >>> y.requires_grad, y.is_inference()
    (False, True)
    """

    def __new__(cls, mode: Any = True) -> Any:
        self = super().__new__(cls)
        if not callable(mode):
            return self
        self.__init__()  # type: ignore[misc]
        return self(mode)

    def __init__(self, mode: Any = True) -> None:
        super().__init__()
        self.mode = bool(mode)

    def _set(self) -> None:
        recorder().grad, recorder().inference = not self.mode, self.mode

    def _again(self) -> _Mode:
        return inference_mode(self.mode)


class set_multithreading_enabled:
    """Accepted for PyTorch's sake: a pass runs in the thread that asks for it, and its kernels on all threads."""

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass


def is_inference_mode_enabled() -> bool:
    """Whether inference mode is on."""
    return recorder().inference


def is_grad_enabled() -> bool:
    """Whether what is recorded now can be differentiated."""
    return recorder().grad
