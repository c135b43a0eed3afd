"""TLS: whom a call trusts, and what it says of those it does not."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import saymon_bulk
from peer import END, FINISHED, ID, LOGIN, PASSWORD, Peer, ask, failure
from processes import run_script
from servers import ANSWER, Certificates, Nginx, Site, StartNginx

# What a certificate is refused for, and the words that say so.
REASONS = [
    ("unknown-ca", r"unknown ?issuer"),
    ("expired", r"expired"),
    ("wrong-name", r"not valid for name.*\blocalhost\b"),
    ("self-signed", r"self-signed"),
    ("self-signed-ca", r"self-signed"),
]

ASK = f"""
import sys, saymon_bulk
for host in sys.argv[1:]:
    try:
        print(saymon_bulk.get_bulk_status(host, {ID!r}, {LOGIN!r}, {PASSWORD!r}))
    except saymon_bulk.TransportError as error:
        print(type(error).__name__, error)
"""


def accepted(host: str, **changes: Any) -> None:
    """It is answered, and without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ask(host, **changes) == FINISHED


def refused(reason: str, host: str, **changes: Any) -> None:
    """It is refused for that reason, which stands in one text with the host's name."""
    error = failure(host, **changes)
    assert type(error) is saymon_bulk.TransportError
    with pytest.raises(saymon_bulk.TransportError, match=f"(?is){reason}"):
        raise error
    assert host.rpartition("/")[2] in str(error)


def asked(*hosts: str, **environment: str) -> list[str]:
    """What a process with this environment prints of each host."""
    done = run_script(ASK, *hosts, **environment)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.fixture
