"""The commands `status` and `wait`."""

from __future__ import annotations

from .._client import INTERVAL, MAX_INTERVAL
from ..errors import WaitTimeoutError
from .progress import TICK, progress
from .results import is_running, report, worst
from .streams import note

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from .._client import Client
    from .._core import Step
    from .options import Options


def status(client: Client, ids: list[str], options: Options) -> int:
    """As a wait without time, since its answers come one by one: a silent server holds back no line of another."""
    left, codes = set(ids), []
    waits = client._waits(ids, (0.0, INTERVAL, MAX_INTERVAL, 0, options.concurrency), True)
    if options.verbose:
        _tell_nothing_of_polling()
    try:
        for steps in waits:
            for step in steps:
                # What comes of a printed one later is the end of the wait: the time is over, or a 401 has come.
                if step.id in left:
                    left.remove(step.id)
                    outcome = step.status if step.error is None else step.error
                    assert outcome is not None
                    codes.append(report(step.id, outcome, options))
            if not left:
                break
    finally:
        waits.close()
    return worst(codes)


def _tell_nothing_of_polling() -> None:
    """A request that times out on a kept connection is tolerated without a retry, and the log says so."""
    import logging

    logging.getLogger("saymon_bulk").addFilter(lambda record: "polling goes on" not in str(record.msg))


def wait(client: Client, ids: list[str], options: Options, untold: str | None = None) -> int:
    """`untold`: what an interrupt must not take away."""
    left = dict.fromkeys(ids, False)
    try:
        code = _follow(client, options, left)
    except KeyboardInterrupt as interrupt:
        from . import interrupted

        if untold:
            note(untold)
        code = interrupted(interrupt)
    if left and not options.quiet:
        from .resume import hint

        note(hint(left, client, options))
    return code


def _follow(client: Client, options: Options, left: dict[str, bool]) -> int:
    """Report each operation as its wait ends. `left` keeps those to wait for, and whether each is known to run."""
    codes = []
    plan = (options.timeout, options.interval, options.max_interval, options.retries, options.concurrency)
    waits = client._waits(list(left), plan, True)
    bar = progress(len(left), wanted=not (options.quiet or options.verbose))  # the log's lines would run into it
    is_interrupted = False
    try:
        while (steps := waits.next_within(TICK)) is not None:
            for step in steps:
                bar.trouble(_trouble(step, options.retries))
                if not step.is_over:
                    left[step.id] = step.error is None
                    continue
                outcome = step.status if step.error is None else step.error
                assert outcome is not None
                bar.clear()
                codes.append(report(step.id, outcome, options))
                if isinstance(outcome, WaitTimeoutError):
                    left[step.id] = is_running(step.id, outcome)
                else:
                    del left[step.id]
                    bar.one_is_done()
            bar.tick()
    except KeyboardInterrupt:
        is_interrupted = True  # the terminal has put its ^C into the bar's line
        raise
    finally:
        waits.close()
        bar.close(leave=is_interrupted)
    return worst(codes)


def _trouble(step: Step, retries: int) -> str:
    """What the progress says after a failure that is tolerated."""
    if step.error is None or step.is_over:
        return ""
    status_code = getattr(step.error, "status_code", None)
    what = f"answers {status_code}" if status_code else "does not answer"
    return f"server {what}, {step.failures} of {retries}"
