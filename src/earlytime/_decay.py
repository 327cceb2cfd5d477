r"""What is left of an error after t steps or at a time, per eigenvalue, for r = ηλ/n and momentum β."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from earlytime._blocks import along
from earlytime._validation import is_concrete
from jaxtyping import Array, Float

# η, or a function of the largest stable one.
LearningRate = float | Float[Array, ""] | Callable[[Float[Array, ""]], Float[Array, ""]]


def resolve_learning_rate(learning_rate: LearningRate, limit):
    """The number η of a model that is stable up to `limit`."""
    return learning_rate(limit) if callable(learning_rate) else learning_rate


def times(rate, t):
    """rate · t, where 0 · ∞ is 0."""
    return jnp.where(rate == 0, 0.0, jnp.where(rate == 0, 1.0, rate) * t)


def learned_in_steps(rate, t):
    """1 - (1 - r)^t without cancellation for small r, with its sign for r > 1."""
    small = jnp.minimum(rate, 0.5)
    large = jnp.where(rate > 0.5, jnp.abs(1 - rate), 1.0)
    sign = jnp.where((rate > 1) & (t % 2 == 1), -1.0, 1.0)
    power = jnp.where(t == 0, 1.0, sign * large**t)
    return jnp.where(rate > 0.5, 1 - power, -jnp.expm1(t * jnp.log1p(-small)))


def gain(learning_rate, eigenvalues, steps):
    """(1 - (1 - ηλ)^t)/λ for increasing λ, and its limit ηt where λ is 0 to rounding; (p,) or (len(steps), p).

    Raises:
        ValueError: steps that are negative or not whole.
    """
    if is_concrete(steps):
        values = np.asarray(steps)
        if not np.issubdtype(values.dtype, np.integer) or values.size == 0 or values.min() < 0:
            raise ValueError(f"steps: expected whole numbers >= 0, got {steps!r}")
    t = jnp.asarray(steps, dtype=eigenvalues.dtype)[..., None]
    eigenvalues = along(t, eigenvalues)
    rate = learning_rate * eigenvalues
    learned = learned_in_steps(rate, t)
    # A direction that no sample has (λ = 0) has projection 0 and is never learned.
    seen = eigenvalues > jnp.finfo(rate.dtype).eps * eigenvalues[..., -1:]
    return jnp.where(seen, learned / jnp.where(seen, eigenvalues, 1.0), learning_rate * t)


def steps_with_momentum(rate, t, beta):
    """ρ of the two-term recurrence: β^(t/2) (U_t(w) - √β U_{t-1}(w)), U the Chebyshev polynomials, for β > 0."""
    w = (1 + beta - rate) / (2 * jnp.sqrt(beta))
    sign, w = jnp.where(w < 0, -1.0, 1.0), jnp.abs(w)
    inside = w <= 1
    angle = jnp.arccos(jnp.where(inside, w, 0.0))
    sine = jnp.where(angle == 0, 1.0, jnp.sin(angle))
    outer = jnp.where(inside, 2.0, w)
    root = jnp.sqrt(outer**2 - 1)
    larger, ratio = jnp.sqrt(beta) * (outer + root), ((outer - root) / (outer + root))

    def chebyshev(t):  # β^(t/2) U_t(w)
        oscillating = jnp.where(angle == 0, t + 1, jnp.sin((t + 1) * angle) / sine)
        return jnp.where(inside, beta ** (t / 2) * oscillating, larger**t * (1 - ratio ** (t + 1)) / (1 - ratio))

    even = jnp.where(t % 2 == 0, 1.0, sign)
    return even * (chebyshev(t) - sign * beta * chebyshev(t - 1))


def flow_with_momentum(rate, t, beta):
    """ρ of the damped oscillator. For β = 0 that is not the flow without momentum, which has no inertia."""
    damping = (1 - beta) / 2
    square = damping**2 - rate
    frequency = jnp.sqrt(jnp.where(square < 0, -square, 1.0))
    slowing = jnp.sqrt(jnp.where(square > 0, square, 1.0))
    finite = jnp.where(jnp.isfinite(t), t, 0.0)
    swinging = jnp.exp(-damping * t) * (jnp.cos(frequency * finite) + damping / frequency * jnp.sin(frequency * finite))
    slow, fast = -times(rate, t) / (damping + slowing), -(damping + slowing) * t
    creeping = ((1 + damping / slowing) * jnp.exp(slow) + (1 - damping / slowing) * jnp.exp(fast)) / 2
    critical = jnp.exp(-damping * t) * (1 + damping * finite)
    return jnp.where(square < 0, swinging, jnp.where(square > 0, creeping, critical))
