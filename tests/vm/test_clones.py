# SPDX-License-Identifier: GPL-2.0
"""Clones of a template start pristine and are independent of each other."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from testbed.cache import Cache
from testbed.context import Context
from testbed.deadline import Deadline
from testbed.errors import KernelSplat
from testbed.lab import lab as lab_module
from testbed.lab import template as template_module
from testbed.lab.guest import Guest, clone_up
from testbed.lab.lab import Lab
from testbed.lab.prepared import PreparedKernel
from testbed.lab.template import find_template, make_template, open_store, template_key
from testbed.mmap.path import MODULE, HookPath
from testbed.progress import SilentProgress
from testbed.settings import Isolation
from testbed.vm.machine import clone
from testbed.vm.qemu import Template

UUID = "/proc/sys/kernel/random/uuid"

_KEXINIT = 20  # SSH_MSG_KEXINIT

Clone = Callable[[], AbstractContextManager[Guest]]


@pytest.fixture(scope="session")
def store(lab: Lab) -> Iterator[Cache]:
    with closing(open_store(lab.ctx)) as store:
        yield store


@pytest.fixture
def template(lab: Lab, prepared: PreparedKernel, store: Cache) -> Template:
    """A template; most likely the one that the tests of this session share."""
    lean = prepared.without_disks()
    return make_template(lean, store, lab.log_dir(prepared.arch.name), _SECONDS)


@pytest.fixture
def new_clone(lab: Lab, prepared: PreparedKernel, template: Template) -> Clone:
    def new_clone() -> AbstractContextManager[Guest]:
        logs = lab.log_dir(prepared.arch.name)
        return clone_up(prepared.without_disks(), template, logs, _soon())

    return new_clone


@pytest.fixture
def own_lab(prepared: PreparedKernel, lab: Lab, tmp_path: Path) -> Iterator[Lab]:
    """A lab with its own store of templates."""
    settings = dataclasses.replace(
        lab.ctx.settings, template_dir=tmp_path / "templates", results_dir=tmp_path / "results"
    )
    ctx = Context(settings, lab.ctx.cache, SilentProgress())
    with closing(Lab(ctx, lab.series)) as own:
        yield own


_SECONDS = 600.0  # for a VM to come up


def _soon() -> Deadline:
    return Deadline.after(_SECONDS)


def test_clones_have_different_random_numbers(new_clone: Clone) -> None:
    with new_clone() as one, new_clone() as other:
        assert one.session.get(UUID) != other.session.get(UUID)


def test_ssh_servers_of_clones_have_different_random_numbers(
    prepared: PreparedKernel, lab: Lab, template: Template
) -> None:
    """The template's SSH server is cloned while it runs, so it needs fresh random numbers."""
    spec = dataclasses.replace(prepared.without_disks().vm_spec(Path("/")), template=template)
    cookies = []
    for _ in range(2):
        spec = dataclasses.replace(spec, log_dir=lab.log_dir(prepared.arch.name))
        with clone(spec, _soon()) as vm:
            cookies.append(_cookie(vm.ssh_port))
    assert cookies[0] != cookies[1]


def test_a_clone_has_the_time_of_its_host(new_clone: Clone) -> None:
    began = time.time()
    with new_clone() as guest:
        shown = int(guest.session.check(["date", "+%s"]).out)
        # The clone gets the time during its setup, so its clock lags by less than the setup took.
        assert int(began) <= shown <= time.time() + 1


def test_two_clones_do_not_see_each_other(new_clone: Clone) -> None:
    with new_clone() as one, new_clone() as other:
        one.session.put(b"one", "/tmp/file")
        one.load(MODULE)
        assert MODULE not in other.session.get("/proc/modules").decode()
        assert other.session.run(["cat", "/tmp/file"]).status == 1
        assert one.session.get("/tmp/file") == b"one"


