r"""Training with a constant kernel that is too large to decompose, by Lanczos."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from earlytime import _decay
from earlytime._arrays import AnyArray, Real, Whole, real
from earlytime._blocks import along
from earlytime._validation import (
    check_finite,
    check_integer,
    check_kernel,
    check_may_be_symmetric,
    check_not_negative,
    check_shape,
    check_square,
    is_concrete,
)
from earlytime.operators import Operator
from jaxtyping import Array, Float, Int, Num
from matfree import decomp

# Up to this many rows a matrix that is cheap to form is looked at.
_CHECKED_ROWS = 512


class KrylovDynamics(NamedTuple):
    r"""Gradient descent on the squared loss with a constant kernel, from f = 0: $f_t = \Theta\alpha_t$.

    Attributes:
        learning_rate: η.
        eigenvalues: (k,) of the small matrix that stands for Θ/n, increasing.
        eigenvectors: (k, k), its columns.
        projections: (k,) their share of y/n.
        basis: (k, n) the Krylov vectors, its rows.
    """

    learning_rate: Real
    eigenvalues: Float[Array, " k"]
    eigenvectors: Float[Array, "k k"]
    projections: Float[Array, " k"]
    basis: Float[Array, "k n"]

    def coefficients(self, steps: int | Int[AnyArray, " r"] | list[int]) -> Float[Array, "... n"]:
        r"""$\alpha_t = \Theta^{-1}\big(I - (I - \eta\Theta/n)^t\big)\,y$ at the given steps, (n,) or (len(steps), n).

        Raises:
            ValueError: steps that are negative or not whole.
        """
        dtype = self.eigenvalues.dtype
        gain = _decay.gain(self.learning_rate, self.eigenvalues, steps, rounding=float(jnp.finfo(dtype).eps))
        gain = jnp.asarray(gain, dtype)
        return (gain * along(gain, self.projections)) @ self.eigenvectors.T @ self.basis


def krylov_dynamics(
    kernel: Operator, y: Num[AnyArray, " n"], *, learning_rate: Real, num_matvecs: Whole = 60
) -> KrylovDynamics:
    r"""Solve gradient descent on $\frac{1}{2n}\sum_i (f(x_i) - y_i)^2$ for a kernel that is only multiplied with.

    Lanczos replaces Θ by a small matrix that acts on y in the same way, as exact as its polynomials of degree
    num_matvecs are: exact for num_matvecs = n, and for early times long before. `kernel_dynamics` decomposes
    a kernel that fits into memory.

    Args:
        kernel: Θ(X, X) as an operator, such as `tangent_kernel(...)`.
        y: (n,) labels.
        learning_rate: η.
        num_matvecs: products with the kernel, at most n are made.

    Returns:
        KrylovDynamics; outputs on any inputs are Θ(x, X) times its coefficients.

    Raises:
        ValueError: shapes that do not fit, a negative learning rate, num_matvecs below 1; a small matrix that is
            not symmetric or has a negative eigenvalue.

    Example:
        >>> kernel = Operator.from_matrix(jnp.diag(jnp.array([2.0, 1.0])))
        >>> dynamics = krylov_dynamics(kernel, jnp.ones(2), learning_rate=1.0)
        >>> print(kernel.matvec(dynamics.coefficients(1)))  # f_1 = ηΘy/n
        [1.  0.5]
    """
    n = check_square("kernel", kernel)
    check_shape("y", y, (n,))
    y = real("y", y).astype(kernel.dtype)
    check_finite("y", y)
    check_not_negative("learning_rate", learning_rate)
    check_integer("num_matvecs", num_matvecs, at_least=1)
    if kernel.cheap_dense and is_concrete(kernel) and n <= _CHECKED_ROWS:
        matrix = kernel.dense()
        if np.all(np.isfinite(matrix)):  # what is not stays so, and shows
            check_kernel("kernel", matrix)
    check_may_be_symmetric("kernel", kernel)
    basis, small, *_ = decomp.tridiag_sym(min(num_matvecs, n))(kernel.matvec, y)
    # Where y's Krylov space is exhausted the next vector is 0/0; with 0 in its place it has no part in what follows.
    basis, small = (jnp.where(jnp.isfinite(small[0, 0]), jnp.nan_to_num(part), part) for part in (basis, small))
    values, vectors = jnp.linalg.eigh(small)
    projections = vectors[0] * jnp.linalg.norm(y) / n
    return KrylovDynamics(learning_rate, values / n, vectors, projections, basis)
