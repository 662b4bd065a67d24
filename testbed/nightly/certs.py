# SPDX-License-Identifier: GPL-2.0
"""Certificates for a cluster: a CA, and one certificate that all hosts have.

Whoever has a certificate of the CA runs code on all hosts: there are no other rights, so there is
one key. A key that was lost is replaced by a new CA.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from testbed.errors import SetupError
from testbed.files import make_folder

CA_FILE, CERTIFICATE_FILE, KEY_FILE = "ca.pem", "node.pem", "node.key"

# Clocks of hosts differ.
_EARLY = timedelta(hours=1)


def write_certificates(folder: Path, days: int) -> list[Path]:
    """Write a new CA's certificate, and a certificate with its key. Return the files.

    The key of the CA is not kept: nobody can add a certificate later.

    Raises:
        SetupError: the folder has certificates, or cannot be written to.
    """
    make_folder(folder, "--tls", mode=0o700)
    files = certificate_files(folder)
    if any(file.exists() for file in files):
        raise SetupError(f"{folder} has certificates", hint="remove them, or name another folder")
    until = datetime.now(UTC) + timedelta(days=days)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name, name = _name("testbed cluster CA"), _name("testbed cluster node")
    ca = _sign(ca_name, ca_key, ca_name, ca_key, until)
    node = _sign(name, key, ca_name, ca_key, until, of_ca=False)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    texts = (ca.public_bytes(Encoding.PEM), node.public_bytes(Encoding.PEM), secret)
    for file, text in zip(files, texts, strict=True):
        _write_secret(file, text)
    return files


def certificate_files(folder: Path) -> list[Path]:
    """Return the files: of the CA, of the certificate, and of its key."""
    return [folder / name for name in (CA_FILE, CERTIFICATE_FILE, KEY_FILE)]


def require_certificates(folder: Path) -> list[Path]:
    """Return the files of a folder that must have them.

    Raises:
        SetupError: one is missing.
    """
    files = certificate_files(folder)
    for file in files:
        if not file.exists():
            hint = f"`testbed cluster certs --tls {folder}` makes them, on one host"
            raise SetupError(f"there is no {file}", hint=hint)
    return files


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _sign(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    until: datetime,
    *,
    of_ca: bool = True,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - _EARLY)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=of_ca, path_length=0 if of_ca else None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False
        )
    )
    if not of_ca:
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), False)
    return builder.sign(issuer_key, hashes.SHA256())


def _write_secret(file: Path, text: bytes) -> None:
    """Write a file that only the user may read."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(text)