def test_a_clone_begins_as_the_template_was_left(new_clone: Clone) -> None:
    with new_clone() as guest:
        guest.session.put(b"", "/tmp/file")
        guest.session.write(("/proc/sys/vm/overcommit_memory", b"2"))
        guest.load(MODULE)
    with new_clone() as guest:
        assert guest.session.get("/proc/sys/vm/overcommit_memory") == b"0\n"
        assert guest.session.get("/proc/modules") == b""
        assert "file" not in guest.session.check(["ls", "/tmp"]).out


def test_each_clone_has_its_own_console(new_clone: Clone) -> None:
    with new_clone() as one, new_clone() as other:
        one.session.write(("/dev/kmsg", b"<5>this is the first\n"))
        console = one.vm.console
        found = one.vm.notifier.wait_for(
            lambda: console.text() if "this is the first" in console.text() else None, _soon()
        )
        assert found is not None
        assert "Linux version" not in found
        assert "this is the first" not in other.vm.console.text()


def test_a_clone_does_not_repeat_the_boot_log(new_clone: Clone) -> None:
    with new_clone() as guest:
        records = guest.session.log().records
        assert not [record for record in records if b"Linux version" in record]


def test_a_killed_clone_affects_no_other(own_lab: Lab, arch: str) -> None:
    with own_lab.guest(arch, Isolation.CLONE, disks=False) as guest:
        os.kill(guest.vm.process.pid, signal.SIGKILL)
        guest.vm.wait_until_gone()
    with own_lab.guest(arch, Isolation.CLONE, disks=False) as guest:
        guest.load(MODULE)
        assert guest.prober.map(HookPath.STACK).made.error == ""
    assert own_lab.retried == []


def test_a_template_that_cannot_be_loaded_is_made_again(own_lab: Lab, arch: str) -> None:
    lean = own_lab.prepared(arch).without_disks()
    logs = own_lab.log_dir(arch)
    template = make_template(lean, own_lab.templates, logs, _SECONDS)
    stamp = template.state.stat()
    template.state.write_bytes(bytes(stamp.st_size))
    # A file that the disk has corrupted looks like this: size and time are unchanged.
    os.utime(template.state, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with own_lab.guest(arch, Isolation.CLONE, disks=False) as guest:
        assert guest.usable
    assert len(own_lab.retried) == 1
    assert own_lab.retried[0].startswith(arch)


def test_a_splat_in_the_warm_up_is_left_to_the_tests(
    own_lab: Lab, arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warm_up(guest: Guest) -> None:
        raise KernelSplat("it warned at boot")

    monkeypatch.setattr(template_module, "warm_up", warm_up)
    with own_lab.guest(arch, Isolation.CLONE, disks=False) as guest:
        records = guest.session.log().records
        assert [record for record in records if b"Linux version" in record]
    assert own_lab.retried == []


def test_a_template_is_made_once_for_each_kernel_image_and_machine(own_lab: Lab, arch: str) -> None:
    prepared = own_lab.prepared(arch)
    assert find_template(prepared.without_disks(), own_lab.templates) is None
    with own_lab.guest(arch, Isolation.CLONE, disks=False):
        assert find_template(prepared.without_disks(), own_lab.templates) is not None
    bigger = dataclasses.replace(prepared, memory_mib=prepared.memory_mib + 64)
    keys = {template_key(each) for each in (prepared, prepared.without_disks(), bigger)}
    assert len(keys) == 3


def test_without_room_on_tmpfs_a_test_boots(
    own_lab: Lab, arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_module, "room_for", lambda prepared, store: 0)
    with own_lab.guest(arch, Isolation.CLONE, disks=False) as guest:
        assert "Linux version" in guest.vm.console.text()
        assert guest.vm.spec.template is None


def _cookie(port: int) -> bytes:
    """The random bytes of the server's first packet (RFC 4253, sections 6 and 7.1)."""
    with (
        socket.create_connection(("127.0.0.1", port), _SECONDS) as sock,
        sock.makefile("rb") as stream,
    ):
        assert stream.readline().startswith(b"SSH-2.0-")
        sock.sendall(b"SSH-2.0-testbed\r\n")
        length, padding, kind = struct.unpack("!IBB", stream.read(6))
        assert (kind, length > 16 + padding) == (_KEXINIT, True)
        return stream.read(16)
