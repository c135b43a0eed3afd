"""Writes the certificates of the bench into a folder: python certificates.py FOLDER."""

from __future__ import annotations

import datetime
import ipaddress
import sys
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey, extensions: list
) -> bytes:
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def main(folder: Path) -> None:
    ca_key, server_key, stranger_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    authority = [x509.BasicConstraints(ca=True, path_length=None)]
    ca = certificate("saymon-bulk bench CA", ca_key, "saymon-bulk bench CA", ca_key, authority)
    stranger = certificate("saymon-bulk another CA", stranger_key, "saymon-bulk another CA", stranger_key, authority)
    server = certificate(
        "localhost",
        server_key,
        "saymon-bulk bench CA",
        ca_key,
        [
            x509.BasicConstraints(ca=False, path_length=None),
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        ],
    )
    (folder / "server.key").write_bytes(
        server_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "server.pem").write_bytes(server)
    (folder / "ca.pem").write_bytes(ca)
    (folder / "stranger.pem").write_bytes(stranger)
    # As much as a system's store: a server with a public certificate is checked against all of it.
    (folder / "store.pem").write_bytes(Path(certifi.where()).read_bytes() + ca)


main(Path(sys.argv[1]))
