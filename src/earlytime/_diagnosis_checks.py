"""What a diagnosis refuses, with the mend, and what it warns of."""

import inspect
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._networks import partition
from earlytime._validation import is_concrete
from earlytime.input_statistics import InputStatistics

# Collections of Flax's Linen that are no parameters.
_STATE = ("batch_stats", "cache", "intermediates", "state", "spectral_stats")
# What Flax raises where a network writes its state while it is called.
_CHANGES_STATE = ("TraceContextError", "ModifyScopeVariableError")
_FAR_SCALES = 100.0
_FEW_PER_INPUT = 5


def check_network(apply_fn: Callable, params, x) -> None:
    """Raise for what is no network of parameters and a batch, before it is looked at more closely.

    Raises:
        ValueError: naming the leaf or the argument, and what to do.
    """
    _check_no_state(params)
    try:
        shape = _output_shape(apply_fn, params, x)
    except Exception as error:
        if type(error).__name__ in _CHANGES_STATE:
            raise ValueError(
                "apply_fn: expected a function that changes nothing, got one that writes a state, as batch "
                f"normalization in training mode does; put it into evaluation mode ({error})"
            ) from error
        if _takes_one_sample(apply_fn, params, x):
            raise ValueError(_ONE_SAMPLE) from None
        raise
    if shape is None:
        raise ValueError(
            "apply_fn: expected an array, got several things; if the second is a state (Haiku's transform_with_state, "
            "Flax's mutable=), return the outputs alone: lambda params, x: apply_fn(params, x)[0]"
        )
    n = np.shape(x)[0]
    if len(shape) > 2 and shape[0] == n:
        raise ValueError(
            f"apply_fn: expected outputs of shape ({n},) or ({n}, k), got {shape}; choose a position: "
            "lambda params, x: apply_fn(params, x)[:, -1]"
        )
    if (len(shape) < 1 or shape[0] != n) and _takes_one_sample(apply_fn, params, x):
        raise ValueError(_ONE_SAMPLE)
    _check_repeats(apply_fn, params, x)


_ONE_SAMPLE = (
    "apply_fn: expected a function of a batch, got one of a single sample; pass jax.vmap(apply_fn, in_axes=(None, 0))"
)


def _check_no_state(params) -> None:
    """Refuse a dictionary of collections, of which some are no parameters: they would be counted and trained."""
    if not isinstance(params, dict) and not hasattr(params, "items"):
        return
    names = [str(name) for name, _ in params.items()]
    state = [name for name in names if name in _STATE]
    if not state:
        return
    leaves = jax.tree_util.tree_leaves_with_path(params)
    path = next(jax.tree_util.keystr(path) for path, _ in leaves if state[0] in jax.tree_util.keystr(path))
    raise ValueError(
        f"params{path}: expected parameters, got a state ({state[0]}); pass params['params'] and keep the rest "
        f"fixed: lambda params, x: model.apply({{'params': params, '{state[0]}': ...}}, x), in evaluation mode"
    )


def _output_shape(apply_fn, params, x):
    trained, rest = partition(params)
    outputs = jax.eval_shape(lambda trained, x: apply_fn(rest.join(trained), x), trained, x)
    return getattr(outputs, "shape", None)


def _takes_one_sample(apply_fn, params, x) -> bool:
    try:
        shape = _output_shape(apply_fn, params, x[0])
    except Exception:
        return False
    return shape is not None and len(shape) <= 1


def _check_repeats(apply_fn, params, x) -> None:
    """Refuse functions that draw something new at each call, which a compiled one would not do."""
    if not is_concrete((params, x)):
        return
    trained, rest = partition(params)
    few = np.asarray(x)[: min(4, len(x))]
    one, two = (jax.make_jaxpr(lambda trained, x: apply_fn(rest.join(trained), x))(trained, few) for _ in range(2))
    # What the programs say, but for addresses in memory, and the numbers that they hold.
    same = re.sub("0x[0-9a-f]+", "", str(one.jaxpr)) == re.sub("0x[0-9a-f]+", "", str(two.jaxpr))
    if not same or not all(map(_equal, one.consts, two.consts)):
        raise ValueError(
            "apply_fn: expected the same function at every call, got one that differs from one call to the next; "
            "switch off what is random, such as dropout (deterministic=True, inference=True)"
        )


def _equal(one, two) -> bool:
    is_key = isinstance(one, jax.Array) and jnp.issubdtype(one.dtype, jax.dtypes.prng_key)
    one, two = (jax.random.key_data(each) if is_key else each for each in (one, two))
    return np.array_equal(np.asarray(one), np.asarray(two))


def output_warnings(outputs) -> list[str]:
    """What of a network's outputs at the start makes the numbers mean something else than is expected."""
    if outputs.ndim == 2 and outputs.shape[1] > 1:
        sums = outputs.sum(axis=1)
        if np.all(outputs >= 0) and np.allclose(sums, 1, atol=1e-3):
            return [
                "apply_fn: its outputs are probabilities, which a softmax behind it has made; a softmax is not linear, "
                "however wide the network: give the logits, with loss='cross_entropy'"
            ]
    return []


def input_warnings(x, features) -> list[str]:
    """What of the inputs does."""
    if features is None and jnp.issubdtype(jnp.result_type(x), jnp.integer):
        return [
            "x: whole numbers are taken as numbers; if they are tokens, give features=, such as their counts: "
            "lambda x: jax.nn.one_hot(x, V).mean(1)"
        ]
    return []


def data_warnings(statistics: InputStatistics) -> list[str]:
    """What of the features makes an affine fit, or the papers' linear model, doubtful."""
    found = []
    if statistics.scale_ratio > _FAR_SCALES:
        found.append(
            f"x: the columns' standard deviations differ by a factor of {statistics.scale_ratio:.3g}: standardize, "
            "(x - x.mean(0)) / x.std(0)"
        )
    if statistics.dim > statistics.num_samples / _FEW_PER_INPUT:
        found.append(
            f"x: {statistics.num_samples} samples of {statistics.dim} numbers are fewer than {_FEW_PER_INPUT} each; "
            "affine fits need shrinkage, and the affine share is a lower bound"
        )
    return found


def check_optimizer(optimizer) -> None:
    """Raise unless it is something with `init` and `update`, as optax's transformations are."""
    if optimizer is None:
        return
    if isinstance(optimizer, (int, float)):
        raise ValueError(f"optimizer: expected a transformation of optax's, got {optimizer}; optax.sgd({optimizer})?")
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        hint = "; call it: optax.adam(1e-3)" if inspect.isfunction(optimizer) else ""
        raise ValueError(f"optimizer: expected a transformation of optax's (init, update), got {optimizer}{hint}")
