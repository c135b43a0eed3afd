"""The README: short, and it names what there is. Its code blocks run as those of any page, in test_pages.py."""

from __future__ import annotations

import re

import pytest
from pages import PAGES, ROOT

README = PAGES["README.md"]


def test_it_is_short() -> None:
    assert README.count("\n") <= 170


def test_links_work_as_pypi_renders_them() -> None:
    markdown = pytest.importorskip("readme_renderer.markdown", reason="tests/requirements.txt has it")
    page = markdown.render(README)
    assert page is not None, "readme_renderer without [md]"
    assert len(set(re.findall(r'href="((?:docs/)?[^":]*\.md)"', page))) > 20


def test_the_files_it_names_exist() -> None:
    named = set(re.findall(r"`((?:benches|examples)/[\w./]+|[A-Z]+\.md)`", README))
    for name in named:
        assert (ROOT / name).is_file(), name


def test_the_commands_it_names_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`make ([\w-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_one_version() -> None:
    import saymon_bulk

    cargo = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    match = re.search(r'^version = "(.*)"$', cargo, re.MULTILINE)
    assert match
    # Cargo writes a development version in another way than Python (PEP 440).
    assert saymon_bulk.__version__ == match[1].replace("-dev.", ".dev")
    assert f"\n## {match[1].partition('-')[0]} (" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
