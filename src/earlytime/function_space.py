r"""Training in function space: what a model with a constant kernel computes at any step or time.

The loss has 1/n and $\text{time} = \eta \cdot \text{step}$, as everywhere: a kernel enters as Θ/n.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from earlytime import _decay
from earlytime._arrays import AnyArray, Numbers, Real, Steps
from earlytime._blocks import along
from earlytime._decay import LearningRate
from earlytime._validation import (
    check_finite,
    check_kernel_new,
    check_momentum,
    check_positive,
    check_start,
    is_concrete,
)
from jaxtyping import Array, Float


class KernelDynamics(NamedTuple):
    """Gradient descent on the squared loss with a constant kernel, solved once and for all times.

    Attributes:
        eigenvalues: (p,) of Θ, increasing; p is n, or nk for a kernel over all outputs.
        eigenvectors: (p, p), its columns.
        labels: (n,) or (n, k).
        learning_rate: η.
        momentum: β; 0.0 is plain gradient descent.
    """

    eigenvalues: Float[Array, " p"]
    eigenvectors: Float[Array, "p p"]
    labels: Float[Array, "n ..."]
    learning_rate: Real
    momentum: Real = 0.0

    def predict(
        self,
        start: Float[AnyArray, "n ..."] | float = 0.0,
        *,
        steps: Steps | None = None,
        time: Real | Numbers | None = None,
        kernel_new: Float[AnyArray, "q p"] | None = None,
        start_new: Float[AnyArray, "n_new ..."] | float = 0.0,
    ) -> Float[Array, "..."]:
        r"""Outputs after steps of gradient descent, or at times of gradient flow.

        On the training set $f_t = f_0 + \big(I - \rho_t(\Theta)\big)(y - f_0)$, and on new inputs
        $f_t(x) = f_0(x) + \Theta(x, X)\, \Theta^{-1} \big(I - \rho_t(\Theta)\big)(y - f_0)$. No inverse
        is taken: $(1 - \rho_t(\lambda))/\lambda$ has a limit at 0. With r = ηλ/n and momentum β,

        - steps: $\rho_t = (1 - r)^t$, or with momentum
          $\rho_{t+1} = (1 + \beta - r)\rho_t - \beta\rho_{t-1}$, $\rho_0 = 1$, $\rho_1 = 1 - r$;
        - flow: $\rho = e^{-rt}$, t = time/η, or with momentum
          $\ddot\rho + (1 - \beta)\dot\rho + r\rho = 0$, $\rho(0) = 1$, $\dot\rho(0) = 0$.

        Of an eigenvalue that is 0 to rounding, λ <= p ε λ_max, nothing is learned in infinite time: the end
        is that of least squares, $f_0(x) + \Theta(x, X)\, \Theta^+ (y - f_0)$.

        Args:
            start: f₀ on the training set, (n,) or (n, k).
            steps: whole numbers; exactly one of steps and time is given.
            time: η · step, any numbers >= 0, infinity too.
            kernel_new: Θ(x, X), (q, p), for outputs on new inputs; the training set if not given.
            start_new: f₀ on the new inputs.

        Returns:
            Like the labels, on the training or the new inputs; with a first axis for several times.

        Raises:
            ValueError: not exactly one of steps and time, negative ones, steps that are not whole, shapes
                of start, kernel_new or start_new that do not fit.
        """
        labels = self.labels
        p, n = self.eigenvalues.shape[0], labels.shape[0]
        check_start("start", start, labels.shape)
        wanted = (jnp.broadcast_to(labels - start, labels.shape)).reshape(p, -1)
        modes = self.eigenvectors.T @ wanted
        learned = self.learned(steps=steps, time=time)
        if kernel_new is None:
            change = jnp.einsum("pj,...j,jk->...pk", self.eigenvectors, learned, modes)
            change = change.reshape(*learned.shape[:-1], *labels.shape)
            return along(change, start) + change
        n_new = check_kernel_new(kernel_new, p, n)
        check_start("start_new", start_new, (n_new, *labels.shape[1:]))
        gain = self._gain(learned, steps=steps, time=time)
        change = jnp.einsum("qj,...j,jk->...qk", kernel_new @ self.eigenvectors, gain, modes)
        change = change.reshape(*learned.shape[:-1], n_new, *labels.shape[1:])
        return along(change, start_new) + change

    def transfer(self, kernel_new: Float[AnyArray, "q p"], *, steps=None, time=None) -> Float[Array, "... q p"]:
        r"""The matrix $\Theta(x, X)\,\Theta^{-1}(I - \rho_t(\Theta))$ that takes y - f₀ to the change on new inputs.

        Args:
            kernel_new: Θ(x, X), (q, p); Θ itself for the training set.
            steps, time: as in `predict`.

        Returns:
            (q, p), with a first axis for several times.

        Raises:
            ValueError: as `predict`.
        """
        check_kernel_new(kernel_new, self.eigenvalues.shape[0], self.labels.shape[0])
        gain = self._gain(self.learned(steps=steps, time=time), steps=steps, time=time)
        return jnp.einsum("qj,...j,pj->...qp", kernel_new @ self.eigenvectors, gain, self.eigenvectors)

    def learned(self, *, steps=None, time=None) -> Float[Array, "... p"]:
        """1 - ρ, the share of every eigenvector that is learned, (p,) or (number of times, p).

        Raises:
            ValueError: not exactly one of steps and time, negative ones, steps that are not whole.
        """
        _check_when(steps, time)
        t = jnp.asarray(steps if time is None else time, self.eigenvalues.dtype)[..., None]
        rate = along(t, self._rate)
        if steps is not None:
            return self._by_momentum(
                lambda: _decay.learned_in_steps(rate, t), lambda beta: 1 - _decay.steps_with_momentum(rate, t, beta)
            )
        t = t / self.learning_rate
        learned = self._by_momentum(
            lambda: -jnp.expm1(-_decay.times(rate, t)), lambda beta: 1 - _decay.flow_with_momentum(rate, t, beta)
        )
        return jnp.where(jnp.isinf(t) & ~along(t, self._seen), 0.0, learned)

    def _by_momentum(self, plain, heavy):
        """plain() without momentum, else heavy(β); both where a momentum that is traced may be 0."""
        if self._plain:
            return plain()
        beta = self.momentum
        if is_concrete(beta):
            return heavy(beta)
        none = beta == 0
        return jnp.where(none, plain(), heavy(jnp.where(none, 0.5, beta)))

    def _gain(self, learned, *, steps, time):
        """learned / λ, with its limit where λ is 0 to rounding."""
        t = jnp.asarray(time if steps is None else steps, self.eigenvalues.dtype)[..., None]
        t = t / self.learning_rate if steps is None else t

        def pushed(beta):
            lag = beta * (1 - beta**t) if steps is not None else 1 - jnp.exp(-(1 - beta) * t)
            return (t - lag / (1 - beta)) / (1 - beta)

        covered = self._by_momentum(lambda: t, pushed)
        # What no sample has is learned in no time, however long.
        limit = jnp.where(jnp.isfinite(t), covered * self.learning_rate / self.labels.shape[0], 0.0)
        eigenvalues = along(t, self.eigenvalues)
        positive = eigenvalues > jnp.finfo(eigenvalues.dtype).eps * eigenvalues[..., -1:]
        return jnp.where(positive, learned / jnp.where(positive, eigenvalues, 1.0), limit)

    @property
    def _seen(self):
        """Eigenvalues above the noise of the eigendecomposition."""
        top = self.eigenvalues[-1]
        return self.eigenvalues > self.eigenvalues.shape[0] * jnp.finfo(self.eigenvalues.dtype).eps * top

    @property
    def _plain(self) -> bool:
        return is_concrete(self.momentum) and float(self.momentum) == 0.0

    @property
    def _rate(self):
        return self.learning_rate * self.eigenvalues / self.labels.shape[0]

    @property
    def stable_learning_rate(self) -> Float[Array, ""]:
        """2(1 + β)n/λ_max: gradient descent diverges above it."""
        return jnp.asarray(2 * (1 + self.momentum) * self.labels.shape[0] / self.eigenvalues[-1])


def kernel_dynamics(
    kernel: Float[AnyArray, "p p"],
    y: Float[AnyArray, "n ..."],
    *,
    learning_rate: LearningRate,
    momentum: Real = 0.0,
) -> KernelDynamics:
    r"""Solve gradient descent on $\frac{1}{2n}\sum_i \|f(x_i) - y_i\|^2$ for a constant kernel.

    One eigendecomposition; then every step and time, on the training set and on new inputs, is a
    product of matrices. As exact as the dtype: use float64 where small eigenvalues matter.

    Source: Lee et al. 2019, section 2.2, with 1/n in the loss.

    Args:
        kernel: Θ(X, X), (n, n), the same for each output; or (nk, nk) over all outputs, ordered as in
            `tangent_kernel`. For learning rates η_l per layer pass Σ η_l Θ_l and the learning rate 1.
        y: (n,) or (n, k) labels.
        learning_rate: η, or a function of the largest stable one: `lambda limit: limit / 2`.
        momentum: β in [0, 1).

    Returns:
        KernelDynamics, whose `.predict` has the formulas.

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, a momentum outside [0, 1).

    Example:
        >>> dynamics = kernel_dynamics(jnp.diag(jnp.array([2.0, 1.0])), jnp.ones(2), learning_rate=1.0)
        >>> print(dynamics.predict(steps=[0, 1, 2]))
        [[0.   0.  ]
         [1.   0.5 ]
         [1.   0.75]]
        >>> print(jnp.round(dynamics.predict(time=1.0), 3))
        [0.632 0.393]
    """
    p = np.shape(kernel)[0]
    if np.shape(kernel) != (p, p) or np.ndim(y) not in (1, 2) or p not in (np.shape(y)[0], np.size(y)):
        raise ValueError(
            f"kernel: expected (n, n) or (nk, nk) for labels (n,) or (n, k), got {np.shape(kernel)} and {np.shape(y)}"
        )
    check_finite("kernel", kernel)
    check_finite("y", y)
    check_momentum(momentum)
    kernel = jnp.asarray(kernel)
    eigenvalues, eigenvectors = jnp.linalg.eigh((kernel + kernel.T) / 2)
    dynamics = KernelDynamics(jnp.maximum(eigenvalues, 0), eigenvectors, jnp.asarray(y, kernel.dtype), 1.0, momentum)
    rate = _decay.resolve_learning_rate(learning_rate, dynamics.stable_learning_rate)
    check_positive("learning_rate", rate)
    return dynamics._replace(learning_rate=rate)


def _check_when(steps, time) -> None:
    if (steps is None) == (time is None):
        raise ValueError("steps: expected exactly one of steps and time")
    name, when = ("steps", steps) if time is None else ("time", time)
    if is_concrete(when):
        values = np.asarray(when)
        whole = time is not None or np.issubdtype(values.dtype, np.integer)
        if values.size == 0 or not whole or not np.all(values >= 0):
            raise ValueError(f"{name}: expected {'whole ' if time is None else ''}numbers >= 0, got {when!r}")
