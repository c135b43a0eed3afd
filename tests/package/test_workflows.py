"""The workflows, dependabot and the forms of issues, as far as linters see: they run on machines that this one is not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
FILES = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))


def lint(program: str, *words: str | Path) -> None:
    command = Path(sys.executable).with_name(program)
    if not command.exists():
        pytest.skip(f"{program} from PyPI is not installed")
    done = subprocess.run([command, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def read(file: Path) -> dict[str, Any]:
    yaml = pytest.importorskip("ruamel.yaml")
    found: dict[str, Any] = yaml.YAML(typ="safe").load(file)
    return found


def test_all_are_there() -> None:
    assert [file.name for file in FILES] == ["ci.yml", "pages.yml", "release.yml"]


def test_every_key_is_one_of_a_workflow() -> None:
    lint("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *FILES)


def test_every_key_is_one_of_dependabot_and_of_a_form() -> None:
    assert FORMS
    lint("check-jsonschema", "--builtin-schema", "vendor.dependabot", GITHUB / "dependabot.yml")
    lint("check-jsonschema", "--builtin-schema", "vendor.github-issue-forms", *FORMS)


def test_nothing_that_zizmor_knows_as_unsafe() -> None:
    lint("zizmor", "--offline", "--strict-collection", "--no-progress", *FILES, GITHUB / "dependabot.yml")


def test_dependabot_looks_where_versions_are_named() -> None:
    names = {"cargo": "Cargo.toml", "pip": "requirements.txt", "github-actions": ".github/workflows"}
    looked = {(one["package-ecosystem"], one["directory"]) for one in read(GITHUB / "dependabot.yml")["updates"]}
    assert {ecosystem for ecosystem, _ in looked} == set(names)
    for ecosystem, directory in looked:
        assert (ROOT / directory.strip("/") / names[ecosystem]).exists()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_is_referred_to_exists(file: Path) -> None:
    jobs = read(file)["jobs"]
    for name, job in jobs.items():
        assert set(job.get("needs", [])) <= set(jobs), name
        given = [set(one) for one in job.get("strategy", {}).get("matrix", {}).get("include", [])]
        for wanted in re.findall(r"\bmatrix\.(\w+)", str(job)):
            assert given, name
            assert all(wanted in one for one in given), f"{name}: {wanted}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_an_action_is_one_commit(file: Path) -> None:
    for used in re.findall(r"uses: (.*)", file.read_text(encoding="utf-8")):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used)


def test_only_the_publishing_of_a_tag_and_of_the_site_may_write() -> None:
    jobs = {name: job for file in FILES for name, job in read(file)["jobs"].items()}
    writing = {name for name, job in jobs.items() if "write" in str(job.get("permissions"))}
    assert writing == {"publish", "deploy"}
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["deploy"]["permissions"] == {"pages": "write", "id-token": "write"}
    assert jobs["deploy"]["if"] == "${{ github.event_name == 'push' && github.ref == 'refs/heads/main' }}"
    assert jobs["publish"]["if"] == "${{ github.event_name == 'push' && github.ref_type == 'tag' }}"
    for file in FILES:
        assert "write" not in str(read(file)["permissions"])
        assert "secrets." not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_has_not_run_is_said_first(file: Path) -> None:
    head = file.read_text(encoding="utf-8").partition("\nname: ")[0]
    assert "# Not run yet: this whole file." in head
