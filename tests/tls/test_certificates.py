"""Certificates that are out of the ordinary: which are accepted, and what is still checked of them."""

from __future__ import annotations

import datetime
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import saymon_bulk
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from peer import FINISHED, ask, failure
from servers import ANSWER, Certificates, Issued, Nginx, Site, StartNginx, StartOpenSSL, issue, self_signed

# What `openssl req -x509` is asked for.
ODD = {
    "RSA of 1024 bits": ["-newkey", "rsa:1024"],
    "RSA of 1536 bits": ["-newkey", "rsa:1536"],
    "RSA-PSS": ["-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"],
    "P-521": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
    "Ed448": ["-newkey", "ed448"],
    "a critical extension": ["-newkey", "rsa:2048", "-addext", "1.2.3.4=critical,ASN1:NULL"],
    "critical policies": ["-newkey", "rsa:2048", "-addext", "certificatePolicies=critical,1.2.3.4"],
    "a signature with SHA-1": ["-newkey", "rsa:2048", "-sha1"],
}

# Keys that no TLS 1.2 of ours can use: a suite or a group would have to be offered with them (RFC 8422 section 5.1).
TLS_1_3_ONLY = {"RSA-PSS", "P-521", "Ed448"}
VERSIONS = [(kind, version) for version in ("-tls1_2", "-tls1_3") for kind in ODD]


def accepted_unchecked(host: str) -> None:
    with pytest.warns(saymon_bulk.InsecureConnectionWarning):
        assert ask(host, verify=False) == FINISHED


CLIENT_ALONE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
YESTERDAY = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
ELSEWHERE_ALONE = x509.NameConstraints([x509.DNSName("elsewhere.example")], None)


def serving(start_nginx: StartNginx, certificates: Certificates, shown: Issued, *above: Issued) -> str:
    """The host of a server with this certificate."""
    certificates.put("shown", shown, *above)
    return start_nginx({"shop": Site(ANSWER, "shown")}).url("shop", "localhost")


def refused_for(reason: str, host: str, verify: Any) -> None:
    error = failure(host, verify=verify)
    assert type(error) is saymon_bulk.TransportError
    with pytest.raises(saymon_bulk.TransportError, match=f"(?is){reason}"):
        raise error


# verify=False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "version"), [pair for pair in VERSIONS if pair[1] == "-tls1_3" or pair[0] not in TLS_1_3_ONLY]
)
def test_verify_false_takes_any_certificate(
    openssl: str, start_openssl: StartOpenSSL, tmp_path: Path, kind: str, version: str
) -> None:
    server = start_openssl(*self_signed(openssl, tmp_path, *ODD[kind]), version)
    accepted_unchecked(server.host)


