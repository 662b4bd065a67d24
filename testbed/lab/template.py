# SPDX-License-Identifier: GPL-2.0
"""Templates: a VM that booted once and is warm, put down on tmpfs for clones to begin from."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
from pathlib import Path

from testbed.cache import Cache, Verify, digest
from testbed.context import Context
from testbed.deadline import Deadline
from testbed.errors import BootError, GuestError, ProbeProtocolError, SetupError
from testbed.lab.guest import MODULE_DIR, Guest, entered
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.path import MODULE, HookPath
from testbed.vm.machine import boot
from testbed.vm.qemu import Channels, Template, qemu_argv

_KIND = "template"

# Raised when a template is made in another way, so that those of before are not taken for it.
_LAYOUT = "1"

_NOWHERE = Path("/")

# Beside the guest's memory: the state, and what a host's other programs may want meanwhile.
_SPARE = 64 << 20  # bytes


def open_store(ctx: Context) -> Cache:
    """The cache of templates.

    Raises:
        SetupError: its folder is somebody else's: all may write to /dev/shm.
    """
    root = ctx.settings.template_dir
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = root.stat(follow_symlinks=False)
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
        raise SetupError(f"{root} is another user's", hint="set template_dir to a folder on tmpfs")
    store = Cache(root, ctx.settings.template_limit, ctx.progress)
    store.prune()  # what dead runs left goes now, whether this one takes a template or not
    return store


def has_room(prepared: PreparedKernel, store: Cache) -> bool:
    """Whether a template may be made: at worst a guest writes to all of its memory."""
    return shutil.disk_usage(store.root).free >= (prepared.memory_mib << 20) + _SPARE


def find_template(prepared: PreparedKernel, store: Cache) -> Template | None:
    """The template of a prepared kernel if it is there."""
    entry = store.find(_KIND, template_key(prepared))
    return None if entry is None else Template(entry)


def drop_template(prepared: PreparedKernel, store: Cache) -> None:
    """Remove the template of a prepared kernel, unless another run has it in use."""
    store.drop(_KIND, template_key(prepared))


def make_template(
    prepared: PreparedKernel, store: Cache, log_dir: Path, seconds: float
) -> Template:
    """The template of a prepared kernel, taken when it is not there.

    Args:
        log_dir: for the VM that boots.
        seconds: until a VM is up, warm and saved; twice, where a warm-up takes them all.

    Raises:
        BootError, LaunchError, QmpError, SessionError: the VM did not come up, or not down.
    """

    def make(scratch: Path) -> None:
        try:
            _take(prepared, Template(scratch), log_dir, Deadline.after(seconds), warm=True)
        except BootError:
            raise
        except (GuestError, ProbeProtocolError, AssertionError) as error:
            # A test will tell what is wrong with the kernel, better than a warm-up can.
            store.progress.note(
                f"{prepared.arch}: a cold template, after {error}".partition("\n")[0]
            )
            _take(prepared, Template(scratch), log_dir, Deadline.after(seconds), warm=False)

    return Template(store.get(_KIND, template_key(prepared), make, verify=Verify.STAT))


def _take(
    prepared: PreparedKernel, template: Template, log_dir: Path, deadline: Deadline, *, warm: bool
) -> None:
    template.memory.unlink(missing_ok=True)
    spec = dataclasses.replace(prepared.vm_spec(log_dir), memory_file=template.memory)
    with boot(spec, deadline) as vm:
        with entered(prepared, vm, deadline) as guest:
            if warm:
                warm_up(guest)
        vm.reseed(deadline)  # as clones will: it is tried, and warm
        vm.save(template, deadline)


def template_key(prepared: PreparedKernel) -> str:
    """Equal for VMs that are alike: kernel, image, machine, accelerator, memory, and QEMU."""
    spec = dataclasses.replace(prepared.vm_spec(_NOWHERE), memory_file=_NOWHERE)
    argv = qemu_argv(spec, Channels(0, 0, 0))
    return digest(_LAYOUT, prepared.kernel.key, prepared.image.key, prepared.qemu_version, *argv)


def warm_up(guest: Guest) -> None:
    """Do what tests will do, so that what they need is in the guest's memory.

    What the boot printed is then forgotten, so that no clone reads it again.

    Raises:
        GuestError: something is wrong already, such as a splat at boot.
    """
    guest.begin("warm-up")
    for module in sorted(path.stem for path in guest.prepared.guest_side.modules):
        guest.session.get(f"{MODULE_DIR}/{module}.ko")
    guest.load(MODULE)
    # A kernel without the layer warns of the second one, and gets a cold template.
    for path in (HookPath.DIRECT, HookPath.STACK):
        guest.prober.map(path)
    guest.finish()
    guest.session.check(["dmesg", "-c"])
