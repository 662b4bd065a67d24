# SPDX-License-Identifier: GPL-2.0
"""Hosts that lack something: each works, or the testbed hints at what it needs."""

from __future__ import annotations

from collections.abc import Iterator

from hosting.checks import Check
from hosting.hosttable import HOME, USER, Host

_MODULE = "kvm_amd"  # QEMU emulates AMD's processor; of arm64 KVM is part of the kernel

_SECONDS = 900.0

# A container as Docker makes it: few devices, a small /dev/shm, few capabilities.
_CONTAINER = """
mount -t tmpfs -o mode=755 tmpfs /dev
mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/zero c 1 5
mknod -m 666 /dev/random c 1 8 && mknod -m 666 /dev/urandom c 1 9
ln -s /proc/self/fd /dev/fd && mkdir /dev/shm
mount -t tmpfs -o size=64m,mode=1777 tmpfs /dev/shm
"""


def poor_checks(host: Host) -> Iterator[Check]:
    """Yield checks on a host that lacks something. Earlier checks have filled the caches."""
    yield from _without_kvm(host)
    yield _container(host)
    run = _run(host)
    yield Check(
        name="lean",
        before="mount -t tmpfs -o size=64m,mode=1777 tmpfs /dev/shm\n"
        "mount -t tmpfs -o noexec,nosuid,nodev,mode=1777 tmpfs /tmp",
        script="umask 077\nexport LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0\n"
        f"{run} --results 'results/with a blank'",
        after="umount /tmp /dev/shm",
        seconds=_SECONDS,
        shows=("set template_dir to another folder on tmpfs", "1 PASS in"),
    )
    yield Check(
        name="home",
        before=f"rm -rf /var/tmp/{USER} && mkdir /var/tmp/{USER}\n"
        f"cp -r {HOME}/.cache/mmap-testbed /var/tmp/{USER}/cache\n"
        f"cp -r {HOME}/.local/share/mmap-testbed /var/tmp/{USER}/data\n"
        f"chown -R {USER}: /var/tmp/{USER}\n"
        f"mount --bind {HOME} {HOME} && mount -o remount,bind,ro {HOME}",
        script="export LC_ALL=C.UTF-8\n"
        f"{run}; echo status $?\n"
        f"cd /var/tmp/{USER} && cat >own.toml <<end\narchive_max_age = 1_000_000.0\n"
        + "".join(
            f'{name}_dir = "/var/tmp/{USER}/{name}"\n'
            for name in ("cache", "data", "state", "results")
        )
        + f"end\n{run} --settings own.toml",
        after=f"umount {HOME}",
        seconds=_SECONDS,
        shows=("cache_dir", "^status 2$", "1 PASS in"),
    )
    yield Check(
        name="namespaces",
        before="sysctl -w kernel.unprivileged_userns_clone=0 user.max_user_namespaces=0",
        script=run,
        after="sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000",
        seconds=_SECONDS,
        shows=("1 PASS in",),
    )
    yield Check(
        name="ubuntu",
        before="cp -r /etc/apt /etc/apt.away && rm -rf /etc/apt/sources.list*\n"
        "echo 'deb http://archive.ubuntu.com/ubuntu noble main' >/etc/apt/sources.list\n"
        "mv /usr/share/keyrings /usr/share/keyrings.away",
        script=f"testbed doctor --arch {host.arch}",
        after="rm -rf /etc/apt && mv /etc/apt.away /etc/apt\n"
        "mv /usr/share/keyrings.away /usr/share/keyrings",
        seconds=120,
        shows=("no mirror of Debian", "set `mirror`", "apt install debian-archive-keyring"),
        status=2,
    )


def _without_kvm(host: Host) -> Iterator[Check]:
    """Yield checks of what a user who insists on KVM is shown."""
    lacks = {
        "no-device": ("mv /dev/kvm /dev/away", "mv /dev/away /dev/kvm", "--device /dev/kvm"),
        "no-group": (
            f"gpasswd --delete {USER} kvm",
            f"gpasswd --add {USER} kvm",
            f"sudo usermod -aG kvm {USER}",
        ),
    }
    if host.arch.name == "x86_64":
        again = f"modprobe {_MODULE} && chgrp kvm /dev/kvm && chmod 660 /dev/kvm"
        lacks["no-module"] = (f"modprobe -r {_MODULE}", again, f"sudo modprobe {_MODULE}")
    for name, (before, after, hint) in lacks.items():
        yield Check(
            name=name,
            before=before,
            script=f"testbed doctor --arch {host.arch}; echo status $?\n{_run(host)} --accel kvm",
            after=after,
            seconds=_SECONDS,
            shows=(f"accelerator for {host.arch}: tcg", "^status 0$", "KVM cannot be used", hint),
            status=2,
        )


def _container(host: Host) -> Check:
    """Return the check that a run works in a container, by TCG."""
    user = f"setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs"
    return Check(
        name="container",
        user="root",
        script=f"cat >/run/container.sh <<'end'\nset -e\n{_CONTAINER}\n"
        f"export HOME={HOME}\nexec {user} --bounding-set=-all {_run(host)}\nend\n"
        "unshare --mount --pid --ipc --uts --fork --mount-proc bash /run/container.sh",
        seconds=_SECONDS,
        shows=("the host has no /dev/kvm", "set template_dir to", "1 PASS in"),
    )


def _run(host: Host) -> str:
    return (
        f"testbed run --arch {host.arch} --workers 1"
        " -k 'test_pgoff_is_the_offset_in_pages and direct'"
    )
