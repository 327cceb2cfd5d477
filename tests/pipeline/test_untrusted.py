"""What others wrote is data: archives, YAML and parameters run nothing, write nowhere else and end in one line."""

import ast
import gzip
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import bundle
import maps
import nbformat
import psutil
import pytest
import yaml
from current import published
from earlytime._claim_files import collect
from fingerprint import load_profile
from run_notebook import check_values
from tiny_checkout import ROOT, WAIT, output_of, ran, say, snakemake, wait_until, write

FILE = Path("travelled.tar.gz")


# Bundles


def member_of(name, content=b"", **fields):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    return member, content


def pack(*members, list_of_files=None):
    about = {"format": bundle.FORMAT, "profile": "smoke", "revision": "unknown", "sources": {}, "files": {}}
    about = json.dumps(about | (list_of_files or {})) if not isinstance(list_of_files, str) else list_of_files
    with tarfile.open(FILE, "w:gz") as archive:
        for member, content in (member_of(bundle.LIST, about.encode()), *members):
            archive.addfile(member, io.BytesIO(content))


def sparse(size):
    """A file of zeros that takes no room in the archive."""
    return member_of("results/first.json", pax_headers={"GNU.sparse.map": "0,0", "GNU.sparse.size": str(size)})


ARCHIVES = {
    "a link": ([member_of("results/a.json", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "not a file"),
    "a hard link": ([member_of("results/a.json", type=tarfile.LNKTYPE, linkname="../../Makefile")], "not a file"),
    "a device": ([member_of("results/a.json", type=tarfile.CHRTYPE, devmajor=1, devminor=3)], "not a file"),
    "a pipe": ([member_of("results/a.json", type=tarfile.FIFOTYPE)], "not a file"),
    "a folder": ([member_of("results/a", type=tarfile.DIRTYPE)], "not a file"),
    "a way out": ([member_of("results/../../../outside.json", b"{}")], "not a file"),
    "a long way out": ([member_of("results/" + "a/" * 60 + "../" * 70 + "outside.json", b"{}")], "not a file"),
    "an end of a line": ([member_of("results/a.json\n/../../outside.json", b"{}")], "not a file"),
    "a zero": ([member_of("results/a.json", b"{}", pax_headers={"path": "results/a.json\0../b"})], "not a file|cut"),
    "holes": ([sparse(2**40)], "not a file"),
    "a stranger": ([member_of("results/a.json", b"{}")], "results/a.json was altered"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_malicious_archive_is_refused_and_nothing_is_written(checkout, name):
    members, said = ARCHIVES[name]
    pack(*members)
    before = sorted(checkout.parent.rglob("*"))
    with pytest.raises(ValueError, match=said):
        bundle.unpack(FILE, other_sources=True)
    assert sorted(checkout.parent.rglob("*")) == before


LISTS = {
    "no object": "[]",
    "deep": "[" * 100_000 + "]" * 100_000,
    "sources that are a list": {"sources": ["first"]},
    "sources of a text": {"sources": {"first": "abc"}},
    "files that are numbers": {"files": 3},
    "a file outside": {"files": {"../outside.json": "abc"}},
    "a source outside": {"sources": {"../../outside": {}}},
    "a script for the banner": {"revision": "<script>alert(1)</script>"},
    "a profile outside": {"profile": "../../etc"},
    "a profile that moves the cursor": {"profile": "\x1b[2J"},
    "a profile that is a list": {"profile": []},
}


@pytest.mark.parametrize("name", LISTS)
def test_a_malicious_list_of_files_is_refused(checkout, name):
    pack(list_of_files=LISTS[name])
    with pytest.raises(ValueError, match=r"^travelled.tar.gz: has no list of its files, bundle.json$"):
        bundle.unpack(FILE, other_sources=True)
    assert not bundle.PLACE.exists()


BOMB = """
import sys, resource
sys.path.insert(0, "pipeline")
import bundle
resource.setrlimit(resource.RLIMIT_DATA, (3 * 2**30, 3 * 2**30))
try:
    bundle.unpack(bundle.Path(sys.argv[1]))
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_bomb_takes_no_more_memory_than_a_bundle_may(checkout):
    """Zeros in what tarfile reads before it says anything of a file."""
    member = tarfile.TarInfo("results/first.json")
    member.type, member.size = tarfile.XHDTYPE, 4 * 2**30
    with gzip.open(FILE, "wb", compresslevel=1) as file:
        file.write(member.tobuf())
        for _ in range(member.size // 2**24):
            file.write(bytes(2**24))
    done = subprocess.run([sys.executable, "-c", BOMB, FILE], capture_output=True, text=True)
    assert done.stdout == f"{FILE}: holds more than {bundle.LARGEST:,} bytes\n", done.stderr


# YAML


EVIL = [
    "!!python/object/apply:os.system ['touch ran']",
    "!!python/object/new:os.system ['touch ran']",
    "!!python/name:os.system ''",
    "!!python/module:os ''",
    "!!python/object/apply:builtins.eval [\"open('ran', 'w')\"]",
]


@pytest.mark.parametrize("evil", EVIL)
def test_yaml_makes_no_objects(checkout, evil):
    profile = Path("pipeline/profiles/smoke.yaml")
    for text in (evil, f"first: {evil}", f"first: {{seed: {evil}}}"):
        profile.write_text(text + "\n")
        with pytest.raises(ValueError, match=r"^pipeline/profiles/smoke.yaml: could not determine a constructor"):
            load_profile("smoke")
        with pytest.raises(yaml.constructor.ConstructorError):
            maps.load_maps(text)
        with pytest.raises(ValueError, match="^a.yaml: expected one paper, its notebooks and their claims"):
            collect({"a.yaml": text})
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    {
        "[first]": "expected a notebook and its parameters in each line",
        "first": "expected a notebook and its parameters in each line",
        "first: [1]": "first: expected parameters by their names",
        "first: {1: 2}": "first: expected parameters by their names",
        "first: {seed: 2026-01-01}": "first: expected numbers, texts and lists",
        "first: {seed: !!binary aGVsbG8=}": "first: expected numbers, texts and lists",
        "first: {seed: !!set {a, b}}": "first: expected numbers, texts and lists",
        "first: {seed: &a [*a]}": "expected no aliases",
        "a: &a [1, 1]\nb: &b [*a, *a]\nfirst: {seed: [*b, *b]}": "expected no aliases",
        "first: " + "[" * 1500 + "]" * 1500: "recursion",
        "first: {seed: 1": "expected ',' or '}'",
        "1: {}": r"names \[1\], which are not in notebooks/",
    }.items(),
)
def test_a_profile_that_is_none_is_refused_in_one_line(checkout, text, said):
    Path("pipeline/profiles/smoke.yaml").write_text(text + "\n")
    with pytest.raises(ValueError, match=r"^pipeline/profiles/smoke.yaml:? .*" + said) as refused:
        load_profile("smoke")
    assert "\n" not in str(refused.value)


# Parameters

CODE = "open('ran', 'w')"
NAMES = [
    f"_x = {CODE}; _y",
    f"x = 0\n{CODE}\n_y",
    f"seed = {CODE}\nseed",
    "_earlytime_names_are_parameters",
    "__builtins__",
    "__import__",
    "__class__",
    "_",
    "",
    "seed ",
    "results_path; seed",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_none_is_refused(checkout, name):
    for value in (0, {}, "x"):
        with pytest.raises(
            ValueError, match=r"^notebooks/first.ipynb: .*: expected the name of a parameter$"
        ) as refused:
            check_values(Path("notebooks/first.ipynb"), {name: value})
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["In", "Out", "et", "rules", "globals"])
def test_a_name_that_the_notebook_did_not_declare_is_refused(checkout, name):
    for value in (0, {}, [], "x"):
        with pytest.raises(ValueError, match=r"^notebooks/first.ipynb: "):
            check_values(Path("notebooks/first.ipynb"), {name: value})


TEXTS = [
    f'"; {CODE}; "',
    f"'; {CODE}; '",
    f'""" + str({CODE}) + """',
    f'\\"; {CODE} #',
    "\\",
    f"{{{CODE}}}",
    f"\n{CODE}\n",
    f"\r{CODE}\u2028{CODE}\x00\x1b[2J",
    "$(touch ran) `touch ran` ; touch ran & touch ran | touch ran > ran",
    "'; touch ran; '",
    '"; touch ran; "',
    "{PROFILE} {wildcards.name} {{}} %s %(x)s",
    "../../../etc/passwd",
    "--parent 1",
    "名前 Lücke 🦀",
]


@pytest.mark.slow
def test_texts_and_numbers_arrive_as_they_are(checkout, monkeypatch):
    """Through YAML, Snakemake's shell, JSON and papermill's cell."""
    values = [*TEXTS, 10**400, -(10**400), 1e308, 5e-324, [], [[TEXTS[0]], {TEXTS[1]: TEXTS[2]}], None, True]
    Path("pipeline/profiles/smoke.yaml").write_text(yaml.safe_dump({"first": {"seed": {"of": values}}}))
    write("notebooks/first.ipynb", say("first"))
    code, printed = output_of(snakemake("runs"))
    assert code == 0 and "first" in ran(printed), printed
    assert json.loads(published("first", "smoke").results.read_text())["claims"] == {"first": {"of": values}}
    assert json.loads(published("first", "smoke").record.read_text())["parameters"] == {"seed": {"of": values}}
    assert not Path("ran").exists()


@pytest.mark.slow
def test_a_notebook_whose_name_is_a_command_is_only_a_name(checkout):
    name = "part/a'b $(touch ran); touch ran & --help"
    write(f"notebooks/{name}.ipynb", say("said"))
    code, printed = output_of(snakemake("runs"))
    assert code == 0 and f"{name} done" in printed, printed
    assert published(name, "smoke").results.exists() and not Path("ran").exists()


# What listens


def test_nothing_listens_but_on_loopback(built):
    write("notebooks/part/second.ipynb", say("edited"), WAIT)
    process = snakemake()
    wait_until(Path("running").exists)
    everything = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    found = [(each.name(), one) for each in everything for one in each.net_connections("inet")]
    listening = {one.laddr.ip for _, one in found if one.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}, found
    assert {one.raddr.ip for _, one in found if one.raddr} <= {"127.0.0.1"}, found
    Path("go").touch()
    assert output_of(process)[0] == 0


# What would run what it reads

RUNS_WHAT_IT_READS = {"eval", "loads_pickle", "read_pickle", "extractall", "extract", "system", "popen"}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
LOADERS = {"load", "load_all", "full_load", "unsafe_load"}


def faults_of(code):
    """The lines of a program that would run what they read, or write where an archive says."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [name.name for name in node.names] + [getattr(node, "module", None) or ""]
            if MODULES & {name.split(".")[0] for name in names}:
                found.append(node)
        if not isinstance(node, ast.Call):
            continue
        called, words = node.func, {word.arg: word.value for word in node.keywords}
        of = called.value.id if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) else ""
        name = getattr(called, "attr", getattr(called, "id", ""))
        loader = ast.unparse(node.args[1] if len(node.args) > 1 else words.get("Loader", ast.Constant(None)))
        is_set = lambda word: word in words and getattr(words[word], "value", True) is not False
        if (
            (name in RUNS_WHAT_IT_READS and not (name == "eval" and isinstance(called, ast.Attribute)))
            or (of == "yaml" and name in LOADERS and loader not in ("_Loader", "yaml.SafeLoader"))
            or is_set("allow_pickle")
            or is_set("shell")
        ):
            found.append(node)
    return [ast.unparse(node) for node in found]


def sources():
    for path in sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("pipeline/**/*.py")]):
        yield path, path.read_text()
    for path in sorted(ROOT.glob("notebooks/**/*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                yield path, "".join(line for line in cell.source.splitlines(True) if not line.lstrip().startswith("%"))


def test_no_code_runs_what_it_reads():
    found = {path.relative_to(ROOT).as_posix(): bad for path, code in sources() if (bad := faults_of(code))}
    assert found == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=allowed)",
        "yaml.load(text)",
        "yaml.load(text, yaml.Loader)",
        "yaml.load(text, Loader=yaml.UnsafeLoader)",
        "yaml.unsafe_load(text)",
        "tar.extractall()",
        "tar.extract(member)",
        "eval(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "pandas.read_pickle(path)",
    ],
)
def test_the_scan_finds_what_it_looks_for(code):
    assert faults_of(code)
    assert not faults_of("np.load(path); np.load(path, allow_pickle=False); yaml.safe_load(t); model.eval()")


def test_the_loader_of_claims_is_the_safe_one():
    from earlytime._claim_files import _Loader

    assert issubclass(_Loader, yaml.SafeLoader) and _Loader.yaml_constructors == yaml.SafeLoader.yaml_constructors
