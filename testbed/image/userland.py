# SPDX-License-Identifier: GPL-2.0
"""The guest's userspace: a few files from Debian's packages, which are unpacked but never run.

Only the required programs and their libraries go into the image: each megabyte
costs boot time under TCG.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from testbed.errors import InfraError
from testbed.image import cpio
from testbed.image.keys import HostKey
from testbed.process import check_output, find_tool

PACKAGES = ("busybox-static", "dropbear-bin", "kmod")

_INIT = Path(__file__).with_name("init.sh")

# The programs of the packages, and their paths in the guest.
_PROGRAMS = {
    "usr/bin/busybox": "/bin/busybox",
    "usr/bin/kmod": "/bin/kmod",
    "usr/sbin/dropbear": "/sbin/dropbear",
}

_KMOD_NAMES = ("depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod")

_BUSYBOX_NAMES = (
    *("[", "ash", "awk", "basename", "cat", "chmod", "chown", "clear", "cmp", "cp", "cttyhack"),
    *("cut", "date", "dd", "devmem", "df", "diff", "dirname", "dmesg", "du", "echo", "env"),
    *("expr", "false", "find", "free", "grep", "halt", "head", "hexdump", "hostname", "id"),
    *("ifconfig", "init", "ip", "kill", "killall", "less", "ln", "losetup", "ls", "md5sum"),
    *("mkdir", "mkfifo", "mknod", "mktemp", "mount", "mv", "nproc", "od", "pgrep", "pidof"),
    *("ping", "pkill", "poweroff", "printf", "ps", "pwd", "readlink", "realpath", "reboot"),
    *("renice", "reset", "rm", "rmdir", "sed", "seq", "setsid", "sh", "sha256sum", "sleep"),
    *("sort", "stat", "strings", "stty", "sync", "sysctl", "tail", "tar", "taskset", "tee"),
    *("test", "time", "timeout", "top", "touch", "tr", "true", "truncate", "umount", "uname"),
    *("uniq", "uptime", "vi", "wc", "which", "xargs", "xxd", "yes"),
)

_DIRECTORIES = ("/dev", "/proc", "/run", "/sys", "/var", "/var/log")

_CONFIGURATION = {
    "/etc/fstab": (
        "proc /proc proc defaults 0 0\n"
        "sysfs /sys sysfs defaults 0 0\n"
        "devpts /dev/pts devpts mode=0620,ptmxmode=0666 0 0\n"
        "tmpfs /dev/shm tmpfs mode=1777 0 0\n"
        "tmpfs /tmp tmpfs mode=1777 0 0\n"
        "debugfs /sys/kernel/debug debugfs defaults 0 0\n"
    ),
    "/etc/group": "root:x:0:\n",
    "/etc/inittab": "::ctrlaltdel:/bin/reboot -f\n",
    # The user `agent` is root with another login shell: SSH then starts one program less.
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nagent:x:0:0:agent:/root:/bin/agent\n",
    "/etc/profile": "export PATH=/bin:/sbin HOME=/root\n",
    "/etc/shells": "/bin/sh\n/bin/agent\n",
}

_NEEDED = re.compile(r"\(NEEDED\) .*\[(?P<name>[^]]+)\]")
_INTERPRETER = re.compile(r"Requesting program interpreter: (?P<path>[^]]+)\]")


def identity() -> tuple[str, ...]:
    """Return all that determines the userspace, except the packages and the keys."""
    table = [_PROGRAMS, _KMOD_NAMES, _BUSYBOX_NAMES, _DIRECTORIES, _CONFIGURATION]
    return (repr(table), _INIT.read_text())


def unpack(packages: Iterable[Path], root: Path) -> None:
    """Unpack the content of .deb files. Run none of their scripts."""
    for package in packages:
        check_output(["dpkg-deb", "--extract", package, root])


def lay_out(root: Path, staging: Path, host_key: HostKey, client_key: str) -> list[str]:
    """Stage the guest's userspace. Return the lines for cpio.pack.

    Args:
        root: the unpacked packages.
        staging: an empty folder, which cpio.pack then packs from.
        client_key: the public key that may log in as root, and as the agent.
    """
    programs = {path: root / source for source, path in _PROGRAMS.items()}
    files = {**programs, **_libraries(root, programs.values())}
    lines = [
        cpio.file(path, _stage(staging, path, source), 0o755) for path, source in files.items()
    ]
    texts = _CONFIGURATION | {"/root/.ssh/authorized_keys": client_key + "\n"}
    for path, text in texts.items():
        lines.append(cpio.file(path, _write(staging, path, text.encode())))
    lines.append(cpio.file("/init", _stage(staging, "/init", _INIT), 0o755))
    secret = "/etc/dropbear/host_key"
    lines.append(cpio.file(secret, _write(staging, secret, host_key.private), 0o600))
    links = dict.fromkeys(_BUSYBOX_NAMES, "busybox") | dict.fromkeys(_KMOD_NAMES, "kmod")
    lines += [cpio.symlink(f"/bin/{name}", target) for name, target in links.items()]
    return [*_directories([*files, *texts, secret]), *lines]


def _directories(paths: Iterable[str]) -> list[str]:
    # Mode 0700 for root's home: dropbear refuses keys in a folder that others can write to.
    private = {"/root", "/root/.ssh"}
    lines = [line for line in cpio.parents(paths) if line.split()[1] not in private]
    lines += [cpio.directory(path) for path in _DIRECTORIES]
    lines += [cpio.directory(path, 0o700) for path in sorted(private)]
    # The kernel opens /dev/console for process 1 before /init mounts anything on /dev.
    console = cpio.character_device("/dev/console", 0o600, 5, 1)
    return [*lines, cpio.directory("/tmp", 0o1777), console]


def _libraries(root: Path, programs: Iterable[Path]) -> dict[str, Path]:
    """Return the libraries and interpreters that programs need, by their path in the guest."""
    available = {path.name: path for path in sorted(root.rglob("*.so*"))}
    found: dict[str, Path] = {}
    todo = list(programs)
    while todo:
        program = todo.pop()
        for place in _dynamic_needs(program):
            name = Path(place).name
            if name not in {Path(known).name for known in found}:
                found[place] = _inside(root, available, name, needed_by=program)
                todo.append(found[place])
    return found


def _dynamic_needs(program: Path) -> list[str]:
    """Return the guest's paths of an ELF file's dynamic loader, then of its libraries.

    readelf reads the files of every architecture.
    """
    readelf = find_tool("readelf", package="binutils")
    text = check_output([readelf, "--wide", "--program-headers", "--dynamic", program])
    interpreters = [match["path"] for match in _INTERPRETER.finditer(text)]
    return interpreters + [f"/lib/{match['name']}" for match in _NEEDED.finditer(text)]


def _inside(root: Path, available: Mapping[str, Path], name: str, *, needed_by: Path) -> Path:
    """Return the file behind a library's name. It must not be a file of the host."""
    link = available.get(name)
    path = link.resolve() if link is not None else None
    if path is None or not path.is_relative_to(root.resolve()) or not path.is_file():
        raise InfraError(f"{needed_by.name} needs {name}, which no package of the guest has")
    return path


def _stage(staging: Path, path: str, source: Path) -> str:
    return _write(staging, path, source.read_bytes())


def _write(staging: Path, path: str, content: bytes) -> str:
    """Stage the content of a path in the guest. Return its name relative to `staging`."""
    relative = path.removeprefix("/")
    target = staging / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return relative
