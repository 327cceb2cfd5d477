r"""Matrices that need not exist, given by their products.

An operator is a pytree with `.shape`, `.matvec(u)` and `.dense()`; operators can be subtracted and
scaled. Nothing of size n × n exists unless `.dense()` is asked for.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Real, real
from earlytime._validation import are_equal, check_finite, check_shape, check_square, is_concrete
from jax.tree_util import Partial
from jaxtyping import Array, Float, Num


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("product", "matrix"),
    meta_fields=("shape", "cheap_dense", "symmetric"),
)
@dataclass(frozen=True)
class Operator:
    """A linear map given by its products.

    Attributes:
        product: u: (columns,) -> (rows,).
        matrix: () -> (rows, columns).
        shape: (rows, columns).
        cheap_dense: whether the matrix costs less than some tens of products.
        symmetric: False where it is known not to be, as between two sets of inputs: it has no eigenvalues by Lanczos.
    """

    product: Partial
    matrix: Partial
    shape: tuple[int, int]
    cheap_dense: bool
    symmetric: bool = True

    @classmethod
    def from_matrix(cls, matrix: Num[AnyArray, "rows columns"]) -> "Operator":
        """The operator of a matrix that exists.

        Raises:
            ValueError: numbers that are not one matrix, or complex.

        Example:
            >>> print(Operator.from_matrix(2 * jnp.eye(2)).matvec(jnp.ones(2)))
            [2. 2.]
        """
        if np.ndim(matrix) != 2:
            raise ValueError(f"matrix: expected shape (rows, columns), got {np.shape(matrix)}")
        rows, columns = np.shape(matrix)
        matrix = real("matrix", matrix)
        parts = Partial(jnp.matmul, matrix), Partial(jnp.asarray, matrix)
        return cls(*parts, (rows, columns), True, _is_symmetric(matrix))

    @property
    def dtype(self):
        """The precision that the products are computed in: that of the numbers the operator is made of."""
        found = {jnp.result_type(leaf) for leaf in jax.tree.leaves(self)}
        floating = [dtype for dtype in found if jnp.issubdtype(dtype, jnp.floating)]
        return max(floating, key=lambda dtype: jnp.finfo(dtype).bits, default=jnp.result_type(float))

    def matvec(self, u: Num[AnyArray, " columns"]) -> Float[Array, " rows"]:
        """The product with a vector, of whole numbers too.

        Raises:
            ValueError: a vector of another shape, or a complex one.
        """
        check_shape("u", u, (self.shape[1],))
        return self.product(real("u", u, self.dtype))

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
            self.symmetric and other.symmetric,
        )

    def __mul__(self, factor: Real) -> "Operator":
        return Operator(
            Partial(_scaled, self.product, factor),
            Partial(_scaled, self.matrix, factor),
            self.shape,
            self.cheap_dense,
            self.symmetric,
        )

    __rmul__ = __mul__


def _difference(a, b, *args):
    return a(*args) - b(*args)


def _scaled(a, factor, *args):
    out = a(*args)
    return jnp.asarray(factor, out.dtype) * out


def _is_symmetric(matrix) -> bool:
    """Whether a matrix may be: False only where its entries can be looked at, and differ by more than rounding."""
    if matrix.shape[0] != matrix.shape[1]:
        return False
    if not is_concrete(matrix):
        return True
    entries = np.asarray(matrix)
    size = np.max(np.abs(entries), initial=0)
    return not np.isfinite(size) or bool(np.all(np.abs(entries - entries.T) <= 3.5e-4 * size))


def low_rank(left: Num[AnyArray, "n p"], right: Num[AnyArray, "n2 p"]) -> Operator:
    """The operator A Bᵀ of shape (n, n2) of two thin matrices.

    Raises:
        ValueError: complex numbers.
    """
    left, right = real("left", left), real("right", right)
    return Operator(
        Partial(_low_rank_product, left, right),
        Partial(_low_rank_matrix, left, right),
        (left.shape[0], right.shape[0]),
        cheap_dense=True,
        symmetric=are_equal(left, right),
    )


def _low_rank_product(psi, psi2, u):
    return psi @ (psi2.T @ u)


def _low_rank_matrix(psi, psi2):
    return psi @ psi2.T


def complement(operator: Operator, direction: Num[AnyArray, " n"]) -> Operator:
    r"""The operator off one direction, $(I - uu^\top) K (I - uu^\top)$ with u = direction/‖direction‖.

    Args:
        operator: square.
        direction: (n,), not zero.

    Returns:
        Operator of the same shape.

    Raises:
        ValueError: a direction of another shape, not finite or zero; an operator that is not square.
    """
    u = _unit(operator, direction)
    return Operator(
        Partial(_projected_product, operator.product, u),
        Partial(_projected_matrix, operator.matrix, u),
        operator.shape,
        operator.cheap_dense,
        operator.symmetric,
    )


def schur_complement(operator: Operator, direction: Num[AnyArray, " n"]) -> Operator:
    r"""What is left of a kernel once one direction is fitted, $K - Kuu^\top K/(u^\top Ku)$.

    Where uᵀKu is far larger than everything else, gradient descent fits that direction first and
    then moves in the complement of u by this operator.

    Args:
        operator: symmetric.
        direction: (n,), not zero.

    Returns:
        Operator of the same shape, zero along the direction.

    Raises:
        ValueError: as `complement`.
    """
    u = _unit(operator, direction)
    column = operator.matvec(u)
    scaled = (column / jnp.sqrt(u @ column))[:, None]
    return operator - low_rank(scaled, scaled)


def _unit(operator: Operator, direction) -> Float[Array, " n"]:
    check_shape("direction", direction, (check_square("operator", operator),))
    check_finite("direction", direction)
    direction = real("direction", direction, operator.dtype)
    length = jnp.linalg.norm(direction)
    if is_concrete(length) and length == 0:
        raise ValueError("direction: expected one that is not zero")
    return direction / length


def _projected_product(product, unit, u):
    out = product(u - unit * (unit @ u))
    return out - unit * (unit @ out)


def _projected_matrix(matrix, unit):
    half = matrix()
    half = half - jnp.outer(half @ unit, unit)
    return half - jnp.outer(unit, unit @ half)
