"""Derivative rules of all primitives, in both modes and to second order, and the pass that runs them."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
from samples import SAMPLES, Draw, Sample

from wengert import dtypes
from wengert.autograd import differentiate, engine
from wengert.autograd.forward import jvp
from wengert.autograd.modes import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from wengert.config import configure
from wengert.ops import elementwise as ew
from wengert.ops import extremes, movement, reduction
from wengert.ops.source import full
from wengert.record import graph
from wengert.record.primitive import TABLE, Composite
from wengert.record.value import Value, counters, recorder
from wengert.runtime.evaluate import constant, read


@pytest.fixture(autouse=True)
def _reference():
    with configure(backend="reference"):
        yield


@pytest.fixture
def pending():
    """For tests that look at the record: what was evaluated has dropped its inputs."""
    with configure(eager=False):
        yield


class Variable:
    """As much of a tensor as the engine sees."""

    requires_grad = True

    def __init__(self, array, dt=dtypes.float64, value=None):
        self.value = constant(array, dt) if value is None else value
        self.grad = None
        if value is None:
            self.value.node = graph.AccumulateGrad(self.value, self)


def _accumulate(tensor, value, create_graph):
    tensor.grad = value if tensor.grad is None else tensor.grad + value


@pytest.fixture(autouse=True)
def _wrapped(monkeypatch):
    for key, f in {
        "is_tensor": lambda t: isinstance(t, Variable),
        "value": lambda t: t.value,
        "tensor": lambda v: Variable(None, value=v),
        "accumulate": _accumulate,
        "retain": lambda t, v: setattr(t, "grad", v),
        "saved": lambda v: v,
    }.items():
        monkeypatch.setitem(graph.wrap, key, f)


def gradients(outputs, inputs, cotangents=None, create_graph=False, retain_graph=True):
    roots = outputs if isinstance(outputs, list) else [outputs]
    weights = cotangents or [None] * len(roots)
    return engine.backward(
        roots, weights, inputs, retain_graph=retain_graph, create_graph=create_graph, accumulate=False
    )


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    """Re <a, b> over real and imaginary parts."""
    return float(np.sum(a * np.conj(b)).real)


CASES = [
    pytest.param(s, d, id=f"{name}-{k}-{d.name}")
    for name, samples in SAMPLES.items()
    if TABLE[name].vjp and name != "cast"  # a difference quotient through float32 says nothing: see test_casts
    for k, s in enumerate(samples)
    for d in (dtypes.float64, dtypes.complex128)
    if (s.complex if d.is_complex else s.real) and any(a.dtype.kind in "fc" for a in s.make(Draw(d)))
]


class Case:
    """A sample with its inputs as values, a random cotangent, and directions to move in."""

    def __init__(self, sample: Sample, dt: dtypes.dtype) -> None:
        draw = Draw(dt)
        self.apply = sample.apply
        self.arrays = sample.make(draw)
        self.free = [k for k, a in enumerate(self.arrays) if a.dtype.kind in "fc"]
        self.keep: list = []
        self.values = self.leaves(self.arrays)
        self.inputs = [self.values[k] for k in self.free]
        self.output = sample.apply(*self.values)
        self.directions = [_like(draw.rng, self.arrays[k]) for k in self.free]
        self.weight = _like(draw.rng, np.zeros(self.output.shape, self.output.dtype.np))

    def leaves(self, arrays: list[np.ndarray]) -> list[Value]:
        made = [Variable(a, dtypes.from_numpy(a.dtype)) if a.dtype.kind in "fc" else None for a in arrays]
        self.keep.append(made)
        return [
            constant(a, dtypes.from_numpy(a.dtype)) if m is None else m.value for a, m in zip(arrays, made, strict=True)
        ]

    def moved(self, h: float) -> list[Value]:
        arrays = list(self.arrays)
        for k, d in zip(self.free, self.directions, strict=True):
            arrays[k] = arrays[k] + h * d
        return self.leaves(arrays)

    def cotangent(self) -> Value:
        return constant(self.weight, self.output.dtype)

    def tangents(self) -> list[Value]:
        return [constant(d, v.dtype) for d, v in zip(self.directions, self.inputs, strict=True)]

    def quotient(self, f) -> np.ndarray:
        """The derivative of f(values) along the directions: central differences of fourth order."""
        h = 3e-4
        near, far = (read(f(self.moved(k * h))) - read(f(self.moved(-k * h))) for k in (1, 2))
        return (8 * near - far) / (12 * h)

    def along(self, grads: list[Value | None]) -> float:
        return sum(_dot(read(g), d) for g, d in zip(grads, self.directions, strict=True) if g is not None)

    def close(self, a: float, b: float) -> None:
        assert a == pytest.approx(b, rel=1e-7, abs=1e-8)


def _like(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    y = rng.standard_normal(x.shape)
    return np.asarray(y + 1j * rng.standard_normal(x.shape) if x.dtype.kind == "c" else y, x.dtype)


def test_every_primitive_has_samples():
    own = {n for n, p in TABLE.items() if p.module.startswith("wengert.") and ".extend" not in p.module}
    assert own - {"leaf"} == set(SAMPLES)


@pytest.mark.usefixtures("pending")
def test_every_sample_records_its_primitive():
    for name, samples in SAMPLES.items():
        for s in samples:
            for d in (dtypes.float64, dtypes.complex128):
                if s.complex if d.is_complex else s.real:
                    arrays = s.make(Draw(d))
                    stack, seen = [s.apply(*[constant(a, dtypes.from_numpy(a.dtype)) for a in arrays])], set()
                    while stack:
                        v = stack.pop()
                        seen.add(v.prim.name)
                        seen.update([p.prim.name for p in v.prim.of(v)] if isinstance(v.prim, Composite) else ())
                        stack.extend(v.inputs)
                    # An axis of size 1 is dropped without adding anything up.
                    assert name in seen or not arrays, (name, d)


@pytest.mark.parametrize(("sample", "dt"), CASES)
def test_first_derivatives(sample, dt):
    """Reverse and forward mode against central differences, and against each other."""
    case = Case(sample, dt)
    quotient = case.quotient(lambda values: case.apply(*values))
    expected = _dot(quotient, case.weight)
    grads = gradients(case.output, case.inputs, [case.cotangent()])
    for g, v in zip(grads, case.inputs, strict=True):
        assert g is None or (g.shape == v.shape and g.dtype is v.dtype)
    case.close(case.along(grads), expected)
    (t,) = jvp([case.output], case.inputs, case.tangents())
    assert t.shape == case.output.shape
    assert t.dtype is case.output.dtype
    np.testing.assert_allclose(read(t), quotient, rtol=1e-7, atol=1e-8)
    assert _dot(read(t), case.weight) == pytest.approx(case.along(grads), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("sample", "dt"), CASES)
def test_second_derivatives(sample, dt):
    """The gradient of <gradient, direction>, and its tangent, against differences of the gradient."""
    case = Case(sample, dt)

    def slope(values: list[Value], weight: Value) -> Value:
        """<gradient, tangent>, on values that are differentiable again."""
        inputs = [values[k] for k in case.free]
        grads = gradients(case.apply(*values), inputs, [weight], create_graph=True)
        total = full((), 0.0, dtypes.float64)
        for g, t in zip(grads, case.tangents(), strict=True):
            if g is not None:
                total = total + reduction.sum(ew.real(g * ew.conj(t)))
        return total

    quotient = case.quotient(lambda values: slope(values, case.cotangent()))
    weight = Variable(case.weight, case.output.dtype)
    s = slope(case.values, weight.value)
    if s.node is None:
        assert float(quotient) == 0
    else:
        grads = gradients(s, [*case.inputs, weight.value], create_graph=True)
        case.close(case.along(grads[:-1]), float(quotient))
        (t,) = jvp([s], case.inputs, case.tangents())
        assert (0.0 if t is None else float(read(t))) == pytest.approx(float(quotient), rel=1e-7, abs=1e-8)
        # The gradient is linear in the weight, so its derivative with respect to the weight is the tangent map.
        (t,) = jvp([case.output], case.inputs, case.tangents())
        np.testing.assert_allclose(read(grads[-1]), read(t), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("sample", "dt"),
    [(s, d) for s in SAMPLES["cast"] for d in (dtypes.float64, dtypes.complex128) if s.complex or not d.is_complex],
)
def test_casts(sample, dt):
    """A cast is linear, and its gradient has the dtype of its input; what is rounded is rounded once."""
    case = Case(sample, dt)
    grads = gradients(case.output, case.inputs, [case.cotangent()])
    (t,) = jvp([case.output], case.inputs, case.tangents())
    assert grads[0].dtype is dt
    assert t.dtype is case.output.dtype
    assert _dot(read(t), case.weight) == pytest.approx(case.along(grads), rel=1e-5, abs=1e-5)
    moved = read(case.apply(*case.leaves([case.arrays[0] + case.directions[0]]))) - read(case.output)
    np.testing.assert_allclose(read(t), moved, rtol=1e-5, atol=1e-5)


# -- what the pass does --


def chain(v: Value, prims: set[str] | None = None, until: int = 0) -> list[Value]:
    """The entries behind v that were recorded after `until`."""
    seen: dict[int, Value] = {}
    stack = [v]
    while stack:
        x = stack.pop()
        if x.seq > until and x.seq not in seen:
            seen[x.seq] = x
            stack.extend(x.inputs)
    return [x for _, x in sorted(seen.items()) if prims is None or x.prim.name in prims]


def test_none_and_zero_are_different():
    x, y, z = Variable([1.0, 2]), Variable([3.0, 4]), Variable([5.0, 6])
    out = reduction.sum(ew.sign(x.value) + y.value * 0.0)
    gx, gy, gz = gradients(out, [x.value, y.value, z.value])
    assert (read(gx).tolist(), read(gy).tolist(), gz) == ([0, 0], [0, 0], None)


def test_accumulates_into_leaves_only():
    x, y = Variable([1.0, 2]), Variable([3.0, 4])
    h = x.value * y.value
    engine.backward([reduction.sum(h * h)], [None], None, retain_graph=True, create_graph=False, accumulate=True)
    np.testing.assert_allclose(read(x.grad), 2 * np.array([1, 2]) * np.array([9, 16]))
    engine.backward([reduction.sum(x.value)], [None], None, retain_graph=False, create_graph=False, accumulate=True)
    np.testing.assert_allclose(read(x.grad), [19, 65])
    np.testing.assert_allclose(read(y.grad), [6, 32])
    assert x.grad.node is None


def test_a_gradient_that_is_somebodys_value_takes_no_part():
    x, y = Variable([1.0, 2]), Variable([3.0, 4])
    g, _ = gradients(reduction.sum(x.value * y.value), [x.value, y.value])
    assert g.node is None
    h = reduction.sum(x.value * y.value)
    (g,) = gradients(h, [x.value], create_graph=True)
    assert g.node is not None
    assert g.node is not y.value.node
    (gg,) = gradients(reduction.sum(g * y.value), [g])
    np.testing.assert_allclose(read(gg), [3, 4])  # and not also what flows through y


def test_retain_grad():
    x = Variable([1.0, 2])
    h = x.value * 3
    held = Variable(None, value=h)
    h.node.own_hooks().retain.append(weakref.ref(held))
    gradients(reduction.sum(h * h), [x.value])
    np.testing.assert_allclose(read(held.grad), [6, 12])


def test_input_inside_the_graph_stops_there():
    x = Variable([1.0, 2])
    h = ew.exp(x.value)
    out = reduction.sum(h * h)
    before = counters.entries_recorded
    (g,) = gradients(out, [h])
    np.testing.assert_allclose(read(g), 2 * np.exp([1, 2]))
    assert counters.entries_recorded - before < 12
    g, gx = gradients(out, [h, x.value])
    np.testing.assert_allclose(read(gx), 2 * np.exp([2, 4]))
    (own,) = gradients(out, [out])
    assert float(read(own)) == 1


def test_freed_graph_raises_before_any_gradient_changes():
    x, y = Variable([1.0, 2]), Variable([3.0, 4])
    out = reduction.sum(ew.exp(x.value))
    engine.backward([out], [None], None, retain_graph=False, create_graph=False, accumulate=True)
    first = x.grad
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        engine.backward(
            [out + reduction.sum(y.value * 2)], [None], None, retain_graph=False, create_graph=False, accumulate=True
        )
    assert x.grad is first
    assert y.grad is None
    free = reduction.sum(x.value + 1)  # saves nothing
    for _ in range(2):
        gradients(free, [x.value], retain_graph=False)


def test_long_chain_needs_no_recursion():
    n = 150_000
    x = Variable(1.0)
    with configure(pending_limit=10**9):
        v = x.value
        for _ in range(n):
            v = v + 1
        (g,) = gradients(v, [x.value])
        assert float(read(g)) == 1
        (t,) = jvp([v], [x.value], [constant(2.0, dtypes.float64)])
        del t, v
    gc.collect()


def test_pending_work_is_cut_during_a_pass():
    x, a = Variable([1.0, 2]), Variable([0.5, 0.25])
    with configure(pending_limit=50):
        recorder().start = recorder().next_check = 0
        v = x.value
        for _ in range(200):
            v = ew.sin(v) * a.value
        flushes = counters.flushes
        g, _ = gradients(reduction.sum(v), [x.value, a.value])
        assert counters.flushes > flushes + 4
    with configure(pending_limit=10**6):
        v = x.value
        for _ in range(200):
            v = ew.sin(v) * a.value
        h, _ = gradients(reduction.sum(v), [x.value, a.value])
    assert read(g).tobytes() == read(h).tobytes()


def test_looking_and_eager_evaluation_change_no_bit():
    data = np.random.default_rng(0).standard_normal((6, 3))

    def run(look: bool) -> bytes:
        x = Variable(data, dtypes.float32)
        d = movement.reshape(x.value, (6, 1, 3)) - movement.reshape(x.value, (1, 6, 3))
        k = ew.exp(-reduction.sum(d * d, 2) / 2.0)
        s = ew.sqrt(reduction.sum(k)) * 0.3
        if look:
            for v in (d, k, s):
                read(v)
        return read(gradients(s, [x.value])[0]).tobytes()

    lazy = run(False)
    assert lazy == run(True)
    with configure(eager=True):
        assert lazy == run(False)


def test_the_users_own_entries_are_not_opened():
    """A gradient that is a user's z * s * t, or expand(s), is taken as it is, stored or not."""
    data = np.random.default_rng(2).standard_normal((4, 6))

    def run(look: bool) -> bytes:
        x, z, s, t = (Variable(a, dtypes.float32) for a in (data[0], data[1], data[2, 0], data[3, 0]))
        weight = z.value * s.value * t.value
        spread = movement.expand(s.value, (2, 3))
        if look:
            read(weight), read(spread)
        a = reduction.sum(x.value * weight)
        v = x.value
        b = reduction.sum(movement.reshape(v * v * v * z.value, (2, 3)) * spread)
        return b"".join(read(g).tobytes() for out in (a, b) for g in gradients(out, [v]))

    assert run(False) == run(True)


