r"""Kernels of infinitely wide networks on data, through neural-tangents, and what training makes of them.

One function per builder of `deep_networks`, with the same arguments less the width and `num_outputs`:
the outputs become independent, each with the kernel given here. `deep_kernel` has
the fully connected ones as functions of lengths and cosine, which JAX can differentiate.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from earlytime import _neural_tangents
from earlytime._validation import is_concrete
from earlytime.activations import ACTIVATIONS, Activation, LeakyRelu, resolve_activation
from earlytime.affine_kernels import Kernels
from earlytime.function_space import KernelDynamics, kernel_dynamics
from jaxtyping import Array, Float

_PADDINGS = {"circular": "CIRCULAR", "zero": "SAME"}
# Gauss-Hermite nodes per dimension where neural-tangents has no closed form.
_QUADRATURE_NODES = 40


def fully_connected(
    activation: Activation, *, depth: int, weight_std: float = 1.0, bias_std: float = 0.0
) -> Callable[..., Kernels]:
    r"""The NNGP and the tangent kernel of `earlytime.fully_connected` at infinite width.

    Args:
        activation, depth, weight_std, bias_std: as there.

    Returns:
        A function (x: (n, d), x2: (n2, d) or None) -> Kernels of (n, n2) arrays.

    Raises:
        ImportError: neural-tangents is not installed.

    Example:
        >>> kernels = fully_connected("erf", depth=1)(jnp.eye(2))
        >>> kernels.ntk.shape
        (2, 2)
    """
    stax = _neural_tangents.load().stax
    scales = _scales(weight_std, bias_std)
    layers = [stax.Dense(1, **scales)]
    for _ in range(depth):
        layers += [_elementwise(stax, activation), stax.Dense(1, **scales)]
    return _kernels(stax.serial(*layers))


def convolutional(
    shape: Sequence[int],
    activation: Activation,
    *,
    depth: int,
    filter_size: int,
    padding: str = "circular",
    weight_std: float = 1.0,
    bias_std: float = 0.0,
) -> Callable[..., Kernels]:
    r"""The NNGP and the tangent kernel of `earlytime.convolutional` with infinitely many channels.

    Args:
        shape, activation, depth, filter_size, padding, weight_std, bias_std: as there.

    Returns:
        A function (x: (n, d), x2: (n2, d) or None) -> Kernels, for inputs as rows.
    """
    stax = _neural_tangents.load().stax
    convolve = _convolve(stax, shape, filter_size, padding, weight_std, bias_std)
    layers = [layer for _ in range(depth) for layer in (convolve(), _elementwise(stax, activation))]
    readout = stax.Dense(1, **_scales(weight_std, bias_std))
    return _kernels(stax.serial(*layers, stax.Flatten(), readout), shape)


def residual(
    shape: Sequence[int],
    activation: Activation,
    *,
    num_blocks: int,
    filter_size: int = 3,
    padding: str = "circular",
    weight_std: float = 1.0,
    bias_std: float = 0.0,
) -> Callable[..., Kernels]:
    r"""The NNGP and the tangent kernel of `earlytime.residual` with infinitely many channels.

    Args:
        shape, activation, num_blocks, filter_size, padding, weight_std, bias_std: as there.

    Returns:
        A function (x: (n, d), x2: (n2, d) or None) -> Kernels, for inputs as rows.
    """
    stax = _neural_tangents.load().stax
    convolve = _convolve(stax, shape, filter_size, padding, weight_std, bias_std)
    phi = lambda: _elementwise(stax, activation)
    block = lambda: stax.serial(
        stax.FanOut(2),
        stax.parallel(stax.serial(phi(), convolve(), phi(), convolve()), stax.Identity()),
        stax.FanInSum(),
    )
    readout = stax.Dense(1, **_scales(weight_std, bias_std))
    blocks = [block() for _ in range(num_blocks)]
    return _kernels(stax.serial(convolve(), *blocks, phi(), stax.Flatten(), readout), shape)


def _scales(weight_std: float, bias_std: float) -> dict:
    return {"W_std": weight_std, "b_std": bias_std or None}


def _convolve(stax, shape, filter_size, padding, weight_std, bias_std) -> Callable:
    space = "HW"[: len(shape) - 1]
    return lambda: stax.Conv(
        1,
        (filter_size,) * len(space),
        padding=_PADDINGS[padding],
        **_scales(weight_std, bias_std),
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
    )


def _elementwise(stax, activation: Activation):
    """The layer of an activation, in closed form where neural-tangents has one."""
    phi = resolve_activation(activation)
    if phi is ACTIVATIONS["erf"]:
        return stax.Erf()
    if isinstance(phi, LeakyRelu):
        return stax.ABRelu(phi.slope, 1.0)
    return stax.ElementwiseNumerical(phi, deg=_QUADRATURE_NODES)


def _kernels(layer, shape: Sequence[int] | None = None) -> Callable[..., Kernels]:
    kernel_fn = layer[2]
    images = lambda x: x if x is None or shape is None else jnp.reshape(x, (-1, *shape))

    def kernels(x: Float[Array, "n d"], x2: Float[Array, "n2 d"] | None = None) -> Kernels:
        found = kernel_fn(images(x), images(x2), ("nngp", "ntk"))
        return Kernels(found.nngp, found.ntk)

    return kernels


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
    kernel_new: Float[Array, "q n"]
    nngp: Float[Array, "n n"]
    nngp_new: Float[Array, "q n"]
    prior: Float[Array, "q q"]

    def at(self, *, steps=None, time=None) -> GaussianProcess:
        r"""Mean and covariance after steps of gradient descent, or at times of gradient flow.

        $$\mu = A y, \qquad \Sigma = K(x, x) + A\, K(X, X)\, A^\top - A\, K(X, x) - K(x, X)\, A^\top, \qquad
          A = \Theta(x, X)\, \Theta^{-1}\big(I - \rho_t(\Theta)\big)$$

        Args:
            steps, time: as in `KernelDynamics.predict`; time=jnp.inf is the end of training.

        Returns:
            GaussianProcess, with a first axis for several times.
        """
        moved = self.dynamics.transfer(self.kernel_new, steps=steps, time=time)
        cross = moved @ self.nngp_new.T
        covariance = self.prior + moved @ self.nngp @ jnp.swapaxes(moved, -1, -2)
        return GaussianProcess(moved @ self.dynamics.labels, covariance - cross - jnp.swapaxes(cross, -1, -2))


def training_process(
    kernels: Callable[..., Kernels],
    x: Float[Array, "n d"],
    y: Float[Array, "n ..."],
    x_new: Float[Array, "q d"],
    *,
    learning_rate: float,
    momentum: float = 0.0,
    trained: str = "all",
    frozen_bias_std: float = 0.0,
) -> TrainingProcess:
    r"""What gradient descent on the squared loss makes of infinitely wide networks.

    Training all layers goes by the tangent kernel, and does not end in a posterior. Training the last
    layer alone goes by the NNGP kernel K, and ends in the noise-free posterior of a Gaussian process with
    the kernel K. If its bias is frozen at its random start, training goes by K' = K - σ_b². Then the end is
    no posterior of K: with $A = K'(x, X)\, K'^{-1}$ the mean is A y, that of the posterior of K', and the
    covariance is that of the posterior of K' plus $\sigma_b^2 (1 - A 1)(1 - A 1)^\top$, as
    training against a bias does not remove all of it from new inputs.

    Source: Lee et al. 2019, section 2.3, with 1/n in the loss.

    Args:
        kernels: such as `fully_connected(...)` of this module.
        x, y: (n, d) training inputs, and (n,) or (n, k) labels.
        x_new: (q, d) inputs to predict at.
        learning_rate: η.
        momentum: β.
        trained: "all" layers, or the "last" one.
        frozen_bias_std: σ_b of a last layer whose bias is not trained with its weights; that of the
            network, and with trained="last" only.

    Returns:
        TrainingProcess.

    Raises:
        ValueError: an unknown `trained`, a frozen_bias_std with trained="all" or larger than the
            network's own allows, or as `kernel_dynamics`.
    """
    if trained not in ("all", "last"):
        raise ValueError(f"trained: expected one of all, last, got {trained!r}")
    if not 0 <= frozen_bias_std < float("inf"):
        raise ValueError(f"frozen_bias_std: expected a number >= 0, got {frozen_bias_std}")
    if trained == "all" and frozen_bias_std:
        raise ValueError(f'frozen_bias_std: expected 0 with trained="all", got {frozen_bias_std}')
    train, new, prior = kernels(x), kernels(x_new, x), kernels(x_new).nngp
    if trained == "all":
        kernel, kernel_new = train.ntk, new.ntk
    else:
        kernel, kernel_new = train.nngp - frozen_bias_std**2, new.nngp - frozen_bias_std**2
        if frozen_bias_std:
            _check_weights_part(jnp.block([[kernel, kernel_new.T], [kernel_new, prior - frozen_bias_std**2]]))
    dynamics = kernel_dynamics(kernel, y, learning_rate=learning_rate, momentum=momentum)
    return TrainingProcess(dynamics, kernel_new, train.nngp, new.nngp, prior)


def _check_weights_part(kernel: Float[Array, "m m"]) -> None:
    """Raise if K - σ_b² has an eigenvalue below 0, beyond rounding."""
    if is_concrete(kernel):
        eigenvalues = jnp.linalg.eigvalsh(kernel)
        if eigenvalues[0] < -jnp.sqrt(jnp.finfo(kernel.dtype).eps) * eigenvalues[-1]:
            raise ValueError(
                "frozen_bias_std: expected the bias_std of the network; K - frozen_bias_std**2 has the eigenvalue "
                f"{float(eigenvalues[0]):.3g}"
            )