def store(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's store holds the CA, and nothing else."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))


def only_good_is_trusted(front: Nginx, **environment: str) -> None:
    """A process with this environment trusts what the CA has signed, and nobody else."""
    good, bad = asked(*(front.url(site, "localhost") for site in ("good", "unknown-ca")), **environment)
    assert good == str(FINISHED)
    assert bad.startswith("TransportError")
    assert "issuer" in bad


# A CA file


@pytest.mark.parametrize("kind", [str, Path])
def test_a_ca_file(front: Nginx, certificates: Certificates, kind: Any) -> None:
    accepted(front.url("good", "localhost"), verify=kind(certificates.ca))


def test_a_host_without_a_scheme_is_asked_by_tls(front: Nginx, certificates: Certificates) -> None:
    accepted(front.url("good", "localhost").removeprefix("https://"), verify=certificates.ca)


def test_a_ca_file_with_more_in_it(front: Nginx, certificates: Certificates, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    others = [certificates.certificate("unknown-ca"), certificates.certificate("self-signed-ca")]
    texts = [path.read_text() for path in (*others, certificates.ca)]
    bundle.write_text("# ours\r\n" + "\r\nand another\r\n".join(texts).replace("\n", "\r\n"))
    accepted(front.url("good", "localhost"), verify=bundle)


@pytest.mark.parametrize(("site", "reason"), REASONS)
def test_what_the_ca_has_not_signed_is_refused(front: Nginx, certificates: Certificates, site: str, reason: str) -> None:
    refused(reason, front.url(site, "localhost"), verify=certificates.ca)


def test_those_refused_are_asked_nothing(start_nginx: StartNginx, certificates: Certificates) -> None:
    nginx = start_nginx({site: Site(ANSWER, site) for site, _ in REASONS})
    for site, reason in REASONS:
        refused(reason, nginx.url(site, "localhost"), verify=certificates.ca)
    nginx.stop()
    assert [nginx.requests(site) for site, _ in REASONS] == [[]] * len(REASONS)


@pytest.mark.usefixtures("store")
def test_the_ca_file_is_the_only_one_trusted(front: Nginx, certificates: Certificates) -> None:
    other = certificates.certificate("self-signed-ca")
    refused(r"unknown ?issuer", front.url("good", "localhost"), verify=other)


def test_the_same_path_with_another_ca_in_it(front: Nginx, certificates: Certificates, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(certificates.certificate("self-signed-ca").read_bytes())
    refused(r"unknown ?issuer", front.url("good", "localhost"), verify=path)
    path.write_bytes(certificates.ca.read_bytes())
    accepted(front.url("good", "localhost"), verify=path)


@pytest.mark.parametrize("site", ["self-signed-ca", "self-signed"])
def test_a_self_signed_certificate_as_its_own_ca(front: Nginx, certificates: Certificates, site: str) -> None:
    accepted(front.url(site, "localhost"), verify=certificates.certificate(site))
    accepted(front.url(site, "127.0.0.1"), verify=certificates.certificate(site))


def test_a_self_signed_certificate_of_another_name(front: Nginx, certificates: Certificates) -> None:
    site = "self-signed-elsewhere"
    own = certificates.certificate(site)
    reason = r"not valid for name.*\blocalhost\b"
    refused(reason, front.url(site, "localhost"), verify=own)
    refused(r"not valid for name.*127\.0\.0\.1", front.url(site), verify=own)


def test_a_self_signed_certificate_that_has_expired(front: Nginx, certificates: Certificates) -> None:
    site = "self-signed-expired"
    own = certificates.certificate(site)
    refused(r"expired", front.url(site, "localhost"), verify=own)


def test_one_self_signed_certificate_does_not_vouch_for_another(front: Nginx, certificates: Certificates) -> None:
    own = certificates.certificate("self-signed-elsewhere")
    refused(r"self-signed", front.url("self-signed-ca", "localhost"), verify=own)


# Names


def test_an_ip_address(front: Nginx, certificates: Certificates) -> None:
    accepted(front.url("good", "127.0.0.1"), verify=certificates.ca)


def test_an_ip_address_that_the_certificate_does_not_name(front: Nginx, certificates: Certificates) -> None:
    accepted(front.url("name-only", "localhost"), verify=certificates.ca)
    reason = r"not valid for name.*127\.0\.0\.1"
    refused(reason, front.url("name-only", "127.0.0.1"), verify=certificates.ca)


def test_an_ipv6_address(front: Nginx, certificates: Certificates) -> None:
    if "ipv6" not in front.ports:
        pytest.skip("no IPv6 loopback on this machine")
    accepted(front.url("ipv6", "[::1]"), verify=certificates.ca)


# The system's store


def test_the_store_by_ssl_cert_file(front: Nginx, certificates: Certificates) -> None:
    only_good_is_trusted(front, SSL_CERT_FILE=str(certificates.ca))


def test_the_store_by_ssl_cert_dir(front: Nginx, certificates: Certificates, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make the folder with")
    shutil.copy(certificates.ca, tmp_path)
    subprocess.run([openssl, "rehash", str(tmp_path)], check=True)
    only_good_is_trusted(front, SSL_CERT_DIR=str(tmp_path))


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("site", "reason"), REASONS)
def test_what_the_store_does_not_know_is_refused(front: Nginx, site: str, reason: str) -> None:
    refused(reason, front.url(site, "localhost"))


def test_without_any_store(front: Nginx, tmp_path: Path) -> None:
    nowhere = {
        "SSL_CERT_FILE": str(tmp_path / "nowhere.pem"),
        "SSL_CERT_DIR": str(tmp_path / "nowhere"),
    }
    plain, secure, again = asked(front.url("plain"), front.url("good", "localhost"), front.url("plain"), **nowhere)
    assert (plain, again) == (str(FINISHED), str(FINISHED))
    assert secure.startswith("TransportError")
    assert "CA certificates" in secure


def test_a_ca_file_needs_no_store(
    front: Nginx, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    accepted(front.url("good", "localhost"), verify=certificates.ca)


# Trusting everybody


@pytest.mark.slow
def test_verify_false_accepts_them_all_and_warns(start_nginx: StartNginx) -> None:
    sites = ["good", "self-signed-elsewhere", *(site for site, _ in REASONS)]
    nginx = start_nginx({site: Site(ANSWER, site) for site in sites})
    for site in sites:
        for name in ("localhost", "127.0.0.1"):
            with pytest.warns(saymon_bulk.InsecureConnectionWarning):
                assert ask(nginx.url(site, name), verify=False) == FINISHED


@pytest.mark.usefixtures("store")
def test_a_connection_that_nobody_vouched_for_is_not_used_again(start_nginx: StartNginx, certificates: Certificates) -> None:
    nginx = start_nginx({"shop": Site(ANSWER, "unknown-ca")})
    host = nginx.url("shop", "localhost")
    for _ in range(2):
        with pytest.warns(saymon_bulk.InsecureConnectionWarning):
            assert ask(host, verify=False) == FINISHED
    for verify in (True, certificates.ca):
        refused(r"unknown ?issuer", host, verify=verify)
    assert len(nginx.requests("shop", 2)) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_each_way_to_verify_has_connections_of_its_own(start_nginx: StartNginx, certificates: Certificates) -> None:
    nginx = start_nginx({"shop": Site(ANSWER, "good")})
    host = nginx.url("shop", "localhost")
    ways = [False, True, certificates.ca] * 3
    for verify in ways:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", saymon_bulk.InsecureConnectionWarning)
            assert ask(host, verify=verify) == FINISHED
    requests = nginx.requests("shop", len(ways))
    used = [{request.connection for request in requests[way::3]} for way in range(3)]
    assert [len(connections) for connections in used] == [1, 1, 1]
    assert len(set.union(*used)) == 3
    refused(r"unknown ?issuer", host, verify=certificates.certificate("unknown-ca"))


# Versions, and those that speak something else


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_tls_versions(front: Nginx, certificates: Certificates, version: str) -> None:
    site = f"tls-{version}"
    accepted(front.url(site, "localhost"), verify=certificates.ca)
    assert front.requests(site, 1)[-1].tls == f"TLSv{version}"


def test_tls_1_1_is_refused(front: Nginx, certificates: Certificates) -> None:
    _needs_tls_1_1(front.ports["tls-1.1"])
    for verify in (certificates.ca, False):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", saymon_bulk.InsecureConnectionWarning)
            refused(r"protocol ?version", front.url("tls-1.1", "localhost"), verify=verify)


def _needs_tls_1_1(port: int) -> None:
    """Make sure that the server does speak it: this Python's OpenSSL is asked to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            context.wrap_socket(sock).close()
    except OSError as reason:
        pytest.skip(f"nobody to speak TLS 1.1 with: {reason}")


@pytest.mark.parametrize(
    ("version", "ciphers", "chosen"),
    [
        (ssl.TLSVersion.TLSv1_3, "DEFAULT", "TLS_AES_128_GCM_SHA256"),
        (ssl.TLSVersion.TLSv1_2, "DEFAULT", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AES256", "ECDHE-ECDSA-AES256-GCM-SHA384"),
    ],
)
def test_aes_128_goes_first(certificates: Certificates, version: ssl.TLSVersion, ciphers: str, chosen: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate("good"), certificates.key("good"))
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers)
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    used: list[tuple[str, str, int] | None] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as sock:
                used.append(sock.cipher())
                sock.recv(65536)
                sock.sendall(END)

        server = threading.Thread(target=serve)
        server.start()
        ask(f"https://localhost:{listener.getsockname()[1]}", verify=certificates.ca)
        server.join(60)
    assert [cipher[0] for cipher in used if cipher] == [chosen]


def test_tls_to_a_port_that_speaks_plain_http(front: Nginx) -> None:
    host = front.url("plain").replace("http://", "https://")
    with pytest.warns(saymon_bulk.InsecureConnectionWarning):
        error = failure(host, verify=False)
    assert type(error) is saymon_bulk.TransportError
    assert "TLS" in str(error)


def test_plain_http_to_a_port_that_speaks_tls(front: Nginx) -> None:
    error = failure(front.url("good").replace("https://", "http://"))
    assert type(error) is saymon_bulk.HTTPStatusError
    assert error.status_code == 400
    assert "The plain HTTP request was sent to HTTPS port" in str(error.body)
    assert "HTTPS port" in str(error)


def test_a_peer_that_hangs_up_at_the_greeting(peer: Peer) -> None:
    peer.greeting = lambda wire: wire.reset()
    with pytest.warns(saymon_bulk.InsecureConnectionWarning):
        refused(r"reset|broken pipe", f"https://{peer.authority}", verify=False)
    assert peer.connections == 1


def test_a_peer_that_never_greets(peer: Peer) -> None:
    peer.greeting = lambda wire: wire.hold()
    with pytest.warns(saymon_bulk.InsecureConnectionWarning):
        error = failure(f"https://{peer.authority}", verify=False, request_timeout=0.3)
    assert type(error) is saymon_bulk.RequestTimeoutError
