# SPDX-License-Identifier: GPL-2.0
"""SSH keys: the guest's, made with its image, and the user's, made once."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from testbed.errors import SetupError
from testbed.files import make_folder
from testbed.settings import Settings

_TYPE = b"ssh-ed25519"


@dataclass(frozen=True)
class HostKey:
    """The host key of one guest."""

    private: bytes  # the content of dropbear's key file
    public: str  # a line of known_hosts, without the host's name


def make_host_key() -> HostKey:
    """Make a new ed25519 key."""
    key = Ed25519PrivateKey.generate()
    return HostKey(_dropbear_format(key), public_line(key))


def find_client_key(settings: Settings) -> Path:
    """Return the path of the user's private key, in OpenSSH's format; make a missing one.

    The file has mode 0600.
    """
    path = settings.data_dir / "client_key"
    if not path.exists():
        make_folder(settings.data_dir, "data_dir")
        with (settings.data_dir / "client_key.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _write_private(path, _openssh_format(Ed25519PrivateKey.generate()))
    return path


def read_client_key(path: Path) -> Ed25519PrivateKey:
    """Read the key in a file.

    Raises:
        SetupError: the file cannot be read, or is not an ed25519 key.
    """
    hint = f"remove {path}: the testbed then makes a new one"
    try:
        key = load_ssh_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, UnsupportedAlgorithm) as exc:
        raise SetupError(f"the client key {path} cannot be used: {exc}", hint=hint) from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise SetupError(f"the client key {path} is not an ed25519 key", hint=hint)
    return key


def public_line(key: Ed25519PrivateKey) -> str:
    """Return the public half as OpenSSH writes it: type and base64, without a comment."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _openssh_format(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def _dropbear_format(key: Ed25519PrivateKey) -> bytes:
    """Encode the type, then seed and public key as one: two SSH strings (RFC 4251, section 5)."""
    seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return _ssh_string(_TYPE) + _ssh_string(seed + public)


def _ssh_string(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def _write_private(path: Path, content: bytes) -> None:
    """Write a file atomically. Others can never read it, not even for a moment."""
    scratch = path.with_suffix(".new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    scratch.rename(path)
