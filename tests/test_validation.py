"""The checks of arguments at their edges: what is just let through, and what is just refused and how."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from earlytime import _validation as checks
from earlytime._chunks import Chunks
from refusals import refused

INF, NAN = np.inf, np.nan
SPHERE = np.array([[np.sqrt(3), 0, 0], [0, 1, np.sqrt(2)]])
SKEW = np.array([[0.0, 1.0], [-1.0, 0.0]])
FLAT = np.zeros((2, 2))
diagonal = lambda *entries: np.diag(np.array(entries, float))


def almost(size: float, dtype: str = "float64"):
    """A matrix of 2s off whose symmetry a pair of entries is by `size`."""
    matrix = np.full((2, 2), 2.0)
    matrix[0, 1] += size
    return matrix.astype(dtype)


PASSING = [
    (checks.check_choice, "a", ("a", "b")),
    (checks.check_choice, "b", {"a": 1, "b": 2}),
    *((checks.check_trained, each) for each in ("first", "second", "both")),
    *((checks.check_even, each) for each in (2, 4, np.int32(6))),
    *((checks.check_finite, each) for each in (0.0, -1e300, [1, 2], np.zeros(0), jnp.ones(3))),
    *((checks.check_positive, each) for each in (1e-300, 0.5, 1, [0.5, 2.0])),
    *((checks.check_not_negative, each) for each in (0, 0.0, 1e-300, [0.0, 2.0])),
    *((checks.check_momentum, each) for each in (0, 0.0, 0.999)),
    *((checks.check_scales, *each) for each in ((1e-3, 0.0), (2.0, 1.0))),
    (checks.check_known, 1.0),
    (checks.check_shape, np.ones((2, 3)), (2, 3)),
    (checks.check_shape, 1.0, ()),
    *((checks.check_on_sphere, each) for each in (SPHERE, 1.0099 * SPHERE, 0.9901 * SPHERE, -SPHERE)),
    *((checks.check_some, each) for each in (np.ones(1), np.ones((1, 0)))),
    (checks.check_may_be_symmetric, SimpleNamespace(symmetric=True)),
    (checks.check_data, np.ones((1, 1)), np.ones(1)),
    (checks.check_data, np.ones((3, 2, 2)), np.ones(3)),
    *((checks.check_start, each, (3,)) for each in (0.0, np.ones(3))),
    (checks.check_real, np.ones(2)),
    *((checks.check_symmetric, each) for each in (np.ones((1, 1)), FLAT, almost(0), almost(1.9e-6))),
    *((checks.check_symmetric, almost(each, "float32")) for each in (6e-4, -6e-4)),
    *((checks.check_kernel, each) for each in (FLAT, diagonal(2, 0), diagonal(-1.9e-6, 2))),
    (checks.check_kernel, diagonal(-6e-4, 2).astype("float32")),
]

NOT_FINITE = "expected finite numbers, got 1 that are not"
# And what is said about each.
REFUSED = [
    *(((checks.check_choice, each, ("a", "b")), "expected one of a, b, got") for each in ("c", "A", 1, None, ("a",))),
    *(((checks.check_trained, each), "expected one of first, second, both") for each in ("firs", 1)),
    *(((checks.check_even, each), "expected a whole number") for each in (2.0, True, "2", None)),
    *(((checks.check_even, each), "expected at least 1") for each in (0, -2)),
    *(((checks.check_even, each), "expected an even number, half of each sign, got") for each in (1, 3)),
    *(((checks.check_finite, each), NOT_FINITE) for each in (NAN, INF, -INF, [0.0, NAN], jnp.array([INF, 1.0]))),
    ((checks.check_finite, [NAN, 1.0, INF]), "got 2 that are not"),
    *(((checks.check_positive, each), "expected a positive number") for each in (0, -1e-300, [1.0, 0.0], [-1.0, 1.0])),
    ((checks.check_positive, INF), NOT_FINITE),
    *(((checks.check_not_negative, each), "expected at least 0, got -1") for each in (-1, [2.0, -1.0, -0.5])),
    ((checks.check_not_negative, NAN), NOT_FINITE),
    ((checks.check_shape, np.ones((2, 3)), (3, 2)), r"expected shape \(3, 2\), got \(2, 3\)"),
    ((checks.check_shape, np.ones(1), ()), r"expected shape \(\), got \(1,\)"),
    ((checks.check_on_sphere, np.ones(2)), r"expected shape \(n, d\), got \(2,\)"),
    ((checks.check_on_sphere, np.ones((2, 2, 2))), r"expected shape \(n, d\)"),
    ((checks.check_on_sphere, NAN * SPHERE), "expected finite numbers"),
    ((checks.check_on_sphere, 1.011 * SPHERE), "norms from 1.01 √d to 1.01 √d"),
    ((checks.check_on_sphere, SPHERE * [[0.989], [1.0]]), "norms from 0.989 √d to 1 √d"),
    *(((checks.check_some, each), "expected at least one sample, got shape") for each in (1.0, np.ones((0, 2)))),
    ((checks.check_may_be_symmetric, SimpleNamespace(symmetric=False)), "expected a symmetric operator"),
    *(((checks.check_start, each, (3,)), r"expected a number or shape \(3,\)") for each in (np.ones(1), np.ones(4))),
    ((checks.check_real, np.ones(2) * 1j), "expected real numbers, got complex ones, complex128"),
    ((checks.check_symmetric, FLAT * 1j), "expected real numbers"),
    *(
        ((checks.check_symmetric, np.ones(shape)), "expected a square matrix, got shape")
        for shape in ((2,), (2, 3), (3, 2), (0, 0), (2, 2, 2))
    ),
    ((checks.check_symmetric, diagonal(NAN, 1)), NOT_FINITE),
    ((checks.check_symmetric, 3 * SKEW), "entries that differ by 6 from those .*; the largest entry is 3"),
    *(((checks.check_symmetric, almost(each)), "differ by 2.1e-06 from") for each in (2.1e-6, -2.1e-6)),
    ((checks.check_symmetric, almost(8e-4, "float32")), "differ by 0.0008 from"),
    ((checks.check_kernel, SKEW), "expected a symmetric matrix"),
    ((checks.check_kernel, diagonal(2, -3)), "expected no negative eigenvalue, got -3; the largest in size is 3"),
    ((checks.check_kernel, diagonal(-2.1e-6, 2)), "got -2.1e-06; the largest in size is 2"),
    ((checks.check_kernel, diagonal(-8e-4, 2).astype("float32")), "got -0.0008"),
]


# These name the arguments by themselves.
NAMELESS = (checks.check_trained, checks.check_momentum, checks.check_scales, checks.check_data)


def call(check, *arguments):
    return check(*arguments) if check in NAMELESS else check("this", *arguments)


@pytest.mark.parametrize("case", PASSING, ids=lambda case: case[0].__name__)
def test_at_the_edge_it_passes(case):
    assert call(*case) is None


@pytest.mark.parametrize(("case", "saying"), REFUSED, ids=lambda each: getattr(each[0], "__name__", ""))
def test_beyond_the_edge_it_is_refused(case, saying):
    with refused("trained" if case[0] is checks.check_trained else "this", saying=saying):
        call(*case)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        *(("momentum", lambda m=m: checks.check_momentum(m)) for m in (1, 1.0, -1e-9, NAN)),
        *(("weight_std", lambda s=s: checks.check_scales(s, 0.0)) for s in (0.0, -1.0, INF)),
        *(("bias_std", lambda s=s: checks.check_scales(1.0, s)) for s in (-1e-9, NAN)),
        *(("x", lambda x=x: checks.check_data(x, np.ones(2))) for x in (np.ones(2), np.ones((0, 2)), NAN * FLAT)),
        *(("y", lambda y=y: checks.check_data(FLAT, y)) for y in (0.0, np.ones(3), np.ones((2, 1)), [1.0, NAN])),
        ("y", lambda: checks.check_data(FLAT, np.ones((2, 1, 1)), several=True)),
        ("y", lambda: checks.check_data(FLAT, np.ones((3, 2)), several=True)),
        ("inputs", lambda: checks.check_data(np.ones(2), np.ones(2), names=("inputs", "labels"))),
        ("inputs", lambda: checks.check_data(np.full((2, 2), INF), np.ones(2), names=("inputs", "labels"))),
        ("labels", lambda: checks.check_data(FLAT, np.ones(3), names=("inputs", "labels"))),
        ("labels", lambda: checks.check_data(FLAT, [NAN, 0.0], names=("inputs", "labels"))),
    ],
)
def test_which_argument_it_is(name, call):
    with refused(name):
        call()


def test_several_outputs_and_messages_of_data():
    assert checks.check_data(FLAT, np.ones((2, 3)), several=True) is None
    with refused("y", saying=r"expected shape \(2,\), one label per sample of x, got \(3,\)"):
        checks.check_data(FLAT, np.ones(3))
    with refused("y", saying=r"expected shape \(2,\) or \(2, k\)"):
        checks.check_data(FLAT, np.ones(3), several=True)


@pytest.mark.parametrize(
    "tolerances", [[], [0.0], [1.0], [-0.5, 0.5], [0.5, 0.5], [0.5, 0.1], [[0.1, 0.5]], [NAN], 0, 1]
)
def test_tolerances_that_are_none(tolerances):
    with refused("tolerances", saying="increasing numbers between 0 and 1"):
        checks.check_tolerances(tolerances)


@pytest.mark.parametrize("tolerances", [0.5, [0.5], [1e-9, 0.3, 1 - 1e-9]])
def test_tolerances(tolerances):
    found = checks.check_tolerances(tolerances)
    assert found.dtype == np.float64 and found.ndim == 1 and np.array_equal(found, np.ravel(tolerances))


def test_bounds_of_integers():
    for value in (3, 5, np.int8(4)):
        assert checks.check_integer("this", value, at_least=3, at_most=5) is None
    assert checks.check_integer("this", 10**12, at_least=3) is None
    with refused("this", saying="expected at least 3, got 2"):
        checks.check_integer("this", 2, at_least=3, at_most=5)
    with refused("this", saying="expected at most 5, got 6"):
        checks.check_integer("this", 6, at_least=3, at_most=5)
    with refused("this", saying="expected at most 0, got 1"):  # a bound of 0 is one
        checks.check_integer("this", 1, at_least=-1, at_most=0)


def test_numbers_of_rows():
    assert checks.check_square("this", np.ones((3, 3))) == 3
    with refused("this", saying=r"expected a square one, got shape \(3, 2\)"):
        checks.check_square("this", np.ones((3, 2)))
    assert checks.check_kernel_new(np.ones((4, 6)), 6, 3) == 2
    assert checks.check_kernel_new(np.ones((0, 6)), 6, 3) == 0
    for shape in ((5, 6), (4, 5), (6,), (2, 6, 6)):
        with refused("kernel_new", saying=r"expected shape \(q, 6\), q a multiple of 2"):
            checks.check_kernel_new(np.ones(shape), 6, 3)


def test_what_is_traced_passes_and_what_has_to_be_known_does_not():
    bad = -np.ones((2, 2))
    bad[0, 1] = NAN

    @jax.jit
    def traced(value):
        assert not checks.is_concrete({"a": 1.0, "b": value}) and checks.is_concrete({"a": 1.0})
        checks.check_positive("this", value)
        checks.check_not_negative("this", value)
        checks.check_on_sphere("this", value)
        checks.check_kernel("this", value)
        checks.check_momentum(value[0, 0])
        assert checks.are_equal(value, value + 1) and not checks.are_equal(value, value[0])
        with refused("this", saying="call this outside of jit"):
            checks.check_known("this", value)
        return value

    traced(bad)


def test_equal_arrays():
    one = np.arange(3.0)
    assert checks.are_equal(one, one) and checks.are_equal(one, one.copy())
    assert not checks.are_equal(one, one + 1) and not checks.are_equal(one, one[:2])
    assert not checks.are_equal(np.ones((1, 3)), np.ones((3, 3)))  # which broadcast
    with jax.enable_x64(False):  # NumPy looks at numbers in their own precision
        assert not checks.are_equal(one, one + 1e-12)
    chunks = Chunks(lambda key: jnp.ones((2, 3)), jax.random.split(jax.random.key(0), 2))
    assert checks.are_equal(chunks, chunks)
    assert not checks.are_equal(chunks, chunks.dense()) and not checks.are_equal(chunks.dense(), chunks)


def test_what_is_spread_over_devices_is_looked_at_there(monkeypatch):
    monkeypatch.setattr(checks, "is_spread", lambda value: isinstance(value, jax.Array))
    monkeypatch.delattr(np, "isfinite")
    assert checks.check_finite("this", jnp.ones(3)) is None
    with refused("this", saying="got 2 that are not"):
        checks.check_finite("this", jnp.array([1.0, NAN, INF, 2.0, 3.0]))
    monkeypatch.delattr(np, "array_equal")
    one = jnp.arange(3.0)
    assert checks.are_equal(one, one.copy()) and not checks.are_equal(one, one + 1)
    assert checks.are_equal(np.arange(3.0), one) and checks.are_equal(one, np.arange(3.0))
