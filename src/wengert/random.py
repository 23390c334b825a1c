"""Random numbers: generators, and the functions that draw from them.

A generator is counter-based (Philox 4x64; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), and
its counter moves at the call: the numbers depend on the seed and on the order of the calls, not on what is evaluated
when. Nothing is differentiated through a draw.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from wengert import dtypes, shapes
from wengert.attributes import LONG_NAMES, Device
from wengert.dtypes import dtype
from wengert.factories import dtype_in, made, sizes_in
from wengert.handles import handle, tensor_value, value
from wengert.messages import RANDOM, SAME_BATCHED
from wengert.ops.batching import belongs, lowered
from wengert.ops.elementwise import as_value
from wengert.ops.movement import expand
from wengert.record.primitive import batched, layer
from wengert.record.value import MapLevel, Value, recorder
from wengert.runtime.evaluate import constant, read
from wengert.shapes import Shape
from wengert.tensor import Tensor, overwritten

layer.add(__file__)

_SEED = 67280421310721  # PyTorch's, of a generator that nobody seeded
_WORDS = 13  # of a state


class Generator:
    """A source of random numbers with a state of its own.

    >>> import wengert
    >>> g = wengert.Generator().manual_seed(7)
    >>> a = wengert.rand(3, generator=g)
    >>> bool((a == wengert.rand(3, generator=g.manual_seed(7))).all())
    True
    """

    def __init__(self, device: Any = "cpu") -> None:
        self.device = Device(device)
        self._seed = _SEED
        self._source: np.random.Generator | None = None

    @property
    def source(self) -> np.random.Generator:
        if self._source is None:
            self._source = np.random.Generator(np.random.Philox(self._seed))
        return self._source

    def manual_seed(self, seed: int) -> Generator:
        """Restart from a seed, a number of 64 bits (negative ones count from the end)."""
        seed = int(seed)
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"Overflow when unpacking long long: the seed {seed} has more than 64 bits")
        self._seed, self._source = seed % 2**64, None
        return self

    def seed(self) -> int:
        """Restart from a seed that the system gives, and return it."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def initial_seed(self) -> int:
        """The seed that this generator last started from."""
        return self._seed

    def get_state(self) -> Tensor:
        """Everything that the numbers to come depend on, as a tensor of bytes."""
        state: Any = self.source.bit_generator.state
        words = [
            self._seed, *state["state"]["counter"], *state["state"]["key"], *state["buffer"],
            state["buffer_pos"], state["has_uint32"] << 32 | state["uinteger"],
        ]  # fmt: skip
        return handle(constant(np.array(words, np.uint64).view(np.uint8), dtypes.uint8))

    def set_state(self, new_state: Tensor) -> Generator:
        """Continue from a state that `get_state` gave.

        Raises:
            TypeError: if it is no tensor of bytes.
            RuntimeError: if it has another size.
        """
        v = tensor_value(new_state, "new_state")
        if v.dtype is not dtypes.uint8:
            raise TypeError(f"RNG state must be a wengert.ByteTensor, not of {v.dtype!r}")
        if v.shape != (8 * _WORDS,):
            raise RuntimeError(
                f"RNG state is wrong size: expected {8 * _WORDS} bytes, as get_state() returns, not {v.shape}"
            )
        words = read(v).copy().view(np.uint64)
        self.manual_seed(int(words[0]))
        self.source.bit_generator.state = {
            "bit_generator": "Philox",
            "state": {"counter": words[1:5], "key": words[5:7]},
            "buffer": words[7:11],
            "buffer_pos": min(int(words[11]), 4),
            "has_uint32": int(words[12]) >> 32 & 1,
            "uinteger": int(words[12]) & 0xFFFFFFFF,
        }
        return self

    def clone_state(self) -> Generator:
        """Another generator that will give the same numbers."""
        return Generator(self.device).set_state(self.get_state())

    def __getstate__(self) -> Any:
        return read(value(self.get_state()))

    def __setstate__(self, state: np.ndarray) -> None:
        self.__init__()  # type: ignore[misc]
        self.set_state(handle(constant(state, dtypes.uint8)))

    def __repr__(self) -> str:
        return f"<wengert.Generator on {self.device}, seed {self._seed}>"


