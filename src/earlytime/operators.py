r"""Matrices that need not exist, given by their products.

An operator is a pytree with `.shape`, `.matvec(u)` and `.dense()`; operators can be subtracted and
scaled. Nothing of size n × n exists unless `.dense()` is asked for.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from earlytime._arrays import AnyArray
from earlytime._validation import check_shape, check_square
from jax.tree_util import Partial
from jaxtyping import Array, Float


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

    @classmethod
    def from_matrix(cls, matrix: Float[AnyArray, "rows columns"]) -> "Operator":
        """The operator of a matrix that exists.

        Example:
            >>> print(Operator.from_matrix(2 * jnp.eye(2)).matvec(jnp.ones(2)))
            [2. 2.]
        """
        rows, columns = matrix.shape
        return cls(Partial(jnp.matmul, matrix), Partial(jnp.asarray, matrix), (rows, columns), True)

    def matvec(self, u: Float[AnyArray, " columns"]) -> Float[Array, " rows"]:
        """The product with a vector.

        Raises:
            ValueError: a vector of another shape.
        """
        check_shape("u", u, (self.shape[1],))
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


def low_rank(left: Float[AnyArray, "n p"], right: Float[AnyArray, "n2 p"]) -> Operator:
    """The operator A Bᵀ of shape (n, n2) of two thin matrices."""
    return Operator(
        Partial(_low_rank_product, left, right),
        Partial(_low_rank_matrix, left, right),
        (left.shape[0], right.shape[0]),
        cheap_dense=True,
    )


def _low_rank_product(psi, psi2, u):
    return psi @ (psi2.T @ u)


def _low_rank_matrix(psi, psi2):
    return psi @ psi2.T


def complement(operator: Operator, direction: Float[AnyArray, " n"]) -> Operator:
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


def schur_complement(operator: Operator, direction: Float[AnyArray, " n"]) -> Operator:
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
    scaled = (column / jnp.sqrt(u @ column))[:, None]
    return operator - low_rank(scaled, scaled)


def _unit(operator: Operator, direction) -> Float[Array, " n"]:
    check_shape("direction", direction, (check_square("operator", operator),))
    return direction / jnp.linalg.norm(direction)


def _projected_product(product, unit, u):
    out = product(u - unit * (unit @ u))
    return out - unit * (unit @ out)


def _projected_matrix(matrix, unit):
    half = matrix()
    half = half - jnp.outer(half @ unit, unit)
    return half - jnp.outer(unit, unit @ half)
