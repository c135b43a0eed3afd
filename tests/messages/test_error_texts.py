"""What an error says when TLS, a proxy or a login fails: words that can be looked up, and no names of Rust."""

from __future__ import annotations

import contextlib
import datetime
import re
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import saymon_bulk
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from peer import ID, LOGIN, PASSWORD, Act, Peer, Wire, at, closing, failure, response, saying
from saymon_bulk import Client
from servers import Certificates, Issued, StartOpenSSL, issue, self_signed

UTC = datetime.timezone.utc
WEAK = ["-cipher", "DEFAULT:@SECLEVEL=0"]


def says(error: saymon_bulk.SaymonError, *words: str) -> str:
    """The words stand in the error, and nothing that only its programmer understands."""
    text = str(error)
    for word in words:
        assert word in text, text
    rust = re.search(
        r"[A-Z][a-z]+[A-Z][a-z]+|[{}\[\]]|::|docs\.rs|close_notify|UNIX", text.partition(": ")[2].replace("ChaCha", "")
    )
    assert rust is None, text
    assert len(text) < 500
    return text


# Certificates


def unknown(peer: Peer) -> str:
    """The peer's host by another name: a peer of an earlier test may have answered at the same port."""
    return peer.host.replace("127.0.0.1", "localhost")


def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


P521 = ec.generate_private_key(ec.SECP521R1())
OLD = {"since": datetime.datetime(2020, 1, 1, tzinfo=UTC), "until": datetime.datetime(2021, 1, 1, tzinfo=UTC)}
NEW = {"since": datetime.datetime(2090, 1, 1, tzinfo=UTC), "until": datetime.datetime(2091, 1, 1, tzinfo=UTC)}
CLIENT_ALONE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.3")])
ELSEWHERE_ALONE = x509.NameConstraints([x509.DNSName("elsewhere.example")], None)
DIRECTORY_ALONE = x509.NameConstraints(
    [x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "RU")]))], None
)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")

# What root, intermediate and leaf are like, and what is said of the leaf.
CHAINS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("expired since 01 Jan 2021 00:00:00 UTC", {}, {}, OLD),
    ("expired since 01 Jan 2021 00:00:00 UTC", {}, OLD, {}),
    ("not valid before 01 Jan 2090 00:00:00 UTC", {}, {}, NEW),
    ('not valid for name "localhost"; it is for elsewhere.example', {}, {}, {"host": "elsewhere.example"}),
    ("name constraints", {}, {"more": [(ELSEWHERE_ALONE, True)]}, {}),
    ("of a kind that cannot be checked", {}, {"more": [(DIRECTORY_ALONE, True)]}, {}),
    ("not a CA's", {}, {"authority": False}, {}),
    ("lacks serverAuth", {}, {}, {"more": [(CLIENT_ALONE, False)]}),
    ("a critical extension that this package does not know", {}, {}, {"more": [(UNKNOWN, True)]}),
    ("malformed", {}, {}, {"since": datetime.datetime(1960, 1, 1, tzinfo=UTC)}),
    ("signed with ECDSA with SHA-512, which", {}, {"key": P521}, {"digest": hashes.SHA512()}),
    ("signed with ECDSA with SHA-512, which", {}, {}, {"digest": hashes.SHA512()}),
    ("signed with ECDSA with SHA-256 and a key on P-521", {"key": P521}, {}, {}),
    ("signed with ECDSA with SHA-256 and a key on P-224", {}, {"key": ec.generate_private_key(ec.SECP224R1())}, {}),
    ("signed with ECDSA with SHA-256 and a key on secp256k1", {"key": ec.generate_private_key(ec.SECP256K1())}, {}, {}),
    ("and a key on a Brainpool curve", {"key": ec.generate_private_key(ec.BrainpoolP384R1())}, {}, {}),
    ("signed with ECDSA with SHA-224", {}, {}, {"digest": hashes.SHA224()}),
    ("the server's key is too weak: RSA of 1024 bits", {}, {}, {"key": rsa_key(1024)}),
    ("a CA's key is too weak: RSA of 1536 bits", {}, {"key": rsa_key(1536)}, {}),
    ("a CA's key is too weak: RSA of 1024 bits", {"key": rsa_key(1024)}, {}, {}),
]


