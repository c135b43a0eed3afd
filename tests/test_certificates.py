"""Certificates that are out of the ordinary: which are accepted, and what is still checked of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import saymon_bulk
from peer import FINISHED, ask, failure
from servers import StartOpenSSL

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


def self_signed(openssl: str, folder: Path, *options: str) -> list[str]:
    """Makes a certificate for localhost; returns the options of s_server that show it."""
    certificate, key = folder / "odd.pem", folder / "odd.key"
    made = ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost", "-days", "30"]
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([openssl, "req", "-x509", "-nodes", *options, *names, *made], check=True, capture_output=True)
    return ["-cert", str(certificate), "-key", str(key), "-cipher", "DEFAULT:@SECLEVEL=0"]


def accepted_unchecked(host: str) -> None:
    with pytest.warns(saymon_bulk.InsecureConnectionWarning):
        assert ask(host, verify=False) == FINISHED


# verify=False


@pytest.mark.parametrize(
    ("kind", "version"), [pair for pair in VERSIONS if pair[1] == "-tls1_3" or pair[0] not in TLS_1_3_ONLY]
)
def test_verify_false_takes_any_certificate(
    openssl: str, start_openssl: StartOpenSSL, tmp_path: Path, kind: str, version: str
) -> None:
    server = start_openssl(*self_signed(openssl, tmp_path, *ODD[kind]), version)
    accepted_unchecked(server.host)


def test_verify_false_takes_x509_version_1(openssl: str, start_openssl: StartOpenSSL, tmp_path: Path) -> None:
    key, request, certificate = (str(tmp_path / f"v1.{end}") for end in ("key", "csr", "pem"))
    new = ["-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([openssl, "req", *new, "-keyout", key, "-out", request], check=True, capture_output=True)
    sign = ["-req", "-in", request, "-signkey", key, "-days", "30", "-out", certificate]
    subprocess.run([openssl, "x509", *sign], check=True, capture_output=True)
    accepted_unchecked(start_openssl("-cert", certificate, "-key", key).host)


@pytest.mark.parametrize("schemes", ["RSA+SHA1", "rsa_pss_rsae_sha512", "RSA+SHA512"])
def test_verify_false_takes_any_signature_of_the_handshake(
    openssl: str, start_openssl: StartOpenSSL, tmp_path: Path, schemes: str
) -> None:
    shown = self_signed(openssl, tmp_path, "-newkey", "rsa:2048")
    accepted_unchecked(start_openssl(*shown, "-tls1_2", "-sigalgs", schemes).host)


@pytest.mark.parametrize("kind", ["RSA of 1024 bits", "P-521", "Ed448", "a critical extension"])
def test_the_same_certificates_are_refused_where_they_are_checked(
    openssl: str, start_openssl: StartOpenSSL, tmp_path: Path, kind: str
) -> None:
    server = start_openssl(*self_signed(openssl, tmp_path, *ODD[kind]))
    error = failure(server.host, verify=tmp_path / "odd.pem")
    assert type(error) is saymon_bulk.TransportError