default_generator = Generator()
default_generator.seed()


def manual_seed(seed: int) -> Generator:
    """Restart the generator that is used when none is given; it is returned."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Restart it from a seed that the system gives, and return that."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed that it last started from."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """Its state, a tensor of bytes."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Continue from a state that `get_rng_state` gave."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, **_: Any) -> Iterator[None]:
    """Context manager: what is drawn inside leaves the state outside as it was.

    >>> import wengert
    >>> state = wengert.get_rng_state()
    >>> with wengert.random.fork_rng():
    ...     x = wengert.rand(3)
    >>> bool((state == wengert.get_rng_state()).all())
    True
    """
    state = get_rng_state()
    try:
        yield
    finally:
        if enabled:
            set_rng_state(state)


# -- drawing: arrays of numbers, in the dtype that they are computed in --


def _source(generator: Generator | None) -> np.random.Generator:
    if generator is None:
        return default_generator.source
    if not isinstance(generator, Generator):
        raise TypeError(f"argument 'generator' must be wengert.Generator, not {type(generator).__name__}")
    return generator.source


def _floating(name: str, d: dtype) -> dtype:
    """The dtype to draw in for d."""
    if not d.is_floating_point:
        raise NotImplementedError(
            f"\"{name}\" not implemented for '{LONG_NAMES[d.name]}': it draws floating-point numbers; give such a dtype"
        )
    return d.wide


def _parts(draw: Callable[[Shape, dtype], np.ndarray], shape: Shape, d: dtype) -> np.ndarray:
    """Real and imaginary part, each drawn."""
    return (draw(shape, d.real) + 1j * draw(shape, d.real)).astype(d.np)


def _sampled(d: dtype, shape: Shape, draw: Callable[..., Any], *parameters: Value) -> Value:
    """draw(shape, *numbers of the parameters); inside a vmap once for all examples, or with an axis in front of the
    shape and of the parameters, for each example anew: as its `randomness` says.

    Raises:
        RuntimeError: inside a vmap with randomness="error", or with "same" and parameters that differ.
    """
    mapped: list[MapLevel] = []
    given = list(parameters)
    for level in reversed([x for x in recorder().levels if x.alive]):
        if level.randomness == "error":
            raise RuntimeError(RANDOM)
        if level.randomness == "different":
            given, shape = [lowered(v, level) for v in given], (level.size, *shape)
            mapped.append(level)
        elif any(belongs(v, level) for v in given):
            raise RuntimeError(SAME_BATCHED)
    v = constant(draw(shape, *[read(x) for x in given]), d)
    for level in reversed(mapped):
        v = batched(v, level)
    return v


def _uniform(shape: Shape, d: dtype, generator: Generator | None) -> np.ndarray:
    """In [0, 1), also after rounding to d."""
    if d.is_complex:
        return _parts(lambda s, r: _uniform(s, r, generator), shape, d)
    x = _source(generator).random(shape, _floating("check_uniform_bounds", d).np)
    return x if d.wide is d else np.floor(x / dtypes.finfo(d).eps) * dtypes.finfo(d).eps


def _normal(shape: Shape, d: dtype, generator: Generator | None) -> np.ndarray:
    if d.is_complex:
        return _parts(lambda s, r: _normal(s, r, generator), shape, d) / d.real.np.type(math.sqrt(2))
    return _source(generator).standard_normal(shape, _floating("normal_kernel_cpu", d).np)


def _open_uniform(shape: Shape, generator: Generator | None) -> np.ndarray:
    """In (0, 1), in double precision."""
    return 1 - _source(generator).random(shape)


def _integers(low: int, high: int, shape: Shape, d: dtype, generator: Generator | None) -> np.ndarray:
    """In [low, high), all of which d must hold."""
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    least, most = _range(d)
    for name, bound in (("from", low), ("to - 1", high - 1)):
        if not least <= bound <= most:
            raise RuntimeError(f"{name} is out of bounds for {d.name}: {bound} is not in [{least}, {most}]")
    return _source(generator).integers(low, high, shape)