def test_a_uniform_factor_does_not_widen_the_gradient():
    x = Variable(2.0, dtypes.float32)
    k = constant([1.0, 2, 3], dtypes.float64)
    out = ew.sqrt(reduction.sum(movement.expand(ew.cast(x.value, dtypes.float64), (3,)) * k))
    (g,) = gradients(out, [x.value])
    assert g.dtype is dtypes.float32
    assert float(read(g)) == pytest.approx(6 / (2 * np.sqrt(12)), rel=1e-6)


# -- scaled cotangents --


@pytest.mark.usefixtures("pending")
def test_signs_and_uniform_factors_do_not_hide_symmetry():
    x = Variable(np.random.default_rng(1).standard_normal((5, 3)))
    d = movement.reshape(x.value, (5, 1, 3)) - movement.reshape(x.value, (1, 5, 3))
    k = ew.exp(-reduction.sum(d * d, 2) / 2.0)
    s = ew.sqrt(reduction.sum(k))
    (g,) = gradients(s, [x.value])
    over_pairs = [
        v for v in chain(g, until=s.seq) if v.shape in ((5, 5), (5, 5, 3)) and v.prim.name not in ("expand", "reshape")
    ]
    # K_ij d_ij twice (the two factors of d * d), added: no negation, no division, nothing by ds/dK = 1 / (2 s).
    assert [v.prim.name for v in over_pairs] == ["mul", "mul", "add"]


