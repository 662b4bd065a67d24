# SPDX-License-Identifier: GPL-2.0
"""A round's disk: the checkout as it is now, and prebuilt kernels, in one read-only file system."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from hosting.hosttable import USER, Host
from hosting.rootimage import INSIDE
from hosting.seeds import Seed
from testbed.deadline import Deadline
from testbed.process import Argv, check_output, find_tool, run
from testbed.settings import CHECKOUT

_PATIENCE = 120.0  # seconds


def make_round_image(host: Host, seeds: Sequence[Seed], folder: Path) -> Path:
    """Return the disk that a host mounts at /srv/round.

    Args:
        folder: an empty one, for the disk and the files that it is made from.
    """
    top, disk = folder / "round", folder / "round.img"
    top.mkdir()
    (top / "hostname").write_text(f"{host}\n")
    (top / "user").write_text(f"{USER}\n")
    shutil.copytree(INSIDE, top / "inside")
    _copy_checkout(top / "checkout")
    for seed in seeds:
        seed.copy(top / "seed")
    # The user of the host is another one than who made these files.
    run(["chmod", "--recursive", "a+rX", top])
    # Uncompressed: the host's processor is emulated.
    # fmt: off
    argv: Argv = [find_tool("mksquashfs", package="squashfs-tools"), top, disk,
            "-quiet", "-no-progress", "-all-root", "-noI", "-noD", "-noF", "-noX"]
    # fmt: on
    run(argv, deadline=Deadline.after(_PATIENCE))
    shutil.rmtree(top)
    return disk


def _copy_checkout(target: Path) -> None:
    """Copy the files that git knows, with the changes that are not committed."""
    for name in filter(None, check_output(["git", "-C", CHECKOUT, "ls-files", "-z"]).split("\0")):
        source = CHECKOUT / name
        if source.is_file():  # a removal may not be committed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