def showing(certificates: Certificates, shown: Issued, *above: Issued) -> list[str]:
    """The options of a server with these certificates."""
    certificates.put("words", shown, *above)
    path = str(certificates.certificate("words"))
    return ["-cert", path, "-cert_chain", path, "-key", str(certificates.key("words")), *WEAK]


@pytest.mark.parametrize(("words", "root", "middle", "leaf"), CHAINS)
def test_why_a_certificate_is_refused(
    start_openssl: StartOpenSSL, certificates: Certificates, tmp_path: Path, words: str, root: Any, middle: Any, leaf: Any
) -> None:
    ca = issue("root.example", **{"authority": True, **root})
    above = issue("ca.example", ca, **{"authority": True, **middle})
    shown = issue(**{"host": "localhost", "issuer": above, **leaf})
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    server = start_openssl(*showing(certificates, shown, above))
    says(failure(server.host, verify=tmp_path / "ca.pem"), "invalid peer certificate: ", words)


def test_more_cas_than_one_allows(start_openssl: StartOpenSSL, certificates: Certificates, tmp_path: Path) -> None:
    root = issue("root.example", authority=True)
    above = issue("ca.example", root, authority=True, path_length=0)
    below = issue("below.example", above, authority=True)
    (tmp_path / "ca.pem").write_bytes(root.pem)
    server = start_openssl(*showing(certificates, issue("localhost", below), below, above))
    says(failure(server.host, verify=tmp_path / "ca.pem"), "more CAs above it than one of them allows (path length)")


def test_a_wrong_signature_is_not_called_a_weak_key(
    start_openssl: StartOpenSSL, certificates: Certificates, tmp_path: Path
) -> None:
    root, other = issue("root.example", authority=True), issue("root.example", authority=True)
    (tmp_path / "ca.pem").write_bytes(root.pem)
    server = start_openssl(*showing(certificates, issue("localhost", other)))
    says(failure(server.host, verify=tmp_path / "ca.pem"), "its signature is wrong")


@pytest.mark.slow
def test_a_certificate_of_version_1(openssl: str, start_openssl: StartOpenSSL, tmp_path: Path) -> None:
    key, request, certificate = (str(tmp_path / f"v1.{end}") for end in ("key", "csr", "pem"))
    new = ["-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([openssl, "req", *new, "-keyout", key, "-out", request], check=True, capture_output=True)
    sign = ["-req", "-in", request, "-signkey", key, "-days", "30", "-out", certificate]
    subprocess.run([openssl, "x509", *sign], check=True, capture_output=True)
    server = start_openssl("-cert", certificate, "-key", key)
    says(failure(server.host, verify=certificate), "X.509 version 1")


# The handshake


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-tls1_2", "-cipher", "AES256-SHA256"], ["ECDHE with AES-GCM or ChaCha20", "client certificate"]),
        (["-tls1_2", "-cipher", "DHE-RSA-AES256-GCM-SHA384:@SECLEVEL=0"], ["no cipher, group or signature in common"]),
        (["-groups", "P-521"], ["no cipher, group or signature in common", "on X25519, P-256 or P-384"]),
        (["-groups", "X448", "-tls1_2"], ["on X25519, P-256 or P-384"]),
        (["-groups", "ffdhe2048", "-tls1_3"], ["on X25519, P-256 or P-384"]),
        (["-tls1_2", "-sigalgs", "RSA+SHA1", *WEAK], ["no cipher, group or signature in common"]),
        (["-Verify", "1"], ["the server wants a client certificate (cert) (TLS alert: certificate required)"]),
        (["-Verify", "1", "-tls1_2"], ["wants a client certificate (cert)"]),
        (["-tls1_1", *WEAK], ["the server speaks neither TLS 1.2 nor TLS 1.3"]),
        (["-servername", "other", "-servername_fatal"], ["the server knows no host of this name"]),
    ],
)
def test_why_a_handshake_fails(
    start_openssl: StartOpenSSL, certificates: Certificates, tmp_path: Path, options: list[str], words: list[str]
) -> None:
    shown = issue("localhost", key=rsa_key(2048))
    (tmp_path / "own.pem").write_bytes(shown.pem)
    certificates.put("words", shown)
    pair = [str(certificates.certificate("words")), str(certificates.key("words"))]
    second = ["-cert2", pair[0], "-key2", pair[1]] if "-servername" in options else []
    server = start_openssl("-cert", pair[0], "-key", pair[1], *options, *second)
    says(failure(server.host, verify=tmp_path / "own.pem"), *words)


