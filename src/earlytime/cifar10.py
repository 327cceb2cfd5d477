"""The archive of CIFAR-10: finding it, downloading it, and reading its cats and horses."""

import functools
import gzip
import io
import os
import re
import tarfile
import warnings
import zlib
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt8

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_HASH = "md5:c32a1d4ab5d03f1284b67883e8d87530"

_CACHED_NAME = "cifar-10-binary.tar.gz"
_FOLDER = "cifar-10-batches-bin"
_LARGEST = 2**29  # bytes, unpacked: the official one has 184 million
_RECORD_BYTES = 1 + 3 * 32 * 32  # a label, then a red, a green and a blue plane
_CAT, _HORSE = 3, 7
_HOW_TO_PROVIDE = (
    "Provide CIFAR-10 in one of three ways: set the environment variable EARLYTIME_CIFAR10 to the "
    f"path of an archive in the binary format; put the official {_CACHED_NAME} into the cache "
    "folder (the environment variable EARLYTIME_CACHE moves it); or pass download=True."
)


def cifar10_archive(*, download: bool = False, url: str = CIFAR10_URL, known_hash: str = CIFAR10_HASH) -> Path:
    """Find the archive of CIFAR-10 in its binary format, or download it.

    In this order: the file that the environment variable `EARLYTIME_CIFAR10` names, taken as it is;
    the file in the cache folder (`EARLYTIME_CACHE`, or the user's own), if its checksum is right; a
    download, if asked for, tried three times and kept only if its checksum is right.

    Args:
        download: whether a download is allowed.
        url: where to download from.
        known_hash: the checksum of the cached or downloaded file, as "algorithm:hexadecimal".

    Returns:
        The path of the archive, for `read_cifar10`.

    Raises:
        ValueError: the cached or downloaded file has another checksum; it has been removed.
        FileNotFoundError: no archive and no `download`, or `EARLYTIME_CIFAR10` names no file.
        ConnectionError: the download did not succeed.
    """
    if given := os.environ.get("EARLYTIME_CIFAR10"):
        if not Path(given).expanduser().is_file():
            raise FileNotFoundError(f"EARLYTIME_CIFAR10: expected an existing file, got {given!r}")
        return Path(given).expanduser()
    pooch = _pooch()
    store = pooch.create(pooch.os_cache("earlytime"), "", env="EARLYTIME_CACHE", retry_if_failed=2)
    store.registry[_CACHED_NAME], store.urls[_CACHED_NAME] = known_hash, url
    cached = store.abspath / _CACHED_NAME
    if cached.is_file():
        stat = cached.stat()
        found = _checksum(cached, known_hash.partition(":")[0], stat.st_size, stat.st_mtime_ns)
        if found == known_hash.lower():
            return cached
        cached.unlink()
        if not download:
            raise ValueError(
                f"{cached}: expected the checksum {known_hash}, got {found}: a truncated, altered "
                f"or other file, which has been removed. {_HOW_TO_PROVIDE}"
            )
    if not download:
        raise FileNotFoundError(f"{cached}: no such file. {_HOW_TO_PROVIDE}")
    return _fetch(store, url)


