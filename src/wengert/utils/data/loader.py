"""Batches of a data set, made in the process that asks for them."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from wengert.random import Generator
from wengert.utils.data.collate import default_collate, default_convert
from wengert.utils.data.dataset import Dataset, IterableDataset, TensorDataset
from wengert.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler

T_co = TypeVar("T_co", covariant=True)
_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class DataLoader(Generic[T_co]):
    """An iterable of batches, the same or in another order each time.

    Args:
        dataset: samples by number, or an `IterableDataset`.
        batch_size: samples in a batch; None: samples as they are.
        shuffle: take samples in a random order, another one each time.
        sampler, batch_sampler: the order, by numbers or by lists of them, instead.
        collate_fn: makes a batch of a list of samples; `default_collate`, or `default_convert` without batches.
        drop_last: leave a last batch out that is not full.
        generator: of the random order.
        num_workers: 0: there are no processes beside this one. Other options of PyTorch that concern them, or memory
            for a GPU, are accepted at their defaults.

    Raises:
        ValueError: for options that exclude each other; NotImplementedError: for workers.

    >>> import wengert
    >>> from wengert.utils.data import DataLoader, TensorDataset
    >>> data = TensorDataset(wengert.arange(6.0).reshape(3, 2), wengert.tensor([0, 1, 0]))
    >>> for x, y in DataLoader(data, batch_size=2):
    ...     print(tuple(x.shape), y.tolist())
    (2, 2) [0, 1]
    (1, 2) [0]
    """

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable | None = None,
        batch_sampler: Iterable[list] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device  # main memory is all there is
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        self.generator = generator
        self._iterable = isinstance(dataset, IterableDataset)
        self._promised: int | None = None  # samples of an iterable data set, once somebody asked
        if self._iterable:
            _check_iterable(shuffle, sampler, batch_sampler)
        elif sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        if sampler is None:
            sampler = itertools.repeat(None) if self._iterable else _order(dataset, shuffle, generator)
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size, self.drop_last = batch_size, drop_last
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        self._made = True

    def __setattr__(self, name: str, x: Any) -> None:
        if name in _FIXED and getattr(self, "_made", False):
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, x)

    def __iter__(self) -> Iterator[Any]:
        return _Batches(self)

    def __len__(self) -> int:
        """How many batches there are: of an iterable data set, as many as its own length promises."""
        if not self._iterable:
            return len(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]
        n = self._promised = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


class _Batches:
    """One pass over a loader."""

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader
        self._found = _of_iterable(loader) if loader._iterable else _of_numbers(loader)

    def __iter__(self) -> _Batches:
        return self

    def __next__(self) -> Any:
        return next(self._found)

    def __len__(self) -> int:
        return len(self._loader)


def _of_numbers(loader: DataLoader) -> Iterator[Any]:
    dataset, collate = loader.dataset, loader.collate_fn
    if loader.batch_sampler is None:
        for k in loader.sampler:
            yield collate(dataset[k])
        return
    together = getattr(dataset, "__getitems__", None)
    stacked = type(dataset) is TensorDataset and collate is default_collate
    for numbers in loader.batch_sampler:
        if stacked:
            yield dataset.together(list(numbers))  # type: ignore[attr-defined]
        else:
            yield collate(together(numbers) if together else [dataset[k] for k in numbers])


def _of_iterable(loader: DataLoader) -> Iterator[Any]:
    promised = loader._promised
    samples = iter(loader.dataset)
    if loader.batch_sampler is None:
        yield from map(loader.collate_fn, samples)
        return
    seen = 0
    for numbers in loader.batch_sampler:
        batch = [x for _, x in zip(numbers, samples)]
        seen += len(batch)
        if promised is not None and seen > promised:
            warnings.warn(
                f"Length of IterableDataset {loader.dataset} was reported to be {promised} (when accessing len), but"
                f" {seen} samples have been fetched.",
                UserWarning,
                stacklevel=3,
            )
            promised = None
        if batch and (len(batch) == len(numbers) or not loader.drop_last):
            yield loader.collate_fn(batch)
        if len(batch) < len(numbers):
            return


def _order(dataset: Any, shuffle: bool | None, generator: Generator | None) -> Iterable[int]:
    return RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)


def _check_workers(count: int, timeout: float, prefetch: int | None, persistent: bool) -> None:
    if count < 0:
        raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
    if count:
        raise NotImplementedError("DataLoader has no worker processes: pass num_workers=0")
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if prefetch is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 to enable"
            " multiprocessing, otherwise set prefetch_factor to None"
        )
    if persistent:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_iterable(shuffle: bool | None, sampler: Any, batch_sampler: Any) -> None:
    given = {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}
    for name, x in given.items():
        if x is not None:
            raise ValueError(f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={x}")


def get_worker_info() -> None:
    """None: samples are made in the process that asks for them."""
    return None
