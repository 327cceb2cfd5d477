"""Spectral norms of operators by Lanczos, from a fixed number of products."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from earlytime._arrays import Whole
from earlytime._blocks import has_primitive
from earlytime._validation import check_integer, check_may_be_symmetric, check_square, is_concrete
from earlytime.operators import Operator
from jaxtyping import Array, Float, PRNGKeyArray

# Up to this many rows a cheap matrix is formed once, instead of some tens of products without it; up
# to the smaller number, all its eigenvalues cost less than compiling Lanczos.
_DENSE_ROWS = 4096
_EXACT_ROWS = 512


class Norm(NamedTuple):
    """A spectral norm and the Lanczos residual ‖Kv - λv‖: an eigenvalue lies that close to ±value."""

    value: Float[Array, ""]
    residual: Float[Array, ""]


def spectral_norm(operator: Operator, *, key: PRNGKeyArray, num_matvecs: Whole = 40) -> Norm:
    r"""The largest absolute eigenvalue of a symmetric operator, by Lanczos.

    Works under jit and vmap. Where the matrix is small and cheap it is formed once, and where it is
    very small its eigenvalues are computed and the residual is 0; this is the one place that chooses.

    Args:
        operator: symmetric, with `.shape` and `.matvec`.
        key: random key of the first vector.
        num_matvecs: the number of products, fixed; more make the residual smaller.

    Returns:
        Norm(value, residual), of any scale; both NaN for an operator whose products are not finite.

    Raises:
        ValueError: an operator that is not square, or known not to be symmetric; num_matvecs below 1.

    Example:
        >>> from earlytime import linear_kernel
        >>> kernel = linear_kernel(lambda x: x, jnp.diag(jnp.array([1.0, 2.0, 3.0])))
        >>> print(f"{spectral_norm(kernel, key=jax.random.key(0)).value:.4f}")
        9.0000
    """
    rows = check_square("operator", operator)
    if rows < 1:
        raise ValueError("operator: expected at least one row, got none")
    check_may_be_symmetric("operator", operator)
    check_integer("num_matvecs", num_matvecs, at_least=1)
    if operator.cheap_dense and rows <= _EXACT_ROWS:
        top = jnp.max(jnp.abs(jnp.linalg.eigvalsh(operator.dense())))
        return Norm(top, jnp.zeros_like(top))
    if operator.cheap_dense and rows <= _DENSE_ROWS:
        product: Callable[[Array], Array] = functools.partial(jnp.matmul, operator.dense())
    else:
        product = operator.matvec
    dtype = _dtype(operator)
    start = jax.random.normal(key, (rows,), dtype=dtype)
    lanczos: Callable = _lanczos
    if _is_slow_in_loops(operator, start):
        lanczos, product = _lanczos_in_python, operator.product
    # Without reorthogonalization rounding makes copies of eigenvalues that have converged (Paige 1972), which
    # the largest one does not mind. It would need all vectors at every step; so XLA keeps a few of them only.
    diagonal, links, scale = lanczos(product, start / jnp.linalg.norm(start), int(min(num_matvecs, rows)))
    # links[j] joins vector j to the next one; the last leaves the Krylov space. At a link lost in
    # rounding the space is exhausted: what follows is noise and has no part in the answer.
    links = jnp.nan_to_num(links)
    largest = jax.lax.cummax(jnp.maximum(jnp.nan_to_num(jnp.abs(diagonal)), links))
    rounding = 10 * math.sqrt(rows) * float(jnp.finfo(dtype).eps)
    joined = jnp.cumprod(links > rounding * largest).astype(bool)
    inside = jnp.append(True, joined[:-1])
    off_diagonal = jnp.where(joined, links, 0)[:-1]
    small = jnp.diag(jnp.where(inside, diagonal, 0)) + jnp.diag(off_diagonal, 1) + jnp.diag(off_diagonal, -1)
    values, vectors = jnp.linalg.eigh(small)
    top = jnp.argmax(jnp.abs(values))
    last = jnp.sum(inside) - 1
    value = scale * jnp.abs(values[top])
    residual = scale * links[last] * jnp.abs(vectors[last, top])
    return Norm(value, jnp.where(jnp.isfinite(value), residual, jnp.nan))  # links have lost their NaN above


def _lanczos(product, start, num_matvecs: int):
    """The diagonal, and the links to the next vector, of an operator divided by `scale`: of about 1 whatever its own.

    matfree's would take one more product to know the scale, and compile it a second time.
    """

    step = lambda carry, _: _advance(carry, product(carry[1]))
    (*_, scale), (diagonal, links) = jax.lax.scan(step, _begin(start), length=num_matvecs)
    return diagonal, links, scale


def _lanczos_in_python(product, start, num_matvecs: int):
    """The same with a loop in Python, for networks that a loop of XLA's makes slow."""
    carry, rows = _begin(start), []
    for _ in range(num_matvecs):
        carry, row = _apply_and_advance(product, carry)
        rows.append(row)
    diagonal, links = map(jnp.stack, zip(*rows))
    return diagonal, links, carry[-1]


@jax.jit
def _apply_and_advance(product, carry):
    return _advance(carry, product(carry[1]))


def _begin(start):
    zero = jnp.zeros((), start.dtype)
    return jnp.zeros_like(start), start, zero, zero


def _advance(carry, out):
    """One step: `out` is the product with the last vector."""
    before, vector, link, scale = carry
    scale = jnp.where(scale == 0, _power_of_two(out), scale)
    out = out / scale
    entry = vector @ out
    out = out - entry * vector - link * before
    link = jnp.linalg.norm(out)
    return (vector, out / jnp.where(link == 0, 1, link), link, scale), (entry, link)


def _is_slow_in_loops(operator: Operator, u) -> bool:
    """Whether its products have convolutions, on a CPU; see `slow_in_loops`."""
    if operator.cheap_dense or jax.devices()[0].platform != "cpu" or not is_concrete((operator, u)):
        return False
    return has_primitive(jax.make_jaxpr(operator.product)(u).jaxpr, "conv_general_dilated")


def _power_of_two(array) -> Float[Array, ""]:
    """About the largest entry: dividing by it rounds nothing, and squares neither overflow nor vanish. 1 for zeros."""
    largest = jnp.max(jnp.abs(array))
    _, exponent = jnp.frexp(largest)
    usable = jnp.isfinite(largest) & (largest > 0)
    return jnp.where(usable, jnp.ldexp(jnp.ones_like(largest), jnp.where(usable, exponent, 0)), 1)


def _dtype(operator: Operator):
    """The precision that an operator computes in: that of the numbers it is made of."""
    numbers = [leaf for leaf in jax.tree.leaves(operator) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]
    return jnp.result_type(*numbers) if numbers else jnp.result_type(float)
