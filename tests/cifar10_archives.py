"""Small archives in the binary format of CIFAR-10, made here."""

import hashlib
import io
import tarfile

import numpy as np

FOLDER = "cifar-10-batches-bin"
CACHED_NAME = "cifar-10-binary.tar.gz"


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