def _range(d: dtype) -> tuple[int, int]:
    """The least and the greatest integer of a dtype; of a floating one, those up to which it holds them all."""
    if d is dtypes.bool_:
        return 0, 1
    if d.is_floating_point:
        exact = round(2 / dtypes.finfo(d).eps)
        return -exact, exact
    if d.is_complex:
        raise NotImplementedError(f"random integers are not implemented for {d!r}")
    return dtypes.iinfo(d).min, dtypes.iinfo(d).max


# -- new tensors --


def rand(*size: Any, generator: Generator | None = None, **options: Any) -> Tensor:
    """Uniform numbers in [0, 1); complex ones have two such parts.

    >>> import wengert
    >>> wengert.rand(2, 3).shape
    wengert.Size([2, 3])
    """
    d, shape = dtype_in(options), sizes_in("rand", size, options)
    return made(_sampled(d, shape, lambda s: _uniform(s, d, generator)), options)


def randn(*size: Any, generator: Generator | None = None, **options: Any) -> Tensor:
    """Normal numbers with mean 0 and variance 1 (complex: of the whole)."""
    d, shape = dtype_in(options), sizes_in("randn", size, options)
    return made(_sampled(d, shape, lambda s: _normal(s, d, generator)), options)


def randint(*args: Any, generator: Generator | None = None, **options: Any) -> Tensor:
    """`randint(low=0, high, size)`: integers in [low, high), by default of dtype int64."""
    low, high, size = _bounds("randint", args, options, ("low", "high", "size"))
    if not isinstance(size, list | tuple):
        raise TypeError(f"randint(): argument 'size' must be tuple of ints, not {type(size).__name__}")
    d = dtype_in(options, dtypes.int64)
    shape = sizes_in("randint", (size,), {})
    return made(_sampled(d, shape, lambda s: _integers(low, high, s, d, generator)), options)


def _bounds(name: str, args: tuple, options: dict[str, Any], names: tuple[str, ...]) -> list[Any]:
    """`low`, `high` and what follows: `low` may be left out."""
    given = dict(zip(names[-len(args) :] if len(args) < len(names) and "high" not in options else names, args))
    for k in names:
        if k in options:
            if k in given:
                raise TypeError(f"{name}() got multiple values for argument '{k}'")
            given[k] = options.pop(k)
    given.setdefault("low", 0)
    missing = [k for k in names if k not in given]
    if missing:
        raise TypeError(f"{name}() missing required arguments: {', '.join(missing)}")
    low, high = (int(given[k].item() if isinstance(given[k], Tensor) else given[k]) for k in ("low", "high"))
    return [low, high, *[given[k] for k in names[2:]]]


def randperm(n: int, *, generator: Generator | None = None, **options: Any) -> Tensor:
    """The numbers below n in random order."""
    (n,) = sizes_in("randperm", (n,), {})
    d = dtype_in(options, dtypes.int64)
    return made(_sampled(d, (n,), lambda s: _permutations(s, generator)), options)


def _permutations(shape: Shape, generator: Generator | None) -> np.ndarray:
    """Along the last axis the numbers below its size, each time in another order."""
    if len(shape) == 1:
        return _source(generator).permutation(shape[0])
    return _source(generator).permuted(np.broadcast_to(np.arange(shape[-1]), shape), axis=-1)


def rand_like(input: Tensor, *, generator: Generator | None = None, **options: Any) -> Tensor:
    """`rand` with the shape and dtype of `input`."""
    v = tensor_value(input)
    d = dtype_in(options, v.dtype)
    return made(_sampled(d, v.shape, lambda s: _uniform(s, d, generator)), options)


def randn_like(input: Tensor, *, generator: Generator | None = None, **options: Any) -> Tensor:
    """`randn` with the shape and dtype of `input`."""
    v = tensor_value(input)
    d = dtype_in(options, v.dtype)
    return made(_sampled(d, v.shape, lambda s: _normal(s, d, generator)), options)


def randint_like(input: Tensor, *args: Any, generator: Generator | None = None, **options: Any) -> Tensor:
    """`randint_like(input, low=0, high)`: integers in [low, high) with the shape and dtype of `input`."""
    v = tensor_value(input)
    low, high = _bounds("randint_like", args, options, ("low", "high"))
    d = dtype_in(options, v.dtype)
    return made(_sampled(d, v.shape, lambda s: _integers(low, high, s, d, generator)), options)


