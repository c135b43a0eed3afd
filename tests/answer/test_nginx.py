"""nginx in front of the server, as most installations have it: its errors and its habits."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import saymon_bulk
from peer import FINISHED, ID, LOGIN, PASSWORD, ask, failure
from saymon_bulk.testing import PracticeServer
from servers import ANSWER, Certificates, Nginx, Request, Site, StartNginx, guarded, wait_until


def connections(requests: list[Request]) -> list[int]:
    return [request.connection for request in requests]


# The password


@pytest.mark.parametrize("site", ["plain", "good"])
def test_through_the_password(front: Nginx, certificates: Certificates, practice: PracticeServer, site: str) -> None:
    before = len(practice.requests)
    assert ask(front.url(site), verify=certificates.ca) == FINISHED
    assert practice.requests[before:] == [("GET", f"/node/api/bulk/{ID}/status")]


def test_an_operation_that_still_runs(front: Nginx, practice: PracticeServer) -> None:
    running = practice.add_bulk(3600.0)
    assert ask(front.url("plain"), id=running) == {"finished": False}


def test_an_id_that_nginx_must_hand_on_as_it_is(front: Nginx, practice: PracticeServer) -> None:
    for name in ("a/b", "..%2f", "a b?c#d", "a\\b", "%2e%2e", "\u0438\u043c\u044f"):
        practice.add_bulk(0.0, id=name)
        assert ask(front.url("plain"), id=name) == FINISHED


@pytest.mark.parametrize("site", ["plain", "good"])
@pytest.mark.parametrize(("login", "password"), [(LOGIN, "wrong-Password"), ("nobody", PASSWORD)])
def test_a_wrong_password_is_nginx_s_own_page(
    front: Nginx, certificates: Certificates, site: str, login: str, password: str
) -> None:
    error = failure(front.url(site), verify=certificates.ca, login=login, password=password)
    assert isinstance(error, saymon_bulk.AuthError)
    assert isinstance(error, PermissionError)
    assert (error.status_code, error.code, error.message) == (401, None, None)
    assert "<title>401 Authorization Required</title>" in str(error.body)
    assert (error.host, error.id) == (front.url(site), ID)
    assert password not in f"{error} {error!r} {vars(error)}"


def test_what_nginx_lets_through_the_server_may_refuse(front: Nginx, practice: PracticeServer) -> None:
    practice.fail_next(1, 403)
    error = failure(front.url("plain"))
    assert isinstance(error, saymon_bulk.AuthError)
    assert (error.status_code, error.code) == (403, "Forbidden")


def test_a_cyrillic_login(start_nginx: StartNginx, tmp_path: Path) -> None:
    login = "\u043e\u043f\u0435\u0440\u0430\u0442\u043e\u0440"
    password = "\u0441\u043b\u043e\u0432\u043e"
    (tmp_path / "users").write_text(f"{login}:{{PLAIN}}{password}\n", encoding="utf-8")
    users = f'auth_basic "monitoring"; auth_basic_user_file {tmp_path}/users;'
    with PracticeServer(login, password) as practice:
        practice.add_bulk(0.0, id=ID)
        site = Site(f"{users} location / {{ proxy_pass {practice.host}; }}")
        nginx = start_nginx({"shop": site})
        assert ask(nginx.url("shop"), login=login, password=password) == FINISHED
        assert isinstance(failure(nginx.url("shop")), saymon_bulk.AuthError)


# Its errors


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_to_https_is_not_followed_but_explained(start_nginx: StartNginx, status: int) -> None:
    sites = {"http": Site(f"return {status} https://$host:444$request_uri;")}
    nginx = start_nginx(sites)
    error = failure(nginx.url("http"))
    assert type(error) is saymon_bulk.HTTPStatusError
    assert error.status_code == status
    assert "https://127.0.0.1:444" in str(error)
    assert "write" in str(error)
    assert ID not in str(error).partition("https://127.0.0.1:444")[2]
    assert len(nginx.requests("http", 1)) == 1


def test_the_server_behind_it_is_gone(start_nginx: StartNginx, nobody: str) -> None:
    nginx = start_nginx({"gone": Site(f"location / {{ proxy_pass http://{nobody}; }}")})
    error = failure(nginx.url("gone"))
    assert type(error) is saymon_bulk.HTTPStatusError
    assert (error.status_code, error.code, error.message) == (502, None, None)
    assert "<title>502 Bad Gateway</title>" in str(error.body)
    assert "502" in str(error)
    assert len(nginx.requests("gone", 1)) == 1


@pytest.fixture
def mute() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_the_server_behind_it_is_mute(start_nginx: StartNginx, mute: str) -> None:
    patience = "proxy_read_timeout 200ms;"
    nginx = start_nginx({"mute": Site(f"location / {{ proxy_pass {mute}; {patience} }}")})
    error = failure(nginx.url("mute"))
    assert type(error) is saymon_bulk.HTTPStatusError
    assert (error.status_code, error.code) == (504, None)
    assert "504" in str(error)


def test_maintenance(start_nginx: StartNginx) -> None:
    page = "add_header Retry-After 120 always; return 503;"
    nginx = start_nginx({"shop": Site(page)})
    error = failure(nginx.url("shop"))
    assert isinstance(error, saymon_bulk.HTTPStatusError)
    assert error.status_code == 503
    assert error.retry_after == 120.0


def test_a_page_where_an_answer_should_be(start_nginx: StartNginx) -> None:
    page = "default_type text/html; return 200 '<html><title>Sign in</title></html>';"
    nginx = start_nginx({"shop": Site(page)})
    error = failure(nginx.url("shop"))
    assert isinstance(error, saymon_bulk.ResponseError)
    assert "text/html" in str(error)
    assert "Sign in" in str(error)


# Kept connections


@pytest.mark.parametrize("site", ["http", "https"])
def test_twenty_calls_are_one_connection(start_nginx: StartNginx, certificates: Certificates, site: str) -> None:
    nginx = start_nginx({"http": Site(ANSWER), "https": Site(ANSWER, "good")})
    for _ in range(20):
        assert ask(nginx.url(site), verify=certificates.ca) == FINISHED
    requests = nginx.requests(site, 20)
    assert len(set(connections(requests))) == 1
    assert [request.of_connection for request in requests] == list(range(1, 21))


@pytest.mark.parametrize("site", ["plain", "good"])
def test_errors_keep_the_connection_too(
    start_nginx: StartNginx,
    certificates: Certificates,
    practice: PracticeServer,
    tmp_path: Path,
    site: str,
) -> None:
    body = guarded(practice, tmp_path)
    nginx = start_nginx({"plain": Site(body), "good": Site(body, "good")})
    for _ in range(3):
        failure(nginx.url(site), verify=certificates.ca, password="wrong-Password")
        failure(nginx.url(site), verify=certificates.ca, id="unknown")
        assert ask(nginx.url(site), verify=certificates.ca) == FINISHED
    requests = nginx.requests(site, 9)
    assert [request.status for request in requests] == [401, 404, 200] * 3
    assert len(set(connections(requests))) == 1


@pytest.mark.parametrize("certificate", [None, "good"])
@pytest.mark.parametrize(
    ("habit", "per_connection"),
    [("keepalive_requests 3;", 3), ("keepalive_requests 1;", 1), ("keepalive_timeout 0;", 1)],
)
def test_so_many_requests_a_connection(
    start_nginx: StartNginx,
    certificates: Certificates,
    habit: str,
    per_connection: int,
    certificate: str | None,
) -> None:
    nginx = start_nginx({"shop": Site(f"{habit} {ANSWER}", certificate)})
    for _ in range(9):
        assert ask(nginx.url("shop"), verify=certificates.ca) == FINISHED
    requests = nginx.requests("shop", 9)
    expected = list(range(1, per_connection + 1)) * (9 // per_connection)
    assert [request.of_connection for request in requests] == expected


@pytest.mark.clock
@pytest.mark.parametrize("certificate", [None, "good"])
def test_a_connection_that_nginx_tires_of(
    start_nginx: StartNginx, certificates: Certificates, certificate: str | None
) -> None:
    nginx = start_nginx({"shop": Site(f"keepalive_timeout 30ms; {ANSWER}", certificate)})
    # Pauses around the very moment at which nginx hangs up.
    pauses = [0.0, 0.02, 0.025, 0.028, 0.029, 0.03, 0.031, 0.032, 0.035, 0.04, 0.1] * 3
    for pause in pauses:
        assert ask(nginx.url("shop"), verify=certificates.ca) == FINISHED
        time.sleep(pause)
    requests = nginx.requests("shop", len(pauses))
    assert len(requests) == len(pauses)
    assert 1 < len(set(connections(requests))) < len(pauses)


@pytest.mark.slow
@pytest.mark.parametrize("certificate", [None, "good"])
@pytest.mark.parametrize("again", ["reload", "restart"])
def test_between_calls_nginx_is_started_again(
    start_nginx: StartNginx, certificates: Certificates, again: str, certificate: str | None
) -> None:
    nginx = start_nginx({"shop": Site(ANSWER, certificate)})
    for _ in range(4):
        assert ask(nginx.url("shop"), verify=certificates.ca) == FINISHED
        assert ask(nginx.url("shop"), verify=certificates.ca) == FINISHED
        getattr(nginx, again)()
    assert ask(nginx.url("shop"), verify=certificates.ca) == FINISHED
    requests = nginx.requests("shop", 9)
    assert [request.of_connection for request in requests] == [1, 2] * 4 + [1]
    assert len({request.worker for request in requests}) == 5


@pytest.mark.slow
@pytest.mark.parametrize("certificate", [None, "good"])
def test_nginx_is_reloaded_while_it_is_asked(
    start_nginx: StartNginx, certificates: Certificates, certificate: str | None
) -> None:
    nginx = start_nginx({"shop": Site(ANSWER, certificate)})
    host, done = nginx.url("shop"), threading.Event()
    answers: list[int] = []
    errors: list[BaseException] = []

    def keep_asking() -> None:
        count = 0
        try:
            while not done.is_set():
                assert ask(host, verify=certificates.ca) == FINISHED
                count += 1
        except BaseException as error:
            errors.append(error)
        answers.append(count)

    threads = [threading.Thread(target=keep_asking) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        nginx.reload()
    done.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert errors == []
    assert min(answers) > 0
    wait_until(lambda: len(nginx.requests("shop")) == sum(answers), "every request's line")
