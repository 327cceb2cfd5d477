"""Networks that come from outside: what of their parameters is trained, and whether they treat samples alike."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import single
from earlytime._blocks import has_primitive
from earlytime._chunks import first_of, is_chunks
from earlytime._shards import rows_of
from earlytime._validation import check_finite, is_concrete
from jax.extend.core import jaxpr_as_fun

# Samples that show whether a network mixes them, of each array of inputs.
_FEW = 8
_COARSE_FIRST = {"bf16": jnp.bfloat16, "f16": jnp.float16, "f32": jnp.float32, "f64": jnp.float64}


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("arrays",),
    meta_fields=("kinds", "fixed", "treedef"),
)
@dataclass(frozen=True)
class Rest:
    """What rides along with the leaves that are trained, and how all of them are put together again.

    Attributes:
        arrays: leaves that are arrays of another kind: whole numbers, booleans, random keys, statistics.
        kinds: "trained", "array" or "fixed", for every leaf.
        fixed: leaves that are no arrays, such as numbers of heads, names and functions; programs are compiled for them.
        treedef: of all leaves.
    """

    arrays: list
    kinds: tuple[str, ...]
    fixed: tuple
    treedef: Any

    def join(self, trained) -> Any:
        """The parameters with these leaves in the place of the trained ones."""
        parts = {"trained": iter(trained), "array": iter(self.arrays), "fixed": iter(self.fixed)}
        return jax.tree.unflatten(self.treedef, [next(parts[kind]) for kind in self.kinds])

    def alone(self, trained) -> Any:
        """The trained leaves in the parameters' own structure, with None in the place of all others."""
        left = iter(trained)
        return jax.tree.unflatten(self.treedef, [next(left) if kind == "trained" else None for kind in self.kinds])

    def pick(self, leaves) -> list:
        """Of a list with one entry for every leaf, those of the trained ones."""
        return [leaf for leaf, kind in zip(leaves, self.kinds, strict=True) if kind == "trained"]


def partition(params, *, name: str = "params") -> tuple[list, Rest]:
    """The leaves that are trained, real floating-point numbers, in float32 at least; and the rest.

    Raises:
        ValueError: no such leaf, or one that is complex.
    """
    leaves, treedef = jax.tree.flatten(params)
    kinds: list[str] = []
    for node in jax.tree.leaves(params, is_leaf=_is_statistic):
        trains = not _is_statistic(node)
        kinds += [_kind(leaf, trains, name) for leaf in jax.tree.leaves(node)]
    of = lambda wanted: [leaf for leaf, kind in zip(leaves, kinds) if kind == wanted]
    if "trained" not in kinds:
        raise ValueError(f"{name}: expected at least one array of floating-point numbers, got {treedef}")
    trained = [single(leaf) for leaf in of("trained")]
    return trained, Rest(of("array"), tuple(kinds), tuple(of("fixed")), treedef)


def _kind(leaf, trains: bool, name: str) -> str:
    if (
        isinstance(leaf, complex)
        or (is_array := isinstance(leaf, (jax.Array, np.ndarray, np.generic)))
        and (jnp.issubdtype(leaf.dtype, jnp.complexfloating))
    ):
        raise ValueError(f"{name}: expected real numbers, got complex ones")
    if not is_array:
        return "trained" if trains and isinstance(leaf, float) else "fixed"
    return "trained" if trains and jnp.issubdtype(leaf.dtype, jnp.floating) else "array"


def _is_statistic(node) -> bool:
    """Whether a node is one of flax.nnx's variables that is no parameter, such as a running mean."""
    kind = getattr(node, "type", None)  # of a VariableState
    classes = (kind if isinstance(kind, type) else type(node)).__mro__
    names = {each.__name__ for each in classes if each.__module__.startswith("flax.nnx")}
    return "Variable" in names and "Param" not in names


def as_samples(name: str, x) -> Any:
    """Inputs of a network: whole numbers stay what they are, and chunks chunks.

    Raises:
        ValueError: not one sample, or numbers that are not finite.
    """
    if np.ndim(x) < 1 or np.shape(x)[0] < 1:
        raise ValueError(f"{name}: expected at least one sample, shape (n, ...), got {np.shape(x)}")
    check_finite(name, first_of(x))
    return x if is_chunks(x) else single(x)


def applied(apply_fn: Callable, rest: Rest) -> Callable:
    """f as a function of the leaves that are trained and of inputs, with outputs in float32 at least."""
    return lambda trained, x: single(apply_fn(rest.join(trained), x))


