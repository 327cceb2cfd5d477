r"""Second derivatives of the output in the parameters: how far a network is from linear.

The Hessian H of f(w; x) in w is never formed: its products with vectors are the derivative of the
gradient along them. Where H is small the tangent kernel cannot move.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Whole, floating
from earlytime._blocks import fitting_block, sum_blocks
from earlytime._labels import Loss, as_labels, check_labels
from earlytime._networks import applied, as_samples, check_independent, check_outputs, partition
from earlytime._shards import shards_of
from earlytime._validation import check_finite, check_shape, check_trained
from earlytime.activations import Activation, resolve_activation
from earlytime.losses import resolve_loss
from earlytime.networks import TwoLayerParams
from earlytime.operators import Operator
from earlytime.spectral import Norm, spectral_norm
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, Float, Num, PRNGKeyArray, PyTree


def output_hessian(apply_fn: Callable, params: PyTree, x_single: Num[AnyArray, " *d"]) -> Operator:
    r"""The Hessian $H = \nabla_w^2 f(w; x)$ of the output at one input, as an operator.

    A product with it is a forward derivative of the gradient, $Hu = \partial_\epsilon \nabla_w
    f(w + \epsilon u; x)$, and costs about as much as four evaluations of f.

    Source: Liu et al. 2020, section 2.

    Args:
        apply_fn: f(params, x: (n, ...)) -> (n,) or (n, 1), twice differentiable. For a network with k outputs,
            pass one of them (`with_output(..., coordinate=)`).
        params: any pytree of p numbers, as in `tangent_kernel`.
        x_single: one input, without an axis of samples.

    Returns:
        Operator of shape (p, p), on the parameters as `jax.flatten_util.ravel_pytree` lines them up, without what
        rides along.
        Its `.dense()` holds p² numbers: for small networks only.

    Raises:
        ValueError: an input that is not finite; an output that is not one real number, or depends on other samples or
            on chance, where it can be looked at; parameters that are complex, or none.

    Example:
        >>> hessian = output_hessian(lambda w, x: x @ w**2, jnp.ones(2), jnp.array([1.0, 3.0]))
        >>> print(hessian.dense())
        [[2. 0.]
         [0. 6.]]
    """
    trained, rest = partition(params)
    x = as_samples("x_single", jnp.asarray(x_single)[None])
    check_outputs(apply_fn, trained, rest, x, on="x_single", one=True)
    check_independent(apply_fn, trained, rest, x)
    size = sum(leaf.size for leaf in trained)
    return Operator(
        Partial(_hessian_product, Partial(apply_fn), trained, rest, x),
        Partial(_hessian_matrix, Partial(apply_fn), trained, rest, x),
        (size, size),
        cheap_dense=False,
    )


def _hessian_product(apply_fn, trained, rest, x, u):
    f, (flat, unravel) = applied(apply_fn, rest), ravel_pytree(trained)
    gradient = jax.grad(lambda p: f(p, x).reshape(()))
    return ravel_pytree(jax.jvp(gradient, (trained,), (unravel(u.astype(flat.dtype)),))[1])[0]


def _hessian_matrix(apply_fn, trained, rest, x):
    f, (flat, unravel) = applied(apply_fn, rest), ravel_pytree(trained)
    return jax.hessian(lambda w: f(unravel(w), x).reshape(()))(flat)


def gauss_newton(
    apply_fn: Callable, params: PyTree, x: Num[AnyArray, "n ..."], y: AnyArray, *, loss: Loss = "squared"
) -> Operator:
    r"""The Gauss-Newton matrix of the mean loss, $G = \frac1n \sum_i J_i^\top\, \nabla^2\ell_i\, J_i$, as an operator.

    J_i is the Jacobian of the outputs at input i, ∇²ℓ_i the Hessian of its loss in the outputs. Gradient descent
    grows along its leading eigenvector if the learning rate is above 2/λ_max(G); for the squared loss that is
    2n/λ_max of the tangent kernel. A product is one Jacobian-vector product and one vector-Jacobian product, block by
    block.

    Args:
        apply_fn: f(params, x: (n, ...)) -> (n,) or (n, k).
        params: any pytree of p numbers, as in `earlytime.tangent_kernel`.
        x: (n, ...) inputs.
        y: labels as in `earlytime.train`.
        loss: as in `earlytime.train`; twice differentiable in the outputs.

    Returns:
        Operator of shape (p, p), on the parameters as `jax.flatten_util.ravel_pytree` lines them up. Its `.dense()`
        holds p² numbers: for small networks only.

    Raises:
        ValueError: as `earlytime.tangent_kernel`; labels that do not fit the loss.

    Example:
        >>> curvature = gauss_newton(lambda w, x: x @ w, jnp.ones(2), jnp.diag(jnp.array([1.0, 2.0])), jnp.ones(2))
        >>> print(curvature.dense())
        [[0.5 0. ]
         [0.  2. ]]
    """
    trained, rest = partition(params)
    x = as_samples("x", x)
    outputs = check_outputs(apply_fn, trained, rest, x)
    if np.shape(y)[:1] != (len(x),):
        raise ValueError(f"y: expected one label for each of {len(x)} samples, got {np.shape(y)}")
    check_labels(loss, outputs, y)
    check_independent(apply_fn, trained, rest, x)
    size = sum(leaf.size for leaf in trained)
    labels = as_labels(loss, outputs, y)
    parts = (Partial(apply_fn), Partial(resolve_loss(loss)), trained, rest, shards_of(x), x, labels)
    return Operator(
        Partial(_gauss_newton_product, *parts), Partial(_gauss_newton_matrix, *parts), (size, size), cheap_dense=False
    )


def _gauss_newton_product(apply_fn, loss_fn, trained, rest, shards, x, y, u):
    f, (flat, unravel) = applied(apply_fn, rest), ravel_pytree(trained)
    direction = unravel(u.astype(flat.dtype))

    def of_block(block, weights):
        inputs, labels = block
        outputs, pushed = jax.jvp(lambda p: f(p, inputs), (trained,), (direction,))
        slope = jax.grad(lambda out: jnp.sum(weights.astype(out.dtype) * loss_fn(out, labels)))
        curved = jax.jvp(slope, (outputs,), (pushed,))[1]
        return jax.vjp(lambda p: f(p, inputs), trained)[1](curved)[0]

    block_size = fitting_block(functools.partial(f, trained), x)
    return ravel_pytree(sum_blocks(of_block, (x, y), block_size, shards))[0] / x.shape[0]


def _gauss_newton_matrix(*parts):
    flat, _ = ravel_pytree(parts[2])
    return jax.lax.map(functools.partial(_gauss_newton_product, *parts), jnp.eye(flat.size, dtype=flat.dtype))


def hessian_norm(
    apply_fn: Callable,
    params: PyTree,
    x_single: Num[AnyArray, " *d"],
    *,
    key: PRNGKeyArray,
    num_matvecs: Whole = 40,
) -> Norm:
    r"""The largest absolute eigenvalue of the output's Hessian, $\|\nabla_w^2 f(w; x)\|$.

    By Lanczos, from `num_matvecs` products: the dense Hessian never exists. Works under jit and vmap;
    for several inputs, map over them. It needs memory for about 4 parameter vectors beside those of a
    product, whatever num_matvecs is.

    Source: Liu et al. 2020, section 2, whose central quantity it is.

    Args:
        apply_fn, params, x_single: as in `output_hessian`.
        key: random key of the first vector.
        num_matvecs: the number of products, fixed; more make the residual smaller.

    Returns:
        Norm(value, residual). The value is never above the norm, up to rounding. Both are NaN where the
        Hessian is not finite.

    Raises:
        ValueError: as `output_hessian`; num_matvecs below 1.

    Example:
        >>> f = lambda w, x: x @ w**2
        >>> norm = hessian_norm(f, jnp.ones(2), jnp.array([1.0, 3.0]), key=jax.random.key(0))
        >>> print(f"{norm.value:.4f}")
        6.0000
    """
    return spectral_norm(output_hessian(apply_fn, params, x_single), key=key, num_matvecs=num_matvecs)


def two_layer_hessian_norm(
    params: TwoLayerParams, x_single: Num[AnyArray, " d"], activation: Activation, *, trained: str
) -> Float[Array, ""]:
    r"""The Hessian norm of a two-layer network in closed form.

    The Hessian has one block per neuron, with $u_r = w_r^\top x/\sqrt d$ and $s = \|x\|/\sqrt d$

    $$\frac{1}{\sqrt m}\begin{pmatrix} a_r & b_r \\ b_r & 0 \end{pmatrix}, \qquad
      a_r = v_r\, \varphi''(u_r)\, s^2, \quad b_r = \varphi'(u_r)\, s,$$

    in the directions of x (first layer) and of $v_r$. With the first layer alone only $a_r$ is left,
    with the second layer alone f is linear and nothing is.

    Source: Liu et al. 2020, section 1, for scalar inputs and fixed v.

    Args:
        params: of `two_layer`, or of the same shapes.
        x_single: (d,) one input.
        activation: the network's, twice differentiable.
        trained: "first", "second" or "both" layers.

    Returns:
        The norm.

    Raises:
        ValueError: unknown `trained` or activation, an input of another shape or one that is not finite.

    Example:
        >>> params = TwoLayerParams(w=jnp.zeros((4, 2)), v=jnp.ones(4))
        >>> print(two_layer_hessian_norm(params, jnp.ones(2), "tanh", trained="both"))
        0.5
    """
    check_trained(trained)
    width, dim = params.w.shape
    check_shape("x_single", x_single, (dim,))
    check_finite("x_single", x_single)
    slope = jax.grad(resolve_activation(activation))
    x_single = floating("x_single", x_single)
    u = params.w @ x_single / math.sqrt(dim)
    squared = jnp.sum(jnp.asarray(x_single) ** 2) / dim
    a = jnp.abs(params.v * jax.vmap(jax.grad(slope))(u)) * squared
    b = jax.vmap(slope)(u) * jnp.sqrt(squared)
    blocks = {"first": a, "second": 0 * a, "both": (a + jnp.sqrt(a**2 + 4 * b**2)) / 2}[trained]
    return jnp.max(blocks) / math.sqrt(width)
