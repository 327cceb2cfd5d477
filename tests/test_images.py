"""The two-class image problems: which one is taken, pooling, digits, and preprocessing."""

import inspect
import os

import numpy as np
import pytest
from cifar10_archives import CACHED_NAME, FOLDER, GOOD, GOOD_HASH, TEST, make_archive
from earlytime import cifar10
from earlytime.images import load_images
from refusals import refused
from sklearn.datasets import load_digits

REAL_ARCHIVE = os.environ.get("EARLYTIME_CIFAR10")

pytestmark = pytest.mark.usefixtures("cache")


# CIFAR-10


def test_pooling_is_a_mean_over_four_by_four(good_path, monkeypatch):
    monkeypatch.setenv("EARLYTIME_CIFAR10", str(good_path))
    loaded = load_images("cifar10", preprocessing="none")
    assert (loaded.name, loaded.shape) == ("cifar10", (8, 8, 3))
    assert loaded.x_train.shape == (7, 192) and loaded.x_test.shape == (3, 192)
    picture, record = loaded.x_test[1].reshape(loaded.shape), TEST[2]
    for i in range(8):
        for j in range(8):
            for channel in range(3):
                total = 0
                for row in range(4 * i, 4 * i + 4):
                    for column in range(4 * j, 4 * j + 4):
                        total += int(record[1 + 1024 * channel + 32 * row + column])
                assert picture[i, j, channel] == pytest.approx(total / 16 / 255, rel=1e-14)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_one_bright_pixel_lands_in_its_place(tmp_path, monkeypatch, channel):
    records = np.zeros((2, 3073), np.uint8)
    records[:, 0] = [3, 7]
    records[0, 1 + 1024 * channel + 32 * 5 + 14] = 255  # row 5, column 14
    names = (f"{FOLDER}/data_batch_1.bin", f"{FOLDER}/test_batch.bin")
    content = make_archive([(name, records.tobytes()) for name in names])
    (tmp_path / "bright.tar.gz").write_bytes(content)
    monkeypatch.setenv("EARLYTIME_CIFAR10", str(tmp_path / "bright.tar.gz"))
    x = load_images("cifar10", preprocessing="none").x_train
    assert x[0, (1 * 8 + 3) * 3 + channel] == pytest.approx(1 / 16)
    assert np.count_nonzero(x) == 1


@pytest.mark.parametrize("name", ["auto", "cifar10"])
def test_a_given_path_must_exist(tmp_path, monkeypatch, name):
    for wrong in (tmp_path / "missing.tar.gz", tmp_path):
        monkeypatch.setenv("EARLYTIME_CIFAR10", str(wrong))
        with pytest.raises(FileNotFoundError, match="EARLYTIME_CIFAR10"):
            load_images(name)


def test_says_how_to_provide_the_data(cache):
    with pytest.raises(FileNotFoundError) as caught:
        load_images("cifar10")
    for word in ("EARLYTIME_CIFAR10", "EARLYTIME_CACHE", str(cache), "download=True"):
        assert word in str(caught.value)
    assert not cache.exists()


def test_auto(cache, monkeypatch, good_path):
    def fetch(store, url):
        cache.mkdir()
        (cache / CACHED_NAME).write_bytes(GOOD)
        return cache / CACHED_NAME

    monkeypatch.setattr(cifar10, "_fetch", fetch)
    monkeypatch.setitem(inspect.unwrap(cifar10.cifar10_archive).__kwdefaults__, "known_hash", GOOD_HASH)
    assert load_images().name == "digits"
    assert not cache.exists()
    assert load_images(download=True).name == "cifar10"
    assert load_images().name == "cifar10"
    (cache / CACHED_NAME).write_bytes(GOOD[:-1])
    with pytest.warns(UserWarning, match="checksum"):
        assert load_images().name == "digits"
    assert load_images().name == "digits" and not any(cache.iterdir())
    monkeypatch.setenv("EARLYTIME_CIFAR10", str(good_path))
    assert load_images().name == "cifar10"
    good_path.write_bytes(GOOD[:-1])
    with pytest.raises(ValueError, match="good.tar.gz"):
        load_images()


