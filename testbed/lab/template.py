# SPDX-License-Identifier: GPL-2.0
"""Templates: a VM that booted once, warm and saved on tmpfs, from which clones start."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
import threading
from functools import partial
from pathlib import Path

from testbed.cache import Cache, Verify, digest
from testbed.context import Context
from testbed.deadline import Deadline
from testbed.errors import BootError, GuestError, ProbeProtocolError, SetupError
from testbed.files import make_folder
from testbed.lab.guest import MODULE_DIR, Guest, entered
from testbed.lab.prepared import PreparedKernel
from testbed.mmap.path import MODULE, HookPath
from testbed.vm.machine import VirtualMachine, boot
from testbed.vm.qemu import Channels, Template, qemu_argv

_KIND = "template"

# Increment this when templates are made in another way, so that old ones are not used.
_LAYOUT = "1"

_NOWHERE = Path("/")

# Besides the guest's memory: the VM's state, and room for other programs of the host.
_SPARE = 64 << 20  # bytes


def open_store(ctx: Context) -> Cache:
    """Open the cache of templates.

    Raises:
        SetupError: its folder cannot be written to, or belongs to another user. Everybody may write
            to /dev/shm.
    """
    root = make_folder(ctx.settings.template_dir, "template_dir", mode=0o700)
    status = root.stat(follow_symlinks=False)
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
        raise SetupError(
            f"{root} belongs to another user", hint="set template_dir to a folder on tmpfs"
        )
    store = Cache(root, ctx.settings.template_limit, ctx.progress, "template_dir")
    store.prune()  # removes what dead runs left, even if this run needs no template
    return store


def room_for(prepared: PreparedKernel, store: Cache) -> int:
    """Return how many templates fit: in the worst case a guest writes to all of its memory."""
    return shutil.disk_usage(store.root).free // ((prepared.memory_mib << 20) + _SPARE)


def find_template(prepared: PreparedKernel, store: Cache) -> Template | None:
    """Return the template of a prepared kernel, or None."""
    entry = store.find(_KIND, template_key(prepared))
    return None if entry is None else Template(entry)


def drop_template(prepared: PreparedKernel, store: Cache) -> None:
    """Remove the template of a prepared kernel, unless another run uses it."""
    store.drop(_KIND, template_key(prepared))


class Booting:
    """The VMs that boot to become templates, each in a thread. `end` ends them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._vms: list[VirtualMachine] = []
        self._ended = False

    def add(self, vm: VirtualMachine) -> None:
        with self._lock:
            self._vms.append(vm)
            if self._ended:
                vm.process.kill()

    def end(self) -> None:
        """End these VMs, and those to come. Their threads notice that their VM is gone."""
        with self._lock:
            self._ended = True
            for vm in self._vms:
                vm.process.kill()


def make_template(
    prepared: PreparedKernel,
    store: Cache,
    log_dir: Path,
    seconds: float,
    booting: Booting | None = None,
) -> Template:
    """Return the template of a prepared kernel. Make it if it is missing.

    Args:
        log_dir: for the logs of the VM that boots.
        seconds: to boot, warm up and save a VM. After a failed warm-up a second VM gets as long.
        booting: gets the VM, so that another thread can end it.

    Raises:
        BootError, LaunchError, QmpError, SessionError: the VM did not boot, or was not saved.
    """

    def make(scratch: Path) -> None:
        take = partial(_take, prepared, Template(scratch), log_dir, booting or Booting())
        try:
            take(Deadline.after(seconds), warm=True)
        except BootError:
            raise
        except (GuestError, ProbeProtocolError, AssertionError) as error:
            # A test will show what is wrong with the kernel, better than a warm-up can.
            store.progress.note(
                f"{prepared.arch}: the template stays cold after {error}".partition("\n")[0]
            )
            take(Deadline.after(seconds), warm=False)

    return Template(store.get(_KIND, template_key(prepared), make, verify=Verify.STAT))


def _take(
    prepared: PreparedKernel,
    template: Template,
    log_dir: Path,
    booting: Booting,
    deadline: Deadline,
    *,
    warm: bool,
) -> None:
    template.memory.unlink(missing_ok=True)
    spec = dataclasses.replace(prepared.vm_spec(log_dir), memory_file=template.memory)
    with boot(spec, deadline, booting.add) as vm:
        with entered(prepared, vm, deadline) as guest:
            if warm:
                warm_up(guest)
        vm.reseed(deadline)  # as clones will do: this tests it and warms it up
        vm.save(template, deadline)


def template_key(prepared: PreparedKernel) -> str:
    """Return a key of kernel, image, machine, accelerator, memory and QEMU."""
    spec = dataclasses.replace(prepared.vm_spec(_NOWHERE), memory_file=_NOWHERE)
    argv = qemu_argv(spec, Channels(0, 0, 0))
    return digest(_LAYOUT, prepared.kernel.key, prepared.image.key, prepared.qemu_version, *argv)


def warm_up(guest: Guest) -> None:
    """Do what tests will do, so that the guest's memory holds what they need.

    Then clear the kernel log, so that no clone reads the messages of the boot.

    Raises:
        GuestError: something is already wrong, for example a splat at boot.
    """
    guest.begin("warm-up")
    for module in sorted(path.stem for path in guest.prepared.guest_side.modules):
        guest.session.get(f"{MODULE_DIR}/{module}.ko")
    guest.load(MODULE)
    # A kernel without the layer warns about the second path, and its template stays cold.
    for path in (HookPath.DIRECT, HookPath.STACK):
        guest.prober.map(path)
    guest.finish()
    guest.session.check(["dmesg", "-c"])
