r"""What is left of an error after t steps or at a time, per eigenvalue, for r = ηλ/n and momentum β.

`xp` is the module that computes: NumPy in float64 where all numbers are known, `jax.numpy` where they are traced.
"""

from collections.abc import Callable
from typing import Any

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


def stable_limit(numerator, largest):
    """The largest stable rate, numerator/λ_max: infinite where λ_max = 0, since nothing moves."""
    with np.errstate(divide="ignore", over="ignore"):
        limit = numerator / largest
    return np.asarray(limit) if is_concrete(limit) else limit


def times(xp, rate, t):
    """rate · t, where 0 · ∞ is 0."""
    return xp.where(rate == 0, 0.0, xp.where(rate == 0, 1.0, rate) * t)


def learned_in_steps(xp, rate, t):
    """1 - (1 - r)^t without cancellation for small r, with its sign for r > 1."""
    small = xp.minimum(rate, 0.5)
    large = xp.where(rate > 0.5, xp.abs(1 - rate), 1.0)
    sign = xp.where((rate > 1) & (t % 2 == 1), -1.0, 1.0)
    power = xp.where(t == 0, 1.0, sign * large**t)
    return xp.where(rate > 0.5, 1 - power, -xp.expm1(t * xp.log1p(-small)))


def gain(learning_rate, eigenvalues, steps, *, rounding):
    """(1 - (1 - ηλ)^t)/λ for increasing λ, and its limit ηt where λ is 0 to rounding; (p,) or (len(steps), p).

    Of such λ nothing is learned once rounding would show, as in `hidden`.

    Raises:
        ValueError: steps that are negative or not whole.
    """
    if is_concrete(steps):
        values = np.asarray(steps)
        if not np.issubdtype(values.dtype, np.integer) or values.size == 0 or values.min() < 0:
            raise ValueError(f"steps: expected whole numbers >= 0, got {steps!r}")
    known = is_concrete((learning_rate, eigenvalues, steps))
    xp: Any = np if known else jnp
    dtype = np.float64 if known else eigenvalues.dtype
    learning_rate = np.float64(learning_rate) if known else learning_rate
    t = xp.asarray(steps, dtype=dtype)[..., None]
    eigenvalues = along(t, xp.asarray(eigenvalues, dtype))
    with np.errstate(all="ignore"):
        rate = learning_rate * eigenvalues
        seen = eigenvalues > rounding * eigenvalues[..., -1:]
        unseen = hidden(xp, learning_rate * t, rounding * eigenvalues[..., -1:], seen, rounding)
        found = learned_in_steps(xp, rate, t) / xp.where(seen, eigenvalues, 1.0)
        return xp.where(seen, found, xp.where(unseen, 0.0, learning_rate * t))


def hidden(xp, pushed, floor, seen, precision):
    """Where a direction is no longer learned: λ is at most `floor`, rounding, and rounding would show in the outputs.

    `pushed` is the limit of (1 - ρ)/λ at λ = 0. Up to pushed · floor = √ε it is right to half the digits.
    """
    return ~seen & (xp.isinf(pushed) | (pushed * floor > precision**0.5))


def steps_with_momentum(xp, rate, t, beta):
    """ρ of the two-term recurrence: β^(t/2) (U_t(w) - √β U_{t-1}(w)), U the Chebyshev polynomials, for β > 0."""
    w = (1 + beta - rate) / (2 * xp.sqrt(beta))
    sign, w = xp.where(w < 0, -1.0, 1.0), xp.abs(w)
    inside = w <= 1
    angle = xp.arccos(xp.where(inside, w, 0.0))
    sine = xp.where(angle == 0, 1.0, xp.sin(angle))
    outer = xp.where(inside, 2.0, w)
    root = xp.sqrt(outer**2 - 1)
    larger, ratio = xp.sqrt(beta) * (outer + root), ((outer - root) / (outer + root))

    def chebyshev(t):  # β^(t/2) U_t(w)
        oscillating = xp.where(angle == 0, t + 1, xp.sin((t + 1) * angle) / sine)
        return xp.where(inside, beta ** (t / 2) * oscillating, larger**t * (1 - ratio ** (t + 1)) / (1 - ratio))

    even = xp.where(t % 2 == 0, 1.0, sign)
    return even * (chebyshev(t) - sign * beta * chebyshev(t - 1))


def flow_with_momentum(xp, rate, t, beta):
    """ρ of the damped oscillator. For β = 0 that is not the flow without momentum, which has no inertia."""
    damping = (1 - beta) / 2
    square = damping**2 - rate
    frequency = xp.sqrt(xp.where(square < 0, -square, 1.0))
    slowing = xp.sqrt(xp.where(square > 0, square, 1.0))
    finite = xp.where(xp.isfinite(t), t, 0.0)
    swinging = xp.exp(-damping * t) * (xp.cos(frequency * finite) + damping / frequency * xp.sin(frequency * finite))
    slow, fast = -times(xp, rate, t) / (damping + slowing), -(damping + slowing) * t
    creeping = ((1 + damping / slowing) * xp.exp(slow) + (1 - damping / slowing) * xp.exp(fast)) / 2
    critical = xp.exp(-damping * t) * (1 + damping * finite)
    return xp.where(square < 0, swinging, xp.where(square > 0, creeping, critical))
