"""The vendor's own examples beside ours: what they print is what we return."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import saymon_bulk
from peer import ID, LOGIN, PASSWORD, ask, failure
from processes import run_script
from saymon_bulk.testing import PracticeServer
from servers import Certificates, Nginx, Site, StartNginx

# From the vendor's page, but for the four values, which come from the command line.
PYTHON = r"""
import sys
import requests

saymon_hostname, bulk_op_id, login, password = sys.argv[1:]
url = "https://" + saymon_hostname + "/node/api/bulk/" + \
    bulk_op_id + "/status"

response = requests.request("GET", url, auth=(login, password))
print(response.text)
"""

BASH = """
saymon_hostname=$0
bulk_op_id=$1
login=$2
password=$3
url=https://$saymon_hostname/node/api/bulk/$bulk_op_id/status

curl -X GET $url -u $login:$password
"""

CYRILLIC = "\u043e\u043f\u0435\u0440\u0430\u0442\u043e\u0440", "\u043f\u0430\u0440\u043e\u043b\u044c"


def cloning(example: str) -> str:
    """The vendor's example of a clone, which differs from that of a status in method and path."""
    for status, clone in (("GET", "POST"), ("/bulk/", "/objects/"), ("/status", "/clone-bulk")):
        assert status in example
        example = example.replace(status, clone)
    return example


def python(
    hostname: str, id: str, login: str, password: str, ca: Path, *, clone: bool = False
) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec("requests") is None:
        pytest.skip("there is no requests to run the vendor's example with")
    arguments = (hostname, id, login, password)
    return run_script(cloning(PYTHON) if clone else PYTHON, *arguments, REQUESTS_CA_BUNDLE=str(ca))


def bash(
    hostname: str, id: str, login: str, password: str, ca: Path, *, clone: bool = False
) -> subprocess.CompletedProcess[str]:
    if shutil.which("curl") is None or shutil.which("sh") is None:
        pytest.skip("there is no curl, or no shell, to run the vendor's example with")
    return subprocess.run(
        ["sh", "-c", cloning(BASH) if clone else BASH, hostname, id, login, password],
        env={**os.environ, "CURL_CA_BUNDLE": str(ca)},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


both = pytest.mark.parametrize("example", [python, bash])


def hostname(host: str) -> str:
    """The vendor's examples put the scheme before it themselves."""
    return host.replace("https://127.0.0.1", "localhost")


@both
@pytest.mark.parametrize("finished", [True, False])
def test_the_same_answer(
    front: Nginx, practice: PracticeServer, certificates: Certificates, example: Any, finished: bool
) -> None:
    name = hostname(front.url("good"))
    operation = practice.add_bulk(0.0 if finished else 3600.0)
    theirs = example(name, operation, LOGIN, PASSWORD, certificates.ca)
    assert theirs.returncode == 0, theirs.stderr
    ours = ask(name, id=operation, verify=certificates.ca)
    assert ours == json.loads(theirs.stdout) == {"finished": finished}


@both
def test_the_same_clone(front: Nginx, practice: PracticeServer, certificates: Certificates, example: Any) -> None:
    name, object_id = hostname(front.url("good")), "62d7e58056d203149a08001b"
    before = len(practice.starts)
    theirs = example(name, object_id, LOGIN, PASSWORD, certificates.ca, clone=True)
    assert theirs.returncode == 0, theirs.stderr
    ours = saymon_bulk.Client(name, LOGIN, PASSWORD, verify=certificates.ca).start_clone(object_id)
    first, second = practice.starts[before:]
    assert json.loads(theirs.stdout) == {"bulkId": first.id, "finished": False}
    assert ours == {"bulkId": second.id, "finished": False}
    assert first.path == second.path == f"/node/api/objects/{object_id}/clone-bulk"
    assert first.body is second.body is None


@pytest.mark.slow
@both
def test_the_same_refusal(
    start_nginx: StartNginx, practice: PracticeServer, certificates: Certificates, example: Any
) -> None:
    nginx = start_nginx({"open": Site(f"location / {{ proxy_pass {practice.host}; }}", "good")})
    name = hostname(nginx.url("open"))
    theirs = json.loads(example(name, ID, LOGIN, "wrong", certificates.ca).stdout)
    ours = failure(name, password="wrong", verify=certificates.ca)
    assert isinstance(ours, saymon_bulk.AuthError)
    assert ours.code == theirs["code"] == "InvalidCredentials"
    assert ours.message == json.loads(theirs["message"])["message"]

    theirs = json.loads(example(name, "unknown", LOGIN, PASSWORD, certificates.ca).stdout)
    ours = failure(name, id="unknown", verify=certificates.ca)
    assert isinstance(ours, saymon_bulk.NotFoundError)
    assert (ours.code, ours.message) == (theirs["code"], theirs["message"])


@pytest.mark.slow
@both
def test_the_same_distrust(front: Nginx, certificates: Certificates, example: Any) -> None:
    name = hostname(front.url("unknown-ca"))
    theirs = example(name, ID, LOGIN, PASSWORD, certificates.ca)
    assert theirs.returncode != 0
    assert "certificate" in theirs.stderr
    assert isinstance(failure(name, verify=certificates.ca), saymon_bulk.TransportError)


@pytest.mark.slow
def test_a_cyrillic_login(start_nginx: StartNginx, certificates: Certificates) -> None:
    with PracticeServer(*CYRILLIC) as practice:
        practice.add_bulk(0.0, id=ID)
        nginx = start_nginx({"open": Site(f"location / {{ proxy_pass {practice.host}; }}", "good")})
        name, (login, password) = hostname(nginx.url("open")), CYRILLIC
        ours = ask(name, login=login, password=password, verify=certificates.ca)
        assert ours == {"finished": True}
        # requests encodes Basic as latin-1; curl sends the terminal's bytes, ours are UTF-8.
        theirs = python(name, ID, login, password, certificates.ca)
        assert theirs.returncode != 0
        assert "UnicodeEncodeError" in theirs.stderr
        theirs = bash(name, ID, login, password, certificates.ca)
        assert json.loads(theirs.stdout) == ours
