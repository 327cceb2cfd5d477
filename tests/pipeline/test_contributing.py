"""What a stranger meets first: how to contribute, to cite, to report, and what runs when they push."""

import re
import tomllib
from pathlib import Path

import earlytime
import pytest
import yaml
from address import read_address
from earlytime import claims
from pybtex.database import parse_file

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").iterdir())
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").iterdir())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAPERS = ["hu2020surprising", "lee2019wide", "liu2020linearity"]


def read(path):
    return yaml.safe_load((ROOT / path).read_text())


def steps_of(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_make_and_nothing_else(path):
    workflow = read(path)
    commands = [step["run"] for step in steps_of(workflow) if "run" in step]
    assert commands and all(re.fullmatch(r"make( [\w=-]+)+|\.ci/run", command) for command in commands)
    actions = [step["uses"] for step in steps_of(workflow) if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in actions)
    assert all(("run" in step) != ("uses" in step) for step in steps_of(workflow))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_write_only_where_they_publish(path):
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        publishes = any("deploy-pages" in step.get("uses", "") for step in job["steps"])
        assert job.get("permissions") == ({"pages": "write", "id-token": "write"} if publishes else None)


def test_every_change_is_tested_and_main_is_published():
    workflow = read(".github/workflows/book.yml")
    # YAML 1.1 reads the word `on` as true.
    assert workflow[True] == {"push": {"branches": ["main"]}, "pull_request": None}
    test, book, publish = (workflow["jobs"][name] for name in ("test", "book", "publish"))
    assert [step["run"] for step in test["steps"] if "run" in step] == [".ci/run"] and "if" not in test
    assert [step["run"] for step in book["steps"] if "run" in step] == ["make book"]
    assert book["if"] == "github.event_name == 'push'" and book["needs"] == "test" and publish["needs"] == "book"
    (upload,) = [step for step in book["steps"] if "upload-pages-artifact" in step.get("uses", "")]
    assert upload["with"] == {"path": "_build/standard/html"}


def test_ci_run_checks_tests_and_builds_by_make():
    lines = (ROOT / ".ci/run").read_text().splitlines()
    makes = [line.strip().partition(" 2>&1")[0] for line in lines if line.strip().startswith("make ")]
    assert makes == [
        "make check",
        "make test",
        "make book PROFILE=smoke",
        "make test-book PROFILE=smoke",
        'make test-colab COLAB_PYTHON="$colab" NOTEBOOKS="quickstart lee2019/ensembles"',
    ]


def test_pre_commit_runs_make_check():
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    (hook,) = repository["hooks"]
    assert repository["repo"] == "local" and hook["entry"] == "make check"
    assert hook["language"] == "system" and hook["pass_filenames"] is False and hook["always_run"] is True


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_forms_are_well_formed(path):
    form = read(path)
    assert form.keys() <= {"name", "description", "title", "body"} and form["name"] and form["description"]
    for field in form["body"]:
        assert field["type"] in {"input", "textarea"} and re.fullmatch(r"[\w-]+", field["id"])
        assert field["attributes"].keys() <= {"label", "description", "placeholder", "render"}
        assert field["attributes"]["label"]
    assert len({field["id"] for field in form["body"]}) == len(form["body"])


def test_a_differing_verdict_is_reported_with_what_it_takes_to_see_why():
    form = read(".github/ISSUE_TEMPLATE/verdict.yml")
    fields = {field["id"]: field["attributes"] for field in form["body"]}
    required = {field["id"] for field in form["body"] if field.get("validations", {}).get("required")}
    assert form["name"] == "A verdict differs on my machine"
    assert required == {"claim", "verdicts", "command", "results", "run"}
    assert fields["claim"]["placeholder"] in claims.load_claims()
    assert "results/NOTEBOOK.json" in fields["results"]["description"]
    assert "results/NOTEBOOK.run.json" in fields["run"]["description"]


def test_citation_names_this_project():
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert citation["message"] and citation["title"].startswith(PROJECT["name"])
    assert [author.keys() for author in citation["authors"]] == [{"name"}]
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert citation["repository-code"] == read_address(ROOT)


@pytest.mark.parametrize("key, reference", list(zip(PAPERS, read("CITATION.cff")["references"], strict=True)))
def test_citation_gives_the_papers_as_the_book_does(key, reference):
    entry = parse_file(str(ROOT / "book/references.bib")).entries[key]
    pages = [str(reference[name]) for name in ("start", "end") if name in reference]
    assert reference["type"] == "conference-paper"
    assert reference["title"] == entry.fields["title"]
    assert reference["collection-title"] == entry.fields["booktitle"]
    assert reference["url"] == entry.fields["url"]
    assert [str(reference[name]) for name in ("volume", "year")] == [entry.fields[name] for name in ("volume", "year")]
    assert "--".join(pages) == entry.fields.get("pages", "")
    assert [(author["family-names"], author["given-names"]) for author in reference["authors"]] == [
        (" ".join(person.last_names), " ".join(person.first_names + person.middle_names))
        for person in entry.persons["author"]
    ]


def test_types_are_delivered_with_the_module():
    assert (ROOT / "src/earlytime/py.typed").read_text() == ""
    delivered = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "py.typed" in delivered["earlytime"]


def test_contributing_is_short_and_names_what_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for section in text.split("\n## ")[1:]:
        assert len([line for line in section.splitlines()[1:] if line.strip() and not line.startswith("```")]) <= 10
    targets = set(re.findall(r"\bmake ([a-z][a-z-]*)", text))
    assert targets >= {"setup", "check", "test", "book", "address"}
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    paths = re.findall(r"(?<![\w/.])(?:\.ci|src|tests|pipeline)/[\w/.]*", text)
    assert len(paths) >= 8 and all((ROOT / path).exists() for path in paths if "NAME" not in path)
    names = set(re.findall(r"\bet\.(\w+)", text))
    assert names >= {"record_claim", "check_parameters"} and all(hasattr(earlytime, name) for name in names)
