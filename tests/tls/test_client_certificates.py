"""Client certificates: what `cert` takes, whom the server sees, and what an error says of files that cannot be used."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest
import saymon_bulk
from commands import run
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption, PrivateFormat, pkcs12
from peer import ID, LOGIN, PASSWORD, ask, failure
from saymon_bulk import Client
from servers import Certificates, Issued, Nginx, Site, StartNginx, StartOpenSSL, issue

PKCS8, OLD = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL
# The server tells whose certificate it saw.
WHO = """location / { return 200 '{"finished": true, "who": "$ssl_client_s_dn", "tls": "$ssl_protocol"}'; }"""

CA = issue("clients.example", authority=True)


def pem(issued: Issued, form: PrivateFormat = PKCS8, password: bytes | None = None) -> bytes:
    """A key in PEM."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return issued.key.private_bytes(serialization.Encoding.PEM, form, encryption)


class Identities:
    """A folder of client certificates: NAME.pem with both, NAME.crt and NAME.key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "clients-ca.pem"
        self.ca.write_bytes(CA.pem)

    def put(self, name: str, issued: Issued, *above: Issued, form: PrivateFormat = PKCS8) -> Path:
        chain = b"".join(one.pem for one in (issued, *above))
        (self.folder / f"{name}.crt").write_bytes(chain)
        (self.folder / f"{name}.key").write_bytes(pem(issued, form))
        both = self.folder / f"{name}.pem"
        both.write_bytes(chain + pem(issued, form))
        return both

    def pair(self, name: str) -> tuple[Path, Path]:
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    folder = tmp_path / "identities"
    folder.mkdir()
    known = Identities(folder)
    for name in ("alice", "bob"):
        known.put(name, issue(name, CA))
    return known


@pytest.fixture
def server(start_nginx: StartNginx, identities: Identities, certificates: Certificates) -> Nginx:
    demand = f"ssl_client_certificate {identities.ca}; ssl_verify_client on; ssl_verify_depth 3; {WHO}"
    return start_nginx(
        {
            "1.2": Site(f"ssl_protocols TLSv1.2; {demand}", "good"),
            "1.3": Site(f"ssl_protocols TLSv1.3; {demand}", "good"),
            "plain": Site(WHO),
        }
    )


def who(server: Nginx, certificates: Certificates, cert: Any, site: str = "1.3") -> Any:
    return ask(server.url(site), verify=certificates.ca, cert=cert)["who"]


# What is taken

KEYS: dict[str, Callable[[], Any]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RSA of 2048 bits": lambda: rsa.generate_private_key(65537, 2048),
    "RSA of 4096 bits": lambda: rsa.generate_private_key(65537, 4096),
}


@pytest.mark.slow
@pytest.mark.parametrize("site", ["1.2", "1.3"])
@pytest.mark.parametrize("form", [PKCS8, OLD], ids=["PKCS8", "older"])
@pytest.mark.parametrize("kind", KEYS)
def test_kinds_of_keys(
    server: Nginx, certificates: Certificates, identities: Identities, kind: str, form: PrivateFormat, site: str
) -> None:
    both = identities.put("carol", issue("carol", CA, key=KEYS[kind]()), form=form)
    assert who(server, certificates, both, site) == "CN=carol"
    assert who(server, certificates, identities.pair("carol"), site) == "CN=carol"


@pytest.mark.slow
@pytest.mark.parametrize("site", ["1.2", "1.3"])
def test_ed25519(server: Nginx, certificates: Certificates, identities: Identities, openssl: str, site: str) -> None:
    both = identities.put("carol", issue("carol", CA, key=ed25519.Ed25519PrivateKey.generate()))
    assert who(server, certificates, both, site) == "CN=carol"


def test_a_chain(server: Nginx, certificates: Certificates, identities: Identities) -> None:
    above = issue("department.example", CA, authority=True)
    both = identities.put("carol", issue("carol", above), above)
    assert who(server, certificates, both) == "CN=carol"


PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
SPELLINGS: dict[str, Callable[[bytes], bytes]] = {
    "a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "CRLF": lambda content: content.replace(b"\n", b"\r\n"),
    "UTF-16": lambda content: content.decode().encode("utf-16"),
    "the key first": lambda content: b"-----BEGIN PRIVATE" + content.partition(b"-----BEGIN PRIVATE")[2] + content,
    "text around": lambda content: b"Bag Attributes\n    friendlyName: \xff\n" + content + b"subject=CN = carol\n",
    "parameters of a curve": lambda content: (
        b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + content
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_pem(server: Nginx, certificates: Certificates, identities: Identities, spelling: str) -> None:
    content = identities.put("carol", issue("carol", CA)).read_bytes()
    path = identities.write("spelled.pem", SPELLINGS[spelling](content))
    assert who(server, certificates, path) == "CN=carol"


@pytest.mark.slow
def test_types_of_paths(
    server: Nginx, certificates: Certificates, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = identities.pair("alice")
    monkeypatch.chdir(identities.folder)
    for cert in (str(identities.folder / "alice.pem"), "alice.pem", (str(certificate), key), ("alice.crt", "alice.key")):
        assert who(server, certificates, cert) == "CN=alice"


# Every way in


@pytest.mark.slow
def test_every_way_of_calling(server: Nginx, certificates: Certificates, identities: Identities) -> None:
    host, trusted = server.url("1.3"), {"verify": certificates.ca, "cert": identities.folder / "alice.pem"}
    with Client(host, LOGIN, PASSWORD, **trusted) as client:  # type: ignore[arg-type]
        answers: list[Any] = [
            client.get_bulk_status(ID),
            client.get_bulk_statuses([ID])[ID],
            client.wait_for_bulk(ID),
            dict(client.wait_for_bulks([ID]))[ID],
            asyncio.run(client.get_bulk_status_async(ID)),
            saymon_bulk.wait_for_bulk(host, ID, LOGIN, PASSWORD, **trusted),  # type: ignore[arg-type]
            asyncio.run(saymon_bulk.get_bulk_status_async(host, ID, LOGIN, PASSWORD, **trusted)),  # type: ignore[arg-type]
            asyncio.run(saymon_bulk.wait_for_bulk_async(host, ID, LOGIN, PASSWORD, **trusted)),  # type: ignore[arg-type]
        ]
    assert [answer["who"] for answer in answers] == ["CN=alice"] * len(answers)


def test_a_start(start_nginx: StartNginx, identities: Identities, certificates: Certificates) -> None:
    answer = """location / { return 200 '{"bulkId": "$ssl_client_s_dn", "finished": false}'; }"""
    demand = f"ssl_client_certificate {identities.ca}; ssl_verify_client on; {answer}"
    host = start_nginx({"start": Site(demand, "good")}).url("start")
    client = Client(host, LOGIN, PASSWORD, verify=certificates.ca, cert=identities.folder / "alice.pem")
    assert client.start_clone("1")["bulkId"] == "CN=alice"


@pytest.mark.slow
def test_from_env(
    server: Nginx, certificates: Certificates, identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("HOST", server.url("1.3")), ("LOGIN", LOGIN), ("PASSWORD", PASSWORD)):
        monkeypatch.setenv(f"SAYMON_{name}", value)
    monkeypatch.setenv("SAYMON_CERT", str(identities.folder / "alice.pem"))

    def seen(**more: Any) -> Any:
        return dict(Client.from_env(verify=certificates.ca, **more).get_bulk_status(ID))["who"]

    assert seen() == "CN=alice"
    assert seen(cert=identities.folder / "bob.pem") == "CN=bob"
    certificate, key = identities.pair("bob")
    monkeypatch.setenv("SAYMON_CERT", str(certificate))
    with pytest.raises(ValueError, match="cert names a file without a PEM private key"):
        seen()
    monkeypatch.setenv("SAYMON_KEY", str(key))
    assert seen() == "CN=bob"
    monkeypatch.setenv("SAYMON_CERT", "")
    with pytest.raises(ValueError, match="SAYMON_KEY is set, and SAYMON_CERT is not"):
        seen()


@pytest.mark.slow
def test_the_command_line(server: Nginx, certificates: Certificates, identities: Identities) -> None:
    known = {"SAYMON_HOST": server.url("1.3"), "SAYMON_LOGIN": LOGIN, "SAYMON_PASSWORD": PASSWORD}
    words = ["status", "--json", "--cacert", str(certificates.ca), ID]
    certificate, key = map(str, identities.pair("alice"))

    def said(*more: str, **variables: str) -> str:
        done = run(None, *words, *more, **known, **variables)
        return done.stdout + done.stderr

    assert "CN=alice" in said("--cert", certificate, "--key", key)
    assert "CN=alice" in said("--cert", str(identities.folder / "alice.pem"), SAYMON_CERT="/nowhere", SAYMON_KEY="/nowhere")
    assert "CN=alice" in said(SAYMON_CERT=certificate, SAYMON_KEY=key)
    assert "--key goes with --cert" in said("--key", key)
    assert "No required SSL certificate was sent" in said()
    assert "--cert names a file without a PEM private key" in said("--cert", certificate)
    assert "; --key names the file of the key" in said("--cert", certificate)
    assert "SAYMON_CERT names a file that cannot be read" in said(SAYMON_CERT="/nowhere")


# One identity's connections are never another's


def blocking(client: Client) -> Any:
    return client.get_bulk_status(ID)


def awaited(client: Client) -> Any:
    return asyncio.run(client.get_bulk_status_async(ID))


def as_a_batch(client: Client) -> Any:
    return client.get_bulk_statuses([ID])[ID]


def as_a_wait(client: Client) -> Any:
    return client.wait_for_bulk(ID)


WAYS = (blocking, awaited, as_a_batch, as_a_wait)


@pytest.mark.slow
@pytest.mark.parametrize("site", ["1.2", "1.3"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_identities_never_share_connections_or_sessions(
    server: Nginx, certificates: Certificates, identities: Identities, site: str, way: Callable[[Client], Any]
) -> None:
    names = ["alice", "bob", None]
    for order in itertools.permutations(names):
        for name in order * 2:
            cert = identities.folder / f"{name}.pem" if name else None
            client = Client(server.url(site), LOGIN, PASSWORD, verify=certificates.ca, cert=cert)
            if name:
                assert way(client)["who"] == f"CN={name}"
            else:
                with pytest.raises(saymon_bulk.HTTPStatusError, match="No required SSL certificate was sent"):
                    way(client)


@pytest.mark.slow
def test_an_identity_keeps_its_connection(server: Nginx, certificates: Certificates, identities: Identities) -> None:
    for _ in range(5):
        assert who(server, certificates, identities.folder / "alice.pem") == "CN=alice"
    assert len({request.connection for request in server.requests("1.3", 5)}) == 1


@pytest.mark.slow
def test_a_renewed_file_is_read_again(server: Nginx, certificates: Certificates, identities: Identities) -> None:
    """Also when length and time of the last modification are the same, as `cp -p` leaves them."""
    path = identities.folder / "current.pem"
    shutil.copy2(identities.folder / "alice.pem", path)
    assert who(server, certificates, path) == "CN=alice"
    before = path.stat()
    content = identities.put("carol", issue("carol", CA)).read_bytes()
    content += b"\n" * (before.st_size - len(content))
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (len(content), before.st_mtime_ns)
    assert who(server, certificates, path) == "CN=carol"


def test_a_client_keeps_the_identity_that_it_was_made_with(
    server: Nginx, certificates: Certificates, identities: Identities
) -> None:
    path = identities.folder / "current.pem"
    shutil.copy(identities.folder / "alice.pem", path)
    client = Client(server.url("1.3"), LOGIN, PASSWORD, verify=certificates.ca, cert=path)
    path.unlink()
    for way in WAYS:
        assert way(client)["who"] == "CN=alice"


def test_plain_http_sends_no_certificate(server: Nginx, certificates: Certificates, identities: Identities) -> None:
    assert who(server, certificates, identities.folder / "alice.pem", "plain") == ""


# What a server says of it


@pytest.mark.slow
def test_a_certificate_of_another_ca(server: Nginx, certificates: Certificates, identities: Identities) -> None:
    both = identities.put("mallory", issue("mallory"))
    error = failure(server.url("1.3"), verify=certificates.ca, cert=both)
    assert isinstance(error, saymon_bulk.HTTPStatusError)
    assert "The SSL certificate error" in str(error)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_server_that_refuses_the_certificate(
    start_openssl: StartOpenSSL, certificates: Certificates, identities: Identities, version: str
) -> None:
    pair = ["-cert", str(certificates.certificate("good")), "-key", str(certificates.key("good"))]
    demand = ["-Verify", "1", "-verify_return_error", "-CAfile", str(identities.ca)]
    server = start_openssl(*pair, *demand, version)
    both = identities.put("mallory", issue("mallory"))
    client = Client(server.host, LOGIN, PASSWORD, verify=certificates.ca, cert=both)
    words = r"the server refuses the client certificate \(TLS alert: unknown ca\)"
    with pytest.raises(saymon_bulk.TransportError, match=words):
        client.get_bulk_status(ID)
    with pytest.raises(saymon_bulk.TransportError, match=words):
        client.start_clone("1")
    assert ask(server.host, verify=certificates.ca, cert=identities.folder / "alice.pem") == {"finished": True}


# Files that cannot be used


def refused(cert: Any) -> str:
    with pytest.raises(ValueError, match=r"^cert ") as caught:
        Client("localhost:1", LOGIN, PASSWORD, cert=cert)
    with pytest.raises(ValueError, match=r"^cert ") as again:
        saymon_bulk.get_bulk_status("localhost:1", ID, LOGIN, PASSWORD, cert=cert)
    assert str(caught.value) == str(again.value)
    assert caught.value.__context__ is None
    return str(caught.value)


def test_a_key_that_does_not_fit(identities: Identities) -> None:
    (certificate, _), (_, key) = identities.pair("alice"), identities.pair("bob")
    text = refused((certificate, key))
    assert text == f"cert names a key that does not fit the certificate: {key} and {certificate}"
    above = issue("department.example", CA, authority=True)
    identities.put("carol", above, issue("carol", above))
    _, key = identities.pair("alice")
    assert "does not fit the first certificate" in refused((identities.pair("carol")[0], key))


@pytest.mark.slow
@pytest.mark.parametrize("form", [PKCS8, OLD], ids=["PKCS8", "older"])
def test_an_encrypted_key(identities: Identities, form: PrivateFormat) -> None:
    issued = issue("carol", CA, key=rsa.generate_private_key(65537, 2048))
    encrypted = pem(issued, form, b"opensesame")
    path = identities.write("both.pem", issued.pem + encrypted)
    text = refused(path)
    assert f"{path}: the key in it is encrypted; openssl pkey -in FILE -out NEW removes the password" in text
    assert text == refused((path, path))
    assert "is encrypted" in refused((identities.write("c.crt", issued.pem), identities.write("c.key", encrypted)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RSA of 1024 bits", "RSA of 2560 bits", "RSA of 3584 bits", "P-521", "Ed448"])
def test_a_kind_of_key_that_cannot_sign(identities: Identities, kind: str) -> None:
    keys: dict[str, Callable[[], Any]] = {
        "RSA of 1024 bits": lambda: rsa.generate_private_key(65537, 1024),
        "RSA of 2560 bits": lambda: rsa.generate_private_key(65537, 2560),
        "RSA of 3584 bits": lambda: rsa.generate_private_key(65537, 3584),
        "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "Ed448": ed448.Ed448PrivateKey.generate,
    }
    both = identities.put("carol", issue("carol", CA, key=keys[kind]()))
    assert refused(both) == f"cert names a key that cannot be used: {both}: {kind}; it must be {KINDS}"


KINDS = "RSA of 2048, 3072 or 4096 bits with the exponent 65537, P-256, P-384 or Ed25519"


def without_public_half(key: Any) -> bytes:
    """As `openssl pkey -no_public` and some modules for keys write it (RFC 5915)."""
    secret: bytes = key.private_numbers().private_value.to_bytes(key.curve.key_size // 8, "big")
    curve = bytes.fromhex({256: "06082a8648ce3d030107", 384: "06052b81040022"}[key.curve.key_size])
    body = b"\x02\x01\x01\x04" + bytes([len(secret)]) + secret + b"\xa0" + bytes([len(curve)]) + curve
    text = base64.encodebytes(b"\x30" + bytes([len(body)]) + body)
    return b"-----BEGIN EC PRIVATE KEY-----\n" + text + b"-----END EC PRIVATE KEY-----\n"


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=["P-256", "P-384"])
def test_a_key_without_its_public_half(identities: Identities, openssl: str, curve: Any) -> None:
    issued = issue("carol", CA, key=ec.generate_private_key(curve))
    half = identities.write("half.key", without_public_half(issued.key))
    certificate = identities.write("carol.crt", issued.pem)
    name = f"P-{curve.key_size}"
    assert f"{half}: a key on {name} that is broken or lacks its public half, which openssl ec -in FILE" in refused(
        (certificate, half)
    )
    mended = identities.folder / "mended.key"
    subprocess.run([openssl, "ec", "-in", half, "-out", mended], check=True, capture_output=True)
    assert Client("localhost", LOGIN, PASSWORD, cert=(certificate, mended)).login == LOGIN


@pytest.mark.slow
def test_an_exponent_that_ring_does_not_take(identities: Identities) -> None:
    both = identities.put("carol", issue("carol", CA, key=rsa.generate_private_key(3, 2048)))
    assert f"{both}: RSA with the exponent 3; it must be" in refused(both)


def test_a_key_of_the_right_kind_that_is_broken(identities: Identities) -> None:
    certificate, _ = identities.pair("alice")
    broken = identities.write("broken.key", b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n")
    assert f"names a key that cannot be used: {broken}: " in refused((certificate, broken))


def test_a_key_in_der(identities: Identities) -> None:
    certificate, _ = identities.pair("alice")
    key = issue("carol").key.private_bytes(serialization.Encoding.DER, PKCS8, NoEncryption())
    path = identities.write("carol.der", key)
    assert refused((certificate, path)).endswith(f"{path}; openssl pkey -in FILE -out NEW makes PEM of DER")


def test_files_that_are_no_pem(identities: Identities) -> None:
    certificate, key = identities.pair("alice")
    alice = identities.folder / "alice.pem"
    carol = issue("carol")
    file = pkcs12.serialize_key_and_certificates(b"carol", carol.key, carol.certificate, None, NoEncryption())
    for path, words in (
        (identities.folder / "nowhere.pem", "names a file that cannot be read: "),
        (identities.folder, "names a file that cannot be read: "),
        (identities.write("empty.pem", b""), "names a file without a PEM certificate: "),
        (identities.write("carol.p12", file), "; openssl pkcs12 -in FILE -noenc makes PEM of a .p12 or .pfx file"),
        (identities.write("half.pem", alice.read_bytes()[:200]), "a certificate in it has no end"),
        (identities.write("short.pem", alice.read_bytes()[:-40]), "the key in it has no end"),
        (key, "names a file without a PEM certificate: "),
        (certificate, "names a file without a PEM private key: "),
        ((certificate, certificate), "names a file without a PEM private key: "),
        ((certificate, identities.folder / "nowhere.key"), "nowhere.key"),
        ((key, certificate), "names a file without a PEM certificate: "),
    ):
        assert words in refused(path)


def test_no_text_has_a_byte_of_the_key(identities: Identities, caplog: pytest.LogCaptureFixture) -> None:
    content = (identities.folder / "alice.pem").read_text(encoding="ascii")
    certificate, _, key = content.partition("-----BEGIN PRIVATE KEY-----\n")
    lines = key.splitlines()[:-1]
    for changed in (
        key.replace(lines[0], lines[0][:-2] + "?!"),
        key.replace(lines[1], ""),
        key.replace(lines[0][:4], "AAAA"),
        key.replace("-----END PRIVATE", "-----END OTHER"),
        key.replace("PRIVATE KEY", "RSA PRIVATE KEY"),
    ):
        both = identities.write("broken.pem", (certificate + "-----BEGIN PRIVATE KEY-----\n" + changed).encode())
        text = refused(both)
        assert not any(line[start : start + 6] in text for line in lines for start in range(len(line) - 6))
    client = Client("localhost:1", LOGIN, PASSWORD, cert=identities.folder / "alice.pem")
    assert "alice.pem" not in repr(client)


@pytest.mark.parametrize("cert", [True, 1, b"x", ["a", "b"], ("a",), ("a", "b", "c"), ("a", 1), (None, "b"), {}])
def test_what_is_no_path(cert: Any) -> None:
    kind = TypeError if cert != b"x" else (TypeError, ValueError)
    with pytest.raises(kind, match=r"^cert (must be|names)"):
        Client("localhost", LOGIN, PASSWORD, cert=cert)


@pytest.mark.parametrize("cert", ["", ("", "b"), ("a", "")])
def test_an_empty_path(cert: Any) -> None:
    with pytest.raises(ValueError, match=r"^cert must not be an empty path$"):
        Client("localhost", LOGIN, PASSWORD, cert=cert)


def test_a_lone_surrogate() -> None:
    with pytest.raises(ValueError, match=r"^cert must not hold lone surrogates$"):
        Client("localhost", LOGIN, PASSWORD, cert="\ud800")
