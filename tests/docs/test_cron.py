"""The scripts for cron and systemd in simulated nights: they start once, go on waiting, and never fail in silence."""

from __future__ import annotations

import configparser
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import fill, of, shell
from saymon_bulk._practice import park
from saymon_bulk.testing import PracticeServer

PAGE = "guides/cron.md"
UNITS = {Path(one.title).suffix[1:]: one.text for one in of(PAGE, "ini")}


class Job:
    """A script, its server, and its folder. A night is one run."""

    def __init__(self, name: str, server: PracticeServer, folder: Path) -> None:
        if shutil.which("flock") is None:
            pytest.skip("there is no flock")
        self.server, self.folder, self.file = server, folder, folder / "running"
        (script,) = [one.text for one in of(PAGE, "sh") if one.title.endswith(f"/{name}")]
        (folder / "job").write_text(script.replace("/var/lib/saymon", str(folder)).replace("--timeout 4h", "--timeout 0"))

    def night(self, code: int, says: str = "", *, password: str = "password", before: str = "", most: int = 1) -> None:
        """What cron does: it runs the script, and mails what comes on stderr."""
        done = shell(f"{before} sh job > /dev/null", self.folder, self.server, password)
        assert (done.returncode, bool(done.stderr)) == (code, code != 0), done.stderr
        assert re.search(says, done.stderr), done.stderr
        assert len(done.stderr.splitlines()) <= most

    @property
    def starts(self) -> int:
        return len(self.server.starts)

    def end(self, number: int = -1) -> None:
        """The operation finishes on the server."""
        self.server.add_bulk(0, id=self.server.starts[number].id)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    with PracticeServer("login", "password", finishes_after=0) as server:
        yield Job("start-rooms", server, fill(tmp_path))


@pytest.mark.slow
def test_a_week(job: Job) -> None:
    # Monday: it works.
    job.night(0)
    assert (job.starts, job.file.exists()) == (1, False)
    # Tuesday: the password is wrong. Nothing is started, so the next night tries again.
    job.night(4, "not started: HTTP 401", password="wrong")
    assert (job.starts, job.file.exists()) == (1, False)
    job.night(0)
    # The PATH of the crontab is wrong: not started either.
    job.night(127, "not found", before="PATH=/usr/bin:/bin;")
    job.night(0)
    # Wednesday: the answer to the start is lost. Nobody starts again until somebody has looked.
    job.server.lose_next()
    job.night(9, "Perhaps started. Look at the server before you start again")
    for _ in range(2):
        job.night(9, "perhaps started: look at the server, then delete .*/running or write the id into it")
    assert job.starts == 4
    job.file.write_text(job.server.starts[-1].id)
    job.night(0)
    assert (job.starts, job.file.exists()) == (4, False)
    # Thursday: it does not end. Each night says so, waits for the same operation, and starts nothing.
    job.server.finishes_after = math.inf
    for _ in range(3):
        job.night(8, "1 of 1 still running after 0:0.: [0-9a-f-]{36}$")
        assert job.starts == 5
    job.end()
    job.night(0)
    # Friday: the server is down at the start, and another night during the wait.
    job.server.stop()
    job.night(1, "not started: Connection refused")
    assert not job.file.exists()
    job.server.start()
    job.night(8, "still running")
    job.server.stop()
    job.night(1, "the last poll failed: Connection refused")
    job.server.start()
    assert job.starts == 6
    job.end()
    job.night(0)
    # Saturday: an earlier run still goes on.
    job.night(75, "an earlier run still goes on", before="exec 8> lock; flock 8;")
    assert job.starts == 6
    # Sunday: the server has forgotten the operation, until somebody deletes the file.
    job.file.write_text("forgotten")
    for _ in range(2):
        job.night(1, "bulk operation forgotten: HTTP 404")
    job.file.unlink()
    job.server.finishes_after = 0
    job.night(0)
    assert job.starts == 7


def test_a_run_that_is_killed_in_its_start(job: Job) -> None:
    """The power fails, or somebody ends the process: the file is there, and empty."""
    job.file.touch()
    job.night(9, "perhaps started")
    assert job.starts == 0


