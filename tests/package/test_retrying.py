"""tenacity, stamina and Celery with the errors, as the README shows them."""

from __future__ import annotations

from typing import Any, Callable

import pytest
import saymon_bulk
from peer import END, FINISHED, ID, LOGIN, PASSWORD, Peer, Wire, response
from saymon_bulk import NotFoundError, SaymonError

BUSY = response("{}", 503)
UNKNOWN = response('{"code": "NotFound"}', 404)


def with_tenacity(ask: Callable[[], Any]) -> Any:
    tenacity = pytest.importorskip("tenacity", reason="tenacity from PyPI is not installed")
    is_transient = tenacity.retry_if_exception(lambda error: isinstance(error, SaymonError) and error.transient)
    stop, wait = tenacity.stop_after_attempt(5), tenacity.wait_fixed(0.01)
    return tenacity.retry(retry=is_transient, stop=stop, wait=wait, reraise=True)(ask)()


def with_stamina(ask: Callable[[], Any]) -> Any:
    stamina = pytest.importorskip("stamina", reason="stamina from PyPI is not installed")

    def is_transient(error: Exception) -> bool:
        return isinstance(error, SaymonError) and error.transient

    return stamina.retry(on=is_transient, attempts=5, wait_initial=0.01)(ask)()


RETRYING = {"tenacity": with_tenacity, "stamina": with_stamina}
retrying = pytest.mark.parametrize("retried", RETRYING.values(), ids=RETRYING)


@retrying
def test_what_is_transient_is_tried_again(peer: Peer, retried: Callable[..., Any]) -> None:
    peer.answer(BUSY, Wire.reset, END)
    assert retried(lambda: saymon_bulk.get_bulk_status(peer.host, ID, LOGIN, PASSWORD)) == FINISHED
    assert len(peer.requests) == 3


@retrying
def test_what_is_not_is_not(peer: Peer, retried: Callable[..., Any]) -> None:
    peer.answer(UNKNOWN)
    with pytest.raises(NotFoundError):
        retried(lambda: saymon_bulk.get_bulk_status(peer.host, ID, LOGIN, PASSWORD))
    assert len(peer.requests) == 1


@retrying
def test_no_start_is_sent_twice(peer: Peer, retried: Callable[..., Any]) -> None:
    peer.answer(BUSY)
    client = saymon_bulk.Client(peer.host, LOGIN, PASSWORD)
    with pytest.raises(saymon_bulk.StartUncertainError):
        retried(lambda: client.start_clone("an object"))
    assert len(peer.requests) == 1


def test_an_error_of_a_celery_task_comes_back_whole(peer: Peer) -> None:
    celery = pytest.importorskip("celery", reason="celery from PyPI is not installed")
    worker = pytest.importorskip("celery.contrib.testing.worker")
    app = celery.Celery("jobs", broker="memory://", backend="cache+memory://")
    transient: list[bool] = []

    def ask(task: Any, host: str) -> Any:
        try:
            return saymon_bulk.get_bulk_status(host, ID, LOGIN, PASSWORD)
        except SaymonError as error:
            transient.append(error.transient)
            if error.transient:
                raise task.retry(countdown=0) from error
            raise

    job = app.task(name="ask", bind=True)(ask)
    peer.answer(BUSY, UNKNOWN)
    with worker.start_worker(app, perform_ping_check=False, pool="solo"), pytest.raises(NotFoundError) as caught:
        job.delay(peer.host).get(timeout=60)
    assert transient == [True, False]
    assert (caught.value.status_code, caught.value.code, caught.value.id) == (404, "NotFound", ID)