def test_uniform_factor_is_not_carried_past_zeros():
    """inf at one element stays there: sqrt at 0, of a slice and of a selection."""
    x = Variable([0.0, 1.0])
    head = movement.slice_(x.value * 1.0, (0,), (1,), (1,))
    (g,) = gradients(ew.sqrt(reduction.sum(movement.expand(head, (2,)))), [x.value])
    assert read(g).tolist() == [np.inf, 0]
    y = Variable([0.0, -1.0])
    (g,) = gradients(ew.sqrt(reduction.sum(ew.where(constant([True, False], dtypes.bool_), y.value, 0))), [y.value])
    assert read(g).tolist() == [np.inf, 0]


def test_number_factors_fold_without_overflow():
    x = Variable([1.0, 2], dtypes.float32)
    v = x.value
    for _ in range(4):
        v = v * 1e-20 * 1e20
    (g,) = gradients(reduction.sum(v), [x.value])
    np.testing.assert_allclose(read(g), [1, 1], rtol=1e-6)
    w = x.value * 1e-25 * 1e-25
    (g,) = gradients(reduction.sum(w), [x.value])
    assert read(g).tolist() == [0, 0]  # as the forward pass underflows
    z = constant([1e-30, 2e-30], dtypes.float32)
    (g,) = gradients(reduction.sum(x.value * 1e25 * 1e25 * z), [x.value])
    np.testing.assert_allclose(read(g), [1e20, 2e20], rtol=1e-6)  # though 1e50 is too large for float32


