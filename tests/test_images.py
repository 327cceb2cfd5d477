"""Images: what is read from archives made here, where they come from, and the digits."""

import gzip
import hashlib
import http.server
import io
import os
import socket
import tarfile
import threading
import types

import numpy as np
import pytest
from sklearn.datasets import load_digits

from earlytime import images
from earlytime.images import cifar10_archive, load_images, read_cifar10

REAL_ARCHIVE = os.environ.get("EARLYTIME_CIFAR10")
FOLDER = "cifar-10-batches-bin"
CACHED_NAME = "cifar-10-binary.tar.gz"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder, so that no test sees or touches the user's own."""
    monkeypatch.delenv("EARLYTIME_CIFAR10", raising=False)
    monkeypatch.setenv("EARLYTIME_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_records(labels, seed=0):
    """Records of the binary format, random pixels: (len(labels), 3073) bytes."""
    records = np.random.default_rng(seed).integers(0, 256, (len(labels), 3073), dtype=np.uint8)
    records[:, 0] = labels
    return records


def make_archive(members):
    """The bytes of a gzipped tar; a member is its content, or a TarInfo without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(name)
            content = b"" if isinstance(member, tarfile.TarInfo) else bytes(member)
            info.name, info.size = name, len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


TRAIN_1, TRAIN_2 = make_records([3, 0, 7, 7, 9, 3], seed=1), make_records([7, 5, 3, 7], seed=2)
TEST = make_records([1, 7, 3, 3], seed=3)
GOOD = make_archive(  # not in order, as nothing promises that an archive is
    [
        ("batches.meta.txt", b"airplane\n"),
        (f"{FOLDER}/test_batch.bin", TEST.tobytes()),
        (f"{FOLDER}/data_batch_2.bin", TRAIN_2.tobytes()),
        (f"{FOLDER}/data_batch_1.bin", TRAIN_1.tobytes()),
    ]
)
GOOD_HASH = "md5:" + hashlib.md5(GOOD).hexdigest()


@pytest.fixture
def good_path(tmp_path):
    path = tmp_path / "good.tar.gz"
    path.write_bytes(GOOD)
    return path


# Reading


def test_reads_cats_and_horses_in_order(good_path):
    x_train, y_train, x_test, y_test = read_cifar10(good_path)
    kept = np.concatenate([TRAIN_1[[0, 2, 3, 5]], TRAIN_2[[0, 2, 3]]])
    np.testing.assert_array_equal(y_train, [1, -1, -1, 1, -1, 1, -1])
    np.testing.assert_array_equal(y_test, [-1, 1, 1])
    assert x_train.dtype == np.uint8 and y_train.dtype == np.float64
    for image, record in zip(x_train, kept, strict=True):
        for row, column, channel in [(0, 0, 0), (0, 1, 0), (1, 0, 0), (31, 30, 1), (17, 4, 2)]:
            assert image[row, column, channel] == record[1 + 1024 * channel + 32 * row + column]
    assert x_test.shape == (3, 32, 32, 3)


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


def variants():
    """Archives that are refused, and a word that the message must have."""
    train, test = TRAIN_1.tobytes(), TEST.tobytes()
    link, huge = tarfile.TarInfo(), tarfile.TarInfo()
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    huge.name, huge.size = f"{FOLDER}/data_batch_1.bin", 10_001 * 3073

    def archive(train, test, *more):
        members = [(f"{FOLDER}/data_batch_1.bin", train), (f"{FOLDER}/test_batch.bin", test), *more]
        return make_archive([(name, member) for name, member in members if member is not None])

    yield "no test", archive(train, None), "test_batch"
    yield "no train", archive(None, test), "data_batch"
    yield "pickled", make_archive([("cifar-10-batches-py/data_batch_1", b"\x80\x04N.")]), "Python"
    yield "other folder", make_archive(
        [("other/data_batch_1.bin", train), ("other/test_batch.bin", test)]
    ), FOLDER
    yield "outside", make_archive([("data_batch_1.bin", train), ("test_batch.bin", test)]), FOLDER
    yield "batch 6", archive(None, test, (f"{FOLDER}/data_batch_6.bin", train)), "data_batch"
    yield "short record", archive(train[:-1], test), "3073"
    yield "empty member", archive(train, b""), "3073"
    yield "too large", gzip.compress(huge.tobuf() + bytes(1024)), "10,000"
    yield "link", archive(link, test), "regular file"
    yield "hidden link", archive(train, test, (f"{FOLDER}/data_batch_2.bin", link)), "regular file"
    yield "twice", archive(train, test, (f"{FOLDER}/test_batch.bin", test)), "two"
    yield "label 10", archive(make_records([3, 7, 10]).tobytes(), test), "labels 0 to 9"
    yield "only cats", archive(make_records([3, 3, 1]).tobytes(), test), "training images"
    yield "only horses", archive(train, make_records([7]).tobytes()), "test images"
    yield "neither", archive(train, make_records([0, 1]).tobytes()), "test images"
    yield "not a tar", gzip.compress(b"hello" * 1000), "gzipped tar"
    yield "not gzipped", gzip.decompress(GOOD), "gzipped tar"
    yield "empty", b"", "gzipped tar"
    yield "html", b"<html>404</html>", "gzipped tar"
    yield "checksum", GOOD[:-8] + b"\0\0\0\0" + GOOD[-4:], "CRC"


@pytest.mark.parametrize(("content", "word"), [pytest.param(c, w, id=i) for i, c, w in variants()])
def test_refuses_other_archives(tmp_path, content, word):
    path = tmp_path / "wrong.tar.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=word) as caught:
        read_cifar10(path)
    assert "wrong.tar.gz" in str(caught.value)


def test_refuses_every_truncation(tmp_path):
    path = tmp_path / "short.tar.gz"
    for length in [*range(0, len(GOOD), 1009), *range(len(GOOD) - 40, len(GOOD))]:
        path.write_bytes(GOOD[:length])
        with pytest.raises(ValueError, match="short.tar.gz"):
            read_cifar10(path)


def test_refuses_altered_bytes(tmp_path):
    path = tmp_path / "altered.tar.gz"
    for position in range(10, len(GOOD), 997):  # the first 10 bytes hold the time, which may differ
        altered = bytearray(GOOD)
        altered[position] ^= 0x10
        path.write_bytes(altered)
        with pytest.raises(ValueError, match="altered.tar.gz"):
            read_cifar10(path)


def test_unpacks_nothing(tmp_path):
    evil = tarfile.TarInfo()
    evil.type, evil.linkname = tarfile.SYMTYPE, "../../.."
    members = [
        ("../../x", b"evil"),
        (f"../../{FOLDER}/x.bin", b"evil"),
        (str(tmp_path / "absolute"), b"evil"),
        (f"{FOLDER}/link", evil),
        (f"./{FOLDER}/data_batch_1.bin", TRAIN_1.tobytes()),
        (f"./{FOLDER}/test_batch.bin", TEST.tobytes()),
    ]
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    (inside / "evil.tar.gz").write_bytes(make_archive(members))
    before = sorted(tmp_path.rglob("*"))
    x_train, *_ = read_cifar10(inside / "evil.tar.gz")
    assert len(x_train) == 4
    assert sorted(tmp_path.rglob("*")) == before


# Where the archive comes from


@pytest.fixture
def no_waiting(monkeypatch):
    """Retry at once, and reach loopback without a proxy."""
    monkeypatch.setattr("pooch.core.time", types.SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server(no_waiting):
    """A server on loopback that gives its `replies` in turn, the last one again and again."""

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self):
            status, content, announced = self.server.replies[0]
            if len(self.server.replies) > 1:
                self.server.replies.pop(0)
            self.server.num_requests += 1
            self.send_response(status)
            if announced is not None:
                self.send_header("Content-Length", str(announced))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.num_requests = 0
        server.url = f"http://127.0.0.1:{server.server_address[1]}/archive.tar.gz"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(timeout=5)


def contents(folder):
    return sorted(path.name for path in folder.glob("*"))


def test_downloads_once(server, cache, capsys):
    server.replies = [(200, GOOD, len(GOOD))]
    for _ in range(2):
        path = cifar10_archive(download=True, url=server.url, known_hash=GOOD_HASH)
        assert path == cache / CACHED_NAME and path.read_bytes() == GOOD
    assert server.num_requests == 1
    assert "100%" in capsys.readouterr().err
    assert cifar10_archive(known_hash=GOOD_HASH) == path  # and without `download` from now on
    assert contents(cache) == [CACHED_NAME]


@pytest.mark.parametrize(
    "failure",
    [(500, b"", 0), (200, GOOD[:5000], len(GOOD)), (200, GOOD[:5000], None), (200, b"no", 2)],
    ids=["error", "cut short", "cut short unannounced", "other file"],
)
def test_tries_again(server, cache, failure):
    server.replies = [failure, failure, (200, GOOD, len(GOOD))]
    path = cifar10_archive(download=True, url=server.url, known_hash=GOOD_HASH)
    assert path.read_bytes() == GOOD
    assert server.num_requests == 3
    assert contents(cache) == [CACHED_NAME]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param((404, b"", 0), ConnectionError, id="missing"),
        pytest.param((200, GOOD[:5000], len(GOOD)), ValueError, id="cut short"),
        pytest.param((200, GOOD[:5000], None), ValueError, id="cut short unannounced"),
        pytest.param((200, GOOD[:-1] + b"x", len(GOOD)), ValueError, id="altered"),
    ],
)
@pytest.mark.parametrize("had_corrupted", [False, True])
def test_a_failed_download_leaves_nothing(server, cache, reply, error, had_corrupted):
    if had_corrupted:
        cache.mkdir()
        (cache / CACHED_NAME).write_bytes(GOOD[:100])
    server.replies = [reply]
    with pytest.raises(error, match=server.url):
        cifar10_archive(download=True, url=server.url, known_hash=GOOD_HASH)
    assert server.num_requests == 3
    assert contents(cache) == []


def test_no_server(no_waiting, cache):
    with socket.socket() as unheard:  # bound but not listening: refuses connections
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}/archive.tar.gz"
        with pytest.raises(ConnectionError, match="EARLYTIME_CIFAR10"):
            cifar10_archive(download=True, url=url, known_hash=GOOD_HASH)
    assert contents(cache) == []


def test_replaces_a_corrupted_cache(server, cache):
    cache.mkdir()
    (cache / CACHED_NAME).write_bytes(GOOD[:-1])
    server.replies = [(200, GOOD, len(GOOD))]
    path = cifar10_archive(download=True, url=server.url, known_hash=GOOD_HASH)
    assert path.read_bytes() == GOOD


def test_removes_a_corrupted_cache_when_offline(cache):
    cache.mkdir()
    (cache / CACHED_NAME).write_bytes(GOOD[:-1])
    with pytest.raises(ValueError, match="removed") as caught:
        cifar10_archive(known_hash=GOOD_HASH)
    assert str(cache / CACHED_NAME) in str(caught.value)
    assert contents(cache) == []


def test_the_cached_file_must_be_the_official_one(cache):
    cache.mkdir()
    (cache / CACHED_NAME).write_bytes(GOOD)
    with pytest.raises(ValueError, match="c32a1d4ab5d03f1284b67883e8d87530"):
        cifar10_archive()


def test_order_of_sources(server, cache, tmp_path, monkeypatch, good_path):
    server.replies = [(200, GOOD, len(GOOD))]
    options = {"download": True, "url": server.url, "known_hash": GOOD_HASH}
    cifar10_archive(**options)
    assert server.num_requests == 1
    monkeypatch.setenv("EARLYTIME_CIFAR10", str(good_path))
    assert cifar10_archive(**options) == good_path
    monkeypatch.setenv("EARLYTIME_CIFAR10", "")  # as good as not set
    assert cifar10_archive(**options) == cache / CACHED_NAME
    assert server.num_requests == 1
    monkeypatch.delenv("EARLYTIME_CACHE")
    monkeypatch.setattr(images._pooch(), "os_cache", lambda project: tmp_path / "user" / project)
    assert cifar10_archive(**options) == tmp_path / "user" / "earlytime" / CACHED_NAME


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


def test_auto(cache, server, monkeypatch, good_path):
    defaults = images.cifar10_archive.__kwdefaults__
    monkeypatch.setitem(defaults, "url", server.url)
    monkeypatch.setitem(defaults, "known_hash", GOOD_HASH)
    server.replies = [(200, GOOD, len(GOOD))]
    assert load_images().name == "digits"
    assert server.num_requests == 0
    assert load_images(download=True).name == "cifar10"
    assert server.num_requests == 1
    assert load_images().name == "cifar10"
    (cache / CACHED_NAME).write_bytes(GOOD[:-1])
    with pytest.warns(UserWarning, match="checksum"):
        assert load_images().name == "digits"
    assert load_images().name == "digits" and contents(cache) == []
    monkeypatch.setenv("EARLYTIME_CIFAR10", str(good_path))
    assert load_images().name == "cifar10"
    good_path.write_bytes(GOOD[:-1])
    with pytest.raises(ValueError, match="good.tar.gz"):
        load_images()


def test_hashes_an_unchanged_file_once(cache, monkeypatch):
    cache.mkdir()
    (cache / CACHED_NAME).write_bytes(GOOD)
    calls, file_hash = [], images._pooch().file_hash
    monkeypatch.setattr(
        images._pooch(), "file_hash", lambda path, alg: calls.append(path) or file_hash(path, alg)
    )
    for _ in range(3):
        cifar10_archive(known_hash=GOOD_HASH)
    assert len(calls) == 1
    (cache / CACHED_NAME).write_bytes(GOOD[:-1] + b"x")  # the same size, another time
    os.utime(cache / CACHED_NAME, ns=(1, 1))
    with pytest.raises(ValueError, match="checksum"):
        cifar10_archive(known_hash=GOOD_HASH)


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
    with pytest.raises(ValueError, match=f"^{argument}: expected .*got"):
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
