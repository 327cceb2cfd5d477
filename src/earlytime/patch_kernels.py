r"""The kernel of a convolutional network with infinitely many channels, exactly, for inputs of ±1.

All patches of q pixels then have one length, and the kernel is one function κ of one number per position, the
correlation of two patches. There are q + 1 such correlations, so κ is a table.
"""

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Real, Whole, floating, real
from earlytime._derivatives import derivatives
from earlytime._validation import check_integer, check_some, is_concrete
from earlytime.activations import Activation, gaussian_quadrature, resolve_activation
from earlytime.deep_kernels import deep_kernel
from jaxtyping import Array, Float, Int, Num


def patch_kernel(
    activation: Activation, *, filter_size: Whole, num_values: Whole | None = None
) -> Float[np.ndarray, "2 num_values"]:
    r"""The tangent kernel of one position, $\kappa(\rho)$ at $\rho = -1, -1 + 2/q, \dots, 1$, layer by layer.

    $$\kappa(\rho) = \rho\, E[\varphi'(z)\,\varphi'(z')] + E[\varphi(z)\,\varphi(z')], \qquad
      z, z' \sim N(0, 1) \text{ with correlation } \rho$$

    Between the two ends it is `deep_kernel`'s; there it is an integral over one Gaussian.

    Source: Hu et al. 2020, Proposition 4.1; the kernel is derived in the book.

    Args:
        activation: a name or a function, smooth everywhere but at 0.
        filter_size: q.
        num_values: how long the table is, q + 1 if not given; behind ρ = 1 that value is repeated, so that the tables
            of several filter sizes can be stacked.

    Returns:
        (2, num_values): the filters' part and the readout's.

    Raises:
        ValueError: unknown activation, a filter_size below 1, num_values below q + 1.

    Example:
        >>> print(patch_kernel("relu", filter_size=2).sum(axis=0).round(4))
        [0.     0.1592 1.    ]
    """
    phi = resolve_activation(activation)
    check_integer("filter_size", filter_size, at_least=1)
    num_values = filter_size + 1 if num_values is None else num_values
    check_integer("num_values", num_values, at_least=filter_size + 1)
    rho = np.minimum(2 * np.arange(num_values) / filter_size - 1, 1.0)
    inside = deep_kernel(phi, depth=1)(1.0, 1.0, rho)
    layers = np.stack([inside.ntk - inside.nngp, inside.nngp])
    _, density = gaussian_quadrature((0.0,))
    values, slopes, _ = derivatives(phi, 1.0)
    for sign, at in ((-1, slice(1)), (1, slice(filter_size, None))):  # ρ = ±1; the nodes lie symmetrically
        layers[:, at] = [[density @ (sign * slopes * slopes[::sign])], [density @ (values * values[::sign])]]
    return layers


def ring_kernel(
    x: Num[AnyArray, "n d"],
    kappa: Num[AnyArray, "kinds num_values"],
    *,
    filter_size: int | Int[AnyArray, ""],
) -> Float[Array, "kinds n n"]:
    r"""The mean over a ring of d pixels, $\Theta(x, x') = \frac1d \sum_p \kappa(\langle x_p, x'_p\rangle/q)$.

    It is the tangent kernel of `convolutional((d, 1), m, activation, depth=1, filter_size=q)` for m to infinity.
    One row after the other, so that nothing but the result has more than kinds × n × d entries.

    Source: Hu et al. 2020, Proposition 4.1; the kernel is derived in the book.

    Args:
        x: (n, d) inputs, all entries ±1.
        kappa: (kinds, num_values) functions of the correlation, as `patch_kernel` tabulates them.
        filter_size: q; it may be traced.

    Returns:
        (kinds, n, n), one matrix for each function.

    Raises:
        ValueError: no inputs; a filter_size below 1, above d, or beyond the table.

    Example:
        >>> x = jnp.array([[1.0, 1.0], [1.0, -1.0]])
        >>> print(ring_kernel(x, jnp.array([[-1.0, 0.0, 1.0]]), filter_size=2)[0])  # of κ(ρ) = ρ
        [[1. 0.]
         [0. 1.]]
    """
    check_some("x", x)
    x, kappa, d = floating("x", x), real("kappa", kappa), x.shape[1]
    if is_concrete(filter_size):
        check_integer("filter_size", filter_size, at_least=1, at_most=min(d, kappa.shape[1] - 1))
    position = jnp.arange(d)
    windows = ((position[:, None] - position[None]) % d < filter_size).astype(x.dtype)

    def row(sample):
        # Whole numbers, exact in float32.
        matches = ((sample[None] * x) @ windows + jnp.asarray(filter_size, windows.dtype)) / 2
        return kappa[:, matches.astype(int)].mean(axis=-1)

    return jnp.moveaxis(jax.lax.map(row, x), 0, 1)


def mean_and_slope(kappa: Num[AnyArray, " num_values"], *, filter_size: Whole) -> tuple[Real, Real]:
    r"""What κ is on average between different inputs, $\kappa(\rho) = c_q + \lambda_q\,\rho + \text{rest}$.

    For independent random signs, $c_q = E[\kappa(\rho)]$ and $\lambda_q = q\,E[\kappa(\rho)\,\rho]$; the rest is
    uncorrelated with both.

    Args:
        kappa: (num_values,) κ at ρ = -1, -1 + 2/q, ..., 1; what follows does not count.
        filter_size: q.

    Returns:
        (c_q, λ_q).

    Raises:
        ValueError: a filter_size below 1 or beyond the table.

    Example:
        >>> mean, slope = mean_and_slope(np.array([-1.0, 0.5, 2.0]), filter_size=2)  # κ(ρ) = 0.5 + 1.5 ρ
        >>> print(f"{mean:.4f} {slope:.4f}")
        0.5000 1.5000
    """
    check_integer("filter_size", filter_size, at_least=1, at_most=kappa.shape[0] - 1)
    matches = np.arange(filter_size + 1)
    from scipy import stats  # imported late: it takes half a second, and only this function needs it

    probability = stats.binom.pmf(matches, filter_size, 0.5)
    values = kappa[: filter_size + 1]
    return probability @ values, (probability * (2 * matches - filter_size)) @ values
