r"""Tangent kernels and linear kernels as operators, and how far a tangent kernel moves.

Nothing of size n × n exists unless `.dense()` is asked for.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Real, floating, real
from earlytime._blocks import fitting_block, map_blocks, sum_blocks
from earlytime._chunks import Chunks, drawn, first_of, is_chunks
from earlytime._feature_kernels import feature_kernel
from earlytime._networks import applied, as_samples, check_independent, check_outputs, partition
from earlytime._shards import shards_of
from earlytime._validation import are_equal, check_no_negative, check_not_negative, check_some, check_symmetric
from earlytime.operators import Operator, low_rank
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Float, Num, PyTree


def tangent_kernel(
    apply_fn: Callable,
    params: PyTree,
    x: Num[AnyArray, "n ..."] | Chunks,
    x2: Num[AnyArray, "n2 ..."] | Chunks | None = None,
) -> Operator:
    r"""The empirical tangent kernel $\Theta(x, x') = \nabla_\theta f(x) \cdot \nabla_\theta f(x')$.

    A product with it is one vector-Jacobian and one Jacobian-vector product, block by block.
    For a part of the parameters, pass an `apply_fn` of that part alone. With k outputs, row and column
    ik + a belong to output a of sample i, as in `f(params, x).reshape(-1)`.

    Args:
        apply_fn: f(params, x: (n, ...)) -> (n,) or (n, k); it must treat the samples independently.
        params: any pytree. Its floating-point leaves are the parameters, computed with in float32 at least; whole
            numbers, random keys, None, functions and flax.nnx's statistics ride along.
        x: (n, ...) inputs; those of `devices.shard_samples` stay spread.
        x2: (n2, ...) inputs of the columns; x if not given.

    Returns:
        Operator of shape (n, n2), or (nk, n2 k). Its `.dense()` holds the Jacobian: nk × (number of
        parameters).

    Raises:
        ValueError: no inputs, or inputs that are not finite; outputs that are not (n,) or (n, k); outputs that depend
            on other samples or on chance, where they can be looked at; parameters that are complex, or none.

    Example:
        >>> kernel = tangent_kernel(lambda w, x: x @ w, jnp.ones(2), jnp.eye(2))
        >>> print(kernel.matvec(jnp.array([1.0, 2.0])))
        [1. 2.]
    """
    trained, rest = partition(params)
    x = as_samples("x", x)
    x2 = x if x2 is None or x2 is x else as_samples("x2", x2)
    few = [first_of(each) for each in (x, x2)]
    outputs = [check_outputs(apply_fn, trained, rest, each, on=name) for name, each in zip(("x", "x2"), few)]
    check_independent(apply_fn, trained, rest, *(few[:1] if x2 is x else few))
    sizes = (each.shape[0] * out.size // len(out) for each, out in zip((x, x2), outputs))
    return Operator(
        Partial(_tangent_product, Partial(apply_fn), trained, rest, (shards_of(x), shards_of(x2)), x, x2),
        Partial(_tangent_matrix, Partial(apply_fn), trained, rest, x, x2),
        tuple(sizes),
        cheap_dense=False,
        symmetric=are_equal(x, x2),
    )


def _tangent_product(apply_fn, trained, rest, shards, x, x2, u):
    f = applied(apply_fn, rest)
    block_size = fitting_block(functools.partial(f, trained), x)

    def pull(block, weights):
        inputs, u_block = block
        out, vjp = jax.vjp(lambda p: f(p, inputs), trained)
        weighted = (weights[:, None].astype(out.dtype) * u_block.astype(out.dtype)).reshape(out.shape)
        return vjp(weighted)[0]

    direction = sum_blocks(pull, (x2, u.reshape(x2.shape[0], -1)), block_size, shards[1])
    push = lambda inputs: jax.jvp(lambda p: f(p, inputs), (trained,), (direction,))[1]
    return map_blocks(push, x, block_size, shards[0]).reshape(-1)


def _tangent_matrix(apply_fn, trained, rest, x, x2):
    f = applied(apply_fn, rest)
    x, x2 = drawn(x), drawn(x2)
    jacobian = jax.vmap(jax.jacrev(lambda p, sample: f(p, sample[None]).reshape(-1)), (None, 0))
    rows = jacobian(trained, x)
    columns = rows if x2 is x else jacobian(trained, x2)
    flat = lambda leaf: leaf.reshape(leaf.shape[0] * leaf.shape[1], -1)
    return sum(flat(a) @ flat(b).T for a, b in zip(rows, columns))


def averaged_kernel(apply_fn: Callable, params: PyTree, x: Num[AnyArray, "n ..."]) -> Float[Array, "n n"]:
    r"""The tangent kernel averaged over the k outputs, $\frac1k \sum_a J_a J_a^\top$, as a matrix.

    One output after the other, so that one Jacobian of n × (number of parameters) exists at a time.

    Args:
        apply_fn: f(params, x: (n, ...)) -> (n,) or (n, k).
        params: any pytree, as in `tangent_kernel`.
        x: (n, ...) inputs.

    Raises:
        ValueError: as `tangent_kernel`.

    Example:
        >>> f = lambda w, x: jnp.stack([x @ w, 3 * (x @ w)], axis=1)
        >>> print(averaged_kernel(f, jnp.ones(2), jnp.eye(2)))
        [[5. 0.]
         [0. 5.]]
    """
    trained, rest = partition(params)
    x = as_samples("x", x)
    outputs = check_outputs(apply_fn, trained, rest, x)
    check_independent(apply_fn, trained, rest, x)
    k = 1 if len(outputs.shape) == 1 else outputs.shape[1]
    kernels = (_kernel_of_output(trained, rest, x, np.asarray(a), apply_fn=apply_fn, k=k) for a in range(k))
    return functools.reduce(jnp.add, kernels) / k


@functools.partial(jax.jit, static_argnames=("apply_fn", "k"))
def _kernel_of_output(trained, rest, x, a, *, apply_fn, k):
    f = applied(apply_fn, rest)
    output = lambda p, sample: f(p, sample[None]).reshape(k)[a]
    rows = jax.vmap(jax.grad(output), (None, 0))(trained, x)
    flat = (leaf.reshape(len(x), -1) for leaf in rows)
    return sum(leaf @ leaf.T for leaf in flat)


def linear_kernel(
    features: Callable, x: Num[AnyArray, "n d"] | Chunks, x2: Num[AnyArray, "n2 d"] | Chunks | None = None
) -> Operator:
    r"""The kernel of a linear model, $\Theta^{lin}(x, x') = \psi(x) \cdot \psi(x')$.

    Args:
        features: ψ, x: (n, d) -> (n, p), such as `early_time_features(...)`.
        x: (n, d) inputs.
        x2: (n2, d) inputs of the columns; x if not given.

    Returns:
        Operator of shape (n, n2).

    Raises:
        ValueError: no inputs, or complex features.

    Example:
        >>> kernel = linear_kernel(lambda x: 2.0 * x, jnp.eye(2))
        >>> print(kernel.dense())
        [[4. 0.]
         [0. 4.]]
    """
    for name, inputs in (("x", x), ("x2", x if x2 is None else x2)):
        check_some(name, inputs)
    if is_chunks(x) or is_chunks(x2):
        return feature_kernel(features, x, x if x2 is None else x2)
    psi = jnp.asarray(features(floating("x", x)))
    return low_rank(psi, psi if x2 is None else jnp.asarray(features(floating("x2", x2))))


def stable_learning_rate(kernel: Num[AnyArray, "n n"]) -> Float[Array, ""]:
    r"""$2n/\lambda_{\max}(\Theta)$: gradient descent on the squared loss diverges above it.

    Args:
        kernel: (n, n), the tangent kernel on the training set.

    Raises:
        ValueError: where it can be looked at, a kernel that is not symmetric, not finite, or has a negative eigenvalue.

    Example:
        >>> print(stable_learning_rate(jnp.diag(jnp.array([1.0, 4.0]))))
        1.0
    """
    check_symmetric("kernel", kernel)
    eigenvalues = jnp.linalg.eigvalsh(real("kernel", kernel))
    check_no_negative("kernel", kernel, eigenvalues)
    return 2 * kernel.shape[0] / eigenvalues[-1]


def gradient_norms(apply_fn: Callable, params: PyTree, x: Num[AnyArray, "n ..."]) -> Float[Array, " n"]:
    r"""$\|\nabla_w f(w; x_i)\|$ of every input: the square roots of the tangent kernel's diagonal.

    One input after the other, so that only one gradient exists at a time.

    Args:
        apply_fn: f(params, x: (n, ...)) -> (n,) or (n, 1).
        params: any pytree, as in `tangent_kernel`.
        x: (n, ...) inputs.

    Raises:
        ValueError: as `tangent_kernel`; outputs that are not one number per input.

    Example:
        >>> print(gradient_norms(lambda w, x: x @ w, jnp.zeros(2), jnp.array([[3.0, 4.0]])))
        [5.]
    """
    trained, rest = partition(params)
    x = as_samples("x", x)
    check_outputs(apply_fn, trained, rest, x, one=True)
    check_independent(apply_fn, trained, rest, x)
    f = applied(apply_fn, rest)
    gradient = jax.grad(lambda p, sample: f(p, sample[None]).reshape(()))
    return jax.lax.map(lambda sample: jnp.linalg.norm(ravel_pytree(gradient(trained, sample))[0]), x)


def kernel_change(kernels: Num[AnyArray, "r n n"]) -> Float[Array, " r"]:
    r"""$\|K(w_t) - K(w_0)\|_F/\|K(w_0)\|_F$ along a trajectory.

    Args:
        kernels: (r, n, n), the tangent kernel at every recorded step, the start first.

    Raises:
        ValueError: kernels of another shape, or complex.

    Example:
        >>> print(kernel_change(jnp.stack([jnp.eye(2), 3 * jnp.eye(2)])))
        [0. 2.]
    """
    if np.ndim(kernels) != 3 or np.shape(kernels)[1] != np.shape(kernels)[2]:
        raise ValueError(f"kernels: expected shape (r, n, n), got {np.shape(kernels)}")
    kernels = real("kernels", kernels)
    change = jnp.linalg.norm(kernels - kernels[:1], axis=(1, 2))
    return change / jnp.linalg.norm(kernels[0])


def kernel_change_bound(
    hessian_norms: Float[AnyArray, " n"], distance: Real, gradient_norms: Float[AnyArray, " n"]
) -> Float[Array, "n n"]:
    r"""How far the tangent kernel can have moved, given how small the Hessian was on the way.

    $$|K_{(x,z)}(w) - K_{(x,z)}(w_0)| \le R\,\big(\epsilon_x \|\nabla f(w_0; z)\| + \epsilon_z \|\nabla f(w_0; x)\|\big)
      + \epsilon_x \epsilon_z R^2$$

    where the Hessian at x has at most the norm ε_x on the segment from w₀ to w, of length R: then the
    gradient at x changes by at most ε_x R. With one ε for both inputs it is the paper's inequality.

    Source: Liu et al. 2020, section 2.

    Args:
        hessian_norms: (n,) ε of every input.
        distance: R = ‖w - w₀‖.
        gradient_norms: (n,) ‖∇f(w₀; x_i)‖.

    Returns:
        (n, n) the bound for every pair.

    Raises:
        ValueError: shapes that differ; a number that is negative or not finite, where it can be looked at.

    Example:
        >>> print(kernel_change_bound(jnp.array([0.1]), 1.0, jnp.array([2.0])))
        [[0.41]]
    """
    if np.ndim(hessian_norms) != 1 or np.shape(hessian_norms) != np.shape(gradient_norms):
        raise ValueError(
            f"hessian_norms: expected shape (n,), as gradient_norms, "
            f"got {np.shape(hessian_norms)} and {np.shape(gradient_norms)}"
        )
    for name, value in (
        ("hessian_norms", hessian_norms),
        ("distance", distance),
        ("gradient_norms", gradient_norms),
    ):
        check_not_negative(name, value)
    moved = jnp.asarray(hessian_norms * distance)
    cross = jnp.outer(moved, jnp.asarray(gradient_norms))
    return cross + cross.T + jnp.outer(moved, moved)


def parameter_distance(params: PyTree, start: PyTree) -> Float[Array, ""]:
    r"""$R = \|w - w_0\|$ over all parameters at once.

    Args:
        params, start: pytrees of one structure, as in `tangent_kernel`; what rides along has no part in it.

    Raises:
        ValueError: pytrees that differ in the shapes of their parameters.

    Example:
        >>> print(parameter_distance({"a": jnp.ones(3), "b": jnp.ones(1)}, {"a": jnp.zeros(3), "b": jnp.zeros(1)}))
        2.0
    """
    here, there = partition(params)[0], partition(start, name="start")[0]
    shapes, others = ([leaf.shape for leaf in leaves] for leaves in (here, there))
    if shapes != others:
        raise ValueError(f"start: expected parameters of shapes {shapes} as in params, got {others}")
    return jnp.linalg.norm(ravel_pytree(here)[0] - ravel_pytree(there)[0])
