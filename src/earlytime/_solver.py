"""A solved kernel at some steps or times, where NumPy computes what is known and JAX what is traced."""

import warnings
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from earlytime import _decay
from earlytime._blocks import along
from earlytime._validation import is_concrete
from jaxtyping import Array


class Solver(NamedTuple):
    """A `KernelDynamics` at some steps or times, in NumPy and float64 where all is known, in JAX where it is traced.

    Attributes:
        xp, dtype: the module that computes, and in what.
        dynamics: in these numbers.
        learned: (..., p) 1 - ρ.
        gain: (..., p) (1 - ρ)/λ.
        unknown: (..., p) how much of a direction may have been learned where λ is 0 to rounding; 0 elsewhere.
    """

    xp: Any
    dtype: Any
    dynamics: Any
    learned: Any
    gain: Any
    unknown: Any

    @classmethod
    def at(cls, dynamics, steps, time, *others) -> "Solver":
        """Raises a ValueError for steps or times that are none; others are what will be multiplied with."""
        _check_when(steps, time)
        labels = dynamics.labels
        known, precision = is_concrete((dynamics, steps, time, others)), dynamics.precision
        xp: Any = np if known else jnp
        dtype: Any = np.float64 if known else labels.dtype
        if known:
            dynamics = dynamics._replace(learning_rate=np.float64(dynamics.learning_rate))
        else:
            precision = jnp.maximum(jnp.asarray(precision, dtype), jnp.finfo(dtype).eps)
        values, vectors = (xp.asarray(part, dtype) for part in (dynamics.eigenvalues, dynamics.eigenvectors))
        dynamics = dynamics._replace(eigenvalues=values, eigenvectors=vectors)
        p, n = len(values), labels.shape[0]
        t = xp.asarray(steps if time is None else time, dtype)[..., None]
        with np.errstate(all="ignore"):
            rate = along(t, dynamics.learning_rate * values / n)
            values = along(t, values)
            floor = p * precision * values[..., -1:]
            seen = values > floor
            if time is None:
                learned = _by_momentum(
                    dynamics.momentum,
                    lambda: _decay.learned_in_steps(xp, rate, t),
                    lambda beta: 1 - _decay.steps_with_momentum(xp, rate, t, beta),
                )
                lag = lambda beta: beta * (1 - beta**t)
            else:
                t = t / dynamics.learning_rate
                learned = _by_momentum(
                    dynamics.momentum,
                    lambda: -xp.expm1(-_decay.times(xp, rate, t)),
                    lambda beta: 1 - _decay.flow_with_momentum(xp, rate, t, beta),
                )
                lag = lambda beta: 1 - xp.exp(-(1 - beta) * t)
            pushed = _by_momentum(dynamics.momentum, lambda: t, lambda beta: (t - lag(beta) / (1 - beta)) / (1 - beta))
            pushed = xp.where(xp.isinf(t), t, pushed) * (dynamics.learning_rate / n)
            hidden = _decay.hidden(xp, pushed, floor, seen, precision)
            learned = xp.where(hidden, 0.0, learned)
            gain = xp.where(seen, learned / xp.where(seen, values, 1.0), xp.where(hidden, 0.0, pushed))
            unknown = xp.where(hidden, xp.minimum(1.0, pushed * floor), 0.0)
        return cls(xp, dtype, dynamics, learned, gain, unknown)

    def number(self, value):
        return self.xp.asarray(value, self.dtype)

    def modes(self, start):
        """The eigenvectors' shares of what is to be learned, (p, k)."""
        labels = self.number(self.dynamics.labels)
        wanted = self.xp.broadcast_to(labels - self.number(start), labels.shape)
        return self.dynamics.eigenvectors.T @ wanted.reshape(len(self.dynamics.eigenvalues), -1)

    def transfer(self, kernel_new):
        vectors = self.dynamics.eigenvectors
        return self.xp.einsum("qj,...j,pj->...qp", self.number(kernel_new) @ vectors, self.gain, vectors)

    def result(self, value) -> Array:
        """In the precision of the labels."""
        dtype = self.dynamics.labels.dtype
        return jnp.asarray(np.asarray(value, dtype) if self.xp is np else value, dtype)

    def warn_of_rounding(self, modes) -> None:
        """Warn where a spectrum that runs into rounding hides what may have been learned."""
        if self.xp is not np:
            return
        values, precision = self.dynamics.eigenvalues, self.dynamics.precision
        floor = len(values) * precision * values[-1]
        seen = values[values > floor]
        # A spectrum that ends far above rounding is that of a kernel of lower rank, and nothing is hidden.
        if len(seen) in (0, len(values)) or seen[0] > 1e3 * floor:
            return
        share = np.max(np.linalg.norm(self.unknown[..., None] * modes, axis=-2)) / np.linalg.norm(modes)
        if share > 0.01:
            warnings.warn(
                f"kernel: {share:.2g} of what is to be learned lies where its eigenvalues are rounding, below "
                f"{floor:.2g} (the largest is {values[-1]:.2g}), and is taken as not learned: "
                "pass a kernel in float64, or ask for earlier times",
                stacklevel=3,
            )


def _by_momentum(beta, plain, heavy):
    """plain() without momentum, else heavy(β); both where a momentum that is traced may be 0."""
    if is_concrete(beta):
        return heavy(float(beta)) if float(beta) else plain()
    none = beta == 0
    return jnp.where(none, plain(), heavy(jnp.where(none, 0.5, beta)))


def _check_when(steps, time) -> None:
    if (steps is None) == (time is None):
        raise ValueError("steps: expected exactly one of steps and time")
    name, when = ("steps", steps) if time is None else ("time", time)
    if is_concrete(when):
        values = np.asarray(when)
        whole = time is not None or np.issubdtype(values.dtype, np.integer)
        if values.size == 0 or not whole or not np.all(values >= 0):
            raise ValueError(f"{name}: expected {'whole ' if time is None else ''}numbers >= 0, got {when!r}")
