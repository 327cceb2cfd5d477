r"""Linear models with diagonal weights, between the kernel regime and the rich one: where gradient flow ends.

The size of the weights at the start alone decides whether the end has the smallest ℓ₂ norm, as in a kernel method, or
nearly the smallest ℓ₁ norm, as in a sparse one.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Numbers, Real, Whole
from earlytime._validation import check_data, check_finite, check_integer, check_known, check_positive, check_real
from earlytime.networks import Network
from jaxtyping import Array, Float, Num
from scipy.linalg import solve_triangular

_MOST_STEPS = 500  # of Newton's method; most problems take fewer than 50
_SMALL, _ROUNDING = 1e-7, 1e-3  # steps, after which the relative error is their square: small ones, and noise


class DiagonalParams(NamedTuple):
    """The weights of a diagonal linear network."""

    positive: Float[AnyArray, " dim"]
    negative: Float[AnyArray, " dim"]


def diagonal_linear(dim: Whole, depth: Whole, scale: Real) -> Network:
    r"""The diagonal linear network, which is linear in its inputs and not in its weights.

    $$f(x; w) = \langle \beta, x \rangle, \qquad \beta = w_+^D - w_-^D, \qquad w_\pm = \alpha\,(1, \dots, 1)$$

    with powers entry by entry and the weights as they are at the start, where the output is 0 and the tangent kernel
    $2 D^2 \alpha^{2D - 2} \langle x, x' \rangle$.

    Source: Woodworth et al. 2020, sections 2 and 4.

    Args:
        dim: d, the number of inputs.
        depth: D, at least 2.
        scale: α, positive.

    Returns:
        Network(init, apply). `init(key)` gives DiagonalParams, the same for every key; `apply(params, x: (n, d))` is
        (n,). Equal depths have the same `apply`, so compiled programs are reused at every scale.

    Raises:
        ValueError: dim below 1, a depth below 2, a scale that is not positive.

    Example:
        >>> network = diagonal_linear(3, 2, 0.5)
        >>> print(network.apply(network.init(None)._replace(negative=jnp.zeros(3)), jnp.ones((1, 3))))
        [0.75]
    """
    check_integer("dim", dim, at_least=1)
    check_integer("depth", depth, at_least=2)
    check_positive("scale", scale)

    def init(key) -> DiagonalParams:
        weights = jnp.full(dim, scale, dtype=float)
        return DiagonalParams(weights, weights)

    return Network(init, _apply(int(depth)))


@functools.cache
def _apply(depth: int) -> Callable:
    def apply(params: DiagonalParams, x: Float[AnyArray, "n dim"]) -> Float[Array, " n"]:
        return jnp.asarray(x) @ (params.positive**depth - params.negative**depth)

    return apply


def hypentropy(z: Numbers) -> Float[np.ndarray, "..."]:
    r"""What two layers minimize, entry by entry: z²/4 near 0, and |z| log|z| far from it.

    $$q_2(z) = 2 - \sqrt{4 + z^2} + z \operatorname{arcsinh}(z/2)$$

    Source: Woodworth et al. 2020, Theorem 1.

    Args:
        z: β/α², any shape.

    Returns:
        As z, in float64.

    Raises:
        ValueError: numbers that are not real and finite.

    Example:
        >>> print(f"{hypentropy([0.0, 1.0])[1]:.4f}")
        0.2451
    """
    z = _numbers("z", z)
    return z * np.arcsinh(z / 2) - z**2 / (2 + np.sqrt(4 + z**2))


def potential(z: Numbers, depth: Whole) -> Float[np.ndarray, "..."]:
    r"""What a diagonal network of any depth minimizes, entry by entry.

    $$q_D(z) = \int_0^z h_D^{-1}, \qquad h_D(u) = (1 - u)^{-\frac{D}{D - 2}} - (1 + u)^{-\frac{D}{D - 2}}, \qquad
      h_2(u) = 2 \sinh u$$

    Near 0 it is $z^2/(4p)$ with $p = D/(D - 2)$, z²/4 for two layers; far from 0 it grows as |z|, for two layers as
    |z| log|z|.

    Source: Woodworth et al. 2020, Theorems 1 and 3.

    Args:
        z: β/α^D, any shape.
        depth: D, at least 2.

    Returns:
        As z, in float64.

    Raises:
        ValueError: numbers that are not real and finite, a depth below 2.

    Example:
        >>> print(potential([1.0], 2) == hypentropy([1.0]), f"{potential([7.0], 4)[0]:.3f}")
        [ True] 3.094
    """
    z = _numbers("z", z)
    check_integer("depth", depth, at_least=2)
    if depth == 2:
        return hypentropy(z)
    p, size = depth / (depth - 2), np.abs(z)
    low, high = (size + 1) ** (-1 / p), (size + 2**-p) ** (-1 / p)  # of 1 - u, which may be tiny
    for _ in range(100):
        gap = (low + high) / 2
        below = gap**-p - (2 - gap) ** -p > size
        low, high = np.where(below, gap, low), np.where(below, high, gap)
    # The integral of the inverse is what that of h leaves of the rectangle z u.
    return size * (1 - high) - (depth - 2) / 2 * (high ** (1 - p) + (2 - high) ** (1 - p) - 2)


class FlowLimit(NamedTuple):
    r"""Where gradient flow from a given scale ends.

    Attributes:
        beta: (d,) the linear function, $\beta = \alpha^D h_D(X^\top \nu)$.
        dual: (n,) ν.
        params: the weights there.
    """

    beta: Float[np.ndarray, " d"]
    dual: Float[np.ndarray, " n"]
    params: DiagonalParams


def minimum_potential(x: Num[AnyArray, "n d"], y: Num[AnyArray, " n"], scale: Real, depth: Whole) -> FlowLimit:
    r"""Where gradient flow on the squared loss takes a diagonal linear network.

    $$\beta = \operatorname*{argmin}_{X \beta = y}\ \alpha^D \sum_i q_D(\beta_i/\alpha^D)$$

    by Newton's method on the dual, in float64. Its steps are so short that each one comes closer: no entry of
    $X^\top\nu$ moves by more than 1 for two layers, by more than a third of its way to ±1 for more.

    Source: Woodworth et al. 2020, Theorems 1 and 3. The solver is the book's.

    Args:
        x: (n, d) inputs X, n <= d, of rank n.
        y: (n,) labels, not all 0.
        scale: α, of all weights at the start.
        depth: D, at least 2.

    Returns:
        FlowLimit.

    Raises:
        ValueError: wrong shapes, data that are not finite, more samples than inputs, inputs not of full rank, labels
            that are all 0, a scale that is not positive, or so small that rounding hides the solution, a depth below 2.

    Example:
        >>> x = np.array([[1.0, 2.0]])
        >>> for scale in (100.0, 0.001):
        ...     print(minimum_potential(x, np.array([1.0]), scale, 3).beta.round(3))
        [0.2 0.4]
        [0.  0.5]
    """
    x, y = _full_rank(x, y)
    check_known("scale", scale)
    check_positive("scale", scale)
    check_integer("depth", depth, at_least=2)
    depth, alpha = int(depth), float(scale)
    dual, last = np.zeros(len(y)), np.inf
    for _ in range(_MOST_STEPS):
        u = dual @ x
        beta, weight = (alpha**depth * each for each in _h(u, depth))
        root = np.linalg.qr(np.sqrt(weight)[:, None] * x.T, mode="r")
        step = solve_triangular(root, solve_triangular(root, y - x @ beta, trans=1))
        reach = np.max(np.abs(step @ x) * (1 if depth == 2 else 3 / (1 - np.abs(u))))
        if reach < _SMALL or last / 2 < reach < _ROUNDING:
            break
        last = reach
        dual = dual + step / max(1.0, reach)
    else:
        raise ValueError(f"scale: expected one that rounding does not hide at depth {depth}, got {scale}")
    # The last step is made without h, as rounding of u near ±1 would be multiplied.
    beta, dual, u = beta + weight * (step @ x), dual + step, u + step @ x
    if depth == 2:
        return FlowLimit(beta, dual, DiagonalParams(alpha * np.exp(u / 2), alpha * np.exp(-u / 2)))
    power = -1 / (depth - 2)
    return FlowLimit(beta, dual, DiagonalParams(alpha * (1 - u) ** power, alpha * (1 + u) ** power))


def _h(u, depth: int):
    """h_D and its derivative; as products, so that a small u loses no digits."""
    if depth == 2:
        return 2 * np.sinh(u), 2 * np.cosh(u)
    p = depth / (depth - 2)
    value = 2 * (1 - u**2) ** (-p / 2) * np.sinh(p * np.arctanh(u))
    return value, p * ((1 - u) ** (-p - 1) + (1 + u) ** (-p - 1))


class MinimumL1(NamedTuple):
    r"""The interpolating solution of the smallest ℓ₁ norm, and how far it is from another.

    Attributes:
        beta: (d,) of at most n entries that are not 0.
        certificate: ρ, the smallest $\max_{i \notin S} |x_i^\top\nu|$ of a ν with $X_S^\top \nu = \mathrm{sign}\,
            \beta_S$, where S is the support of β and x_i the i-th column. Below 1, the solution is the only one.
    """

    beta: Float[np.ndarray, " d"]
    certificate: float


def minimum_l1(x: Num[AnyArray, "n d"], y: Num[AnyArray, " n"]) -> MinimumL1:
    r"""The sparse end of the rich regime, and how fast it is approached.

    $$\beta_1 = \operatorname*{argmin}_{X\beta = y} \|\beta\|_1$$

    by two linear programs. From the scale α gradient flow ends at a distance from it of order $\alpha^D$ for D >= 3
    layers, and $\alpha^{2(1 - \rho)}$ for two.

    Source: Woodworth et al. 2020 for the limit. The exponents are derived in the book; Matt and Stöger 2025 bound the
    distance on both sides.

    Args:
        x: (n, d) inputs X, n <= d, of rank n.
        y: (n,) labels, not all 0.

    Returns:
        MinimumL1.

    Raises:
        ValueError: as `minimum_potential`.

    Example:
        >>> found = minimum_l1(np.array([[1.0, 2.0]]), np.array([1.0]))
        >>> print(found.beta, found.certificate)
        [0.  0.5] 0.5
    """
    from scipy.optimize import linprog  # late: it takes a tenth of a second

    x, y = _full_rank(x, y)
    unit = np.abs(y).max() / np.abs(x).max()
    x, y = x / np.abs(x).max(), y / np.abs(y).max()  # the linear programs' tolerances are absolute
    beta = np.subtract(*np.split(linprog(np.ones(2 * x.shape[1]), A_eq=np.hstack([x, -x]), b_eq=y).x, 2))
    support = np.abs(beta) > 1e-9 * np.abs(beta).max()
    beta[~support] = 0
    beta[support] = np.linalg.lstsq(x[:, support], y)[0]  # to the last digit
    return MinimumL1(beta * unit, _certificate(x, support, np.sign(beta[support])))


def _certificate(x, support, signs) -> float:
    """The linear program over (ν, ρ): |x_iᵀν| <= ρ off the support."""
    from scipy.optimize import linprog  # late: it takes a tenth of a second

    rest = x[:, ~support].T
    if not len(rest):
        return 0.0
    either = np.hstack([np.vstack([rest, -rest]), -np.ones((2 * len(rest), 1))])
    equal = np.hstack([x[:, support].T, np.zeros((len(signs), 1))])
    cost = np.append(np.zeros(len(x)), 1.0)
    return float(linprog(cost, either, np.zeros(len(either)), equal, signs, bounds=(None, None)).fun)


def _numbers(name: str, values) -> np.ndarray:
    check_known(name, values)
    values = np.asarray(values)
    check_real(name, values)
    check_finite(name, values)
    return values.astype(np.float64)


def _full_rank(x, y) -> tuple[np.ndarray, np.ndarray]:
    for name, array in (("x", x), ("y", y)):
        check_known(name, array)
        check_real(name, array)
    check_data(x, y)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or np.linalg.matrix_rank(x) < len(x):
        raise ValueError(f"x: expected shape (n, d), n <= d, of rank n, got {x.shape} with a rank below {len(x)}")
    if not np.any(y):
        raise ValueError("y: expected labels that are not all 0")
    return x, y
