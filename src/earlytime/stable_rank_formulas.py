r"""The stable rank of hidden weights in training, in closed form.

For the network of Frei et al. 2023, $f(x; W) = \frac{1}{\sqrt m} \sum_r v_r\,
\varphi(w_r^\top x/\sqrt d)$ with $v_r = \pm1$ fixed, half of them each, $\varphi$ the leaky ReLU of slope γ, trained
with the logistic loss on n orthogonal inputs of norm $\sqrt d$, half of each label. With
$\mu = \frac{1+\gamma}{2}$ and $\sigma = \frac{1-\gamma}{2}$.
"""

import math
from typing import NamedTuple

import numpy as np
from earlytime._arrays import Real, Steps, Whole
from earlytime._validation import check_even, check_finite, check_integer, check_not_negative, check_positive
from jaxtyping import Float


def limit_stable_rank(slope: Real) -> float:
    r"""The stable rank that training ends with, $1 + \sigma^2/\mu^2 = 2(1+\gamma^2)/(1+\gamma)^2$.

    Then all neurons of one sign are equal, the rank is two, and the singular values are as 1 to
    $(1-\gamma)/(1+\gamma)$.

    Source: derived in the book from Frei et al. 2023, their theorem on gradient flow.

    Args:
        slope: γ of the leaky ReLU, 0 < γ <= 1; of ReLU the neurons do not become equal.

    Raises:
        ValueError: a slope outside (0, 1].

    Example:
        >>> print(f"{limit_stable_rank(0.1):.4f} {limit_stable_rank(1.0):.4f}")
        1.6694 1.0000
    """
    _check_leaky(slope)
    return 2 * (1 + float(slope) ** 2) / (1 + float(slope)) ** 2


def limit_margin(slope: Real, num_samples: Whole) -> float:
    r"""The normalized margin that all samples end with, $\sqrt{(1+\gamma^2)/(2n)}$, the largest there is.

    Source: derived in the book, as `limit_stable_rank`; it does not need half of each label.

    Args:
        slope: γ, 0 < γ <= 1.
        num_samples: n.

    Raises:
        ValueError: a slope outside (0, 1], num_samples below 1.

    Example:
        >>> limit_margin(1.0, 4)
        0.5
    """
    _check_leaky(slope)
    check_integer("num_samples", num_samples, at_least=1)
    return math.sqrt((1 + slope**2) / (2 * num_samples))


def critical_scale(slope: Real, num_samples: Whole, width: Whole, dim: Whole, *, learning_rate: Real) -> float:
    r"""The scale ω* of the initialization from which it is as large as the first step, in the Frobenius norm.

    $$\omega^* = \eta\,\sqrt{\frac{1+\gamma^2}{8\,n\,m\,d}}$$

    Far below it the first step decides the stable rank, far above it the initialization does.

    Source: derived in the book.

    Args:
        slope: γ, 0 <= γ <= 1; 0 is ReLU.
        num_samples: n.
        width: m.
        dim: d.
        learning_rate: η.

    Raises:
        ValueError: a slope outside [0, 1], a size below 1, an odd width, a learning rate that is not positive.

    Example:
        >>> print(f"{critical_scale(1.0, 4, 4, 4, learning_rate=1.6):.2f}")
        0.10
    """
    _check_sizes(slope, num_samples, width)
    check_integer("dim", dim, at_least=1)
    check_positive("learning_rate", learning_rate)
    return float(learning_rate) * math.sqrt((1 + slope**2) / (8 * num_samples * width * dim))


def first_step_stable_rank(
    slope: Real, num_samples: Whole, width: Whole, dim: Whole, *, scale_ratio: Real = 0.0
) -> float:
    r"""The stable rank after a single step of gradient descent.

    The step is a spike, $S^2 = nm\mu^2 + \sigma^2(m+n)$ in units in which $F^2 = nm(\mu^2 + \sigma^2)$ is its squared
    Frobenius norm, and the initialization is noise with entries of variance $s^2 = (\omega/\omega^*)^2 F^2/(md)$:

    $$\frac{(F^2 + s^2md)\,S^2}{(S^2 + s^2m)(S^2 + s^2d)} \quad\text{if } S^2 > s^2\sqrt{md}, \qquad
      \frac{F^2 + s^2md}{s^2(\sqrt m + \sqrt d)^2} \quad\text{otherwise.}$$

    As ω → 0 this is $F^2/S^2$, and with many samples and neurons $2(1+\gamma^2)/(1+\gamma)^2$, as in the limit.

    Source: derived in the book; the largest singular value of a spike in noise is that of Benaych-Georges and
    Nadakuditi 2012.

    Args:
        slope: γ, 0 <= γ <= 1; 0 is ReLU.
        num_samples: n.
        width: m.
        dim: d.
        scale_ratio: ω/ω*, with ω* from `critical_scale`; 0 for a start from ω → 0.

    Raises:
        ValueError: a slope outside [0, 1], a size below 1, an odd width, a negative ratio.

    Example:
        >>> print(f"{first_step_stable_rank(0.1, 32, 128, 256):.3f}")
        1.627
        >>> print(f"{first_step_stable_rank(0.1, 32, 128, 256, scale_ratio=100):.1f}")
        43.9
    """
    _check_sizes(slope, num_samples, width)
    check_integer("dim", dim, at_least=1)
    check_not_negative("scale_ratio", scale_ratio)
    mean, spread = (1 + slope) / 2, (1 - slope) / 2
    n, m, d = int(num_samples), int(width), int(dim)
    whole = n * m * (mean**2 + spread**2)
    spike = n * m * mean**2 + spread**2 * (m + n)
    noise = float(scale_ratio) ** 2 * whole / (m * d)
    if spike > noise * math.sqrt(m * d):
        largest = (spike + noise * m) * (spike + noise * d) / spike
    else:
        largest = noise * (math.sqrt(m) + math.sqrt(d)) ** 2
    return float((whole + noise * m * d) / largest)


