"""A run that travels: packed here, rendered there, and refused where it is not what it says."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import bundle
import pytest
from current import published
from fingerprint import folder_hash, source_notebooks

FILE = Path("travelled.tar.gz")


def build(*options):
    command = [sys.executable, "pipeline/build_book.py", "--bundle", str(FILE), *options]
    return subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": "stand_ins:src"})


def rewrite(change):
    """Pack it again, with its members as `change` makes them of (name, content)."""
    with tarfile.open(FILE) as archive:
        members = [(m.name, archive.extractfile(m).read()) for m in archive]
    with tarfile.open(FILE, "w:gz") as archive:
        for name, content in change(members):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def packed(built):
    bundle.pack("smoke", FILE)
    return built


def test_a_run_comes_back_bit_by_bit_and_makes_the_same_pages(packed):
    assert bundle.unpack(FILE) == ("smoke", "")
    for name in source_notebooks():
        places = bundle.PLACE / "stage/notebooks" / f"{name}.ipynb", bundle.PLACE / "results" / f"{name}.json"
        places += (bundle.PLACE / "results" / f"{name}.run.json",)
        for here, there in zip(published(name, "smoke"), places, strict=True):
            assert here.read_bytes() == there.read_bytes()
    result = build()
    assert result.returncode == 0, result.stderr
    assert folder_hash(Path("_build/bundle/html")) == folder_hash(Path("_build/smoke/html"))
    once = FILE.read_bytes()
    bundle.pack("smoke", FILE)
    assert FILE.read_bytes() == once


def test_only_a_finished_run_is_packed(packed):
    published("part/second", "smoke").results.write_text("{}")
    with pytest.raises(
        ValueError, match="^part/second: not run with what is here now; first `make book PROFILE=smoke`"
    ):
        bundle.pack("smoke", FILE)


def test_one_that_is_cut_short_is_refused(packed):
    whole = FILE.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 4):
        FILE.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="cut short, or not a bundle|has no list"):
            bundle.unpack(FILE)
    FILE.write_bytes(gzip.compress(gzip.decompress(whole)[:-20000]))
    with pytest.raises(ValueError, match="cut short"):
        bundle.unpack(FILE)
    FILE.write_bytes(whole)
    rewrite(lambda members: members[:-1])
    with pytest.raises(ValueError, match=r"cut short: results/part/third.run.json is missing"):
        bundle.unpack(FILE)
    FILE.unlink()
    with pytest.raises(ValueError, match="no such file"):
        bundle.unpack(FILE)
    assert not bundle.PLACE.exists()


def test_one_that_was_altered_is_refused(packed):
    rewrite(lambda members: [(n, c.replace(b'"first": 0', b'"first": 1')) for n, c in members])
    with pytest.raises(ValueError, match=r"results/first.json was altered"):
        bundle.unpack(FILE)
    assert build().returncode == 1 and not bundle.PLACE.exists()


def test_one_that_lists_too_little_is_refused(packed):
    def forget(members):
        about = json.loads(members[0][1])
        about["files"] = {name: sha for name, sha in about["files"].items() if "first" not in name}
        return [(bundle.LIST, json.dumps(about).encode()), *(m for m in members[1:] if "first" not in m[0])]

    rewrite(forget)
    with pytest.raises(ValueError, match="cut short: notebooks/first.ipynb is missing"):
        bundle.unpack(FILE)


@pytest.mark.parametrize(
    "name", ["../outside.json", "/tmp/outside.json", "results/../../outside.json", "src/a.py", "a"]
)
def test_a_path_outside_is_refused(packed, name):
    rewrite(lambda members: [*members, (name, b"{}")])
    with pytest.raises(ValueError, match="which is not a file of a bundle"):
        bundle.unpack(FILE)
    assert not Path("../outside.json").exists() and not bundle.PLACE.exists()


def test_a_link_and_a_file_twice_are_refused(packed):
    whole = FILE.read_bytes()
    rewrite(lambda members: [*members, members[-1]])
    with pytest.raises(ValueError, match="twice"):
        bundle.unpack(FILE)
    FILE.write_bytes(whole)
    with tarfile.open(FILE) as archive:
        members = [(m, archive.extractfile(m).read()) for m in archive]
    with tarfile.open(FILE, "w:gz") as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("results/link.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(ValueError, match=r"'results/link.json', which is not a file"):
        bundle.unpack(FILE)


def test_other_sources_are_refused_or_said(packed):
    Path("src/earlytime/claims.py").write_text("changed = True\n")
    with open("notebooks/first.ipynb", "a") as file:
        file.write(" ")
    with pytest.raises(
        ValueError, match="other sources, of revision .*: the source of first; the module; OTHER_SOURCES"
    ):
        bundle.unpack(FILE)
    assert "revision" in bundle.unpack(FILE, other_sources=True)[1]
    assert build().returncode == 1
    result = build("--other-sources")
    assert result.returncode == 0, result.stderr


def test_a_profile_that_is_not_here_is_another_source(packed):
    Path("pipeline/profiles/smoke.yaml").unlink()
    with pytest.raises(ValueError, match="other sources, of revision .*: the profile smoke"):
        bundle.unpack(FILE)


def test_another_format_and_one_that_is_too_large_are_refused(packed, monkeypatch):
    def renew(members):
        about = json.loads(members[0][1]) | {"format": bundle.FORMAT + 1}
        return [(bundle.LIST, json.dumps(about).encode()), *members[1:]]

    with monkeypatch.context() as small, pytest.raises(ValueError, match="holds more than 100 bytes"):
        small.setattr(bundle, "LARGEST", 100)
        bundle.unpack(FILE)
    rewrite(renew)
    with pytest.raises(ValueError, match=f"expected format {bundle.FORMAT}, got {bundle.FORMAT + 1}"):
        bundle.unpack(FILE)
    assert not bundle.PLACE.exists()
