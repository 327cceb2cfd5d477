r"""Tangent kernels and linear kernels as operators.

An operator is a pytree with `.shape`, `.matvec(u)` and `.dense()`; operators can be subtracted and
scaled. Nothing of size n × n exists unless `.dense()` is asked for.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._blocks import map_blocks, sum_blocks
from earlytime._validation import check_finite
from earlytime.activations import Activation, resolve_activation
from earlytime.networks import TwoLayerParams
from jax.tree_util import Partial
from jaxtyping import Array, Float, PyTree

_BLOCK = 2048
_NEURON_BLOCK = 4096


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("product", "matrix"),
    meta_fields=("shape", "cheap_dense"),
)
@dataclass(frozen=True)
class Operator:
    """A linear map given by its products.

    Attributes:
        product: u: (columns,) -> (rows,).
        matrix: () -> (rows, columns).
        shape: (rows, columns).
        cheap_dense: whether the matrix costs less than some tens of products.
    """

    product: Partial
    matrix: Partial
    shape: tuple[int, int]
    cheap_dense: bool

    def matvec(self, u: Float[Array, " columns"]) -> Float[Array, " rows"]:
        """The product with a vector."""
        if np.shape(u) != (self.shape[1],):
            raise ValueError(f"u: expected shape ({self.shape[1]},), got {np.shape(u)}")
        return self.product(u)

    def dense(self) -> Float[Array, "rows columns"]:
        """The matrix itself."""
        return self.matrix()

    def __sub__(self, other: "Operator") -> "Operator":
        if self.shape != other.shape:
            raise ValueError(f"other: expected shape {self.shape}, got {other.shape}")
        return Operator(
            Partial(_difference, self.product, other.product),
            Partial(_difference, self.matrix, other.matrix),
            self.shape,
            self.cheap_dense and other.cheap_dense,
        )

    def __mul__(self, factor: float) -> "Operator":
        return Operator(
            Partial(_scaled, self.product, factor),
            Partial(_scaled, self.matrix, factor),
            self.shape,
            self.cheap_dense,
        )

    __rmul__ = __mul__


def _difference(a, b, *args):
    return a(*args) - b(*args)


def _scaled(a, factor, *args):
    return factor * a(*args)


def tangent_kernel(
    apply_fn: Callable,
    params: PyTree,
    x: Float[Array, "n ..."],
    x2: Float[Array, "n2 ..."] | None = None,
) -> Operator:
    r"""The empirical tangent kernel $\Theta(x, x') = \nabla_\theta f(x) \cdot \nabla_\theta f(x')$.

    A product with it is one vector-Jacobian and one Jacobian-vector product, block by block.
    For a part of the parameters, pass an `apply_fn` of that part alone. With k outputs, row and column
    ik + a belong to output a of sample i, as in `f(params, x).reshape(-1)`.

    Args:
        apply_fn: f(params, x: (n, ...)) -> (n,) or (n, k); it must treat the samples independently.
        params: any pytree.
        x: (n, ...) inputs.
        x2: (n2, ...) inputs of the columns; x if not given.

    Returns:
        Operator of shape (n, n2), or (nk, n2 k). Its `.dense()` holds the Jacobian: nk × (number of
        parameters).

    Raises:
        ValueError: inputs that are not finite, or outputs that are not (n,) or (n, k).

    Example:
        >>> kernel = tangent_kernel(lambda w, x: x @ w, jnp.ones(2), jnp.eye(2))
        >>> print(kernel.matvec(jnp.array([1.0, 2.0])))
        [1. 2.]
    """
    x2 = x if x2 is None else x2
    sizes = []
    for name, inputs in (("x", x), ("x2", x2)):
        check_finite(name, inputs)
        outputs, n = jax.eval_shape(apply_fn, params, inputs), np.shape(inputs)[0]
        if len(outputs.shape) not in (1, 2) or outputs.shape[0] != n:
            raise ValueError(f"apply_fn: expected outputs of shape ({n},) or ({n}, k) on {name}, got {outputs.shape}")
        sizes.append(outputs.size)
    return Operator(
        Partial(_tangent_product, Partial(apply_fn), params, x, x2),
        Partial(_tangent_matrix, Partial(apply_fn), params, x, x2),
        tuple(sizes),
        cheap_dense=False,
    )


def _tangent_product(apply_fn, params, x, x2, u):
    def pull(block, weights):
        inputs, u_block = block
        out, vjp = jax.vjp(lambda p: apply_fn(p, inputs), params)
        weighted = weights.astype(u.dtype)[:, None] * u_block
        return vjp(weighted.reshape(out.shape))[0]

    direction = sum_blocks(pull, (x2, u.reshape(x2.shape[0], -1)), _BLOCK)
    push = lambda inputs: jax.jvp(lambda p: apply_fn(p, inputs), (params,), (direction,))[1]
    return map_blocks(push, x, _BLOCK).reshape(-1)


def _tangent_matrix(apply_fn, params, x, x2):
    jacobian = jax.vmap(jax.jacrev(lambda p, sample: apply_fn(p, sample[None]).reshape(-1)), (None, 0))
    rows, columns = jacobian(params, x), jacobian(params, x2)
    flat = lambda leaf: leaf.reshape(leaf.shape[0] * leaf.shape[1], -1)
    return sum(flat(a) @ flat(b).T for a, b in zip(jax.tree.leaves(rows), jax.tree.leaves(columns)))


def two_layer_kernel(
    params: TwoLayerParams, x: Float[Array, "n dim"], activation: Activation, *, trained: str
) -> Operator:
    r"""The tangent kernel of a two-layer network, layer by layer.

    $$\Theta_1(x, x') = \frac{x^\top x'}{d} \cdot \frac1m \sum_r v_r^2\,
        \varphi'(z_r)\,\varphi'(z'_r), \qquad
      \Theta_2(x, x') = \frac1m \sum_r \varphi(z_r)\,\varphi(z'_r), \qquad
      z_r = w_r^\top x/\sqrt d$$

    Equal to `tangent_kernel` of the same layers; this closed form makes the dense matrix d times
    cheaper than one from Jacobians, for as many neurons as one likes.

    Source: Hu et al. 2020, section 3.

    Args:
        params: of `two_layer`.
        x: (n, d) inputs.
        activation: the network's.
        trained: "first", "second" or "both" layers.

    Returns:
        Operator of shape (n, n).

    Raises:
        ValueError: unknown `trained` or activation, inputs that are not finite.
    """
    if trained not in ("first", "second", "both"):
        raise ValueError(f"trained: expected one of first, second, both, got {trained!r}")
    check_finite("x", x)
    product, matrix = _two_layer_parts(resolve_activation(activation), trained)
    return Operator(
        Partial(product, params, x),
        Partial(matrix, params, x),
        (x.shape[0], x.shape[0]),
        cheap_dense=True,
    )


@functools.cache
def _two_layer_parts(phi: Callable, trained: str) -> tuple[Callable, Callable]:
    """The product and the matrix of a two-layer kernel; cached, so that equal kernels compile once."""
    first, second = trained != "second", trained != "first"

    def features(params, x):
        """v φ'(z) / √(md) and φ(z) / √m."""
        width, dim = params.w.shape
        z = x @ params.w.T / np.sqrt(dim)
        phi_z, slope = jax.jvp(phi, (z,), (jnp.ones_like(z),))
        return slope * params.v / np.sqrt(width * dim), phi_z / np.sqrt(width)

    def product(params, x, u):
        def pull(block, weights):
            inputs, u_block = block
            slopes, values = features(params, inputs)
            u_block = u_block * weights.astype(u_block.dtype)
            return (u_block[:, None] * slopes).T @ inputs, u_block @ values

        direction_w, direction_v = sum_blocks(pull, (x, u), _BLOCK)

        def push(inputs):
            slopes, values = features(params, inputs)
            from_first = jnp.sum(slopes * (inputs @ direction_w.T), axis=1)
            return first * from_first + second * (values @ direction_v)

        return map_blocks(push, x, _BLOCK)

    def matrix(params, x):
        width = params.w.shape[0]

        def neurons(block, weights):
            slopes, values = features(block, x)
            # Each block divides by its own number of neurons; the whole divides by all of them.
            share = weights.shape[0] / width
            slopes, values = slopes * weights, values * weights
            return (
                share * (slopes @ slopes.T) if first else 0.0,
                share * (values @ values.T) if second else 0.0,
            )

        slopes, values = sum_blocks(neurons, params, _NEURON_BLOCK)
        return (x @ x.T) * slopes + values

    return product, matrix


def linear_kernel(features: Callable, x: Float[Array, "n d"], x2: Float[Array, "n2 d"] | None = None) -> Operator:
    r"""The kernel of a linear model, $\Theta^{lin}(x, x') = \psi(x) \cdot \psi(x')$.

    Args:
        features: ψ, x: (n, d) -> (n, p), such as `early_time_features(...)`.
        x: (n, d) inputs.
        x2: (n2, d) inputs of the columns; x if not given.

    Returns:
        Operator of shape (n, n2).

    Example:
        >>> kernel = linear_kernel(lambda x: 2.0 * x, jnp.eye(2))
        >>> print(kernel.dense())
        [[4. 0.]
         [0. 4.]]
    """
    psi = features(x)
    psi2 = psi if x2 is None else features(x2)
    return Operator(
        Partial(_low_rank_product, psi, psi2),
        Partial(_low_rank_matrix, psi, psi2),
        (psi.shape[0], psi2.shape[0]),
        cheap_dense=True,
    )


def _low_rank_product(psi, psi2, u):
    return psi @ (psi2.T @ u)


def _low_rank_matrix(psi, psi2):
    return psi @ psi2.T


def complement(operator: Operator, direction: Float[Array, " n"]) -> Operator:
    r"""The operator off one direction, $(I - uu^\top) K (I - uu^\top)$ with u = direction/‖direction‖.

    Args:
        operator: square.
        direction: (n,), not zero.

    Returns:
        Operator of the same shape.
    """
    u = _unit(operator, direction)
    return Operator(
        Partial(_projected_product, operator.product, u),
        Partial(_projected_matrix, operator.matrix, u),
        operator.shape,
        operator.cheap_dense,
    )


def schur_complement(operator: Operator, direction: Float[Array, " n"]) -> Operator:
    r"""What is left of a kernel once one direction is fitted, $K - Kuu^\top K/(u^\top Ku)$.

    Where uᵀKu is far larger than everything else, gradient descent fits that direction first and
    then moves in the complement of u by this operator.

    Args:
        operator: symmetric.
        direction: (n,), not zero.

    Returns:
        Operator of the same shape, zero along the direction.
    """
    u = _unit(operator, direction)
    column = operator.matvec(u)
    scaled = column / jnp.sqrt(u @ column)
    fitted = Operator(
        Partial(_low_rank_product, scaled[:, None], scaled[:, None]),
        Partial(_low_rank_matrix, scaled[:, None], scaled[:, None]),
        operator.shape,
        cheap_dense=True,
    )
    return operator - fitted


def _unit(operator: Operator, direction) -> Float[Array, " n"]:
    if operator.shape[0] != operator.shape[1] or np.shape(direction) != (operator.shape[0],):
        raise ValueError(
            f"direction: expected shape ({operator.shape[0]},) and a square operator, "
            f"got {np.shape(direction)} and {operator.shape}"
        )
    return direction / jnp.linalg.norm(direction)


def _projected_product(product, unit, u):
    out = product(u - unit * (unit @ u))
    return out - unit * (unit @ out)


def _projected_matrix(matrix, unit):
    half = matrix()
    half = half - jnp.outer(half @ unit, unit)
    return half - jnp.outer(unit, unit @ half)
