"""Grad mode: whether what is recorded can be differentiated. Each is a context manager and a decorator."""

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
        self._outer: list[bool] = []

    def __enter__(self) -> None:
        self._outer.append(recorder.grad)
        recorder.grad = self.mode

    def __exit__(self, *_: Any) -> None:
        recorder.grad = self._outer.pop()

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
        self._before = recorder.grad
        recorder.grad = self.mode

    def __enter__(self) -> None:
        self._outer.append(self._before)
        recorder.grad = self.mode

    def _again(self) -> _Mode:
        return enable_grad() if self.mode else no_grad()

    def __call__(self, function: Callable) -> Callable:
        recorder.grad = self._before  # decorating leaves the mode as it was
        return super().__call__(function)


def is_grad_enabled() -> bool:
    """Whether what is recorded now can be differentiated."""
    return recorder.grad
