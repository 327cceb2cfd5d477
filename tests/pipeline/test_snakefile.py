"""Whatever goes wrong, in whatever order: the build after it is complete and current, or fails again."""

import base64
import json
import os
import signal
from pathlib import Path

import pytest
from tiny_checkout import (
    FROM_BEFORE,
    RESULTS,
    STAGE,
    WAIT,
    assert_builds,
    assert_current,
    assert_fails,
    build,
    output_of,
    page,
    say,
    shown,
    snakemake,
    stop,
    wait_until,
    write,
)


def test_unknown_profile_is_refused(checkout):
    code, printed = output_of(snakemake("-n", profile="huge"))
    assert code != 0 and "expected one of ['gpu', 'smoke', 'standard'], got 'huge'" in printed


def test_a_profile_is_refused_before_anything_runs_or_is_removed(built):
    """By name, in one line for each value; these are the module's own rules."""
    real = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    profile = built / "pipeline/profiles/smoke.yaml"
    profile.write_text("part/fourth: {seed: 1}\n")
    code, printed = output_of(snakemake(env=real))
    refused = "pipeline/profiles/smoke.yaml names ['part/fourth'], which are not in notebooks/"
    assert code != 0 and printed.splitlines()[-2] == refused and FROM_BEFORE in printed
    profile.write_text("first: {seed: 4294967296}\npart/second: {sead: 1}\n")
    third = Path("notebooks/part/third.ipynb")
    before = third.read_bytes()
    write(third, say("third"), "open('ran', 'w')")
    code, printed = output_of(snakemake(env=real))
    lines = [line for line in printed.splitlines() if line.startswith("notebooks/")]
    assert code != 0 and [line.split(",")[0] for line in lines] == [
        "notebooks/first.ipynb: seed: expected a whole number from 0 to 4294967295",
        "notebooks/part/second.ipynb: sead: this notebook has no such parameter (did you mean seed?); "
        "it has results_path",
    ]
    assert "Traceback" not in printed and FROM_BEFORE in printed and not Path("ran").exists()
    profile.write_text("{}\n")
    third.write_bytes(before)
    assert_current()


def test_after_failures_the_next_build_fails_again_until_they_are_mended(built):
    write("notebooks/first.ipynb", say("edited"))
    write("notebooks/part/second.ipynb", say("second"), "raise RuntimeError('on purpose')")
    write("notebooks/part/third.ipynb", say("third"), "import os\nos.kill(os.getpid(), 9 * (seed == 5))")
    Path("pipeline/profiles/smoke.yaml").write_text("part/third: {seed: 5}\n")
    printed = assert_fails("part/second", "part/third", runs={"first"})
    assert "on purpose" in printed and "Kernel died" in printed
    assert shown() == page(first="first 0", second="second 0", third="third 0")
    assert json.loads((RESULTS / "first.json").read_text())["claims"] == {"edited": 0}
    assert_fails("part/second", "part/third")
    write("notebooks/part/second.ipynb", say("mended"))
    assert_fails("part/third", runs={"part/second"})
    Path("pipeline/profiles/smoke.yaml").write_text("part/third: {seed: 6}\n")
    assert_builds({"part/third"}, first="edited 0", second="mended 0", third="third 6")
    assert_current()


@pytest.mark.slow
def test_after_a_terminated_group_the_next_build_is_complete(built):
    write("notebooks/part/second.ipynb", say("edited"), WAIT)
    process = snakemake(start_new_session=True)
    wait_until(Path("running").exists)
    stop(process, lambda: os.killpg(process.pid, signal.SIGTERM))
    Path("go").touch()
    assert_builds({"part/second"}, first="first 0", second="edited 0", third="third 0")


def test_after_a_kill_nothing_runs_on_and_the_next_build_is_complete(built):
    write("notebooks/part/second.ipynb", say("edited"), WAIT)
    killed = snakemake()
    wait_until(Path("running").exists)
    code, _, printed = build()
    assert code != 0 and "another build of the profile smoke is running" in printed
    stop(killed, killed.kill)
    assert any(Path(".snakemake/incomplete").iterdir())  # what Snakemake itself would ask about
    Path("go").touch()
    assert_builds({"part/second"}, first="first 0", second="edited 0", third="third 0")


WHOLE = {"first": "first 0", "second": "second 0", "third": "third 0"}


