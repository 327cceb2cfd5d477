r"""How near a tangent kernel is to the kernel of a model that is affine in the inputs, and to itself later on.

In NumPy's float64, on kernels that exist: of a few hundred samples.
"""

from typing import NamedTuple

import numpy as np
from earlytime._arrays import AnyArray, Whole
from earlytime._validation import check_finite, check_integer, check_real, check_symmetric
from jaxtyping import Float, Num

_LEADING = 20


class NearestKernel(NamedTuple):
    """The best a ΦΦᵀ/d + b 11ᵀ of a kernel K.

    Attributes:
        linear: a; of the weights of the inputs.
        constant: b; of the bias.
        gap: ‖K - a ΦΦᵀ/d - b 11ᵀ‖/‖K‖, spectral norms.
        centered_gap: the same off the direction of the ones, with a fitted there: how much of what tells the samples
            apart is not linear. A kernel of large mean has a small gap whatever else it is.
        alignment: the centered alignment (CKA) of K and ΦΦᵀ, 1 for equal shapes.
        spectrum: K's largest eigenvalues, decreasing, divided by the number of samples.
    """

    linear: float
    constant: float
    gap: float
    centered_gap: float
    alignment: float
    spectrum: Float[np.ndarray, " r"]


def nearest_linear_kernel(
    kernel: Num[AnyArray, "n n"], features: Num[AnyArray, "n d"], *, num_eigenvalues: Whole = _LEADING
) -> NearestKernel:
    r"""The kernel $a\,\Phi\Phi^\top/d + b\,11^\top$ of an affine model nearest to K, by least squares, and how near.

    Args:
        kernel: (n, n) K, symmetric, such as `earlytime.kernels.averaged_kernel(...)`.
        features: (n, d) Φ, the inputs or what stands for them.
        num_eigenvalues: how many of K to return.

    Returns:
        NearestKernel.

    Raises:
        ValueError: a kernel that is not symmetric, not finite or 0; features of another shape or not finite.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
        >>> nearest = nearest_linear_kernel(3 * x @ x.T / 2 + 0.5, x)
        >>> print(f"{nearest.linear:.4f} {nearest.constant:.4f} {nearest.gap:.4f} {nearest.alignment:.4f}")
        3.0000 0.5000 0.0000 1.0000
    """
    check_symmetric("kernel", kernel)
    check_integer("num_eigenvalues", num_eigenvalues, at_least=1)
    check_real("features", features)
    if np.ndim(features) != 2 or np.shape(features)[0] != np.shape(kernel)[0]:
        raise ValueError(f"features: expected shape ({np.shape(kernel)[0]}, d), got {np.shape(features)}")
    check_finite("features", features)
    matrix, phi = np.asarray(kernel, np.float64), np.asarray(features, np.float64)
    if not np.any(matrix):
        raise ValueError("kernel: expected entries other than 0")
    n, d = phi.shape
    linear = phi @ phi.T / d
    parts = np.stack([linear.ravel(), np.ones(n * n)], axis=1)
    a, b = np.linalg.lstsq(parts, matrix.ravel(), rcond=None)[0]
    off, linear_off = _centered(matrix), _centered(linear)
    a_off = _ratio(np.sum(off * linear_off), np.sum(linear_off**2))
    eigenvalues = np.linalg.eigvalsh(matrix)[::-1]
    return NearestKernel(
        float(a),
        float(b),
        _norm(matrix - a * linear - b) / _norm(matrix),
        _ratio(_norm(off - a_off * linear_off), _norm(off)),
        _alignment(off, linear_off),
        eigenvalues[: int(num_eigenvalues)] / n,
    )


class KernelTurn(NamedTuple):
    r"""How a kernel has changed, off the direction of the ones.

    Attributes:
        scale: ‖CKₜC‖/‖CK₀C‖, Frobenius norms, C = I - 11ᵀ/n.
        turn: 1 - ⟨CKₜC, CK₀C⟩/(‖CKₜC‖ ‖CK₀C‖): one minus the centered alignment (CKA).
    """

    scale: float
    turn: float


def kernel_turn(kernel: Num[AnyArray, "n n"], start: Num[AnyArray, "n n"]) -> KernelTurn:
    r"""Split the change of a kernel into how it grew and how it turned.

    $$\frac{\|C(K_t - K_0)C\|^2}{\|CK_0C\|^2} = (\mathrm{scale} - 1)^2 + 2\,\mathrm{scale}\cdot\mathrm{turn}$$

    A kernel that only grows learns the same functions, faster; one that turns learns others.

    Args:
        kernel, start: (n, n), symmetric, on the same samples.

    Returns:
        KernelTurn; (1, 0) for equal kernels, NaN where one of the two is constant.

    Raises:
        ValueError: kernels that are not symmetric, not finite, or of different shapes.

    Example:
        >>> start = np.diag([1.0, 2.0, 3.0])
        >>> print("scale {:.3f}, turn {:.3f}".format(*kernel_turn(2 * start, start)))
        scale 2.000, turn 0.000
    """
    check_symmetric("kernel", kernel)
    check_symmetric("start", start)
    if np.shape(kernel) != np.shape(start):
        raise ValueError(f"start: expected shape {np.shape(kernel)}, got {np.shape(start)}")
    now, before = (_centered(np.asarray(each, np.float64)) for each in (kernel, start))
    return KernelTurn(_ratio(np.linalg.norm(now), np.linalg.norm(before)), 1 - _alignment(now, before))


def _centered(kernel: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """C K C with C = I - 11ᵀ/n: the kernel off the direction of the ones."""
    rows = kernel - kernel.mean(axis=0, keepdims=True)
    return rows - rows.mean(axis=1, keepdims=True)


def _alignment(one: Float[np.ndarray, "n n"], other: Float[np.ndarray, "n n"]) -> float:
    """The cosine of two matrices, of kernels that are centered already; NaN if one of them is 0."""
    return _ratio(np.sum(one * other), np.linalg.norm(one) * np.linalg.norm(other))


def _norm(matrix) -> float:
    return float(np.max(np.abs(np.linalg.eigvalsh(matrix))))


def _ratio(numerator, denominator) -> float:
    return float(numerator / denominator) if denominator > 0 else float("nan")