# What `openssl req` makes keys of that this package cannot verify with.
UNVERIFIABLE = {
    "P-521": ["ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
    "Ed448": ["ed448"],
    "RSA-PSS": ["rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"],
}


@pytest.mark.slow
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("kind", UNVERIFIABLE)
def test_a_server_whose_key_cannot_be_verified(
    openssl: str, start_openssl: StartOpenSSL, tmp_path: Path, kind: str, version: str
) -> None:
    server = start_openssl(*self_signed(openssl, tmp_path, "-newkey", *UNVERIFIABLE[kind]), version)
    words = ["no cipher, group or signature in common", "a key of RSA, P-256, P-384 or Ed25519"]
    says(failure(server.host, verify=tmp_path / "odd.pem"), *words)


def test_a_server_whose_key_is_not_for_tls_1_3(openssl: str, start_openssl: StartOpenSSL, tmp_path: Path) -> None:
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"]
    server = start_openssl(*self_signed(openssl, tmp_path, *curve), "-tls1_3")
    says(failure(server.host, verify=tmp_path / "odd.pem"), "or its key fits neither")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "words"),
    [("Ed448", "signed with Ed448, which"), ("RSA-PSS", "signed with RSA-PSS and a key for RSA-PSS alone, which")],
)
def test_a_ca_whose_key_cannot_be_verified(
    openssl: str, start_openssl: StartOpenSSL, tmp_path: Path, kind: str, words: str
) -> None:
    ca = self_signed(openssl, tmp_path, "-newkey", *UNVERIFIABLE[kind])
    salt = ["-sigopt", "rsa_pss_saltlen:digest"] if kind == "RSA-PSS" else []
    says(failure(signed_by(openssl, start_openssl, tmp_path, ca[1], ca[3], *salt), verify=ca[1]), words)


@pytest.mark.slow
def test_rsa_pss_with_a_salt_of_another_length(openssl: str, start_openssl: StartOpenSSL, tmp_path: Path) -> None:
    ca = self_signed(openssl, tmp_path, "-newkey", "rsa:2048")
    salt = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:20"]
    host = signed_by(openssl, start_openssl, tmp_path, ca[1], ca[3], *salt)
    says(failure(host, verify=ca[1]), "signed with RSA-PSS with unusual parameters, which")


def signed_by(openssl: str, start_openssl: StartOpenSSL, tmp_path: Path, ca: str, ca_key: str, *options: str) -> str:
    """The host of a server whose certificate this CA has signed."""
    request, key, shown, names = (str(tmp_path / f"shown.{end}") for end in ("csr", "key", "pem", "names"))
    Path(names).write_text("subjectAltName=DNS:localhost", encoding="utf-8")
    new = ["-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=shown", "-keyout", key, "-out", request]
    subprocess.run([openssl, "req", *new], check=True, capture_output=True)
    sign = ["-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-extfile", names, "-out", shown]
    subprocess.run([openssl, "x509", *sign, *options], check=True, capture_output=True)
    return start_openssl("-cert", shown, "-key", key).host


def test_an_ecdsa_signature_with_sha_512(start_openssl: StartOpenSSL, certificates: Certificates) -> None:
    server = start_openssl(*showing(certificates, issue("localhost")), "-tls1_2", "-sigalgs", "ECDSA+SHA512")
    own = certificates.certificate("words")
    says(failure(server.host, verify=own), "no cipher, group or signature in common")


def test_http_to_a_port_of_tls(start_openssl: StartOpenSSL, certificates: Certificates) -> None:
    server = start_openssl(*showing(certificates, issue("localhost")))
    says(failure(server.host.replace("https", "http")), "without answering; is it an https:// host?")


@pytest.mark.parametrize("alert", [b"\x15\x03\x01\x00\x02\x02\x0a", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_http_to_a_port_that_answers_with_an_alert(peer: Peer, alert: bytes) -> None:
    peer.answer(closing(alert))
    says(failure(unknown(peer)), "the other side speaks no HTTP; is it an https:// host?")


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (OK + b"bad header\r\n\r\n", "the answer has a header that is not as HTTP wants it"),
        (OK + b"x: y\r\n" * 120 + b"\r\n", "the answer has more than 100 headers, or too long ones"),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "the answer is of HTTP/1.0 and has a Transfer-Encoding"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "the answer has a Content-Length that is no length"),
        (b"HTTP/1.1 20x OK\r\n\r\n", "the answer has a status that is not as HTTP wants it"),
    ],
)
def test_an_answer_in_broken_http_is_no_sign_of_tls(peer: Peer, answer: bytes, words: str) -> None:
    peer.answer(closing(answer))
    assert "https" not in says(failure(peer.host), words)