def check_outputs(apply_fn: Callable, trained: list, rest: Rest, x, *, on: str = "x", one: bool = False):
    """The outputs' shape and dtype; raises unless they are real, (n,) or (n, k), or with `one` a number per sample."""
    outputs = jax.eval_shape(lambda trained, x: apply_fn(rest.join(trained), x), trained, x)
    n, shape = len(x), getattr(outputs, "shape", None)
    if shape is None or len(shape) not in (1, 2) or shape[0] != n or (one and outputs.size != n):
        wanted = f"({n},) or ({n}, {1 if one else 'k'})"
        raise ValueError(f"apply_fn: expected outputs of shape {wanted} on {on}, got {shape or outputs}")
    if not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise ValueError(f"apply_fn: expected outputs that are real floating-point numbers, got {outputs.dtype}")
    return outputs


def check_independent(apply_fn: Callable, trained: list, rest: Rest, *inputs, name: str = "apply_fn") -> None:
    """Raise if what f makes of a sample depends on the samples beside it, or on chance.

    A few of the inputs, once as a whole and once their last third alone: where both are known, f must make the same of
    them. With one of them backwards, so that there are two in any case. Two evaluations of f in one program, which
    equal networks share.
    """
    if not is_concrete((trained, rest, inputs)):
        return
    few = [rows_of(x, np.unique(np.linspace(0, len(x) - 1, _FEW).astype(int))) for x in inputs]
    backwards = few[0][:1].reshape(-1)[::-1].reshape(few[0][:1].shape)
    samples = np.concatenate([backwards, *few])
    arguments = (trained, rest, samples)
    leaves, treedef = jax.tree.flatten(arguments)
    shapes = tuple((np.shape(leaf), jnp.result_type(leaf), _is_weak(leaf)) for leaf in leaves)
    with jax.debug_nans(False), jax.default_matmul_precision("float32"):
        compare, constants, tolerance = _comparison(apply_fn, treedef, shapes)
        gap, size = compare(constants, leaves)
    if not is_concrete((gap, size)):
        return  # what is known may still be computed later, where JAX is tracing
    gap, size = float(gap), float(size)
    if gap > tolerance * size:
        raise ValueError(
            f"{name}: expected outputs that depend on their own sample alone, got some that differ by {gap:.3g} (of "
            f"{size:.3g}) when other samples are left out. Batch normalization in training mode, attention over the "
            "batch and dropout do that: freeze the statistics (evaluation mode: use_running_average=True, "
            "inference=True) and switch off what is random"
        )


def _is_weak(leaf) -> bool:
    return bool(getattr(leaf, "weak_type", False))


@functools.lru_cache(maxsize=32)
def _comparison(apply_fn: Callable, treedef, shapes) -> tuple[Callable, list, float]:
    """A compiled comparison; what f closes over, which is no part of the program; and what rounding may do.

    That is √ε of the coarsest numbers that f computes with anywhere, as a share of its outputs.
    """

    def compare(*leaves):
        trained, rest, samples = jax.tree.unflatten(treedef, leaves)
        params, start = rest.join([_moved(leaf) for leaf in trained]), len(samples) - max(1, len(samples) // 3)
        together, alone = apply_fn(params, samples)[start:], apply_fn(params, samples[start:])
        together, alone = (jnp.ravel(jnp.abs(part)) for part in (together, together - alone.reshape(together.shape)))
        return jnp.max(alone), jnp.max(together)

    closed = jax.make_jaxpr(compare)(*(jax.ShapeDtypeStruct(s, d, weak_type=weak) for s, d, weak in shapes))
    evaluate = lambda constants, leaves: jaxpr_as_fun(closed.replace(consts=constants))(*leaves)
    text = str(closed)
    coarsest = next(dtype for name, dtype in _COARSE_FIRST.items() if f":{name}[" in text)
    return jax.jit(evaluate), closed.consts, float(jnp.finfo(coarsest).eps) ** 0.5


def _moved(leaf):
    """Parameters beside the given ones: networks that start at 0 do so however they mix samples."""
    steps = jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape) / 10
    return jnp.where(leaf == 0, jnp.asarray(0.1, leaf.dtype), leaf) * (1 + steps)


def slow_in_loops(apply_fn: Callable, trained: list, rest: Rest, x) -> bool:
    """Whether XLA's loops make the network slow: convolutions on a CPU, where all is known.

    Their gradients take some forty times longer inside of a loop than outside (github.com/jax-ml/jax/issues/12868).
    """
    if jax.devices()[0].platform != "cpu" or not is_concrete((trained, rest, x)):
        return False
    leaves, treedef = jax.tree.flatten((trained, rest, jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)))
    return _convolves(apply_fn, treedef, tuple((np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves))


@functools.lru_cache(maxsize=32)
def _convolves(apply_fn: Callable, treedef, shapes) -> bool:
    trained, rest, x = jax.tree.unflatten(treedef, [jax.ShapeDtypeStruct(*each) for each in shapes])
    evaluate = lambda trained, arrays, x: apply_fn(dataclasses.replace(rest, arrays=arrays).join(trained), x)
    return has_primitive(jax.make_jaxpr(evaluate)(trained, rest.arrays, x).jaxpr, "conv_general_dilated")