# Digits, preprocessing and arguments


def test_digits_are_all_there():
    data = load_images("digits", preprocessing="none")
    assert data.x_train.shape == (1437, 64) and data.x_test.shape == (360, 64)
    assert (data.name, data.shape) == ("digits", (8, 8))
    digits = load_digits()
    is_odd = {image.tobytes(): target % 2 for image, target in zip(digits.data, digits.target)}
    x, y = np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test])
    assert sorted(map(bytes, x * 16)) == sorted(map(bytes, digits.data))
    assert all(label == (1 if is_odd[row.tobytes()] else -1) for row, label in zip(x * 16, y))
    assert x.min() == 0 and x.max() == 1
    for labels in (data.y_train, data.y_test):
        assert labels.dtype == np.float64 and abs(labels.mean()) < 0.1


def test_digits_split_is_fixed_by_the_seed():
    first, again, other = (load_images("digits", seed=seed) for seed in (5, 5, 6))
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a, b)
    assert (first.y_test != other.y_test).any()


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_preprocessing(name, good_path, monkeypatch):
    monkeypatch.setenv("EARLYTIME_CIFAR10", str(good_path))
    raw, centred, unit = (load_images(name, preprocessing=p) for p in ("none", "global", "norm"))
    num_samples, dim = raw.x_train.shape
    mean = sum(raw.x_train) / num_samples
    scale = np.sqrt(sum(np.sum((x - mean) ** 2) for x in raw.x_train) / num_samples / dim)
    np.testing.assert_allclose(centred.x_train, (raw.x_train - mean) / scale, atol=1e-12)
    np.testing.assert_allclose(centred.x_test, (raw.x_test - mean) / scale, atol=1e-12)
    np.testing.assert_allclose(centred.x_train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose((centred.x_train**2).sum(axis=1).mean(), dim)
    for x, before in [(unit.x_train, centred.x_train), (unit.x_test, centred.x_test)]:
        norms = np.linalg.norm(before, axis=1)
        np.testing.assert_allclose(np.linalg.norm(x, axis=1), np.sqrt(dim))
        np.testing.assert_allclose((x * before).sum(axis=1), np.sqrt(dim) * norms)
    for data in (raw, centred, unit):
        assert data.x_train.dtype == data.x_test.dtype == np.float64
        np.testing.assert_array_equal(data.y_train, raw.y_train)
    assert load_images(name).x_test == pytest.approx(centred.x_test)  # the default is "global"


@pytest.mark.parametrize(
    ("argument", "value"),
    [("name", "mnist"), ("name", None), ("preprocessing", "whiten"), ("seed", -1), ("seed", 0.5)],
)
def test_refuses_wrong_arguments(argument, value):
    with refused(argument):
        load_images(**{"name": "digits", argument: value})


@pytest.mark.skipif(not REAL_ARCHIVE, reason="EARLYTIME_CIFAR10 names no archive of CIFAR-10")
def test_the_real_archive(monkeypatch):
    monkeypatch.setenv("EARLYTIME_CIFAR10", REAL_ARCHIVE)
    data = load_images("cifar10", preprocessing="none")
    assert data.x_train.shape == (10_000, 192) and data.x_test.shape == (2_000, 192)
    assert data.y_train.sum() == data.y_test.sum() == 0
    red, green, blue = data.x_train.reshape(-1, *data.shape).mean(axis=(0, 1, 2))
    assert red > green > blue  # known of these photographs, and wrong if channels are swapped
    x_train, x_test = (np.c_[x, np.ones(len(x))] for x in (data.x_train, data.x_test))
    weights = np.linalg.lstsq(x_train, data.y_train)[0]
    assert np.mean(np.sign(x_test @ weights) == data.y_test) > 0.7