@pytest.mark.parametrize("status", [200, 404, 503])
def test_no_guess_where_the_host_has_answered(peer: Peer, status: int) -> None:
    client = at(peer)
    peer.answer(response('{"finished": true}', status), *[closing(b"")] * 6)
    with contextlib.suppress(saymon_bulk.SaymonError):
        client.get_bulk_status("x")
    for act in (client.get_bulk_status, client.start_clone, at(peer).get_bulk_status):
        with pytest.raises(saymon_bulk.SaymonError) as error:
            act("x")
        assert "the other side closed the connection without answering" in str(error.value)
        assert "https://" not in str(error.value)


def test_what_matters_comes_first(peer: Peer) -> None:
    peer.answer(closing(b""))
    with pytest.raises(saymon_bulk.StartUncertainError) as error:
        Client(unknown(peer), LOGIN, PASSWORD).start_clone("x")
    told = re.escape(f"Perhaps started. Look at the server before you start again. {unknown(peer)}: clone of object x")
    cause = re.escape("the other side closed the connection without answering; is it an https:// host?")
    assert re.fullmatch(rf"{told} \(X-Request-Id [\w-]+\): {cause}", str(error.value))


# No connection


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("http://127.0.0.1:1", "Connection refused by 127.0.0.1:1"),
        ("https://127.0.0.1:1", "Connection refused by 127.0.0.1:1"),
        ("http://[::1]:1", "Connection refused by [::1]:1"),
        ("http://localhost:1", "Connection refused by "),
        ("nosuch.invalid", "Could not resolve host: nosuch.invalid"),
    ],
)
def test_why_there_is_no_connection_is_said_once(host: str, words: str) -> None:
    text = says(failure(host)) if "[" not in host else str(failure(host))
    _, _, why = text.partition(f"{ID}: ")
    # A resolver that cannot be reached says so in brackets.
    assert re.fullmatch(rf"{re.escape(words)}[\w.:\[\]]*( \(.*\))?", why), text
    assert "os error" not in text
    assert "dns error" not in text


