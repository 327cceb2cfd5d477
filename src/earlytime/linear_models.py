r"""The papers' linear models, with exact predictions at any step of gradient descent.

One eigendecomposition in feature space (p = d + 2 at most); nothing of size n × n exists.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from earlytime import _decay
from earlytime._arrays import AnyArray, Real, Steps, floating, real
from earlytime._blocks import along
from earlytime._decay import LearningRate
from earlytime._validation import check_data, check_not_negative, is_concrete
from earlytime.activations import GaussianMoments
from earlytime.features import early_time_features, estimate_trace_sigma_squared
from jaxtyping import Array, Float, Num


class LinearModel(NamedTuple):
    """βᵀψ(x) trained by gradient descent from β = 0, solved once and for all steps.

    Attributes:
        features: ψ, x: (n, d) -> (n, p).
        learning_rate: η.
        eigenvalues: (p,) of the feature covariance ΨᵀΨ/n, increasing.
        eigenvectors: (p, p), its columns.
        projections: (p,) the eigenvectors' share of Ψᵀy/n, y without the start; (p, k) for k outputs.
        rounding: eigenvalues up to this multiple of the largest one are rounding; of them nothing is learned once it
            would show.
        start: x: (n, d) -> (n,) or (n, k), the outputs at step 0; None: 0.
    """

    features: Callable
    learning_rate: Real
    eigenvalues: Float[AnyArray, " p"]
    eigenvectors: Float[AnyArray, "p p"]
    projections: Float[AnyArray, "p ..."]
    rounding: Real
    start: Callable | None = None

    def coefficients(self, steps: Steps) -> Float[Array, "..."]:
        r"""β at the given steps: $\beta_t = U \frac{1 - (1 - \eta\lambda)^t}{\lambda} U^\top \Psi^\top y/n$.

        Args:
            steps: one whole number, or several.

        Returns:
            (p,), or (len(steps), p); with a last axis of k for k outputs.

        Raises:
            ValueError: steps that are negative or not whole.
        """
        return jnp.asarray(self._coefficients(steps))

    def _coefficients(self, steps):
        gain = _decay.gain(self.learning_rate, self.eigenvalues, steps, rounding=self.rounding)
        if self.projections.ndim == 1:
            return (gain * along(gain, self.projections)) @ self.eigenvectors.T
        gain = gain[..., None]
        return self.eigenvectors @ (gain * along(gain, self.projections))

    def predict(self, x: Num[AnyArray, "n d"], steps: Steps) -> Float[Array, "..."]:
        """Outputs on x at any step of gradient descent, exactly.

        Args:
            x: (n, d) inputs, training ones or new.
            steps: one whole number, or several.

        Returns:
            (n,) for one step, (len(steps), n) for several; with a last axis of k for k outputs.

        Raises:
            ValueError: steps that are negative or not whole.
        """
        return self._outputs(self._coefficients(steps), x)

    def predict_limit(self, x: Num[AnyArray, "n d"]) -> Float[Array, "n ..."]:
        """Outputs on x after infinitely many steps: the least-squares fit of smallest norm."""
        xp = np if is_concrete(self.eigenvalues) else jnp
        rounding = xp.maximum(self.rounding, len(self.eigenvalues) * float(jnp.finfo(self.eigenvalues.dtype).eps))
        seen = self.eigenvalues > rounding * self.eigenvalues[-1]
        gain = xp.where(seen, 1 / xp.where(seen, self.eigenvalues, 1.0), 0.0)
        gain = gain if self.projections.ndim == 1 else gain[:, None]
        return self._outputs(self.eigenvectors @ (gain * self.projections), x)

    def _outputs(self, coefficients, x):
        psi = real("features", self.features(floating("x", x)))
        start = None if self.start is None else real("start", self.start(x), psi.dtype)
        known = is_concrete((coefficients, psi, start))
        xp: Any = np if known else jnp
        dtype = np.float64 if known else psi.dtype
        coefficients, design = xp.asarray(coefficients, dtype), xp.asarray(psi, dtype)
        outputs = coefficients @ design.T if self.projections.ndim == 1 else design @ coefficients
        if start is not None:
            outputs = outputs + along(outputs, xp.asarray(start, dtype))
        return jnp.asarray(np.asarray(outputs, psi.dtype) if known else outputs)

    @property
    def stable_learning_rate(self) -> Float[AnyArray, ""]:
        """2/λ_max: gradient descent diverges above it."""
        return _decay.stable_limit(2, self.eigenvalues[-1])


def linear_model(
    features: Callable,
    x: Num[AnyArray, "n d"],
    y: Num[AnyArray, "n ..."],
    *,
    learning_rate: LearningRate,
    start: Callable | None = None,
) -> LinearModel:
    r"""Solve gradient descent on the squared loss for the linear model f₀(x) + βᵀψ(x), β = 0 at step 0.

    $$\beta_{t+1} = \beta_t - \frac{\eta}{n} \Psi^\top (f_0 + \Psi\beta_t - y)$$

    Args:
        features: x: (n, d) -> (n, p), such as `early_time_features(...)`.
        x: (n, d) training inputs.
        y: (n,) training labels, or (n, k), of which each learns by itself.
        learning_rate: η, the network's, or a function of the largest stable one: `lambda limit: limit / 2`.
        start: f₀, x -> (n,) or (n, k), the network's outputs at step 0; None: they are 0.

    Returns:
        LinearModel, whose `.predict(x_new, steps)` is exact at any step.

    In float64 whatever JAX's precision, from the features in theirs; under jit in that of the features.

    Raises:
        ValueError: wrong shapes, data that are not finite, a negative or infinite learning rate; features that depend
            on other samples, where that can be looked at.

    Example:
        >>> x, y = jnp.eye(2), jnp.array([1.0, -1.0])
        >>> model = linear_model(lambda x: x, x, y, learning_rate=1.0)
        >>> print(model.predict(x, [0, 1, 2]))
        [[ 0.    0.  ]
         [ 0.5  -0.5 ]
         [ 0.75 -0.75]]
    """
    check_data(x, y, several=True)
    x, y = floating("x", x), floating("y", y)
    psi = real("features", features(x))
    _check_row_by_row(features, x, psi)
    if start is not None:
        outputs = real("start", start(x))
        if outputs.shape != y.shape:
            raise ValueError(f"start: expected outputs of the shape of y, {y.shape}, got {outputs.shape}")
        known = is_concrete((outputs, y))
        y = np.asarray(y, np.float64) - np.asarray(outputs, np.float64) if known else real("y", y) - outputs
    (n, p), eps = psi.shape, float(jnp.finfo(psi.dtype).eps)
    known = is_concrete((psi, y))
    xp: Any = np if known else jnp
    # In float64 the features are rounded, their covariance is not: of it, rounding is the square.
    rounding = max((p * eps) ** 2, p * 2.0**-52) if known else eps
    psi, y = (xp.asarray(part, np.float64 if known else psi.dtype) for part in (psi, y))
    eigenvalues, vectors = xp.linalg.eigh(psi.T @ psi / n)
    projections = vectors.T @ (psi.T @ y) / n
    model = LinearModel(features, 1.0, xp.maximum(eigenvalues, 0), vectors, projections, rounding, start)
    rate = _decay.resolve_learning_rate(learning_rate, model.stable_learning_rate)
    check_not_negative("learning_rate", rate)
    return model._replace(learning_rate=rate)


def _check_row_by_row(features, x, psi) -> None:
    """Raise if features of the last sample depend on those beside it, where that can be looked at."""
    ours = type(features).__module__.startswith("earlytime.")
    if ours or len(x) < 2 or not is_concrete((x, psi)):
        return
    together, alone = np.asarray(psi[-1:]), np.asarray(features(x[-1:]))
    gap, size = np.max(np.abs(together - alone), initial=0), np.max(np.abs(together), initial=0)
    if not gap <= float(jnp.finfo(psi.dtype).eps) ** 0.5 * max(size, 1e-30):
        raise ValueError(
            f"features: expected those of a sample to depend on it alone, got some that differ by {gap:.3g} (of "
            f"{size:.3g}) when other samples are left out; compute means and scales before, on the training inputs"
        )


def early_time_model(
    moments: GaussianMoments,
    x: Num[AnyArray, "n d"],
    y: Num[AnyArray, "n ..."],
    *,
    trained: str,
    learning_rate: LearningRate,
    start: Callable | None = None,
) -> LinearModel:
    r"""The linear model that a two-layer network follows early on, with Tr Σ² estimated from x.

    $$f^{lin}_t(x) = \beta_t^\top \psi(x)$$

    with ψ of `early_time_features`, Tr Σ² by `estimate_trace_sigma_squared`, and βₜ after t steps of
    gradient descent from β₀ = 0 by `linear_model`.

    Source: Hu et al. 2020, Theorems 3.2, 3.5 and 3.6.

    Args:
        moments: of the activation, from `gaussian_moments`.
        x: (n, d) training inputs of mean zero, n >= 2.
        y: (n,) training labels, or (n, k).
        trained: "first", "second" or "both": the network's layers that are trained.
        learning_rate: η, the network's, or a function of the largest stable one: `lambda limit: limit / 2`.
        start: as in `linear_model`.

    Returns:
        LinearModel.

    Raises:
        ValueError: as the three functions that it is made of.

    Example:
        >>> from earlytime import gaussian_moments
        >>> x, y = jnp.array([[1.0, 2.0], [-1.0, 1.0], [0.0, -2.0]]), jnp.array([1.0, -1.0, 0.0])
        >>> model = early_time_model(
        ...     gaussian_moments("erf"), x, y, trained="both", learning_rate=0.1)
        >>> model.predict(x, [0, 10, 100]).shape
        (3, 3)
    """
    trace = estimate_trace_sigma_squared(x)
    features = early_time_features(moments, trained=trained, dim=x.shape[1], trace_sigma_squared=trace)
    # mypy does not see that a NamedTuple with `__call__` can be called.
    return linear_model(features, x, y, learning_rate=learning_rate, start=start)  # type: ignore[arg-type]
