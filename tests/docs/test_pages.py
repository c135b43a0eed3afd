"""Every code block of `docs/` runs, against practice servers, each page in a namespace or a shell of its own; links work."""

from __future__ import annotations

import asyncio
import configparser
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pages
import pytest
from pages import DOCS, PAGES, PRACTICE, ROOT, blocks, masked, of, scripts
from readme import fill, shell, with_host
from saymon_bulk._practice import park
from saymon_bulk.testing import PracticeServer
from servers import free_port

LANGUAGES = {"python", "sh", "text", "json", "ini", "crontab", "bat"}

# Of what only some readers have. These pages take seconds.
SLOW = {"guides/beyond-one-machine.md", "guides/notebooks.md", "guides/asyncio-and-services.md"}

# Lines that build or install the package, which takes minutes: test_sdist.py and test_wheel.py do the same.
INSTALLS = re.compile(r"^.*(?:~/saymon|pip install|make wheel).*$", re.MULTILINE)


# Made from the parser; test_cli_help.py runs each of its examples.
COMMANDS = "reference/commands.md"


def each(language: str) -> list[Any]:
    names = [name for name in PAGES if of(name, language) and name != COMMANDS]
    return [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in names]


@pytest.fixture
def server() -> Iterator[PracticeServer]:
    with PracticeServer("login", "password", finishes_after=0.3) as server:
        server.objects.update(park())
        for bulk_id in set(re.findall(pages.UUID, "".join(PAGES.values()))):
            server.add_bulk(0, id=bulk_id)
        yield server


@pytest.fixture
def demo(server: PracticeServer) -> Iterator[PracticeServer]:
    """The server that `python -m saymon_bulk.testing` serves."""
    with PracticeServer("demo", "demo-password", finishes_after=0.3) as demo:
        demo.objects.update(park())
        yield demo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path)


def test_every_language_is_looked_at() -> None:
    for name, text in PAGES.items():
        assert {one.language for one in blocks(name)} <= LANGUAGES, name
        assert text.count("```") == 2 * len(blocks(name)), name


@pytest.mark.parametrize("page", each("python"))
def test_python_blocks(
    page: str, server: PracticeServer, demo: PracticeServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for name, value in (("HOST", server.host), ("LOGIN", "login"), ("PASSWORD", "password")):
        monkeypatch.setenv(f"SAYMON_{name}", value)
    names: dict[str, Any] = {"__name__": "page"}

    async def run() -> None:
        for one in of(page, "python"):
            if pages.can_run(one.text):
                source = with_host(one.text, server).replace(f"http://{PRACTICE}", demo.host)
                told = await pages.run_python(source, names, page)
                if one.shown is not None:
                    assert masked(told) == masked(one.shown)

    asyncio.run(run())


@pytest.mark.parametrize("page", each("sh"))
def test_shell_blocks(page: str, server: PracticeServer, folder: Path) -> None:
    for one in blocks(page):
        if one.title and "/" not in one.title:
            (folder / one.title).write_text(with_host(one.text, server))
    script = with_host(pages.session(page).replace(PRACTICE.partition(":")[2], str(free_port())), server)
    done = shell(INSTALLS.sub(":", script), folder, server)
    runs = pages.printed(done.stdout)
    assert len(runs) == len(scripts(page)), done.stdout
    for one, (status, told) in zip(scripts(page), runs):
        assert status == 0, (one.text, told)
        if one.shown is not None:
            assert masked(told) == masked(one.shown), one.text


@pytest.mark.parametrize("page", each("json"))
def test_json_blocks(page: str) -> None:
    for one in of(page, "json"):
        assert json.loads(one.text)


@pytest.mark.parametrize("page", each("ini"))
def test_ini_blocks(page: str) -> None:
    for one in of(page, "ini"):
        reader = configparser.ConfigParser(strict=False, interpolation=None)
        reader.read_string(one.text)
        assert reader.sections()


def slug(heading: str) -> str:
    """The anchor that the site gives a heading."""
    return re.sub(r"[^\w -]", "", re.sub(r"[`*]", "", heading).strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {
        slug(heading) for heading in re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    }


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    """Of the Markdown alone, for readers of the source distribution. `make docs` checks those of the site."""
    for link in re.findall(r"\]\(([^)]*)\)", PAGES[page]):
        path, _, anchor = link.partition("#")
        if link.startswith("https://"):
            continue
        target = (DOCS / page).parent / path if path else DOCS / page
        if target.suffix == ".png":
            assert (ROOT / "benches" / target.name).is_file()
            continue
        text = PAGES[target.resolve().relative_to(DOCS).as_posix()]
        assert not anchor or anchor in anchors(text) or "<!-- " in text or "::: " in text, link


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    assert sorted(re.findall(r"[\w/.-]+\.md", menu)) == sorted(PAGES)


def words(text: str) -> str:
    """Source text with its literals joined: over lines, with the marks of Python and the line ends of Rust taken away."""
    text = re.sub(r'"\s*\n\s*[rbf]?"|\\\n\s*', "", text)
    return re.sub(r"\s+", " ", re.sub(r"\{[^{}]*\}", "…", text))


def test_every_message_of_troubleshooting_is_one_of_the_code() -> None:
    paths = [*(ROOT / "src").rglob("*.rs"), *(ROOT / "python").rglob("*.py")]
    sources = [words(path.read_text(encoding="utf-8").partition("#[cfg(test)]")[0]) for path in paths]
    rows = re.findall(r"^\| `([^`]*)` \|", PAGES["troubleshooting.md"], re.MULTILINE)
    assert len(rows) >= 25
    assert len(set(rows)) == len(rows)
    for row in rows:
        for part in filter(None, map(str.strip, row.split("…"))):
            assert any(part in source for source in sources), row