def read_cifar10(path: str | os.PathLike) -> tuple[np.ndarray, ...]:
    """Read the cats (+1.0) and horses (−1.0) of a CIFAR-10 archive in the binary format.

    The archive is a gzipped tar of `cifar-10-batches-bin/test_batch.bin` and one or more of
    `data_batch_1.bin` … `data_batch_5.bin` beside it. Each is a sequence of records: one byte of
    label, then 1,024 each of red, green and blue, row by row. Nothing is unpacked to disk.

    Args:
        path: the archive.

    Returns:
        `(x_train (n, 32, 32, 3), y_train (n,), x_test (k, 32, 32, 3), y_test (k,))`, in the order
        of the archive: images in height, width, channel, as uint8; labels in float64.

    Raises:
        ValueError: the file is truncated, altered, or not such an archive.
    """
    records = {}
    try:
        unpacked = io.BytesIO()
        with gzip.open(path) as stream:
            while part := stream.read(1 << 20):  # up to the checksum; what a few bytes are packed from may be endless
                if unpacked.tell() + len(part) > _LARGEST:
                    raise ValueError(f"{path}: expected at most {_LARGEST:,} bytes when unpacked")
                unpacked.write(part)
        unpacked.seek(0)
        with tarfile.open(fileobj=unpacked, mode="r:") as tar:
            for member in tar:
                place = PurePosixPath(member.name)
                wanted = re.fullmatch(r"data_batch_[1-5]\.bin|test_batch\.bin", place.name)
                if wanted and place.parent.name == _FOLDER:
                    if place.name in records:
                        raise ValueError(f"{path}: expected one {place.name}, got two")
                    records[place.name] = _read_member(tar, member, path)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, RecursionError) as error:
        raise ValueError(f"{path}: expected a gzipped tar, whole and unaltered: {error}") from error
    test = records.pop("test_batch.bin", None)
    if test is None or not records:
        raise ValueError(
            f"{path}: expected {_FOLDER}/test_batch.bin and at least one data_batch_1.bin … 5.bin "
            f"beside it, got {'no' if test is None else 'a'} test_batch.bin and {sorted(records)}; "
            "the binary version of CIFAR-10 is needed, not the Python or Matlab one"
        )
    train = np.concatenate([records[member_name] for member_name in sorted(records)])
    return *_cats_and_horses(train, f"{path}: training"), *_cats_and_horses(test, f"{path}: test")


@functools.lru_cache(maxsize=1)
def _checksum(path: Path, algorithm: str, size: int, modified: int) -> str:
    """Hash a file once: size and time of change are only there to notice a changed file."""
    return f"{algorithm}:{_pooch().file_hash(path, alg=algorithm)}"


def _pooch():
    """pooch, imported late, and without tqdm's advice to install notebook widgets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pooch
    return pooch


def _fetch(store, url: str) -> Path:
    # pooch's own HTTP library, imported late because it is slow and only a download needs it
    from requests.exceptions import ChunkedEncodingError, RequestException

    downloader = _pooch().HTTPDownloader(progressbar=True, timeout=60)
    try:
        return Path(store.fetch(_CACHED_NAME, downloader=downloader))
    except (ValueError, ChunkedEncodingError) as error:  # another checksum, or a body cut short
        raise ValueError(f"{url}: got a truncated or other file, not kept: {error}") from error
    except RequestException as error:
        raise ConnectionError(f"{url}: download failed: {error}. {_HOW_TO_PROVIDE}") from error


def _read_member(tar, member, path) -> UInt8[np.ndarray, "num_records 3073"]:
    if not member.isreg():
        raise ValueError(f"{path}: expected a regular file {member.name}, got a link or folder")
    # no official member is larger, and what is larger is not worth the memory
    if member.size not in range(_RECORD_BYTES, 10_001 * _RECORD_BYTES, _RECORD_BYTES):
        expected = f"1 to 10,000 records of {_RECORD_BYTES} bytes"
        raise ValueError(f"{path}: expected {expected} in {member.name}, got {member.size}")
    records = np.frombuffer(tar.extractfile(member).read(), np.uint8).reshape(-1, _RECORD_BYTES)
    labels = records[:, 0]
    if labels.max() > 9:
        raise ValueError(f"{path}: expected labels 0 to 9 in {member.name}, got {labels.max()}")
    return records[(labels == _CAT) | (labels == _HORSE)]


def _cats_and_horses(records, what: str) -> tuple[np.ndarray, np.ndarray]:
    is_cat = records[:, 0] == _CAT
    cats, horses = is_cat.sum(), (~is_cat).sum()
    if cats == 0 or horses == 0:
        raise ValueError(f"{what} images: expected cats and horses, got {cats} and {horses}")
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), np.where(is_cat, 1.0, -1.0)