def test_zero_factor_keeps_nan():
    x = Variable([1.0, np.inf])
    (g,) = gradients(reduction.sum(x.value * x.value * 0.0), [x.value])
    assert np.isnan(read(g)).tolist() == [False, True]


def test_uniform_tensor_factor_gets_its_gradient():
    x, s = Variable([[1.0, 2], [3, 4]]), Variable([[2.0]])
    y = reduction.sum(x.value * x.value / s.value) * 3
    gx, gs = gradients(y, [x.value, s.value], create_graph=True)
    np.testing.assert_allclose(read(gx), 3 * np.array([[1, 2], [3, 4]]))
    np.testing.assert_allclose(read(gs), [[-22.5]])
    gxx, gxs = gradients(reduction.sum(gx), [x.value, s.value])
    np.testing.assert_allclose(read(gxx), np.full((2, 2), 3.0))
    np.testing.assert_allclose(read(gxs), [[-15.0]])


@pytest.mark.usefixtures("pending")
@pytest.mark.parametrize("factor", [0.5, "tensor", None])
def test_loop_over_elements_is_linear(factor):
    """x[i] = x[i - 1] * a: gradients of slices are added into slices, never as whole vectors."""
    n = 30
    a = Variable(0.9)
    x = Variable(np.ones(n))
    v = x.value
    for i in range(1, n):
        last = movement.slice_(v, (i - 1,), (1,), (1,))
        new = last * (a.value if factor == "tensor" else factor or 1.0)
        v = movement.write(v, new, (i,), (1,))
    out = reduction.sum(v) * 0.5
    g, ga = gradients(out, [x.value, a.value])
    dense = [w for w in chain(g, until=out.seq) if w.shape == (n,) and w.prim.name not in ("write", "full")]
    assert len(dense) <= 3
    k = {0.5: 0.5, "tensor": 0.9, None: 1.0}[factor]
    expected = np.zeros(n)
    expected[0] = 0.5 * sum(k**i for i in range(n))
    np.testing.assert_allclose(read(g), expected)
    if factor == "tensor":
        np.testing.assert_allclose(read(ga), 0.5 * sum(i * k ** (i - 1) for i in range(1, n)))


