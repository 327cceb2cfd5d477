r"""The Gaussian process that infinitely wide networks are, over their initialization, while they train."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from earlytime._arrays import AnyArray, Real, floating
from earlytime._blocks import along
from earlytime._decay import LearningRate
from earlytime._solver import Solver
from earlytime._validation import check_choice, check_not_negative, check_symmetric, is_concrete
from earlytime.deep_kernels import Kernels
from earlytime.function_space import KernelDynamics, kernel_dynamics
from earlytime.precision import float64
from jaxtyping import Array, Float, Num


class GaussianProcess(NamedTuple):
    """Mean (..., q) or (..., q, k) of the outputs, and covariance (..., q, q) of each of them."""

    mean: Float[Array, "... q"]
    covariance: Float[Array, "... q q"]


class TrainingProcess(NamedTuple):
    """The Gaussian process that infinitely wide networks are, over their initialization, while they train.

    Attributes:
        dynamics: of the kernel Θ that training goes by.
        kernel_new: (q, n) Θ(x, X).
        nngp: (n, n) K(X, X); nngp_new: (q, n) K(x, X); prior: (q, q) K(x, x).
    """

    dynamics: KernelDynamics
    kernel_new: Float[AnyArray, "q n"]
    nngp: Float[AnyArray, "n n"]
    nngp_new: Float[AnyArray, "q n"]
    prior: Float[AnyArray, "q q"]

    def at(self, *, steps=None, time=None) -> GaussianProcess:
        r"""Mean and covariance after steps of gradient descent, or at times of gradient flow.

        $$\mu = A y, \qquad A = \Theta(x, X)\, \Theta^{-1}\big(I - \rho_t(\Theta)\big),$$

        $$\Sigma = K(x, x) + A\, K(X, X)\, A^\top - A\, K(X, x) - K(x, X)\, A^\top$$

        Args:
            steps, time: as in `KernelDynamics.predict`; time=jnp.inf is the end of training.

        Returns:
            GaussianProcess, with a first axis for several times.
        """
        solver = Solver.at(self.dynamics, steps, time, self)
        solver.warn_of_rounding(solver.modes(0.0))
        moved = solver.transfer(self.kernel_new)
        nngp, nngp_new, prior = map(solver.number, (self.nngp, self.nngp_new, self.prior))
        cross = moved @ nngp_new.T
        covariance = along(moved, prior) + moved @ nngp @ solver.xp.swapaxes(moved, -1, -2)
        covariance = covariance - cross - solver.xp.swapaxes(cross, -1, -2)
        mean = moved @ solver.number(self.dynamics.labels)
        return GaussianProcess(solver.result(mean), solver.result(covariance))


def training_process(
    kernels: Callable[..., Kernels],
    x: Num[AnyArray, "n d"],
    y: Num[AnyArray, "n ..."],
    x_new: Num[AnyArray, "q d"],
    *,
    learning_rate: LearningRate,
    momentum: Real = 0.0,
    trained: str = "all",
    frozen_bias_std: Real = 0.0,
) -> TrainingProcess:
    r"""What gradient descent on the squared loss makes of infinitely wide networks.

    Training all layers goes by the tangent kernel, and does not end in a posterior. Training the last
    layer alone goes by the NNGP kernel K, and ends in the noise-free posterior of a Gaussian process with
    the kernel K. If its bias is frozen at its random start, training goes by K' = K - σ_b². Then the end is
    no posterior of K: with $A = K'(x, X)\, K'^{-1}$ the mean is A y, that of the posterior of K', and the
    covariance is that of the posterior of K' plus $\sigma_b^2 (1 - A 1)(1 - A 1)^\top$, as
    training against a bias does not remove all of it from new inputs.

    Kernels and spectra are computed in float64 whatever JAX's precision, unless inputs are traced.

    Source: Lee et al. 2019, section 2.3, with 1/n in the loss.

    Args:
        kernels: such as `earlytime.infinite_width.fully_connected(...)`.
        x, y: (n, d) training inputs, and (n,) or (n, k) labels.
        x_new: (q, d) inputs to predict at.
        learning_rate: η, or a function of the largest stable one.
        momentum: β.
        trained: "all" layers, or the "last" one.
        frozen_bias_std: σ_b of a last layer whose bias is not trained with its weights; that of the
            network, and with trained="last" only.

    Returns:
        TrainingProcess.

    Raises:
        ValueError: an unknown `trained`, a frozen_bias_std with trained="all" or larger than the
            network's own allows; kernels that are not symmetric, not finite or complex; or as `kernel_dynamics`.
    """
    check_choice("trained", trained, ("all", "last"))
    check_not_negative("frozen_bias_std", frozen_bias_std)
    if trained == "all" and frozen_bias_std:
        raise ValueError(f'frozen_bias_std: expected 0 with trained="all", got {frozen_bias_std}')
    x, x_new = floating("x", x), floating("x_new", x_new)
    train, new, prior = _found(kernels, x, x_new)
    for matrix in (*train, prior):
        check_symmetric("kernels", matrix)
    if trained == "all":
        kernel, kernel_new = train.ntk, new.ntk
    else:
        kernel, kernel_new = train.nngp - frozen_bias_std**2, new.nngp - frozen_bias_std**2
        if frozen_bias_std:
            _check_weights_part(kernel, kernel_new, prior - frozen_bias_std**2)
    dynamics = kernel_dynamics(kernel, y, learning_rate=learning_rate, momentum=momentum)
    dynamics = dynamics._replace(labels=dynamics.labels.astype(jax.dtypes.canonicalize_dtype(x.dtype)))
    return TrainingProcess(dynamics, kernel_new, train.nngp, new.nngp, prior)


def _found(kernels, x, x_new):
    """Kernels(x), Kernels(x_new, x) and the NNGP of x_new; in NumPy and float64 unless inputs are traced."""
    if not is_concrete((x, x_new)):
        return jax.tree.map(jnp.asarray, (kernels(x), kernels(x_new, x), kernels(x_new).nngp))
    with jax.ensure_compile_time_eval(), float64():
        x, x_new = np.asarray(x, np.float64), np.asarray(x_new, np.float64)
        return jax.tree.map(np.asarray, (kernels(x), kernels(x_new, x), kernels(x_new).nngp))


def _check_weights_part(kernel, kernel_new, prior) -> None:
    """Raise if K - σ_b² has an eigenvalue below 0, beyond rounding."""
    if is_concrete((kernel, kernel_new, prior)):
        eigenvalues = np.linalg.eigvalsh(np.block([[kernel, kernel_new.T], [kernel_new, prior]]))
        if eigenvalues[0] < -np.sqrt(np.finfo(kernel.dtype).eps) * eigenvalues[-1]:
            raise ValueError(
                "frozen_bias_std: expected the bias_std of the network; K - frozen_bias_std**2 has the eigenvalue "
                f"{float(eigenvalues[0]):.3g}"
            )