@pytest.mark.slow
def test_verify_false_takes_x509_version_1(openssl: str, start_openssl: StartOpenSSL, tmp_path: Path) -> None:
    key, request, certificate = (str(tmp_path / f"v1.{end}") for end in ("key", "csr", "pem"))
    new = ["-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([openssl, "req", *new, "-keyout", key, "-out", request], check=True, capture_output=True)
    sign = ["-req", "-in", request, "-signkey", key, "-days", "30", "-out", certificate]
    subprocess.run([openssl, "x509", *sign], check=True, capture_output=True)
    accepted_unchecked(start_openssl("-cert", certificate, "-key", key).host)


@pytest.mark.slow
@pytest.mark.parametrize("schemes", ["RSA+SHA1", "rsa_pss_rsae_sha512", "RSA+SHA512"])
def test_verify_false_takes_any_signature_of_the_handshake(
    openssl: str, start_openssl: StartOpenSSL, tmp_path: Path, schemes: str
) -> None:
    shown = self_signed(openssl, tmp_path, "-newkey", "rsa:2048")
    accepted_unchecked(start_openssl(*shown, "-tls1_2", "-sigalgs", schemes).host)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RSA of 1024 bits", "P-521", "Ed448", "a critical extension"])
def test_the_same_certificates_are_refused_where_they_are_checked(
    openssl: str, start_openssl: StartOpenSSL, tmp_path: Path, kind: str
) -> None:
    server = start_openssl(*self_signed(openssl, tmp_path, *ODD[kind]))
    error: Any = failure(server.host, verify=tmp_path / "odd.pem")
    assert type(error) is saymon_bulk.TransportError
    # A key that no signature algorithm goes with ends the handshake before the certificate is looked at.
    assert error.kind == ("tls" if kind in ("P-521", "Ed448") else "certificate")
    assert error.transient is (error.kind == "tls")


# A certificate that is itself trusted


@pytest.fixture(params=["the CA file", "SSL_CERT_FILE", "SSL_CERT_DIR"])
def trusting(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a certificate file trusted; returns what `verify` must be for it."""

    def trust(path: Path) -> Any:
        if request.param == "the CA file":
            return path
        if request.param == "SSL_CERT_DIR":
            folder = tmp_path / "store"
            folder.mkdir()
            shutil.copy(path, folder / "some.pem")
            path = folder
        monkeypatch.setenv(request.param, str(path))
        return True

    return trust


@pytest.mark.parametrize("site", ["good", "unknown-ca", "self-signed", "self-signed-ca"])
def test_a_trusted_certificate_needs_no_issuer(front: Nginx, certificates: Certificates, trusting: Any, site: str) -> None:
    verify = trusting(certificates.certificate(site))
    assert ask(front.url(site, "localhost"), verify=verify) == FINISHED
    refused_for("issuer|self-signed", front.url("name-only", "localhost"), verify)


@pytest.mark.parametrize(
    ("site", "reason"),
    [
        ("expired", "expired"),
        ("wrong-name", "not valid for name"),
        ("self-signed-expired", "expired"),
        ("self-signed-elsewhere", "not valid for name"),
    ],
)
def test_a_trusted_certificate_has_dates_and_a_name(
    front: Nginx, certificates: Certificates, trusting: Any, site: str, reason: str
) -> None:
    refused_for(reason, front.url(site, "localhost"), trusting(certificates.certificate(site)))


@pytest.mark.parametrize("authority", [None, False, True])
def test_a_trusted_certificate_has_the_purpose_of_a_server(
    start_nginx: StartNginx, certificates: Certificates, trusting: Any, authority: bool | None
) -> None:
    shown = issue("localhost", authority=authority, more=[(CLIENT_ALONE, False)])
    host = serving(start_nginx, certificates, shown)
    refused_for("purpose|usage", host, trusting(certificates.certificate("shown")))


def test_a_trusted_certificate_that_is_no_ca_s_vouches_for_no_other(
    start_nginx: StartNginx, certificates: Certificates, trusting: Any, tmp_path: Path
) -> None:
    trusted = issue("elsewhere.example", issue("ca.example", authority=True), authority=False)
    (tmp_path / "trusted.pem").write_bytes(trusted.pem)
    host = serving(start_nginx, certificates, issue("localhost", trusted))
    refused_for("issuer", host, trusting(tmp_path / "trusted.pem"))


# A server's certificate that is marked as a CA's


@pytest.mark.parametrize("intermediate", [False, True])
@pytest.mark.parametrize("path_length", [None, 0])
def test_a_mark_as_a_ca_is_no_reason_to_refuse(
    start_nginx: StartNginx,
    certificates: Certificates,
    trusting: Any,
    tmp_path: Path,
    intermediate: bool,
    path_length: int | None,
) -> None:
    root = issue("root.example", authority=True, path_length=None if intermediate else path_length)
    above = [issue("ca.example", root, authority=True, path_length=path_length)] if intermediate else []
    (tmp_path / "ca.pem").write_bytes(root.pem)
    host = serving(start_nginx, certificates, issue("localhost", [root, *above][-1], authority=True), *above)
    assert ask(host, verify=trusting(tmp_path / "ca.pem")) == FINISHED


@pytest.mark.parametrize(
    ("reason", "shown", "issuer"),
    [
        ("expired", {"until": YESTERDAY}, {}),
        ("expired", {}, {"until": YESTERDAY}),
        ("name", {"host": "elsewhere.example"}, {}),
        ("constraint", {}, {"more": [(ELSEWHERE_ALONE, True)]}),
        ("purpose|usage", {"more": [(CLIENT_ALONE, False)]}, {}),
        ("ca", {}, {"authority": False}),
    ],
)
def test_all_else_is_checked_of_it(
    start_nginx: StartNginx, certificates: Certificates, tmp_path: Path, reason: str, shown: Any, issuer: Any
) -> None:
    root = issue("root.example", authority=True)
    above = issue("ca.example", root, **{"authority": True, **issuer})
    (tmp_path / "ca.pem").write_bytes(root.pem)
    leaf = issue(**{"host": "localhost", "issuer": above, "authority": True, **shown})
    refused_for(reason, serving(start_nginx, certificates, leaf, above), tmp_path / "ca.pem")


@pytest.mark.slow
def test_its_signature_is_checked(start_nginx: StartNginx, certificates: Certificates, tmp_path: Path) -> None:
    root, other = issue("root.example", authority=True), issue("root.example", authority=True)
    (tmp_path / "ca.pem").write_bytes(root.pem)
    # By a CA of the same name with another key; and changed after it was signed.
    forged = issue("localhost", other, authority=True)
    signed = issue("localhosu", root, authority=True)
    der = signed.certificate.public_bytes(serialization.Encoding.DER).replace(b"localhosu", b"localhost")
    changed = Issued(x509.load_der_x509_certificate(der), signed.key)
    for shown in (forged, changed):
        refused_for("signature", serving(start_nginx, certificates, shown), tmp_path / "ca.pem")
