r"""Kernel matrices of infinitely wide, fully connected networks, for any activation and depth.

`deep_kernel` sums a series for every pair of inputs. It is a smooth function of three numbers: taken once, at Chebyshev
nodes of both lengths and of the angle, it becomes a polynomial, which costs some products of thin matrices. (In the
cosine, the kernel of a network with kinks has a square root at 1.)
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Whole, floating
from earlytime._validation import check_finite, check_some, is_concrete
from earlytime.activations import Activation
from earlytime.deep_kernels import deep_kernel, diagonal_kernel
from jaxtyping import Array, Float, Num

# Nodes, and the half width of their interval: of lengths around 1, of angles around π/2.
_LENGTHS, _LENGTH_REACH = 12, 0.8
_ANGLES, _ANGLE_REACH = 24, math.pi / 2


class TabulatedKernel(NamedTuple):
    """A tangent kernel x: (n, d), x2: (n2, d) or None -> (n, n2) of `tabulated_kernel`.

    Attributes:
        pairs: (24, 12, 12) Chebyshev coefficients, of the angle and of both lengths.
        diagonal: (12,) those of the kernel of an input with itself, of its length.
    """

    pairs: Float[AnyArray, "angles lengths lengths"]
    diagonal: Float[AnyArray, " lengths"]

    def __call__(self, x: Num[AnyArray, "n d"], x2: Num[AnyArray, "n2 d"] | None = None) -> Float[Array, "n n2"]:
        for name, inputs in (("x", x), ("x2", x if x2 is None else x2)):
            check_some(name, inputs)
            check_finite(name, inputs)
            if is_concrete(inputs):
                length = np.linalg.norm(np.asarray(inputs, np.float64), axis=1) / math.sqrt(inputs.shape[1])
                if not np.all(np.abs(length - 1) <= _LENGTH_REACH + 1e-6):
                    raise ValueError(
                        f"{name}: expected rows of norms from 0.2 to 1.8 times √d, as the table has them, got from "
                        f"{length.min():.3g} to {length.max():.3g}"
                    )
        return self._look_up(floating("x", x), None if x2 is None else floating("x2", x2))

    @jax.jit
    def _look_up(self, x, x2):
        if x2 is not None:
            return self._between(x, x2)
        exact = _polar(x)[0] @ jnp.asarray(self.diagonal, x.dtype)
        return jnp.where(jnp.eye(x.shape[0], dtype=bool), exact[None], self._between(x, x))

    def _between(self, x, x2):
        (lengths, unit), (lengths2, unit2) = _polar(x), _polar(x2)
        t = jnp.arccos(jnp.clip(unit @ unit2.T, -1, 1)) / _ANGLE_REACH - 1

        def add(carry, coefficients):
            term, before, total = carry
            total = total + term * (lengths @ coefficients @ lengths2.T)
            return (2 * t * term - before, term, total), None

        start = jnp.ones_like(t), t, jnp.zeros_like(t)
        return jax.lax.scan(add, start, jnp.asarray(self.pairs, x.dtype))[0][2]


def tabulated_kernel(activation: Activation, *, depth: Whole) -> TabulatedKernel:
    r"""The tangent kernel of an infinitely wide fully connected network on data, from a table made once.

    $$\Theta(x, x') = \kappa(r, r', \cos\theta) \approx \sum_{kab} C_{kab}\; T_k(2\theta/\pi - 1)\;
      T_a\big((r - 1)/0.8\big)\; T_b\big((r' - 1)/0.8\big), \qquad r = \|x\|/\sqrt d,$$

    with κ from `deep_kernel`, θ the angle of the two inputs, T_k the Chebyshev polynomials. An input with itself has
    the angle 0, which rounding makes larger, and so a polynomial of its own, from `diagonal_kernel`. The table is made
    in float64, whatever JAX's precision.

    Source: Hu et al. 2020, section 4.

    Args:
        activation: a name or a function, smooth everywhere but at 0.
        depth: hidden layers.

    Returns:
        TabulatedKernel, a function (x: (n, d), x2: (n2, d) or None) -> (n, n2) for inputs of lengths r from 0.2 to
        1.8; others are refused where they are known, and have the kernel NaN inside `jit`. It is within 1e-4 of κ for
        up to 8 layers of erf or tanh, and far closer for ReLU; in float32 within 1e-3 where an input of `x` is nearly
        one of `x2`.

    Raises:
        ValueError: as `deep_kernel`.

    Example:
        >>> kernel = tabulated_kernel("erf", depth=1)
        >>> x = jnp.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]]) * math.sqrt(2)  # r = 1, cosine 0.5
        >>> print(f"{kernel(x)[0, 1]:.4f}")
        0.4414
    """
    to_length, r = _nodes(_LENGTHS, _LENGTH_REACH, 1.0)
    to_angle, angle = _nodes(_ANGLES, _ANGLE_REACH, _ANGLE_REACH)
    pairs, diagonal = deep_kernel(activation, depth=depth), diagonal_kernel(activation, depth=depth)
    values, at_one = pairs(r[:, None, None], r[None, :, None], np.cos(angle)).ntk, diagonal(r).ntk
    return TabulatedKernel(np.einsum("ai,bj,kc,ijc->kab", to_length, to_length, to_angle, values), to_length @ at_one)


def _nodes(order: int, reach: float, centre: float) -> tuple[np.ndarray, np.ndarray]:
    """From values at the Chebyshev nodes of an interval to coefficients: (order, order); and the nodes."""
    t = np.cos(np.pi * (np.arange(order) + 0.5) / order)
    return np.linalg.inv(np.polynomial.chebyshev.chebvander(t, order - 1)), centre + reach * t


def _polar(x: Num[AnyArray, "n d"]) -> tuple[Float[Array, "n lengths"], Float[Array, "n d"]]:
    """The Chebyshev polynomials of every input's length, and the inputs over their norms."""
    norm = jnp.linalg.norm(x, axis=1)
    t = (norm / math.sqrt(x.shape[1]) - 1) / _LENGTH_REACH
    t = jnp.where(jnp.abs(t) <= 1 + 1e-5, t, jnp.nan)  # beyond, the polynomial is no kernel
    terms = [jnp.ones_like(t), t]
    for _ in range(_LENGTHS - 2):
        terms.append(2 * t * terms[-1] - terms[-2])
    return jnp.stack(terms, axis=-1), x / norm[:, None]
