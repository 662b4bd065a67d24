# SPDX-License-Identifier: GPL-2.0
"""What a user does on a host: scripts, and what each has to show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hosting.hosttable import CHECKOUT_INSIDE, USER, Host
from testbed.arch import ARCHES

# Tests for `testbed run -k`: all paths, and scenarios of the model.
SAMPLE = "pgoff"

_INTERRUPTED = 130

_PRELUDE = f"cd {CHECKOUT_INSIDE} && export PATH=$PWD/.venv/bin:$PATH"

# Fails if a VM of the user is left.
_NO_QEMU = """
for each in $(seq 50); do pgrep -u $USER qemu-system >/dev/null || break; sleep 0.2; done
! pgrep -au $USER qemu-system
"""


# The device id of QEMU's `edu`, and where a machine shows those that it has.
_EDU = "0x11e8"
_DEVICES = "/sys/bus/pci/devices/*/device"

_FIND = f"basename $(dirname $(grep -l {_EDU} {_DEVICES})) >/run/handed"

# What docs/running.md has the user do.
_RELEASE = f"""
device=$(cat /run/handed) pci=/sys/bus/pci
modprobe vfio-pci
echo vfio-pci >$pci/devices/$device/driver_override
echo $device >$pci/drivers_probe
chown {USER} /dev/vfio/$(basename $(readlink $pci/devices/$device/iommu_group))
echo "{USER} - memlock unlimited" >/etc/security/limits.d/vfio.conf
"""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A script for the user's bash, and what it has to show."""

    name: str
    script: str
    seconds: float
    shows: tuple[str, ...] = ()  # regular expressions
    status: int = 0
    user: str = USER
    before: str = ""  # a script of root that changes the host
    after: str = ""  # a script of root that changes it back

    @property
    def text(self) -> str:
        return f"{_PRELUDE}\n{self.script}"

    def complaint(self, status: int, output: str) -> str:
        """Return what is wrong with the outcome; empty if nothing is."""
        if status != self.status:
            return f"exit status {status}, not {self.status}"
        missing = [each for each in self.shows if not re.search(each, output, re.MULTILINE)]
        return f"does not show {', '.join(missing)}" if missing else ""


def checks(host: Host, arches: Sequence[str]) -> Iterator[Check]:
    """Yield the checks of a host, in order: later ones use the caches of earlier ones.

    Args:
        arches: those of the kernels that are there.
    """
    own = host.arch.name
    (other,) = set(ARCHES) - {own}
    yield Check(
        name="graft",
        script="python /srv/round/inside/graft.py /srv/round/seed",
        seconds=900,
        shows=tuple(f"^{arch}: " for arch in arches),
    )
    yield Check(
        name="setup",
        script="scripts/setup",
        seconds=300,
    )
    yield Check(
        name="doctor",
        script="testbed doctor",
        seconds=300,
        shows=(f"accelerator for {own} .*kvm", f"accelerator for {other} .*tcg"),
    )
    yield Check(
        name="boot",
        script=f"testbed boot --arch {own} --accel kvm >boot.out 2>&1 & pid=$!\n"
        "while kill -0 $pid 2>/dev/null && ! grep -q ^up: boot.out; do sleep 0.5; done\n"
        f"kill -INT $pid; wait $pid; status=$?\ncat boot.out\n({_NO_QEMU}) && exit $status",
        seconds=1800,
        shows=("^up: 7",),
        status=_INTERRUPTED,
    )
    for isolation in ("batch", "clone", "boot"):
        tests = SAMPLE if isolation == "batch" else f"{SAMPLE} and test_descriptor"
        yield _run(own, f"run-{isolation}", f"-k '{tests}' --isolation {isolation}", "kvm .KVM")
    yield _run(own, "run-tcg", f"-k '{SAMPLE}' --accel tcg", "tcg .requested")
    yield Check(
        name="facts",
        script="python /srv/round/inside/samefacts.py results/run-batch results/run-tcg",
        seconds=120,
        shows=(": 0 facts differ",),
    )
    if other in arches:
        both = f"{own},{other}"
        yield _run(both, "run-both", f"-k '{SAMPLE} and test_descriptor'", "tcg .the host")
    yield Check(
        name="shell",
        script=f"testbed shell --arch {own} -- sh -c 'uname -rm; lsmod'",
        seconds=300,
        shows=(f"^7.*{host.arch.uname}$", "mmap_stack"),
    )
    yield Check(
        name="check",
        script=f"testbed check --arch {own} --module /srv/round/seed/{own}/example_pages.ko "
        "--node /dev/example_pages --lower",
        seconds=1500,
    )
    if host.devices:
        yield from _handed_in(own)
    yield Check(
        name="interrupt",
        script=_running(own, "interrupted")
        + f"kill -INT $pid; wait $pid; status=$?\ncat run.out\n({_NO_QEMU}) && exit $status",
        seconds=900,
        shows=("--continue",),
        status=_INTERRUPTED,
    )
    yield Check(
        name="kill-9",
        script=_running(own, "killed")
        + f"kill -KILL $pid; wait $pid\n({_NO_QEMU}) || exit 1\n"
        + f"testbed run --arch {own} -k '{SAMPLE} and test_descriptor' --results results/killed "
        "--continue",
        seconds=1500,
    )


def _handed_in(arch: str) -> Iterator[Check]:
    """Yield checks of a PCI device that a guest gets: before it is released, and after."""
    words = f"""--arch {arch} --qemu "-device vfio-pci,host=$(cat /run/handed)\""""
    yield Check(
        name="vfio-doctor",
        before=_FIND,
        script=f"testbed doctor {words}",
        after="true",
        seconds=300,
        shows=("not vfio-pci", "driver_override", "memlock"),
        status=2,
    )
    yield Check(
        name="vfio",
        before=_RELEASE,
        script=f"testbed doctor {words}\ntestbed shell {words} -- sh -c 'cat {_DEVICES}'\n"
        f"testbed run {words} --workers 1 -k 'test_pgoff_is_the_offset_in_pages and direct'",
        after="rm /etc/security/limits.d/vfio.conf",
        seconds=900,
        shows=(f"^{_EDU}$", "every test boots, because", "1 PASS in"),
    )


def _run(arches: str, name: str, options: str, shows: str) -> Check:
    return Check(
        name=name,
        script=f"testbed run --arch {arches} --results results/{name} {options}",
        seconds=1500,
        shows=(shows, "PASS"),
    )


def _running(arch: str, name: str) -> str:
    """Return a script that starts a run, and waits until it has its first result."""
    return (
        f"testbed run --arch {arch} -k '{SAMPLE} and test_descriptor' --isolation boot "
        f"--results results/{name} >run.out 2>&1 & pid=$!\n"
        f"while kill -0 $pid 2>/dev/null && ! [ -s results/{name}/latest/cases.jsonl ]; "
        "do sleep 0.2; done\n"
    )
