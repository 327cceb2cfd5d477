"""CIFAR-10: what is read from archives made here, and where they come from."""

import gzip
import http.server
import io
import os
import socket
import tarfile
import threading
import types

import numpy as np
import pytest
from cifar10_archives import (
    CACHED_NAME,
    FOLDER,
    GOOD,
    GOOD_HASH,
    TEST,
    TRAIN_1,
    TRAIN_2,
    make_archive,
    make_records,
)
from earlytime import cifar10
from earlytime.cifar10 import cifar10_archive, read_cifar10

pytestmark = pytest.mark.usefixtures("cache")


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
    yield "other folder", make_archive([("other/data_batch_1.bin", train), ("other/test_batch.bin", test)]), FOLDER
    yield "outside", make_archive([("data_batch_1.bin", train), ("test_batch.bin", test)]), FOLDER
    yield "batch 6", archive(None, test, (f"{FOLDER}/data_batch_6.bin", train)), "data_batch"
    yield "short record", archive(train[:-1], test), "3073"
    yield "empty member", archive(train, b""), "3073"
    yield "too large", gzip.compress(huge.tobuf() + bytes(1024)), "10,000"
    yield "link", archive(link, test), "regular file"
    yield "hidden link", archive(train, test, (f"{FOLDER}/data_batch_2.bin", link)), "regular file"
    yield "twice", archive(train, test, (f"{FOLDER}/test_batch.bin", test)), "two"
    names, long = io.BytesIO(), tarfile.TarInfo("././@LongLink")
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, 1
    for _ in range(2000):
        names.write(long.tobuf() + bytes(512))
    yield "names of names", gzip.compress(names.getvalue()), "gzipped tar"
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


def test_refuses_what_unpacks_to_too_much(tmp_path, monkeypatch):
    """In a member that nobody asked for, and behind the end of the tar."""
    path = tmp_path / "bomb.tar.gz"
    monkeypatch.setattr(cifar10, "_LARGEST", 10**5)
    for bomb in (make_archive([("README", bytes(10**6))]), GOOD + gzip.compress(bytes(10**6))):
        path.write_bytes(bomb)
        with pytest.raises(ValueError, match="bomb.tar.gz: expected at most 100,000 bytes when unpacked"):
            read_cifar10(path)


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
    monkeypatch.setattr(cifar10._pooch(), "os_cache", lambda project: tmp_path / "user" / project)
    assert cifar10_archive(**options) == tmp_path / "user" / "earlytime" / CACHED_NAME


def test_hashes_an_unchanged_file_once(cache, monkeypatch):
    cache.mkdir()
    (cache / CACHED_NAME).write_bytes(GOOD)
    calls, file_hash = [], cifar10._pooch().file_hash
    monkeypatch.setattr(cifar10._pooch(), "file_hash", lambda path, alg: calls.append(path) or file_hash(path, alg))
    for _ in range(3):
        cifar10_archive(known_hash=GOOD_HASH)
    assert len(calls) == 1
    (cache / CACHED_NAME).write_bytes(GOOD[:-1] + b"x")  # the same size, another time
    os.utime(cache / CACHED_NAME, ns=(1, 1))
    with pytest.raises(ValueError, match="checksum"):
        cifar10_archive(known_hash=GOOD_HASH)
