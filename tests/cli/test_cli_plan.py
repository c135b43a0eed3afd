"""The commands search, plan, show, apply and verify: what they print, and their exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import COMMAND, Terminal, environment, exit_code, run, started
from peer import LOGIN, PASSWORD
from processes import POSIX
from saymon_bulk.testing import PracticeServer
from servers import wait_until

pytestmark = pytest.mark.usefixtures("user")

ROOM = '[{"properties.createOrModify": {"name": "Room", "value": "7"}}]'
CRITERIA = '{"class_id": 3}'
NOTHING = "This call started nothing"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PracticeServer]:
    monkeypatch.chdir(tmp_path)
    with PracticeServer(LOGIN, PASSWORD, finishes_after=0) as server:
        fill(server, 12)
        yield server


def fill(server: PracticeServer, count: int, name: str = "Стойка") -> None:
    server.objects.clear()
    for n in range(count):
        properties = [{"name": "Room", "value": str(n % 2 + 5)}] if n % 5 else []
        server.objects[f"a{n}"] = {
            "id": f"a{n}",
            "name": f"{name} {n}",
            "class_id": 3,
            "weight": n,
            "properties": properties,
        }


def planned(
    server: PracticeServer, *words: str, bulk: str = ROOM, path: str = "plan.json"
) -> subprocess.CompletedProcess[str]:
    return run(server, "plan", "--search", CRITERIA, "--bulk", bulk, "--out", path, *words)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_not_as_asked_is_no_exit_status_where_an_operation_may_run(server: PracticeServer) -> None:
    """The server does not know the operation of one object, which is as asked. Another object is not."""
    planned(server)
    plan = json.loads(Path("plan.json").read_text(encoding="utf-8"))
    ids = [one["id"] for one in plan["changes"]]
    about = {"format": "saymon-bulk-journal", "version": 1, "plan": plan["id"], "request_id": "r"}
    events: list[dict[str, Any]] = [{"event": "starting", "objects": ids[:1]}, {"event": "started", "bulkId": "forgotten"}]
    Path("plan.json.log").write_text("".join(json.dumps({**about, **event}) + "\n" for event in events), encoding="utf-8")
    server.objects[ids[0]]["properties"] = [{"name": "Room", "value": "7"}]
    server.skip_next()
    applied = run(server, "apply", "--settle=0", "plan.json")
    assert applied.returncode == 1
    assert applied.stdout.startswith("bulk operation forgotten: 1 object, not known to have finished\n")
    assert applied.stdout.endswith("11 objects as asked, 1 not as asked yet, 0 cannot be told\n")


def test_search(server: PracticeServer) -> None:
    fill(server, 2)
    server.objects["b"] = {"id": "b\n\x1b[31m", "class_id": 3, "name": "x\u202ey\nz"}
    found = run(server, "search", "--search", CRITERIA)
    assert found.stdout == "a0 Стойка 0\na1 Стойка 1\nb\\n\\x1b[31m x\\u202ey\\nz\n"
    assert run(server, "search", "--count", "--search", "{}").stdout == "3\n"
    assert lines(run(server, "search", "--json", "--search", CRITERIA).stdout) == list(server.objects.values())
    assert run(server, "search").returncode == 2


def test_the_way_of_a_plan(server: PracticeServer) -> None:
    made = planned(server)
    assert (made.returncode, made.stdout.splitlines()[-1]) == (0, "12 objects found, 12 to change, 0 already as asked")
    assert made.stdout.startswith('Room: "6" → "7" in 5 objects, "5" → "7" in 4 objects, absent → "7" in 3 objects\n')
    assert "… and 2 more (saymon-bulk show --all plan.json)\n" in made.stdout
    assert "saymon-bulk apply plan.json" in made.stderr
    before = len(server.requests)
    assert run(None, "show", "plan.json").stdout == made.stdout
    assert len(run(None, "show", "--all", "plan.json").stdout.splitlines()) == 14
    assert len(server.requests) == before
    assert server.starts == []

    server.skip_next()
    applied = run(server, "apply", "--settle=0", "plan.json")
    assert applied.returncode == 3
    id = server.starts[0].id
    assert applied.stdout.splitlines() == [
        f"bulk operation {id}: 12 objects, finished",
        'Стойка 0 (a0)  Room is absent, not "7" (unchanged)',
        "11 objects as asked, 1 not as asked, 0 cannot be told",
    ]
    again = run(server, "apply", "plan.json")
    assert (again.returncode, again.stdout) == (5, "")
    assert NOTHING in again.stderr
    assert again.stderr.endswith("to check the objects: saymon-bulk verify plan.json\n")
    verified = run(server, "verify", "--settle", "0", "plan.json")
    assert verified.returncode == 3
    assert verified.stdout.splitlines()[-1] == "11 objects as asked, 1 not as asked yet, 0 cannot be told"
    assert len(server.starts) == 1

    planned(server, path="second.json")
    assert run(server, "apply", "second.json").returncode == 0
    assert run(server, "verify", "plan.json").returncode == 0
    nothing = planned(server, "--exit-code")
    assert (nothing.returncode, nothing.stdout) == (0, "12 objects found, 0 to change, 12 already as asked\n")


@pytest.mark.parametrize("count", [1, 12, 20_000])
def test_as_json(server: PracticeServer, count: int) -> None:
    fill(server, count)
    *changes, summary = lines(planned(server, "--json").stdout)
    assert [change["id"] for change in changes] == list(server.objects)
    assert (summary["to_change"], summary["matched"], summary["already"]) == (count, count, 0)
    assert lines(run(None, "show", "--json", "plan.json").stdout) == [*changes, summary]
    *objects, summary = lines(run(server, "apply", "--json", "plan.json").stdout)
    assert objects == [{"id": id, "state": "as-asked"} for id in server.objects]
    starts = summary.pop("starts")
    assert summary == {"ok": True, "as_asked": count, "not_as_asked": 0, "unknown": 0}
    assert sum(start["objects"] for start in starts) == count
    (refused,) = lines(run(server, "apply", "--json", "plan.json").stdout)
    assert refused["error"] == "PlanRefusedError"


def test_exit_codes(server: PracticeServer) -> None:
    def codes(*words: str) -> int:
        Path("plan.json.log").unlink(missing_ok=True)
        return run(server, *words).returncode

    assert planned(server, "--exit-code").returncode == 3
    assert planned(server, "--at-most", "11", path="other.json").returncode == 5
    assert not Path("other.json").exists()
    assert planned(server, "--at-most", "12").returncode == 0
    assert codes("apply", "--at-most", "11", "plan.json") == 5
    assert codes("apply", "nosuch.json") == codes("apply", "-") == codes("verify", "plan.json.no") == 2
    assert planned(server, bulk='[{"stateTriggers": {"a": 1}}]').returncode == 2
    assert server.starts == []
    server.fail_next(3, 401)
    assert codes("apply", "plan.json") == 4
    assert codes("verify", "--settle", "0", "plan.json") == 4


def test_an_uncertain_start(server: PracticeServer) -> None:
    planned(server)
    server.finishes_after = 3600  # so that nothing is as asked
    with started(server, "apply", "plan.json") as process:
        wait_until(lambda: len(server.starts) == 1, "the start")
        process.send_signal(signal.SIGKILL)
        process.wait()
    journal = Path("plan.json.log").read_text(encoding="utf-8").splitlines()
    Path("plan.json.log").write_text(journal[0] + "\n", encoding="utf-8")  # killed before the answer
    again = run(server, "apply", "--settle", "0", "plan.json")
    assert again.returncode == 9
    assert "perhaps started" in again.stdout
    assert "the same command reads the objects again" in again.stderr
    assert "give the same command again" not in again.stderr
    assert "apply it with another --journal than plan.json.log" in again.stderr
    assert len(run(server, "apply", "--quiet", "--settle", "0", "plan.json").stderr.splitlines()) == 1
    assert len(server.starts) == 1
    server.finishes_after = 0
    for one in server.objects.values():
        one["properties"] = [{"name": "Room", "value": "7"}]
    assert run(server, "apply", "--settle", "0", "plan.json").returncode == 0
    assert len(server.starts) == 1


def test_the_way_out_of_a_plan_that_cannot_go_on(server: PracticeServer) -> None:
    planned(server)
    plan = json.loads(Path("plan.json").read_text(encoding="utf-8"))
    line = {"format": "saymon-bulk-journal", "version": 1, "plan": plan["id"], "event": "starting", "request_id": "r"}
    Path("plan.json.log").write_text(json.dumps({**line, "objects": ["a0"]}) + "\n", encoding="utf-8")
    assert run(server, "apply", "--settle", "0", "plan.json").returncode == 9
    planned(server)
    refused = run(server, "apply", "plan.json")
    assert (refused.returncode, len(server.starts)) == (5, 0)
    assert "an operation of an earlier plan in this journal (X-Request-Id r) perhaps runs" in refused.stderr
    assert refused.stderr.endswith("this journal is plan.json.log; --journal names another one\n")
    assert run(server, "apply", "--journal", "new.log", "plan.json").returncode == 0


def test_a_stale_plan(server: PracticeServer) -> None:
    planned(server)
    server.objects["a1"]["properties"] = [{"name": "Room", "value": "99"}]
    del server.objects["a2"]
    refused = run(server, "apply", "plan.json")
    assert (refused.returncode, refused.stdout) == (5, "")
    assert 'Стойка 1 (a1)  Room is "99", not "7" (another value)' in refused.stderr
    assert "Стойка 2 (a2)  gone" in refused.stderr
    *stale, error = map(json.loads, run(server, "apply", "--json", "plan.json").stdout.splitlines())
    assert [(one["state"], one["reason"]) for one in stale] == [("not-as-asked", "other-value"), ("not-as-asked", "gone")]
    assert (error["error"], error["reason"], error["objects"]) == ("PlanRefusedError", "stale", ["a1", "a2"])
    assert server.starts == []
    applied = run(server, "apply", "--skip-stale", "plan.json")
    assert applied.returncode == 3
    assert server.starts[0].body is not None
    assert "10 objects as asked, 2 not as asked" in applied.stdout


def test_the_status_of_an_error_comes_first(server: PracticeServer) -> None:
    """3 would mean that nothing runs any more: a script makes a new plan then."""
    planned(server)
    server.objects["a1"]["properties"] = [{"name": "Room", "value": "99"}]
    server.finishes_after = 3600
    running = run(server, "apply", "--skip-stale", "--timeout", "0.2", "plan.json")
    assert "1 not as asked" in running.stdout
    assert running.returncode == 8
    server.fail_next(1, 403)
    assert run(server, "apply", "--skip-stale", "plan.json").returncode == 4
    assert len(server.starts) == 1


@pytest.mark.skipif(not POSIX, reason="a link needs a right of its own on this system")
def test_a_plan_has_one_journal(server: PracticeServer) -> None:
    planned(server, path="rooms-30.json")
    for link, of in (("rooms.json", "rooms-30.json"), ("plan.json", "rooms.json")):
        Path(link).symlink_to(of)
    server.finishes_after = 3600
    for path in ("plan.json", "rooms-30.json", "rooms.json"):
        assert run(server, "apply", "--timeout", "0.2", path).returncode == 8
    assert len(server.starts) == 1
    assert sorted(path.name for path in Path().glob("*.log")) == ["rooms-30.json.log"]


def test_no_file(server: PracticeServer) -> None:
    planned(server)
    Path("folder").mkdir()
    requests = len(server.requests)
    Path("link.json").symlink_to("nosuch/plan.json")
    for out in ("-", "", "folder", "nosuch/plan.json", "link.json", *([os.devnull] if POSIX else [])):
        refused = planned(server, path=out)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "--out" in refused.stderr
    for journal in ("-", ""):
        refused = run(server, "apply", "--journal", journal, "plan.json")
        assert (refused.returncode, "--journal" in refused.stderr) == (2, True)
    assert len(server.requests) == requests
    assert not Path("-").exists()


@pytest.mark.parametrize("mode", ["w", "a"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_its_own_output_is_no_journal(server: PracticeServer, mode: str, stream: str) -> None:
    """`> plan.json.log` empties the journal before each run, and the same objects would be started again."""
    planned(server)
    requests = len(server.requests)
    with Path("plan.json.log").open(mode) as log:
        streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, stream: log}
        done = subprocess.run([*COMMAND, "apply", "plan.json"], env=environment(server), timeout=60, **streams)
    assert done.returncode == 2
    assert "--journal: the output of this command goes to plan.json.log" in (
        Path("plan.json.log").read_text(encoding="utf-8") if stream == "stderr" else done.stderr.decode()
    )
    assert len(server.requests) == requests


@pytest.mark.skipif(not POSIX, reason="no signals to a process on this system")
def test_a_second_signal_ends_it_where_nobody_reads_its_report(server: PracticeServer) -> None:
    fill(server, 5_000)
    planned(server)
    server.finishes_after = 3600
    with started(server, "apply", "--json", "plan.json") as process:
        wait_until(lambda: any(path.endswith("/status") for _, path in server.requests), "a poll")
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        while "terminated" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert exit_code(process) == 143


@pytest.mark.skipif(not POSIX, reason="no signals to a process on this system")
def test_ctrl_c_says_how_to_go_on(server: PracticeServer) -> None:
    planned(server)
    server.finishes_after = 3600
    with started(server, "apply", "plan.json") as process:
        wait_until(lambda: any(path.endswith("/status") for _, path in server.requests), "a poll")
        process.send_signal(signal.SIGINT)
        assert exit_code(process) == 130
        assert process.stdout is not None
        assert process.stderr is not None
        out, errors = process.stdout.read(), process.stderr.read()
    assert f"bulk operation {server.starts[0].id}: 12 objects, not known to have finished" in out
    assert "give the same command again; plan.json.log remembers what was started" in errors
    server.restart(forget=True)
    again = run(server, "apply", "--settle", "0", "plan.json")
    assert again.returncode == 1  # 3 would mean that nothing runs any more
    assert "apply it with another --journal than plan.json.log" in again.stderr
    assert len(server.starts) == 1


def test_hidden_values(server: PracticeServer) -> None:
    bulk = '[{"properties.createOrModify": {"name": "SNMP community", "value": "s3cret"}}]'
    made = planned(server, bulk=bulk)
    assert "(hidden)" in made.stdout
    everything = made.stdout + made.stderr + planned(server, "--json", bulk=bulk).stdout
    server.skip_next(12)
    everything += run(server, "apply", "--settle=0", "plan.json").stdout
    everything += run(server, "verify", "--settle=0", "--json", "plan.json").stdout
    assert "s3cret" not in everything
    assert "s3cret" in run(None, "show", "--show-values", "plan.json").stdout


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("name", ["Стойка", "\x1b[2J\u202ehostile\n", "漢字漢字漢字漢字漢字漢字"])
def test_on_a_terminal(server: PracticeServer, columns: int, name: str) -> None:
    fill(server, 12, name)
    with Terminal(server, "plan", "--search", CRITERIA, "--bulk", ROOM, columns=columns) as terminal:
        assert terminal.end() == 0
        screen = [line for line in terminal.screen() if line]
    assert all(line.isprintable() for line in screen)
    assert re.search("12 objects found, 12 to change, 0 already as asked", "\n".join(screen))
    if columns == 80:
        assert len(screen) == 1 + 10 + 1 + 1
    else:
        assert sum('→ "7"' in line for line in screen) >= 11


def test_the_environment_is_enough_for_show(server: PracticeServer) -> None:
    planned(server)
    env = {name: value for name, value in os.environ.items() if not name.startswith("SAYMON_")}
    assert "SAYMON_HOST" not in env
    assert run(None, "show", "plan.json", SAYMON_LOGIN="", SAYMON_PASSWORD="").returncode == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["apply", "--skip_stale", "p"], "unrecognized arguments: --skip_stale; did you mean --skip-stale?"),
        (["plan", "--at_most", "5"], "did you mean --at-most?"),
        (["plan", "--search", ROOM, "--bulk", ROOM], "not a list; are --search and --bulk swapped?"),
        (["plan", "--search", CRITERIA, "--bulk", CRITERIA], "not an object; are --search and --bulk swapped?"),
        (["plan", "--search", '{"a": 1,}', "--bulk", ROOM], "not JSON: a comma before } or ]"),
        (["plan", "--search", CRITERIA, "--bulk", '[{"modfy": {"a": 1}}]'], "the unknown key 'modfy'"),
        (["plan", "--search", CRITERIA, "--bulk", ROOM, "--out", "no/such/plan.json"], "--out: there is no folder no/such"),
        (["show", "search.json"], "PLAN search.json: No such file or directory"),
        (["apply", "-"], "PLAN is a file"),
    ],
    ids=range(9),
)
def test_slips(server: PracticeServer, words: list[str], says: str) -> None:
    result = run(server, *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert says in result.stderr
    assert server.requests == []


def test_nothing_found_is_told(server: PracticeServer) -> None:
    nothing = '{"name": "Стойка"}'
    for words in (["search"], ["plan", "--bulk", ROOM, "--out", "plan.json"]):
        result = run(server, *words, "--search", nothing)
        assert result.returncode == 0
        assert "no object matches the search" in result.stderr
        assert "saymon-bulk apply" not in result.stderr
    assert run(server, "plan", "--bulk", ROOM, "--search", nothing, "--quiet").stderr == ""


def test_an_error_before_anything_is_known_reports_nothing(server: PracticeServer) -> None:
    planned(server)
    result = run(server, "apply", "plan.json", SAYMON_PASSWORD="wrong")
    assert (result.returncode, result.stdout) == (4, "")
    assert "give the same command again" in result.stderr


def test_a_timeout_is_8(server: PracticeServer) -> None:
    planned(server)
    server.finishes_after = 3600
    result = run(server, "apply", "--timeout", "0.2", "--settle", "0", "plan.json")
    assert result.returncode == 8
    assert "not known to have finished" in result.stdout
    assert len(server.starts) == 1


def test_a_journal_that_cannot_be_made_is_not_said_to_remember(server: PracticeServer) -> None:
    planned(server)
    result = run(server, "apply", "--journal", "no-such-folder/x", "plan.json")
    assert result.returncode == 1
    assert "no-such-folder/x" in result.stderr
    assert "remembers" not in result.stderr
    assert server.starts == []


OPEN: dict[str, tuple[list[dict[str, str]], int, str]] = {
    "uncertain": ([], 9, "perhaps started"),
    "unknown": ([{"event": "started", "bulkId": "no-such-operation"}], 1, "HTTP 404"),
    "running": ([{"event": "started", "bulkId": "running"}], 8, "finished after 0.2 s"),
}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
@pytest.mark.parametrize("output", ["> /dev/full", "| true"])
@pytest.mark.parametrize("option", ["--skip-stale", "--json"])
@pytest.mark.parametrize(("events", "code", "says"), OPEN.values(), ids=OPEN)
def test_why_an_apply_ended_is_told_if_nobody_reads_its_output(
    server: PracticeServer, events: list[dict[str, str]], code: int, says: str, option: str, output: str
) -> None:
    planned(server)
    server.add_bulk(3600, id="running")
    plan = json.loads(Path("plan.json").read_text(encoding="utf-8"))
    head = {"format": "saymon-bulk-journal", "version": 1, "plan": plan["id"], "request_id": "r-1"}
    lines = [{**head, "event": "starting", "objects": ["a0"]}, *({**head, **event} for event in events)]
    Path("plan.json.log").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    apply = shlex.join([*COMMAND, "apply", "--settle", "0", "--timeout", "0.2", option, "plan.json"])
    script = f"set -o pipefail; {apply} {output}"
    done = subprocess.run(["bash", "-c", script], env=environment(server), stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert ("X-Request-Id r-1" if code == 9 else "bulk operation ") in done.stderr
    assert "the same command" in done.stderr