@pytest.mark.usefixtures("pending")
def test_sum_over_elements_adds_into_slices():
    n = 20
    x = Variable(np.arange(n, dtype=float))
    total = full((1,), 0.0, dtypes.float64)
    for i in range(n):
        e = movement.slice_(x.value, (i,), (1,), (1,))
        total = total + e * e * float(i + 1)
    (g,) = gradients(total, [x.value])
    assert len([w for w in chain(g, until=total.seq) if w.shape == (n,) and w.prim.name not in ("write", "full")]) <= 2
    np.testing.assert_allclose(read(g), 2 * np.arange(n) * np.arange(1, n + 1))


# -- arguments and error texts --


def test_grad_on_tensors():
    x, y = Variable([1.0, 2]), Variable([3.0, 4])
    out = Variable(None, value=reduction.sum(x.value * x.value))
    with pytest.raises(RuntimeError, match="The differentiated Tensor at index 1 appears to not have been used"):
        differentiate.grad(out, [x, y])
    out = Variable(None, value=reduction.sum(x.value * x.value))
    a, b = differentiate.grad(out, [x, y], allow_unused=True, retain_graph=True)
    assert (read(a.value).tolist(), b) == ([2, 4], None)
    named = differentiate.grad(out, {"x": x, "y": y}, materialize_grads=True, retain_graph=True)
    assert read(named["y"].value).tolist() == [0, 0]
    with pytest.raises(ValueError, match="Expected allow_unused to be True or not passed when materialize_grads=True"):
        differentiate.grad(out, x, allow_unused=False, materialize_grads=True)
    with pytest.raises(RuntimeError, match="`inputs` argument to `grad\\(\\)` cannot be empty"):
        differentiate.grad(out, [])
    with pytest.raises(RuntimeError, match="One of the differentiated Tensors does not require grad"):
        differentiate.grad(out, Variable(None, value=constant([1.0], dtypes.float64)))