def test_what_was_deleted_or_altered_by_hand_is_named_and_made_again(built):
    (STAGE / "first.ipynb").unlink()
    (RESULTS / "part/second.json").unlink()
    third = RESULTS / "part/third.json"
    third.write_text(third.read_text()[:-5])
    printed = assert_builds({"first", "part/second", "part/third"}, **WHOLE)
    assert f"{STAGE}/first.ipynb is gone: running first again" in printed
    assert f"{RESULTS}/part/second.json is gone: running part/second again" in printed
    assert f"{RESULTS}/part/third.json was cut short or altered: running part/third again" in printed
    assert_current()


@pytest.mark.slow
def test_records_and_pages_that_were_altered_by_hand_are_made_again(built):
    record = RESULTS / "first.run.json"
    record.write_text(record.read_text()[:-5])
    (RESULTS / "part/second.run.json").unlink()
    (STAGE / "part/third.ipynb").write_text((STAGE / "part/third.ipynb").read_text().replace("third 0", "third 1"))
    printed = assert_builds({"first", "part/second", "part/third"}, **WHOLE)
    assert f"{record} was cut short" in printed and "second.run.json is gone" in printed
    Path("_build/smoke/html/index.html").write_text("altered")
    assert "_build/smoke/html was cut short or altered: building the book again" in assert_builds(set(), **WHOLE)
    assert_current()


@pytest.mark.slow
def test_times_of_change_decide_nothing(built):
    past, future = (0, 0), (2**31, 2**31)  # in 1970, in 2038
    for path in [*Path("notebooks").rglob("*"), *Path("src").rglob("*"), *Path("book").rglob("*")]:
        os.utime(path, future)
    assert_current()
    for path in built.rglob("*"):
        os.utime(path, future)
    write("notebooks/first.ipynb", say("edited"))
    os.utime("notebooks/first.ipynb", past)
    write("notebooks/part/second.ipynb", say("altered"))
    os.utime("notebooks/part/second.ipynb", future)
    printed = assert_builds({"first", "part/second"}, first="edited 0", second="altered 0", third="third 0")
    assert "the source changed: running first, part/second again" in printed
    assert_current()


def test_a_notebook_that_is_removed_or_renamed_leaves_nothing_behind(built):
    Path("notebooks/first.ipynb").unlink()
    Path("notebooks/part/second.ipynb").rename("notebooks/part/renamed.ipynb")
    write("notebooks/part/third.ipynb", "1 / 0")
    printed = assert_fails("part/third", runs={"part/renamed"})
    assert "notebooks/first.ipynb is no more" in printed and "notebooks/part/second.ipynb is no more" in printed
    Path("notebooks/part/third.ipynb").unlink()
    assert_builds(set(), renamed="second 0")
    left = {path.name for path in Path("_build").rglob("*") if path.is_file()}
    assert not {name for name in left if name.startswith(("first", "second", "third"))}


@pytest.mark.slow
def test_what_snakemake_remembers_neither_skips_a_job_nor_blocks_one(built):
    for path in [*RESULTS.rglob("*.json"), *STAGE.rglob("*.ipynb"), Path("_build/smoke/book.json")]:
        name = base64.b64encode(str(path).encode()).decode()
        for folder in ("metadata", "incomplete"):
            Path(".snakemake", folder, name).write_text('["not a record"')
    assert_current()
    Path(".snakemake/locks").mkdir(exist_ok=True)
    Path(".snakemake/locks/0.output.lock").write_text("_build/smoke/book.json\n")
    (RESULTS / "first.json").unlink()
    assert_builds({"first"}, first="first 0", second="second 0", third="third 0")


def test_an_edit_during_the_run_is_not_taken_for_what_ran(built):
    write(
        "notebooks/part/second.ipynb", say("edited"), "with open('notebooks/part/second.ipynb', 'a') as f: f.write(' ')"
    )
    printed = assert_fails("part/second")
    assert "the source changed while it ran" in printed
    write("notebooks/part/second.ipynb", say("edited"), "with open('notebooks/first.ipynb', 'a') as f: f.write(' ')")
    assert "first: changed during the build" in assert_fails(runs={"part/second"})
    assert_builds({"first"}, first="first 0", second="edited 0", third="third 0")


def test_faults_of_the_book(built):
    meanwhile = Path("meanwhile.py")
    Path("book/index.md").write_text("# The book\n\n")
    meanwhile.write_text("raise SystemExit(1)")
    assert_fails()
    assert_fails()
    meanwhile.write_text("Path('book/index.md').write_text('# The book' + chr(10))")
    assert "the text changed during the build" in assert_fails()
    meanwhile.write_text("Path('running').touch()\nwhile not Path('go').exists(): time.sleep(0.1)")
    killed = snakemake()
    wait_until(Path("running").exists)
    stop(killed, killed.kill)
    meanwhile.unlink()
    assert shown() == page(**WHOLE)
    assert_builds(set(), **WHOLE)
