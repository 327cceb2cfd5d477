"""Two-class images: CIFAR-10 cats against horses, and digits that need no download."""

import os
import warnings
from typing import NamedTuple

import numpy as np
from earlytime._arrays import Whole
from earlytime._validation import check_choice, check_integer
from earlytime.cifar10 import cifar10_archive, read_cifar10
from jaxtyping import Float, UInt8


class ImageData(NamedTuple):
    """Images as rows, with labels ±1.0; `x_train[i].reshape(shape)` is a picture again.

    Pixels are in row-major order of height, width, channel.
    """

    x_train: Float[np.ndarray, "n d"]
    y_train: Float[np.ndarray, " n"]
    x_test: Float[np.ndarray, "k d"]
    y_test: Float[np.ndarray, " k"]
    name: str
    shape: tuple[int, ...]


def load_images(
    name: str = "auto", *, seed: Whole = 0, download: bool = False, preprocessing: str = "global"
) -> ImageData:
    """Load a two-class image problem, pixels and labels in float64.

    With μ the mean training image and s² = mean_i ‖x_i − μ‖² / d over the training images,
    preprocessing "global" is x ↦ (x − μ)/s, so that the training inputs have mean squared norm d,
    and "norm" then sets every norm to √d: x ↦ √d (x − μ)/‖x − μ‖, which is what the theory assumes.

    Args:
        name: "cifar10" is CIFAR-10 cats (+1) against horses (−1), average-pooled 4×4 from 32×32×3
            to 8×8×3 (d = 192), 10,000 training and 2,000 test images, as in Figure 4 of Hu et al.
            2020. "digits" is scikit-learn's digits, odd (+1) against even (−1), 8×8 (d = 64), 1,437
            and 360. "auto" is "cifar10" if it is here or `download` is set, and "digits" otherwise.
        seed: chooses which digits are training images; CIFAR-10 has its own split and order.
        download: fetch CIFAR-10 (162 MB, kept in the cache folder) if it is not here.
        preprocessing: "global", "norm", or "none" for raw pixels in [0, 1]. Test images are
            transformed with the statistics of the training images.

    Returns:
        `ImageData(x_train (n, d), y_train (n,), x_test (k, d), y_test (k,), name, shape)`.

    Raises:
        ValueError: a wrong argument; an archive that is truncated, altered or another one.
        FileNotFoundError, ConnectionError: as `cifar10_archive`.

    Example:
        >>> images = load_images("digits")
        >>> images.x_train.shape, images.x_test.shape, images.shape
        ((1437, 64), (360, 64), (8, 8))
        >>> round(float((images.x_train**2).sum(axis=1).mean()), 6)
        64.0
    """
    check_choice("name", name, ("auto", "cifar10", "digits"))
    check_choice("preprocessing", preprocessing, ("global", "norm", "none"))
    check_integer("seed", seed, at_least=0)
    if name == "auto":
        name = "cifar10" if download or _cifar10_is_here() else "digits"
    if name == "cifar10":
        x_train, y_train, x_test, y_test = read_cifar10(cifar10_archive(download=download))
        x_train, x_test = _average_pool(x_train), _average_pool(x_test)
    else:
        x_train, y_train, x_test, y_test = _split_digits(int(seed))
    shape = x_train.shape[1:]
    x_train, x_test = x_train.reshape(len(x_train), -1), x_test.reshape(len(x_test), -1)
    if preprocessing != "none":
        mean = x_train.mean(axis=0)
        size = np.sqrt(((x_train - mean) ** 2).mean())
        x_train, x_test = (x_train - mean) / size, (x_test - mean) / size
    if preprocessing == "norm":
        root = np.sqrt(x_train.shape[1])
        x_train = root * x_train / np.linalg.norm(x_train, axis=1, keepdims=True)
        x_test = root * x_test / np.linalg.norm(x_test, axis=1, keepdims=True)
    return ImageData(x_train, y_train, x_test, y_test, name, shape)


def _cifar10_is_here() -> bool:
    if os.environ.get("EARLYTIME_CIFAR10"):  # who names a file never wants digits instead
        return True
    try:
        return cifar10_archive().is_file()
    except FileNotFoundError:
        return False
    except ValueError as error:  # a corrupted cache must be heard of, but digits do not need it
        warnings.warn(f"taking digits instead of CIFAR-10: {error}", stacklevel=3)
        return False


def _average_pool(images: UInt8[np.ndarray, "n 32 32 3"]) -> Float[np.ndarray, "n 8 8 3"]:
    return images.reshape(-1, 8, 4, 8, 4, 3).mean(axis=(2, 4)) / 255


def _split_digits(seed: int) -> tuple[np.ndarray, ...]:
    # imported late: scikit-learn takes seconds, and only this function needs it
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    images, labels = digits.images[order] / 16, np.where(digits.target[order] % 2 == 1, 1.0, -1.0)
    return images[:1437], labels[:1437], images[1437:], labels[1437:]
