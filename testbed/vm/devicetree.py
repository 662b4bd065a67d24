# SPDX-License-Identifier: GPL-2.0
"""The device tree of QEMU's machine with nodes on top, for drivers that find their device there."""

from __future__ import annotations

from pathlib import Path

from testbed.arch import Arch
from testbed.cache import digest
from testbed.context import Context
from testbed.process import find_tool, run
from testbed.vm.qemu import Accel, devicetree_argv, qemu_version

# The Debian package of the compiler of device trees.
PACKAGE = "device-tree-compiler"

_LAYOUT = "1"


def find_compiler() -> tuple[str, str]:
    """Return the compiler of device trees, and the program that puts one on top of another.

    Raises:
        SetupError: they are not installed.
    """
    compiler, overlay = (find_tool(name, package=PACKAGE) for name in ("dtc", "fdtoverlay"))
    return compiler, overlay


def build_devicetree(overlay: str, arch: Arch, accel: Accel, memory_mib: int, ctx: Context) -> Path:
    """Return the file of the machine's device tree with an overlay. Make it if the cache lacks it.

    QEMU corrects what depends on the rest of its command line: the memory, the initramfs and the
    kernel's command line (QEMU's hw/arm/boot.c, arm_load_dtb()).

    Args:
        overlay: the overlay's source, as dtc takes it.

    Raises:
        SetupError: the compiler is not installed.
        CommandError: the overlay does not compile.
    """

    def make(scratch: Path) -> None:
        compiler, apply = find_compiler()
        base, source, compiled = (scratch / name for name in ("base.dtb", "own.dts", "own.dtbo"))
        run(devicetree_argv(arch, accel, memory_mib, base))
        source.write_text(overlay)
        run([compiler, "-q", "-I", "dts", "-O", "dtb", "-o", compiled, source])
        run([apply, "-i", base, "-o", scratch / "machine.dtb", compiled])

    argv = devicetree_argv(arch, accel, memory_mib, Path("base.dtb"))
    key = digest(_LAYOUT, qemu_version(arch), *argv, overlay)
    return ctx.cache.get("devicetree", key, make) / "machine.dtb"