@pytest.fixture
def planned(tmp_path: Path) -> Iterator[Job]:
    with PracticeServer("login", "password", finishes_after=0) as server:
        server.objects.update({id: one for id, one in park().items() if one["parent_id"] == ["62d7e58056d203149a0801ff"]})
        folder = fill(tmp_path)
        (folder / "search.json").write_text('{"name": "CPU"}')
        job = Job("change-rooms", server, folder)
        script = folder / "job"
        script.write_text(script.read_text().replace("apply ", "apply --settle 0 "))
        yield job


@pytest.mark.slow
def test_a_week_with_plans(planned: Job) -> None:
    job, plan, journal = planned, planned.folder / "plan.json", planned.folder / "plan.json.log"

    def room(value: str | None = None) -> str:
        """The room of the object that is changed; somebody else may set it."""
        (cpu,) = [one for one in job.server.objects.values() if one["name"] == "CPU"]
        (found,) = [one for one in cpu["properties"] if one["name"] == "Room"]
        found["value"] = value or found["value"]
        return str(found["value"])

    # Monday: it works. The next night there is nothing to do.
    job.night(0)
    job.night(0)
    assert (job.starts, plan.exists(), journal.exists(), room()) == (1, False, False, "7")
    # Tuesday: the password is wrong. Nothing is planned.
    room("5")
    job.night(4, "HTTP 401", password="wrong")
    assert not plan.exists()
    # Wednesday: it does not end. Each night says so, and starts nothing.
    job.server.finishes_after = math.inf
    for _ in range(2):
        job.night(8, "not finished after 0", most=4)
        assert job.starts == 2
    # Thursday: the power failed before the answer was in the journal. Nobody starts again until somebody has looked.
    whole = journal.read_text()
    journal.write_text(whole.splitlines(keepends=True)[0])
    for _ in range(2):
        job.night(9, "perhaps started by an earlier apply", most=4)
        assert job.starts == 2
    # Friday: it ends, and has changed nothing.
    journal.write_text(whole)
    job.end()
    job.night(3, 'Room is "5", not "7" .unchanged', most=4)
    job.night(5, "the plan was applied already")
    assert job.starts == 2
    # Saturday: a new plan.
    journal.unlink()
    plan.unlink()
    job.server.finishes_after = 0
    job.server.stop()
    job.night(1, "Connection refused")
    job.server.start()
    job.night(0)
    assert (job.starts, room()) == (3, "7")
    # Sunday: the plan of a run that was killed is older than a change by somebody else.
    room("5")
    shell("saymon-bulk plan -q --search search.json --bulk bulk.json --out plan.json", job.folder, job.server)
    room("6")
    job.night(5, "changed since the plan was made, or gone", most=4)
    assert job.starts == 3
    plan.unlink()
    journal.unlink()
    job.night(0)
    assert job.starts == 4


@pytest.mark.slow
def test_a_plan_whose_run_was_killed_at_its_end(planned: Job) -> None:
    job = planned
    shell("saymon-bulk plan -q --search search.json --bulk bulk.json --out plan.json", job.folder, job.server)
    shell("saymon-bulk apply -q plan.json", job.folder, job.server)
    job.night(5, "the plan was applied already")
    assert job.starts == 1


def test_the_units() -> None:
    assert [one.title for one in of(PAGE, "ini")] == [f"/etc/systemd/system/change-rooms.{name}" for name in UNITS]
    units = {}
    for name, text in UNITS.items():
        units[name] = configparser.ConfigParser(strict=False, interpolation=None)
        units[name].optionxform = str  # type: ignore[assignment,method-assign]
        units[name].read_string(text)
    assert units["service"]["Service"]["Type"] == "oneshot"
    assert "Restart" not in units["service"]["Service"]
    assert units["timer"]["Timer"]["OnCalendar"]


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze")
    for name, text in UNITS.items():
        (tmp_path / f"change-rooms.{name}").write_text(text.replace("/usr/local/bin/change-rooms", "/bin/true"))
    words = [analyze, "verify", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert "change-rooms" not in done.stderr
