# SPDX-License-Identifier: GPL-2.0
"""Images through the cache: one userland per architecture, then the files of each kernel."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.cache import digest
from testbed.context import Context
from testbed.image import cpio, userland
from testbed.image.keys import HostKey, find_client_key, make_host_key, public_line, read_client_key
from testbed.kernel.apt import download_packages, find_packages
from testbed.kernel.build import Kernel
from testbed.kernel.modules import GuestSide

_MODULES = "/lib/testbed"
_PROGRAMS = "/bin"


@dataclass(frozen=True)
class Image:
    """An initramfs for one kernel, and the keys that a client needs to log in to the guest."""

    key: str
    path: Path  # the initramfs: uncompressed cpio archives in a row
    host_key: Path  # the guest's public host key: one line, type and base64
    client_key: Path  # the user's private key, in OpenSSH's format
    packages: Path  # Debian's packages in it, one per line: name and version


def build_image(kernel: Kernel, guest_side: GuestSide, ctx: Context) -> Image:
    """Return the image for a kernel with its modules and guest programs.

    All kernels of one architecture and user share the userland, so the image of
    a new kernel costs one copy.

    Raises:
        SetupError: the guest's suite lacks the packages, or the client key is unusable.
        InfraError: the packages cannot be fetched, or lack a library.
    """
    client_key = find_client_key(ctx.settings)
    base = _base(kernel, public_line(read_client_key(client_key)), ctx)
    files = guest_files(kernel, guest_side)
    key = digest(base.name, *(f"{path}={_sha256(file)}" for path, file in files.items()))

    def make(scratch: Path) -> None:
        with tempfile.TemporaryDirectory(dir=scratch) as temporary:
            top = Path(temporary) / "top.cpio"
            _pack_top(files, kernel.gen_init_cpio, top)
            cpio.concatenate([base / "base.cpio", top], scratch / "initramfs.cpio")

    entry = ctx.cache.get("image", key, make)
    return Image(
        key=key,
        path=entry / "initramfs.cpio",
        host_key=base / "host_key.pub",
        client_key=client_key,
        packages=base / "packages",
    )


def guest_files(kernel: Kernel, guest_side: GuestSide) -> dict[str, Path]:
    """Return the files of the image that belong to one kernel, by their path in the guest."""
    tree = sorted((kernel.modules / "lib/modules").rglob("*"))
    staged = [path for path in tree if path.is_file() and not path.is_symlink()]
    return {
        **{f"/{path.relative_to(kernel.modules)}": path for path in staged},
        **{f"{_MODULES}/{path.name}": path for path in guest_side.modules},
        **{f"{_PROGRAMS}/{path.name}": path for path in guest_side.programs},
    }


def _base(kernel: Kernel, client_key: str, ctx: Context) -> Path:
    """Return the cache entry of the architecture's userland.

    The gen_init_cpio of every kernel packs the same archive, so the key does not name the kernel.
    """
    arch = kernel.arch.debian
    packages = find_packages(userland.PACKAGES, arch, ctx)
    versions = [f"{package.name} {package.version}" for package in packages]
    key = digest(
        arch, *versions, *(package.hash for package in packages), client_key, *userland.identity()
    )

    def make(scratch: Path) -> None:
        debs = download_packages(userland.PACKAGES, arch, ctx)
        with ctx.progress.step(f"guest userland for {kernel.arch}"):
            host_key = make_host_key()
            pack_base(debs.values(), host_key, scratch)
            (scratch / "host_key.pub").write_text(host_key.public + "\n")
            (scratch / "packages").write_text("".join(f"{version}\n" for version in versions))

    def pack_base(debs: Iterable[Path], host_key: HostKey, scratch: Path) -> None:
        with tempfile.TemporaryDirectory(dir=scratch) as temporary:
            root, staging = Path(temporary) / "root", Path(temporary) / "staging"
            root.mkdir()
            userland.unpack(debs, root)
            lines = userland.lay_out(root, staging, host_key, client_key)
            cpio.pack(
                lines,
                gen_init_cpio=kernel.gen_init_cpio,
                folder=staging,
                output=scratch / "base.cpio",
            )

    return ctx.cache.get("userland", key, make)


def _pack_top(files: Mapping[str, Path], gen_init_cpio: Path, output: Path) -> None:
    """Pack files from anywhere. The list has no quotes, so it names links in one folder."""
    folder = output.parent / "links"
    folder.mkdir()
    lines = cpio.parents(files)
    for number, (path, source) in enumerate(files.items()):
        (folder / str(number)).symlink_to(source.absolute())
        lines.append(cpio.file(path, str(number), 0o755 if path.startswith("/bin/") else 0o644))
    cpio.pack(lines, gen_init_cpio=gen_init_cpio, folder=folder, output=output)


def _sha256(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
