"""Every code block of `docs/` runs, against practice servers, each page in a namespace or a shell of its own; links work."""

from __future__ import annotations

import asyncio
import configparser
import inspect
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pages
import pytest
import saymon_bulk
from pages import DOCS, PAGES, PRACTICE, ROOT, blocks, fill, masked, of, scripts, shell, with_host
from saymon_bulk._practice import park
from saymon_bulk.cli.parser import ENVIRONMENT, JSON_KEYS, build, commands_of
from saymon_bulk.testing import PracticeServer
from servers import free_port

pytest_plugins = ["pytester"]

LANGUAGES = {"python", "sh", "text", "json", "ini", "crontab", "bat"}

# Pages that take seconds: they import much, or do what another one does.
SLOW = {
    "guides/asyncio-and-services.md",
    "guides/beyond-one-machine.md",
    "guides/notebooks.md",
    "quickstart.ru.md",
}

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
def dask(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a cluster, if the page has one."""
    if "dask.example.com" not in PAGES[request.getfixturevalue("page")]:
        return ""
    address: str = request.getfixturevalue("scheduler")
    return address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path)


def test_every_language_is_looked_at() -> None:
    for name, text in PAGES.items():
        assert {one.language for one in blocks(name)} <= LANGUAGES, name
        assert text.count("```") == 2 * len(blocks(name)), name
        shown = [one.shown for one in blocks(name) if one.language in ("python", "sh")]
        assert [one.text for one in of(name, "text") if not one.title and one.text not in shown] == [], name


@pytest.mark.parametrize("page", each("python"))
def test_python_blocks(
    page: str, server: PracticeServer, demo: PracticeServer, dask: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for name, value in (("HOST", server.host), ("LOGIN", "login"), ("PASSWORD", "password")):
        monkeypatch.setenv(f"SAYMON_{name}", value)
    names: dict[str, Any] = {"__name__": "page"}

    async def run() -> None:
        for one in of(page, "python"):
            if pages.can_run(one.text):
                source = with_host(one.text, server).replace(f"http://{PRACTICE}", demo.host)
                source = source.replace("dask.example.com:8786", dask)
                told = await pages.run_python(source, names, page)
                if one.shown is not None:
                    assert masked(told) == masked(one.shown)
        if "app" in names:
            assert await pages.asked(names["app"], f"/bulks/{names['ids'][0]}") == (200, b'{"finished":true}')
            assert (await pages.asked(names["app"], "/bulks/unknown"))[0] == 404

    asyncio.run(run())


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_test_of_the_reader(pytester: pytest.Pytester) -> None:
    (test,) = [one.text for one in of("guides/testing.md", "python") if "saymon_practice_server" in one.text]
    pytester.makepyfile(test)
    assert pytester.runpytest_subprocess("-p", "no:cacheprovider").parseoutcomes() == {"passed": 1}


def test_the_crontab() -> None:
    (crontab,) = of("guides/cron.md", "crontab")
    *settings, job = crontab.text.splitlines()
    assert {line.partition("=")[0] for line in settings} <= {*ENVIRONMENT, "PATH"}
    assert job.split()[5] in {one.title for one in of("guides/cron.md", "sh")}


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
        base = ROOT if page == "README.md" else (DOCS / page).parent
        target = base / path if path else DOCS / page
        if target.parent == ROOT:
            assert target.is_file(), link
            continue
        if target.suffix == ".png":
            assert (ROOT / "benches" / target.name).is_file()
            continue
        text = PAGES[target.resolve().relative_to(DOCS).as_posix()]
        assert not anchor or anchor in anchors(text) or "This page is " in text or "::: " in text, link


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    assert sorted(re.findall(r"[\w/.-]+\.md", menu)) == sorted({*PAGES} - {"README.md"})


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


# What the pages of the reference list


def rows_of(page: str, head: str) -> list[str]:
    """The first cells of a table."""
    _, found, table = PAGES[page].partition(f"| {head} |")
    assert found
    return re.findall(r"^\| (.*?) \|", table.partition("\n\n")[0].partition("\n")[2], re.MULTILINE)[1:]


def names_in(cells: list[str]) -> set[str]:
    return set(re.findall(r"`([\w-]+)`", " ".join(cells)))


def test_the_environment() -> None:
    assert names_in(rows_of("reference/environment.md", "Variable")) == {*ENVIRONMENT, "http_proxy", "all_proxy", "COLUMNS"}


def test_the_keys_of_json() -> None:
    assert names_in(rows_of("reference/json.md", "Key")) == set(JSON_KEYS)


def test_the_reasons_of_a_refusal() -> None:
    told = re.findall(r'^ +"([a-z-]+)": ', inspect.getdoc(saymon_bulk.PlanRefusedError) or "", re.MULTILINE)
    assert names_in(rows_of("reference/errors.md", "`reason`")) == set(told)


def test_the_files_of_a_plan(server: PracticeServer, tmp_path: Path) -> None:
    client = saymon_bulk.Client(server.host, "login", "password")
    plan = client.plan_bulk({"name": "CPU"}, [{"properties.createOrModify": {"name": "Room", "value": "7"}}])
    plan.save(tmp_path / "plan.json")
    server.finishes_after = 0
    client.apply_plan(plan, journal=tmp_path / "plan.json.log", settle=0)
    shown, line = (json.loads(one.text) for one in of("reference/plan-file.md", "json"))
    written = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert list(shown) == list(written)
    assert {frozenset(one) for one in shown["changes"]} == {frozenset(one) for one in written["changes"]}
    assert names_in(rows_of("reference/plan-file.md", "Key")) == set(written) - {"format", "version"}
    lines = [json.loads(one) for one in (tmp_path / "plan.json.log").read_text(encoding="utf-8").splitlines()]
    assert list(line) == list(lines[0])
    events = names_in(rows_of("reference/plan-file.md", "`event`"))
    assert {one["event"] for one in lines} < events
    source = (Path(saymon_bulk.__file__).parent / "_plans" / "journal.py").read_text(encoding="utf-8")
    assert events - {event for event in events if f'"{event}"' in source} == set()
    # A page that shows a file shows one that can be read.
    (tmp_path / "shown.json").write_text(of("reference/plan-file.md", "json")[0].text, encoding="utf-8")
    assert len(saymon_bulk.BulkPlan.load(tmp_path / "shown.json").changes) == 2


@pytest.mark.parametrize("page", PAGES)
def test_options_exist(page: str) -> None:
    top = build()
    known = {name for one in [top, *commands_of(top).values()] for action in one._actions for name in action.option_strings}
    for line in re.findall(r"saymon-bulk [^`\n]*(?:\\\n[^`\n]*)*", PAGES[page]):
        for words in line.replace("\\\n", " ").split("|"):
            if words.strip().startswith("saymon-bulk"):
                assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", words)) <= known, words


@pytest.mark.parametrize("page", PAGES)
def test_plain_words(page: str) -> None:
    found = re.findall(r"\btells? that\b|\bbut for\b|\bfor ever\b|\bgoes before\b|\bcounts\b", PAGES[page])
    assert found == [] or page == COMMANDS


@pytest.mark.slow
def test_the_recipe_with_curl_fails_where_curl_fails(server: PracticeServer, folder: Path) -> None:
    if shutil.which("curl") is None or shutil.which("jq") is None:
        pytest.skip("there is no curl, or no jq")
    (block,) = [one.text for one in of("guides/command-line.md", "sh") if "curl" in one.text]
    command = with_host(block, server)
    (folder / ".netrc").write_text("machine 127.0.0.1 login login password wrong")
    refused = shell(command, folder, server)
    assert refused.returncode != 0
    assert "401" in refused.stderr
    assert "stdin, line 1: the id is null" in refused.stderr
    server.stop()
    gone = shell(command, folder, server)
    assert gone.returncode != 0
    assert "curl: (7)" in gone.stderr
    assert [method for method, _ in server.requests] == ["POST"]
