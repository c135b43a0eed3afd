"""The example notebook, and both kinds of call in a Jupyter kernel."""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peer import LOGIN, PASSWORD, Peer
from processes import AT_ONCE
from saymon_bulk.testing import PracticeServer
from servers import wait_until

for needed in ("ipykernel", "ipywidgets", "matplotlib", "nbclient", "pandas", "tqdm"):
    pytest.importorskip(needed, reason=f"{needed} is not installed (tests/requirements.txt has it)")
nbclient: Any = pytest.importorskip("nbclient")
nbformat: Any = pytest.importorskip("nbformat")
jupyter_client: Any = pytest.importorskip("jupyter_client")

NOTEBOOK = Path(__file__).parents[2] / "examples" / "saymon_bulk.ipynb"
KERNEL = "the-tests-own"


@pytest.fixture(autouse=True)
def _jupyter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A kernel of this very Python, and nothing of the user's Jupyter."""
    folder = tmp_path / "kernels" / KERNEL
    folder.mkdir(parents=True)
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": KERNEL,
        "language": "python",
    }
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("MPLBACKEND", raising=False)


# The notebook


def outputs(notebook: Any) -> Iterator[tuple[str, Any]]:
    """(cell's id, output) for everything that the notebook shows."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            yield cell.id, output


def test_notebook_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert list(outputs(notebook)) == []
    assert all(cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


def test_notebook_runs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=60, kernel_name=KERNEL).execute()
    shown: dict[str, list[Any]] = {}
    for cell, output in outputs(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output  # a warning, or a bar without ipywidgets
        shown.setdefault(cell, []).append(output)

    def result(cell: str) -> Any:
        return shown[cell][-1].data

    assert result("one-status")["text/plain"] == "{'finished': False}"
    assert "{'finished': False}" in shown["wait"][0].text
    assert result("wait")["text/plain"] == "{'finished': True}"
    assert result("await-status")["text/plain"] == "{'finished': False}"
    assert result("await-wait")["text/plain"] == "{'finished': True}"
    for cell in ("bar", "async-bar"):
        assert "20/20" in bar_of(notebook, result(cell))
    assert len(result("figure")["image/png"]) > 10_000
    table = result("dataframe")["text/html"]
    assert all(word in table for word in ("finished", "True", "error", "NotFoundError"))
    assert result("count")["text/plain"] == "(20, 20)"
    assert "error.id = 'no-such-id', error.transient = False" in shown["exceptions"][0].text


def bar_of(notebook: Any, shown: Any) -> str:
    """The texts of a progress bar, as its widgets have them at the end."""
    widgets = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    view = shown["application/vnd.jupyter.widget-view+json"]["model_id"]
    parts = [child.removeprefix("IPY_MODEL_") for child in widgets[view]["state"]["children"]]
    return " ".join(str(widgets[part]["state"]["value"]) for part in parts)


# Calls in a kernel, whose event loop is running all the time


class Kernel:
    """A Jupyter kernel and a client of it."""

    def __init__(self) -> None:
        self._manager = jupyter_client.KernelManager(kernel_name=KERNEL)
        self._manager.start_kernel()
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=30)

    def start(self, code: str) -> None:
        """Begin to execute a cell."""
        self._client.execute(code, store_history=False)

    def outcome(self) -> str:
        """What the cell that was begun ends with: its value's repr, or its error's class."""
        found = ""
        while True:
            message = self._client.get_iopub_msg(timeout=30)
            kind, content = message["msg_type"], message["content"]
            asked = message["parent_header"].get("msg_type")
            if kind == "execute_result":
                found = content["data"]["text/plain"]
            elif kind == "error":
                found = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle" and asked == "execute_request":
                return found

    def run(self, code: str) -> str:
        self.start(code)
        return self.outcome()

    def interrupt(self) -> None:
        """Press the stop button."""
        self._manager.interrupt_kernel()

    def stop(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    one = Kernel()
    try:
        yield one
    finally:
        one.stop()


def test_blocking_calls_inside_the_running_loop(kernel: Kernel, server: PracticeServer) -> None:
    kernel.run(f"import asyncio, saymon_bulk; client = saymon_bulk.Client({server.host!r}, {LOGIN!r}, {PASSWORD!r})")
    assert kernel.run("asyncio.get_running_loop().is_running()") == "True"
    assert kernel.run("client.get_bulk_status('done')") == "{'finished': True}"
    assert kernel.run("client.wait_for_bulk('done')") == "{'finished': True}"
    assert kernel.run("await client.get_bulk_status_async('done')") == "{'finished': True}"


def test_the_stop_button(kernel: Kernel, server: PracticeServer, peer: Peer) -> None:
    peer.answer(lambda wire: wire.hold())
    for name, host in (("client", server.host), ("silent", peer.host)):
        kernel.run(f"import saymon_bulk; {name} = saymon_bulk.Client({host!r}, {LOGIN!r}, {PASSWORD!r})")

    def requests() -> int:
        return len(server.requests) + len(peer.requests)

    for call in (
        "silent.get_bulk_status('done')",
        "client.wait_for_bulk('never')",
        "list(client.wait_for_bulks(['never']))",
        "await client.wait_for_bulk_async('never')",
    ):
        before = requests()
        kernel.start(call)
        wait_until(functools.partial(lambda before: requests() > before, before), f"the request of {call}")
        pressed = time.monotonic()
        kernel.interrupt()
        if call.startswith("await"):
            # ipykernel cancels the task of a cell that awaits, and only when its loop wakes up: at the next poll.
            assert kernel.outcome() == "CancelledError"
        else:
            assert kernel.outcome() == "KeyboardInterrupt", call
            assert time.monotonic() - pressed < AT_ONCE, call
        assert kernel.run("client.get_bulk_status('done')") == "{'finished': True}"
