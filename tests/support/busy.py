"""Tests with narrow bounds on the clock: where one fails and the machine was busy, the test has seen nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator

import pytest

# A process of its own, so that a call that holds the interpreter is no excuse. Prints how much longer the longest pause was.
_PAUSES = """
import sys, threading, time
latest = 0.0
def pause():
    global latest
    while True:
        began = time.monotonic()
        time.sleep(0.01)
        latest = max(latest, time.monotonic() - began - 0.01)
threading.Thread(target=pause, daemon=True).start()
sys.stdin.read()
print(latest)
"""

# In seconds: half of the narrowest bound.
_LATE = 0.03


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """A busy machine skips such a test, with its reason; on a machine that keeps time a failure stays one."""
    if item.get_closest_marker("clock") is None:
        return (yield)
    with subprocess.Popen([sys.executable, "-S", "-c", _PAUSES], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            return (yield)
        except Exception:
            late = float(process.communicate()[0])
            if late > _LATE:
                pytest.skip(f"the machine is busy: a pause of 0.01 s ended {late:.2f} s late")
            raise
        finally:
            process.kill()