def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, **options: Any
) -> Tensor:
    """Normal numbers with the means and standard deviations given: tensors that broadcast, or numbers and a `size`.

    >>> import wengert
    >>> wengert.normal(wengert.zeros(3), 2.0).shape, wengert.normal(0.0, 1.0, (2,)).shape
    (wengert.Size([3]), wengert.Size([2]))
    """
    tensors = [value(x) for x in (mean, std) if isinstance(x, Tensor)]
    if not tensors and size is None:
        raise TypeError("normal(): give a size, or tensors as mean or std")
    if tensors and size is not None:
        raise TypeError("normal(): a size goes with numbers as mean and std; tensors bring their own")
    d = tensors[0].dtype if tensors else dtype_in(options)
    if tensors:
        shape = shapes.broadcast(tensors[0].shape, tensors[-1].shape)
    else:
        shape = sizes_in("normal", (size,), {})
    of = [expand(as_value(value(x), d), shape) for x in (mean, std)]

    def draw(s: Shape, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        _check_deviation(std)
        return _normal(s, d, generator) * std + mean

    if not isinstance(std, Tensor):
        _check_deviation(std)
    return made(_sampled(d, shape, draw, *of), options)


def _check_deviation(std: Any) -> None:
    if isinstance(std, np.ndarray):
        if (std < 0).any():
            raise RuntimeError("normal expects all elements of std >= 0.0")
    elif std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")


def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """1 with the probabilities in `input` (or with probability p), else 0, in its dtype.

    Raises:
        RuntimeError: for probabilities outside [0, 1].
    """
    v = tensor_value(input)
    if p is not None:
        _probability(p)
        return made(_sampled(v.dtype, v.shape, lambda s: _draws(s, p, generator)), {})
    _floating("bernoulli_tensor_cpu_p_", v.dtype)
    return made(_sampled(v.dtype, v.shape, lambda s, x: _draws(s, _probabilities(x), generator), v), {})


def _draws(shape: Shape, p: Any, generator: Generator | None) -> np.ndarray:
    return _source(generator).random(shape) < p


def _probability(p: float) -> float:
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return p


def _probabilities(x: np.ndarray) -> np.ndarray:
    if not ((x >= 0) & (x <= 1)).all():
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    return x


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """`num_samples` indices for each row of `input`, drawn with probabilities in proportion to its numbers.

    Without replacement the places are those of the largest p / e, e exponential (Efraimidis and Spirakis, 2006).

    >>> import wengert
    >>> wengert.multinomial(wengert.tensor([0.0, 1.0, 0.0]), 2, replacement=True)
    tensor([1, 1])
    """
    v = tensor_value(input)
    if len(v.shape) not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if not v.dtype.is_floating_point:
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {LONG_NAMES[v.dtype.name]}"
        )
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > v.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    shape = (*v.shape[:-1], num_samples)
    return made(_sampled(dtypes.int64, shape, lambda s, p: _chosen(s, p, replacement, generator), v), {})


def _chosen(shape: Shape, weights: np.ndarray, replacement: bool, generator: Generator | None) -> np.ndarray:
    """Places along the last axis of the weights, as many as the shape says."""
    p, count = weights.astype(np.float64), shape[-1]
    if not (np.isfinite(p) & (p >= 0)).all():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if not (p.sum(-1) > 0).all():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if not replacement:
        keys = p / -np.log(_open_uniform(p.shape, generator))
        return np.argsort(-keys, -1, kind="stable")[..., :count]
    sums = np.cumsum(p, -1).reshape(-1, p.shape[-1])
    points = _source(generator).random((len(sums), count)) * sums[:, -1:]
    found = np.array([np.searchsorted(row, x, side="right") for row, x in zip(sums, points)])
    return found.reshape(shape)