class StableRankPath(NamedTuple):
    """Training from ω → 0 in closed form; every array has one entry per step that was asked for.

    Attributes:
        progress: τ, how much training has added, in units of the first step.
        stable_rank: of W.
        margin: the normalized margin, the same for all samples up to fluctuations.
    """

    progress: Float[np.ndarray, " r"]
    stable_rank: Float[np.ndarray, " r"]
    margin: Float[np.ndarray, " r"]


def stable_rank_path(
    slope: Real, num_samples: Whole, width: Whole, *, learning_rate: Real, steps: Steps
) -> StableRankPath:
    r"""The whole training from ω → 0, as a recursion for one number, τ.

    After the first step no neuron changes its side of an input any more, and every later step adds the same matrix:
    $\tau_1 = 0$ and

    $$\tau_{t+1} = \tau_t + \frac{2}{1 + e^{u_t}}, \qquad
      u_t = \frac{\eta}{2n}\big(\mu^2 + \tau_t(\mu^2 + \sigma^2)\big),$$

    $$\mathrm{SR} = \frac{(1+\tau)^2\mu^2 + (1+\tau^2)\sigma^2}{(1+\tau)^2\mu^2 + \sigma^2(1/n + 1/m)}, \qquad
      \text{margin} = \frac{\mu^2 + \tau(\mu^2+\sigma^2)}{\sqrt{n\,((1+\tau)^2\mu^2 + (1+\tau^2)\sigma^2)}} .$$

    The stable rank starts close to its limit, falls at τ = 1, which with small steps is the second one, half of the
    way to 1, and comes back.

    Source: derived in the book.

    Args:
        slope: γ, 0 < γ <= 1; of ReLU neurons stop moving on some inputs.
        num_samples: n.
        width: m.
        learning_rate: η.
        steps: numbers of steps, at least 1.

    Returns:
        StableRankPath, in float64.

    Raises:
        ValueError: a slope outside (0, 1], a size below 1, an odd width, a learning rate that is not positive, steps
            that are no whole numbers or below 1.

    Example:
        >>> print(stable_rank_path(0.1, 32, 128, learning_rate=1.0, steps=[1, 2, 100]).stable_rank.round(3))
        [1.627 1.326 1.654]
    """
    _check_leaky(slope)
    _check_sizes(slope, num_samples, width)
    check_positive("learning_rate", learning_rate)
    wanted = np.atleast_1d(np.asarray(steps))
    if wanted.ndim != 1 or not wanted.size or wanted.dtype.kind not in "iu" or np.any(wanted < 1):
        raise ValueError(f"steps: expected whole numbers of at least 1, got {steps}")
    mean2, spread2, n = ((1 + slope) / 2) ** 2, ((1 - slope) / 2) ** 2, int(num_samples)
    taus = [0.0]
    for _ in range(int(wanted.max()) - 1):
        margin = float(learning_rate) / (2 * n) * (mean2 + taus[-1] * (mean2 + spread2))
        taus.append(taus[-1] + 1 - math.tanh(margin / 2))  # which is 2/(1 + e^u), and never overflows
    tau = np.array(taus)[wanted - 1]
    norm2 = (1 + tau) ** 2 * mean2 + (1 + tau**2) * spread2
    largest2 = (1 + tau) ** 2 * mean2 + spread2 * (1 / n + 1 / int(width))
    return StableRankPath(tau, norm2 / largest2, (mean2 + tau * (mean2 + spread2)) / np.sqrt(n * norm2))


def _check_leaky(slope: Real) -> None:
    check_finite("slope", slope)
    if not 0 < slope <= 1:
        raise ValueError(f"slope: expected a number above 0, and at most 1, got {slope}")


def _check_sizes(slope: Real, num_samples: Whole, width: Whole) -> None:
    check_finite("slope", slope)
    if not 0 <= slope <= 1:
        raise ValueError(f"slope: expected a number from 0 to 1, got {slope}")
    check_integer("num_samples", num_samples, at_least=1)
    check_even("width", width)
