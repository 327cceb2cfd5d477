"""What a diagnosis refuses and warns of, at the edges."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from earlytime import _diagnosis_checks as checks
from earlytime.input_statistics import InputStatistics
from refusals import refused

X = np.linspace(-1.0, 1.0, 24).reshape(8, 3)
W = jnp.asarray([1.0, -2.0, 0.5])
KEY = jax.random.key(3)


@pytest.mark.parametrize(
    "apply_fn",
    [
        lambda w, x: x @ w,
        lambda w, x: (x @ w)[:, None],
        lambda w, x: x @ jnp.stack([w, w], axis=1),  # it takes a single sample, too
        lambda w, x: jnp.outer(x @ w, jnp.ones(3)),  # of a single sample (1, k)
        # Wrong numbers of rows, of functions that take no single sample either: not for this check to say.
        lambda w, x: jnp.ones((5, 2)) * jnp.sum(x @ w),
        lambda w, x: jnp.sum(x @ w) if x.ndim > 1 else [x @ w],
        lambda w, x: x @ w + np.arange(9.0)[8] + np.arange(9.0)[7],  # constants, the same at each call
        lambda w, x: x @ (w * W) * jax.random.uniform(KEY),
    ],
)
def test_networks_of_batches_pass(apply_fn):
    assert checks.check_network(apply_fn, W, X) is None


def draws_one_of_two_constants():
    """Of the two arrays that the program holds, one is another at each call."""
    draw = np.random.default_rng(0)
    return lambda w, x: x @ w * jnp.asarray(np.arange(2.0)).sum() + jnp.asarray(draw.normal(size=2)).sum()


def draws_keys():
    keys = iter(range(100))
    return lambda w, x: x @ w + jax.random.normal(jax.random.key(next(keys)), (len(x),))


@pytest.mark.parametrize(
    ("apply_fn", "saying"),
    [
        (lambda w, x: jnp.sum(x @ w), "of a single sample"),  # a number, also of one sample
        (lambda w, x: jnp.stack([x @ w, x @ w, x @ w]), "of a single sample"),
        (lambda w, x: jnp.stack([x @ w, x @ w])[:, 0] if x.ndim > 1 else x @ w, "of a single sample"),
        (lambda w, x: (x @ w)[:, None, None] * jnp.ones((1, 2, 3)), "choose a position"),
        (lambda w, x: [x @ w], "got several things"),
        (draws_one_of_two_constants(), "from one call to the next"),
        (draws_keys(), "from one call to the next"),
    ],
)
def test_what_is_no_network_of_a_batch_is_refused(apply_fn, saying):
    with refused("apply_fn", saying=saying):
        checks.check_network(apply_fn, W, X)


def test_a_function_s_own_error_is_not_hidden():
    def broken(w, x):
        raise KeyError("layer")

    with pytest.raises(KeyError, match="layer"):
        checks.check_network(broken, W, X)


def test_two_calls_are_compared_on_four_samples():
    seen = []
    checks._check_repeats(lambda w, x: seen.append(x.shape) or x @ w, W, X)
    checks._check_repeats(lambda w, x: seen.append(x.shape) or x @ w, W, X[:3])
    assert seen == [(4, 3), (4, 3), (3, 3), (3, 3)]


@jax.tree_util.register_pytree_with_keys_class
class Frozen:
    """A mapping that is no dict, as Flax's FrozenDict."""

    def __init__(self, entries):
        self.entries = entries

    def items(self):
        return self.entries.items()

    def tree_flatten_with_keys(self):
        return [(jax.tree_util.DictKey(name), value) for name, value in self.items()], tuple(self.entries)

    @classmethod
    def tree_unflatten(cls, names, values):
        return cls(dict(zip(names, values)))


def test_a_state_is_refused_and_parameters_of_any_name_are_not():
    for params in ({"params": W, "stats": W}, {"batch": W}, (W,), W):
        checks._check_no_state(params)
    for name in ("batch_stats", "cache", "intermediates", "state", "spectral_stats"):
        with refused(f"params['{name}']", saying=rf"got a state \({name}\)"):
            checks._check_no_state({"params": W, name: W})
        with refused(f"params['{name}']"):
            checks._check_no_state(Frozen({"params": W, name: W}))
    with refused("params['cache']", saying=r"got a state \(cache\)"):  # the first of two
        checks._check_no_state({"cache": W, "batch_stats": W})


@pytest.mark.parametrize(
    ("outputs", "warned"),
    [
        ([[0.2, 0.8], [1.0, 0.0]], True),  # a probability may be 0
        ([[0.2, 0.8008], [0.4, 0.6]], True),
        ([[0.2, 0.802], [0.4, 0.6]], False),  # the sums are 1 to a thousandth
        ([[-0.2, 1.2], [0.4, 0.6]], False),
        ([[0.4, 0.4], [0.4, 0.6]], False),
        ([[0.0, 0.0], [0.0, 0.0]], False),
        ([[1.0, 1.0], [1.0, 1.0]], False),
        ([[0.2, 0.3, 0.5]], True),
        ([[1.0], [1.0]], False),
        ([1.0, 1.0], False),
    ],
)
def test_probabilities_are_warned_of(outputs, warned):
    found = checks.output_warnings(np.array(outputs))
    assert [text.partition(": its outputs are probabilities")[0] for text in found] == ["apply_fn"] * warned


def test_whole_numbers_without_features_are_warned_of():
    tokens = np.array([[1, 2]])
    (found,) = checks.input_warnings(tokens, None)
    assert found.startswith("x: whole numbers")
    assert checks.input_warnings(tokens, len) == checks.input_warnings(1.0 * tokens, None) == []


@pytest.mark.parametrize(
    ("n", "scale_ratio", "warned"),
    [
        (50, 100.0, []),
        (50, 100.1, ["100: standardize"]),
        (49, 1.0, ["49 samples of 10 numbers"]),
        (49, 2000.0, ["2e+03: standardize", "49 samples of 10 numbers"]),
    ],
)
def test_features_are_warned_of_beyond_their_edges(n, scale_ratio, warned):
    statistics = InputStatistics(n, 10, 1.0, 0.3, 0.3, 10.0, 0.0, scale_ratio, 0)
    found = checks.data_warnings(statistics)
    assert len(found) == len(warned) and all(part in text for part, text in zip(warned, found))


def test_an_optimizer_is_what_can_begin_and_update():
    for optimizer in (None, optax.sgd(0.1)):
        assert checks.check_optimizer(optimizer) is None
    half = SimpleNamespace(init=len)
    for optimizer, saying in ((1, r"optax.sgd\(1\)\?"), (0.5, r"optax.sgd\(0.5\)\?"), (optax.sgd, "call it: ")):
        with refused("optimizer", saying=saying):
            checks.check_optimizer(optimizer)
    with refused("optimizer", saying=r"\(init, update\), got namespace\(.*\)$"):
        checks.check_optimizer(half)