def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Numbers of events, with the rates in `input`, in its dtype."""
    v = tensor_value(input)
    _floating("poisson_cpu", v.dtype)

    def draw(shape: Shape, rates: np.ndarray) -> np.ndarray:
        if not (rates >= 0).all():
            raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
        return _source(generator).poisson(rates)

    return made(_sampled(v.dtype, v.shape, draw, v), {})


def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """Numbers of successes in `count` trials of probability `prob`."""
    n, p = tensor_value(count, "count"), tensor_value(prob, "prob")
    _floating("binomial_cpu", n.dtype)
    shape = shapes.broadcast(n.shape, p.shape)

    def draw(_: Shape, count: np.ndarray, chance: np.ndarray) -> np.ndarray:
        return _source(generator).binomial(count.astype(np.int64), _probabilities(chance))

    return made(_sampled(n.dtype, shape, draw, expand(n, shape), expand(p, shape)), {})


# -- in place --


def _written(self: Tensor, draw: Callable[..., Any], *parameters: Value) -> Tensor:
    v = value(self)
    self._check_write()
    return self._in_place(overwritten(v, _sampled(v.dtype, v.shape, draw, *parameters)))


def _continuous(name: str, d: dtype) -> None:
    if not d.is_floating_point:
        raise RuntimeError(
            f"{name} distribution is a continuous probability distribution. dtype must be a floating point but you"
            f" specified {LONG_NAMES[d.name]}"
        )


def _positive(method: str, name: str, x: float) -> None:
    if not x > 0:
        raise RuntimeError(f"{method} expects {name} > 0.0, but found {name}={x}")


def uniform_(self: Tensor, a: float = 0, b: float = 1, *, generator: Generator | None = None, **names: Any) -> Tensor:
    """Write uniform numbers in [a, b); PyTorch's names `from` and `to` are accepted."""
    a, b = names.pop("from", a), names.pop("to", b)
    if names:
        raise TypeError(f"uniform_() got an unexpected keyword argument '{next(iter(names))}'")
    if a > b:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={a} > to={b}")
    return _written(self, lambda s: a + (b - a) * _uniform(s, self.dtype, generator))


def normal_(self: Tensor, mean: float = 0, std: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Write normal numbers."""
    _check_deviation(std)
    return _written(self, lambda s: mean + std * _normal(s, self.dtype, generator))


def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Write 1 with probability p, a number or a tensor that broadcasts, else 0."""
    if isinstance(p, Tensor):
        chances = expand(value(p), value(self).shape)
        return _written(self, lambda s, x: _draws(s, _probabilities(x), generator), chances)
    _probability(p)
    return _written(self, lambda s: _draws(s, p, generator))


def random_(self: Tensor, *args: Any, generator: Generator | None = None, **names: Any) -> Tensor:
    """`random_(from=0, to)`: write integers in [from, to), by default all non-negative ones that the dtype holds."""
    bounds = {**dict(zip(("to",) if len(args) == 1 else ("from", "to"), args)), **names}
    if set(bounds) - {"from", "to"} or len(args) > 2:
        raise TypeError(f"random_(): expected bounds 'from' and 'to', got {sorted(bounds)}")
    d = self.dtype
    low = int(bounds.get("from", 0))
    high = bounds.get("to")
    if high is None:
        high = _range(d)[1] + 1
    return _written(self, lambda s: _integers(low, int(high), s, d, generator))


def exponential_(self: Tensor, lambd: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Write exponential numbers of rate `lambd`."""
    _continuous("Exponential", self.dtype)
    _positive("exponential_", "lambda", lambd)
    return _written(self, lambda s: _source(generator).exponential(1 / lambd, s))


def log_normal_(self: Tensor, mean: float = 1, std: float = 2, *, generator: Generator | None = None) -> Tensor:
    """Write numbers whose logarithms are normal."""
    _continuous("LogNormal", self.dtype)
    _positive("log_normal_", "std", std)
    return _written(self, lambda s: np.exp(mean + std * _source(generator).standard_normal(s)))


def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Write the number of trials until the first success, of probability p."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    return _written(self, lambda s: _source(generator).geometric(p, s))


def cauchy_(self: Tensor, median: float = 0, sigma: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Write Cauchy numbers."""
    _continuous("Cauchy", self.dtype)
    _positive("cauchy_", "sigma", sigma)
    return _written(self, lambda s: median + sigma * np.tan(math.pi * (_open_uniform(s, generator) - 0.5)))


METHODS = (
    bernoulli, multinomial, uniform_, normal_, bernoulli_, random_, exponential_, log_normal_, geometric_, cauchy_,
)  # fmt: skip
for _f in METHODS:
    setattr(Tensor, _f.__name__, _f)