def test_batched_gradients():
    x = Variable([1.0, 2, 3])
    out = Variable(None, value=x.value * x.value)
    eye = Variable(None, value=constant(np.eye(3), dtypes.float64))
    (g,) = differentiate.grad(out, x, eye, is_grads_batched=True)
    assert read(g.value).tolist() == np.diag([2.0, 4, 6]).tolist()
    with pytest.raises(
        RuntimeError, match="we interpret the first dimension of each grad_output as the batch dimension"
    ):
        differentiate.grad(
            out, x, Variable(None, value=constant(np.ones((2, 2)), dtypes.float64)), is_grads_batched=True
        )


def test_backward_on_tensors():
    x = Variable([1.0, 2])
    h = Variable(None, value=x.value * 2)
    for weight, text in [
        (None, "grad can be implicitly created only for scalar outputs"),
        (Variable([1.0]), "Mismatch in shape: grad_output.0. has a shape of"),
        (Variable([1j, 1], dtypes.complex128), "both grad_output and output are required to have the same dtype"),
    ]:
        with pytest.raises(RuntimeError, match=text):
            differentiate.backward(h, weight)
    with pytest.raises(TypeError, match="gradients can be either Tensors or None, but got str"):
        differentiate.backward(h, "a")
    with pytest.raises(RuntimeError, match="`inputs` argument to `backward\\(\\)` cannot be empty"):
        differentiate.backward(h, 1.0, inputs=[])
    with pytest.raises(RuntimeError, match="element 0 of tensors does not require grad and does not have a grad_fn"):
        differentiate.backward(Variable(None, value=constant(1.0, dtypes.float64)))
    with pytest.raises(RuntimeError, match=r"only for real scalar outputs but got wengert\.complex128"):
        differentiate.backward(Variable(None, value=reduction.sum(x.value * 2j)))
    differentiate.backward(h, 3.0)
    assert read(x.grad).tolist() == [6, 6]
    differentiate.backward(h, Variable([1, 2], dtypes.int64), inputs=[h], retain_graph=True)
    assert read(h.grad).tolist() == [1, 2]
    assert read(x.grad).tolist() == [6, 6]


