"""CA files and directories: what is read of them, and what an error says of those that cannot be read."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
import saymon_bulk
from peer import FINISHED, ID, LOGIN, PASSWORD, ask, failure
from processes import FORKING, needs_fork, run_script
from servers import Certificates, Nginx

BOM = b"\xef\xbb\xbf"
KEY = b"-----BEGIN PRIVATE KEY-----\nTUlHSEFnRUFNQk1HQnlxR1NNNDlBZ0VHQ0Nx\n-----END PRIVATE KEY-----\n"


def utf_16(pem: bytes) -> bytes:
    return pem.decode().encode("utf-16")


# What is done to a PEM file, and it remains one.
SPELLINGS: dict[str, Callable[[bytes], bytes]] = {
    "a byte order mark": lambda pem: BOM + pem,
    "a byte order mark and CRLF": lambda pem: BOM + pem.replace(b"\n", b"\r\n"),
    "UTF-16": utf_16,
    "X509 CERTIFICATE": lambda pem: pem.replace(b" CERTIFICATE", b" X509 CERTIFICATE"),
    "text in another encoding": lambda pem: "Удостоверение\n".encode("cp1251") + pem + b"\xff\n" + pem,
    "a key before and behind": lambda pem: KEY + pem + KEY,
    "blanks at the ends of lines": lambda pem: pem.replace(b"\n", b" \t\n"),
}


@pytest.fixture(params=["the CA file", "a directory", "SSL_CERT_FILE", "SSL_CERT_DIR"])
def trusting(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the content of a file trusted; returns what `verify` must be for it."""

    def trust(content: bytes) -> Any:
        folder = tmp_path / "trusted"
        folder.mkdir(exist_ok=True)
        path = folder / "some name.txt"
        path.write_bytes(content)
        verify = folder if request.param in ("a directory", "SSL_CERT_DIR") else path
        if not request.param.startswith("SSL"):
            return verify
        monkeypatch.setenv(request.param, str(verify))
        return True

    return trust


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_pem_file_as_windows_and_openssl_write_it(
    front: Nginx, certificates: Certificates, trusting: Any, spelling: str
) -> None:
    verify = trusting(SPELLINGS[spelling](certificates.ca.read_bytes()))
    assert ask(front.url("good", "localhost"), verify=verify) == FINISHED


@pytest.mark.parametrize("options", [[], ["-addtrust", "serverAuth"], ["-addreject", "clientAuth", "-setalias", "ours"]])
def test_a_trusted_certificate(
    front: Nginx, certificates: Certificates, openssl: str, trusting: Any, options: list[str]
) -> None:
    verify = trusting(trusted_certificate(openssl, certificates, options))
    assert ask(front.url("good", "localhost"), verify=verify) == FINISHED


@pytest.mark.parametrize(
    "options", [["-addreject", "serverAuth"], ["-addtrust", "clientAuth"], ["-addreject", "anyExtendedKeyUsage"]]
)
def test_a_certificate_that_is_rejected_for_servers(
    front: Nginx, certificates: Certificates, openssl: str, trusting: Any, options: list[str]
) -> None:
    other = certificates.certificate("self-signed-ca").read_bytes()
    verify = trusting(other + trusted_certificate(openssl, certificates, options))
    assert "issuer" in str(failure(front.url("good", "localhost"), verify=verify))


def trusted_certificate(openssl: str, certificates: Certificates, options: list[str]) -> bytes:
    command = [openssl, "x509", "-in", str(certificates.ca), "-trustout", *options]
    made = subprocess.run(command, check=True, capture_output=True).stdout
    assert b"BEGIN TRUSTED CERTIFICATE" in made
    return made


# Directories


def test_each_file_of_a_directory_counts(front: Nginx, certificates: Certificates, tmp_path: Path) -> None:
    for name in ("unknown-ca", "self-signed"):
        shutil.copy(certificates.certificate(name), tmp_path / f"{name}.crt")
    shutil.copy(certificates.ca, tmp_path / "0123abcd.0")
    with contextlib.suppress(OSError):  # Windows gives few users the right to make links
        os.symlink("0123abcd.0", tmp_path / "the same")
        os.symlink("nowhere", tmp_path / "nothing")
    (tmp_path / "README").write_text("no certificate")
    (tmp_path / "below").mkdir()
    shutil.copy(certificates.certificate("self-signed-ca"), tmp_path / "below")
    for site in ("good", "unknown-ca", "self-signed"):
        assert ask(front.url(site, "localhost"), verify=tmp_path) == FINISHED
    assert "self-signed" in str(failure(front.url("self-signed-ca", "localhost"), verify=tmp_path))


def test_a_change_in_a_directory_counts_from_the_next_call(front: Nginx, certificates: Certificates, tmp_path: Path) -> None:
    host = front.url("good", "localhost")
    ours, other = certificates.ca.read_bytes(), certificates.certificate("self-signed-ca").read_bytes()
    (tmp_path / "other").write_bytes(other)
    steps: list[tuple[Callable[[], object], bool]] = [
        (lambda: None, False),
        (lambda: (tmp_path / "ours").write_bytes(ours), True),
        (lambda: (tmp_path / "ours").write_bytes(other), False),
        (lambda: (tmp_path / "other").write_bytes(ours), True),
        (lambda: (tmp_path / "other").unlink(), False),
    ]
    for change, is_trusted in steps:
        change()
        if is_trusted:
            assert ask(host, verify=tmp_path) == FINISHED
        else:
            assert "issuer" in str(failure(host, verify=tmp_path))