@pytest.mark.parametrize("target", ["http://monitor.invalid", "https://monitor.invalid"])
def test_a_proxy_to_which_there_is_no_connection(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    for scheme in ("http", "https", "socks5h"):
        monkeypatch.setenv("all_proxy", f"{scheme}://127.0.0.1:1")
        text = str(failure(target))
        assert "through the proxy 127.0.0.1:1: " in text
        assert "no connection to the proxy" in text or text.endswith("Connection refused by 127.0.0.1:1")
        assert "os error" not in text
    monkeypatch.setenv("all_proxy", "http://nosuch.invalid:3128")
    text = str(failure(target))
    assert "Could not resolve host: nosuch.invalid" in text


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy", "http_proxy"])
def test_https_before_a_plain_proxy(peer: Peer, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """The commonest slip with the variable."""
    monkeypatch.setenv(variable, f"https://login:{PASSWORD}@{peer.authority}")
    peer.greeting = saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    target = "http://monitor.invalid" if variable == "http_proxy" else "https://monitor.invalid"
    text = str(failure(target))
    assert f": through the proxy {peer.authority}: " in text
    assert text.endswith(f"the other side speaks no TLS; is http:// meant in {variable} for the proxy?")
    assert PASSWORD not in text


def test_https_to_a_plain_host_behind_a_proxy(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", peer.host)
    peer.answer(saying(response(b"", 200), saying(response(b"", 400))))
    text = str(failure("https://monitor.invalid"))
    assert "is http:// meant" not in text


# Connections that end


def by_tls(certificates: Certificates, answer: bytes, *, in_order: bool) -> Act:
    """Take a request by TLS, send this and end the connection, with TLS's own end or without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate("good"), certificates.key("good"))

    def act(wire: Wire) -> None:
        with context.wrap_socket(wire.socket, server_side=True) as secure:
            secure.recv(65536)
            if answer:
                secure.sendall(answer)
            if in_order:
                with contextlib.suppress(OSError):
                    secure.unwrap()
            else:
                socket.close(secure.detach())

    return act


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "the other side closed the connection without answering"),
        (b"HTTP/1.1 200 OK\r\nContent", "the other side closed the connection without answering"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{", "the answer broke off"),
    ],
)
def test_a_connection_that_ends(peer: Peer, certificates: Certificates, answer: bytes, words: str, in_order: bool) -> None:
    peer.greeting = by_tls(certificates, answer, in_order=in_order)
    says(failure(f"https://{peer.authority}", verify=certificates.ca), words)


def test_an_answer_that_tls_does_not_end(peer: Peer, certificates: Certificates) -> None:
    peer.greeting = by_tls(certificates, b'HTTP/1.0 200 OK\r\n\r\n{"finished": true}', in_order=False)
    says(failure(f"https://{peer.authority}", verify=certificates.ca), "the answer broke off", "the closing message of TLS")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("Content-Length: 18\r\nTransfer-Encoding: identity\r\n", 'the answer has Transfer-Encoding "identity"'),
        ("Transfer-Encoding:\r\nContent-Length: 18\r\n", 'the answer has Transfer-Encoding ""'),
        ("Transfer-Encoding: chunked, identity\r\n", 'the answer has Transfer-Encoding "chunked, identity"'),
        (f"Transfer-Encoding: {PASSWORD}\r\n", 'the answer has Transfer-Encoding "***"'),
        ("", "the answer has no length"),
    ],
)
def test_an_answer_without_an_end(peer: Peer, head: str, words: str) -> None:
    peer.answer(saying(f'HTTP/1.1 200 OK\r\n{head}\r\n{{"finished": true}}'.encode(), Wire.hold))
    error = failure(peer.host, request_timeout=0.5)
    assert isinstance(error, saymon_bulk.RequestTimeoutError)
    text = says(error, "no complete answer within 0.5 s: ", words, "it ends with the connection, which is still open")
    assert PASSWORD not in text
    with pytest.raises(saymon_bulk.StartUncertainError, match="it ends with the connection"):
        saymon_bulk.Client(peer.host, LOGIN, PASSWORD, request_timeout=0.5).start_clone("x")


@pytest.mark.parametrize(
    "head", ["Content-Length: 18\r\n", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip, Chunked\r\n"]
)
def test_an_answer_with_an_end_that_does_not_come(peer: Peer, head: str) -> None:
    peer.answer(saying(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode(), Wire.hold))
    assert str(failure(peer.host, request_timeout=0.5)).endswith("no complete answer within 0.5 s")


# Proxies


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (response(b"", 403), "the proxy refused the tunnel: HTTP 403"),
        (
            response("<title>ERROR: Access Denied</title>", 403, content_type="text/html"),
            "the proxy refused the tunnel: HTTP 403: ERROR: Access Denied",
        ),
        (response(b"", 503), "the proxy refused the tunnel: HTTP 503"),
        (response(b"", 302, "Location: http://portal.invalid/"), "the proxy refused the tunnel: HTTP 302"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the proxy refused the tunnel: its answer to CONNECT is not 200, or no HTTP"),
        (response(b"", 407), "the proxy refused the tunnel with 407: it wants a login"),
        (b"", "the proxy closed the connection"),
    ],
)
def test_a_proxy_that_opens_no_tunnel(peer: Peer, monkeypatch: pytest.MonkeyPatch, answer: bytes, words: str) -> None:
    monkeypatch.setenv("https_proxy", peer.host)
    peer.answer(closing(answer))
    says(failure("https://monitor.invalid"), f"through the proxy {peer.authority}: {words}")


@pytest.mark.slow
def test_a_proxy_whose_reason_does_not_end(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", peer.host)
    peer.answer(saying(b"HTTP/1.1 403 Forbidden\r\n\r\nno", Wire.hold))
    begin = time.monotonic()
    says(failure("https://monitor.invalid:8443", request_timeout=60.0), "the proxy refused the tunnel: HTTP 403")
    assert time.monotonic() - begin < 30
    peer.wait_for(lambda: peer.open == 0)


@pytest.mark.parametrize(
    "second", [closing(response(b"", 200)), closing(b""), lambda wire: wire.hold()], ids=["opens", "hangs up", "silent"]
)
def test_a_proxy_that_gives_no_reason(peer: Peer, monkeypatch: pytest.MonkeyPatch, second: Act) -> None:
    monkeypatch.setenv("https_proxy", peer.host)
    peer.answer(closing(response(b"", 403)), second)
    error = failure("https://monitor.invalid:8443", request_timeout=1.0)
    assert type(error) is saymon_bulk.TransportError
    says(error, "the proxy refused the tunnel: its answer to CONNECT is not 200, or no HTTP")
    assert [request.split(b"\r\n")[0] for request in peer.requests] == [b"CONNECT monitor.invalid:8443 HTTP/1.1"] * 2
    peer.wait_for(lambda: peer.open == 0)


@pytest.mark.parametrize(
    ("scheme", "answer", "words"),
    [
        ("socks5", b"", "the proxy broke off the SOCKS handshake"),
        ("socks5", b"\x05\xff", "the proxy wants another kind of login"),
        ("socks5", b"HTTP/1.1 400 Bad Request\r\n\r\n", "the proxy speaks no SOCKS"),
        ("socks4", b"HTTP/1.1 400 Bad Request\r\n\r\n", "the proxy speaks no SOCKS"),
    ],
)
def test_a_socks_proxy_that_fails(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, scheme: str, answer: bytes, words: str
) -> None:
    def act(wire: Wire) -> None:
        wire.socket.recv(65536)
        wire.send(answer)
        wire.hold() if answer else None

    peer.greeting = act
    monkeypatch.setenv("https_proxy", f"{scheme}://{peer.authority}")
    says(failure("https://192.0.2.1"), f"through the proxy {peer.authority}: {words}")


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
def test_a_name_that_this_system_does_not_know(peer: Peer, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("https_proxy", f"{scheme}://{peer.authority}")
    says(
        failure("https://monitor.invalid"),
        f"through the proxy {peer.authority}: ",
        "; with socks5h:// the proxy resolves it",
    )
    assert peer.connections == 0


@pytest.mark.filterwarnings("ignore::saymon_bulk.InsecureConnectionWarning")
def test_a_407_names_the_proxy(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", peer.host)
    peer.answer(
        response("<title>Cache Access Denied</title>", 407, "Proxy-Authenticate: Basic realm=x", content_type="text/html")
    )
    error = failure("http://monitor.invalid")
    assert isinstance(error, saymon_bulk.HTTPStatusError)
    says(error, f"HTTP 407: Cache Access Denied: the proxy {peer.authority} wants a login, or another one")
    peer.answer(response(b"", 407, "Proxy-Authenticate: Negotiate", "Proxy-Authenticate: NTLM"))
    says(
        failure("http://monitor.invalid"),
        peer.authority,
        "Negotiate or NTLM is asked for, and this package gives Basic alone",
    )


# Logins and pages


@pytest.mark.parametrize(
    ("challenges", "words"),
    [
        (['Digest realm="monitor", nonce="abc", qop="auth"'], "Digest is asked for, and this package gives Basic alone"),
        (["Negotiate", "NTLM"], "Negotiate or NTLM is asked for"),
        (["Negotiate, NTLM"], "Negotiate or NTLM is asked for"),
        ([f"{PASSWORD} realm=x"], "*** is asked for"),
        ([f"{'x' * 290}{PASSWORD}"], "xxx*** is asked for"),
    ],
)
def test_a_login_that_is_not_basic(peer: Peer, challenges: list[str], words: str) -> None:
    peer.answer(response(b"", 401, *(f"WWW-Authenticate: {challenge}" for challenge in challenges)))
    error = failure(peer.host)
    assert isinstance(error, saymon_bulk.AuthError)
    assert PASSWORD not in says(error, words)


@pytest.mark.parametrize("challenges", [[], ["Basic realm=x"], ["Negotiate", "basic"], ["Digest realm=x, Basic realm=y"]])
def test_a_login_that_is_basic(peer: Peer, challenges: list[str]) -> None:
    peer.answer(response(b"", 401, *(f"WWW-Authenticate: {challenge}" for challenge in challenges)))
    assert "asked for" not in says(failure(peer.host), "HTTP 401")


def test_a_page_of_haproxy(peer: Peer) -> None:
    page = "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n"
    peer.answer(response(page, 503, content_type="text/html"))
    error = failure(peer.host)
    assert "<" not in says(error, "HTTP 503: 503 Service Unavailable: No server is available to handle this request.")
    assert isinstance(error, saymon_bulk.HTTPStatusError)
    assert error.body == page