# -- modes --


def test_modes():
    with no_grad():
        assert not is_grad_enabled()
        with enable_grad():
            assert is_grad_enabled()
        with set_grad_enabled(True):
            assert is_grad_enabled()
        assert not is_grad_enabled()
    set_grad_enabled(False)
    assert not is_grad_enabled()
    set_grad_enabled(True)
    seen = []

    @no_grad
    def plain(x):
        seen.append(is_grad_enabled())
        return x

    @no_grad()
    def items():
        sent = yield is_grad_enabled()
        assert sent == 5
        yield is_grad_enabled()

    assert plain(3) == 3
    it = items()
    assert next(it) is False
    assert is_grad_enabled()
    assert it.send(5) is False
    it.close()
    assert seen == [False]
    assert is_grad_enabled()

    @set_grad_enabled(False)
    def off():
        return is_grad_enabled()

    assert is_grad_enabled()
    assert off() is False
    with pytest.raises(ValueError, match="x"), no_grad():
        raise ValueError("x")
    assert is_grad_enabled()


def test_modes_and_passes_belong_to_a_thread():
    x = Variable(np.arange(3.0))
    found = []

    def work():
        found.append(is_grad_enabled())
        found.append(read(gradients(reduction.sum(ew.exp(x.value)), [x.value])[0]))

    with no_grad():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found[0] is True
    np.testing.assert_allclose(found[1], np.exp(np.arange(3.0)))


def test_modes_end_with_their_thread():
    """The system gives the number of a thread that ended to another one."""
    found = []

    def ask():
        found.append((threading.get_ident(), is_grad_enabled()))

    for _ in range(10):
        for work in (lambda: set_grad_enabled(False), ask):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    assert all(mode for _, mode in found), found


def test_recorder_is_restored_after_an_error():
    x = Variable([1.0])
    out = reduction.sum(ew.exp(x.value))
    out.node.rules = type("Broken", (), {"steps": ((0, lambda g: 1 / 0, (), ()),), "save": (), "saves_result": False})
    with pytest.raises(ZeroDivisionError):
        gradients(out, [x.value])
    assert (recorder().grad, recorder().site, recorder().busy) == (True, None, False)


def test_composite_second_order_against_a_formula():
    x = Variable([0.3, -0.7, 1.1])
    out = extremes.logsumexp(x.value, 0)
    (g,) = gradients(out, [x.value], create_graph=True)
    p = np.exp([0.3, -0.7, 1.1]) / np.exp([0.3, -0.7, 1.1]).sum()
    np.testing.assert_allclose(read(g), p)
    (h,) = gradients(movement.slice_(g, (1,), (1,), (1,)), [x.value])
    np.testing.assert_allclose(read(h), p[1] * (np.eye(3)[1] - p), atol=1e-12)
