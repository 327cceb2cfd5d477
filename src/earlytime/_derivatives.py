"""An activation and its derivatives at the nodes of the quadrature: one small program per activation."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import Real
from earlytime.activations import gaussian_quadrature
from earlytime.precision import float64
from jaxtyping import Float


def derivatives(phi: Callable, s: Real) -> Float[np.ndarray, "3 nodes"]:
    """φ, φ' and φ'' at s times every node of `gaussian_quadrature((0.0,))`, in float64."""
    nodes, _ = gaussian_quadrature((0.0,))
    with float64():
        return np.asarray(_compiled(phi)(s * nodes))


@functools.cache
def _compiled(phi: Callable):
    """It may be called while JAX traces, for it is compiled already."""

    def at(z):
        slope = lambda z: jax.jvp(phi, (z,), (jnp.ones_like(z),))
        (value, first), (_, second) = jax.jvp(slope, (z,), (jnp.ones_like(z),))
        return jnp.stack([value, first, second])

    return jax.jit(at).lower(gaussian_quadrature((0.0,))[0]).compile()
