"""What the site needs beside `mkdocs.yml`: files of the root as pages, charts of the benchmarks, examples of docstrings.

MkDocs loads this file for its hooks, griffe for its extension.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import griffe  # type: ignore[import-not-found,unused-ignore]

ROOT = Path(__file__).parent.parent

# A page may be a file of the root: all of it, one section, or all except one. Readers of the Markdown see this sentence.
INCLUDE = re.compile(
    r"^This page is (?P<file>[A-Z]+\.md) of the repository(?:, (?P<how>only|without) the section (?P<section>\w+))?\.$",
    re.MULTILINE,
)

# Where the site has the files of the root that texts link to.
PAGES = {
    "ARCHITECTURE.md": "project/architecture.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
}

CHARTS = ("chart.png", "schedules.png")


def on_files(files: Any, config: Any) -> Any:
    """Adds the charts, which the benchmarks write beside themselves."""
    from mkdocs.structure.files import File  # type: ignore[import-not-found,unused-ignore]

    for name in CHARTS:
        files.append(File.generated(config, f"reference/{name}", abs_src_path=str(ROOT / "benches" / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    folder = os.path.dirname(page.file.src_uri)
    return INCLUDE.sub(lambda found: included(folder, **found.groupdict()), markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """A browser loads nothing from elsewhere."""
    loaded = re.findall(
        r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?https?:[^>]*|<link\b[^>]*\bhref=[\"']?https?:[^>]*", output
    )
    if loaded:
        raise SystemExit(f"{page.file.src_uri} loads {loaded[0]}")
    return output


def included(folder: str, file: str, how: str | None, section: str | None) -> str:
    text = (ROOT / file).read_text(encoding="utf-8")
    if how is not None:
        before, own, after = parted(text, str(section))
        text = own.replace("## ", "# ", 1) if how == "only" else before + after
    return re.sub(r"\]\(([A-Z]+\.md)\)", lambda found: f"]({os.path.relpath(PAGES[found[1]], folder)})", text)


def parted(text: str, section: str) -> tuple[str, str, str]:
    """What stands before a section, the section, and what stands after it."""
    start = text.index(f"\n## {section}\n") + 1
    end = text.find("\n## ", start)
    return (text[:start], text[start:], "") if end < 0 else (text[:start], text[start : end + 1], text[end + 1 :])


class Readable(griffe.Extension):  # type: ignore[misc,unused-ignore]
    """What griffe reads, as the page shows it."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """The examples of docstrings stand in no section of their own: as code, else Markdown takes `>>>` for quotations."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)

    def on_package(self, *, pkg: Any, **_: Any) -> None:
        """The values of defaults in place of the names of their constants."""
        client = pkg["_client"]
        constants = {name: str(one.value) for name, one in client.attributes.items()}
        for owner in (client, client["Client"]):
            for function in owner.functions.values():
                for one in (function, *(function.overloads or ())):
                    for parameter in one.parameters:
                        parameter.default = constants.get(str(parameter.default), parameter.default)


def fenced(text: str) -> str:
    found = re.compile(r"^>>> .*\n(?:.+\n?)*", re.MULTILINE)
    return found.sub(lambda block: f"```pycon\n{block[0].rstrip()}\n```\n", text)