def test_a_directory_without_certificates(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("no certificate")
    with pytest.raises(ValueError, match="verify names a directory without a PEM certificate"):
        ask("localhost", verify=tmp_path)


# What is wrong with a file


def refused(path: Path, content: bytes) -> str:
    """What is said of a file with this content, alone and in a directory."""
    path.write_bytes(content)
    texts = []
    for verify in (path, path.parent):
        with pytest.raises(ValueError, match="verify ") as caught:
            ask("localhost", verify=verify)
        texts.append(str(caught.value))
        assert str(path) in texts[-1] or str(path.parent) in texts[-1]
    return "\n".join(texts)


def test_what_is_wrong_with_a_file(certificates: Certificates, tmp_path: Path) -> None:
    pem = certificates.ca.read_bytes()
    path = tmp_path / "ca.pem"
    for content, says in [
        (pem[: len(pem) // 2], "has no end"),
        (pem[: len(pem) // 2] + b"\n" + pem, "has no end"),
        (pem[:200] + b"?" + pem[200:], "broken"),
        (b"-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n", "broken"),
        (b"", "without a PEM certificate"),
        (KEY, "without a PEM certificate"),
    ]:
        assert refused(path, content).count(says) == 2


def test_a_file_in_der(certificates: Certificates, tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    der = x509.load_pem_x509_certificate(certificates.ca.read_bytes()).public_bytes(Encoding.DER)
    assert "-inform der" in refused(tmp_path / "ca.cer", der)


def test_no_byte_of_a_broken_file_is_shown(certificates: Certificates, tmp_path: Path) -> None:
    secret = b"c2VjcmV0IHdvcmRz"
    pem = certificates.ca.read_bytes()
    for content in [
        KEY.replace(b"TUlH", secret)[:60],
        b"-----BEGIN PRIVATE KEY " + secret + b"\n" + secret,
        pem[:100] + secret,
        pem[:60] + b"-----BEGIN " + secret + b"-----\n" + pem,
        pem.replace(b"-----END", secret + b"!\n-----END"),
    ]:
        said = refused(tmp_path / "ca.pem", content)
        assert secret.decode() not in said
        assert str(list(secret[:6])).strip("[]") not in said
        assert all(len(line) < 200 + len(str(tmp_path)) for line in said.splitlines())


@pytest.mark.skipif(os.name == "nt", reason="no control characters in the names of files on this system")
def test_a_path_is_one_clean_line(tmp_path: Path) -> None:
    path = tmp_path / "a\nforged \x1b[31mline"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="verify") as caught:
        ask("localhost", verify=path)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_broken_certificate_of_a_store_costs_no_other(
    front: Nginx, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = certificates.ca.read_bytes()
    (tmp_path / "store.pem").write_bytes(pem[:200] + b"?" + pem[200:] + pem + pem[:300])
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "store.pem"))
    assert ask(front.url("good", "localhost")) == FINISHED
    assert isinstance(failure(front.url("unknown-ca", "localhost")), saymon_bulk.TransportError)


# Each child has so many descriptors left for its first call, and all of them for the next ones.
FEW_DESCRIPTORS = """
import os, resource, sys
import saymon_bulk
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))

def ask():
    try:
        return saymon_bulk.get_bulk_status(*sys.argv[1:5], verify=eval(sys.argv[5]))["finished"]
    except Exception as error:
        return error

for free in range(12):
    child = os.fork()
    if child == 0:
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        for descriptor in held[:free]:
            os.close(descriptor)
        first = ask()
        for descriptor in held[free:]:
            os.close(descriptor)
        print(free, first, ask(), ask(), sep="|", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize("where", ["SSL_CERT_FILE", "SSL_CERT_DIR", "verify"])
def test_a_want_of_descriptors_passes(front: Nginx, certificates: Certificates, tmp_path: Path, where: str) -> None:
    folder = tmp_path / "trusted"
    folder.mkdir()
    shutil.copy(certificates.ca, folder / "ca.pem")
    place = folder / "ca.pem" if where == "SSL_CERT_FILE" else folder
    verify, variables = (repr(str(place)), {}) if where == "verify" else ("True", {where: str(place)})
    done = run_script(
        FEW_DESCRIPTORS, front.url("good", "localhost"), ID, LOGIN, PASSWORD, verify, flags=FORKING, **variables
    )
    lines = [line.split("|") for line in done.stdout.splitlines()]
    assert [line[2:] for line in lines] == [["True", "True"]] * 12, done.stdout + done.stderr
    assert lines[-1][1] == "True"
    failures = [line[1] for line in lines if line[1] != "True"]
    assert failures
    assert not [text for text in failures if "no CA certificates" in text or "PEM certificate" in text]


def test_a_store_that_appears_later_counts(
    front: Nginx, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "later.pem"))
    error = failure(front.url("good", "localhost"), verify=True)
    assert "no CA certificates found" in str(error)
    shutil.copy(certificates.ca, tmp_path / "later.pem")
    assert ask(front.url("good", "localhost"), verify=True) == FINISHED
