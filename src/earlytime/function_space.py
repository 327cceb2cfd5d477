r"""Training in function space: what a model with a constant kernel computes at any step or time.

The loss has 1/n and $\text{time} = \eta \cdot \text{step}$, as everywhere: a kernel enters as Θ/n.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from earlytime import _decay
from earlytime._arrays import AnyArray, Numbers, Real, Steps
from earlytime._blocks import along
from earlytime._decay import LearningRate
from earlytime._solver import Solver
from earlytime._validation import (
    check_finite,
    check_kernel_new,
    check_momentum,
    check_no_negative,
    check_positive,
    check_real,
    check_start,
    check_symmetric,
    is_concrete,
)
from jaxtyping import Array, Float, Num


class KernelDynamics(NamedTuple):
    """Gradient descent on the squared loss with a constant kernel, solved once and for all times.

    Attributes:
        eigenvalues: (p,) of Θ, increasing; p is n, or nk for a kernel over all outputs.
        eigenvectors: (p, p), its columns.
        labels: (n,) or (n, k).
        learning_rate: η.
        momentum: β; 0.0 is plain gradient descent.
        precision: ε of the kernel's entries. Eigenvalues λ <= p ε λ_max are rounding.
    """

    eigenvalues: Float[AnyArray, " p"]
    eigenvectors: Float[AnyArray, "p p"]
    labels: Float[AnyArray, "n ..."]
    learning_rate: Real
    momentum: Real = 0.0
    precision: Real = 2.0**-52

    @property
    def condition_number(self) -> Float[AnyArray, ""]:
        """λ_max/λ_min, at most 1/(p ε): what is above that is rounding."""
        p, top = self.eigenvalues.shape[0], self.eigenvalues[-1]
        xp = np if is_concrete(self.eigenvalues) else jnp
        return xp.asarray(top / xp.maximum(self.eigenvalues[0], p * self.precision * top))

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

        An eigenvalue λ <= p ε λ_max, ε the precision of the kernel's entries, is rounding. Of its direction nothing is
        learned from the time on at which rounding would show in the outputs, tηλ/n = √ε at the latest: the end is that
        of least squares, $f_0(x) + \Theta(x, X)\, \Theta^+ (y - f_0)$. Where the spectrum runs into rounding, and more
        than 1 % of y - f₀ may have been learned there, a warning says how much (not under jit).

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
        p, shape = self.eigenvalues.shape[0], self.labels.shape
        check_start("start", start, shape)
        if kernel_new is not None:
            n_new = check_kernel_new(kernel_new, p, shape[0])
            check_start("start_new", start_new, (n_new, *shape[1:]))
        solver = Solver.at(self, steps, time, start, kernel_new, start_new)
        vectors = solver.dynamics.eigenvectors
        with np.errstate(all="ignore"):
            modes = solver.modes(start)
            solver.warn_of_rounding(modes)
            if kernel_new is None:
                change = solver.xp.einsum("pj,...j,jk->...pk", vectors, solver.learned, modes)
                change = change.reshape(*solver.learned.shape[:-1], *shape)
                return solver.result(along(change, solver.number(start)) + change)
            change = solver.xp.einsum("qj,...j,jk->...qk", solver.number(kernel_new) @ vectors, solver.gain, modes)
            change = change.reshape(*solver.learned.shape[:-1], n_new, *shape[1:])
            return solver.result(along(change, solver.number(start_new)) + change)

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
        solver = Solver.at(self, steps, time, kernel_new)
        return solver.result(solver.transfer(kernel_new))

    def learned(self, *, steps=None, time=None) -> Float[Array, "... p"]:
        """1 - ρ, the share of every eigenvector that is learned, (p,) or (number of times, p).

        Raises:
            ValueError: not exactly one of steps and time, negative ones, steps that are not whole.
        """
        solver = Solver.at(self, steps, time)
        return solver.result(solver.learned)

    @property
    def stable_learning_rate(self) -> Float[AnyArray, ""]:
        """2(1 + β)n/λ_max: gradient descent diverges above it."""
        return _decay.stable_limit(2 * (1 + self.momentum) * self.labels.shape[0], self.eigenvalues[-1])


def kernel_dynamics(
    kernel: Num[AnyArray, "p p"],
    y: Num[AnyArray, "n ..."],
    *,
    learning_rate: LearningRate,
    momentum: Real = 0.0,
) -> KernelDynamics:
    r"""Solve gradient descent on $\frac{1}{2n}\sum_i \|f(x_i) - y_i\|^2$ for a constant kernel.

    One eigendecomposition; then every step and time, on the training set and on new inputs, is a
    product of matrices: in float64 whatever JAX's precision, but under jit, where it is that of the kernel. The entries
    of a float32 kernel are rounded: pass NumPy's float64 where small eigenvalues matter.

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
        ValueError: shapes that do not fit, numbers that are not finite or complex, a momentum outside [0, 1); beyond
            rounding and where they can be looked at, a kernel that is not symmetric or has a negative eigenvalue.

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
    check_symmetric("kernel", kernel)
    check_real("y", y)
    check_finite("y", y)
    check_momentum(momentum)
    if not jnp.issubdtype(kernel.dtype, jnp.floating) or jnp.finfo(kernel.dtype).bits < 32:
        kernel = kernel.astype(np.float64 if is_concrete(kernel) else jnp.result_type(float))
    known, dtype = is_concrete((kernel, y)), jax.dtypes.canonicalize_dtype(kernel.dtype)
    xp: Any = np if known else jnp
    entries, labels = xp.asarray(kernel, np.float64 if known else dtype), xp.asarray(y, dtype)
    eigenvalues, eigenvectors = xp.linalg.eigh((entries + entries.T) / 2)
    check_no_negative("kernel", kernel, eigenvalues)
    # How far the smallest one is below 0 tells that the kernel was computed less exactly than its entries are stored.
    below = -eigenvalues[0] / (p * xp.where(eigenvalues[-1] > 0, eigenvalues[-1], 1))
    precision, eigenvalues = xp.maximum(float(jnp.finfo(kernel.dtype).eps), below), xp.maximum(eigenvalues, 0)
    dynamics = KernelDynamics(eigenvalues, eigenvectors, labels, 1.0, momentum, precision)
    rate = _decay.resolve_learning_rate(learning_rate, dynamics.stable_learning_rate)
    check_positive("learning_rate", rate)
    return dynamics._replace(learning_rate=rate)
