# SPDX-License-Identifier: GPL-2.0
"""Diagnose a failed build: find the first error of its log, and choose the error class."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import BuildError, InfraError, SetupError, TestbedError

# The first such line of a log is the cause. Later ones are often its consequences.
_ERROR = re.compile(
    r"""
      ^\S+?:\d+:(?:\d+:)?\ (?:fatal\ )?error:\ .*         # gcc and clang
    | ^ERROR:\ modpost:\ .*
    | ^\S*ld(?:\.\w+)?:\ (?!.*(?:warning:|:$)).+           # binutils' linker and LLVM's
    | ^.*\bundefined\ reference\ to\ .*
    | ^\S*Kconfig\S*:\d+:\ ?(?!warning).*
    | ^\S.*?:\d+:\ \*\*\*\ .*                                # $(error) and make's own syntax
    | ^make(?:\[\d+\])?:\ \*\*\*\ No\ rule\ to\ make\ target\ .*
    """,
    re.VERBOSE | re.MULTILINE,
)

# Used only if _ERROR does not match, because harmless lines may match too.
_VAGUE = re.compile(
    r"^.*(?:\berror:|: not found$|No such file or directory|Permission denied).*", re.MULTILINE
)

_ANY_FAILURE = re.compile(r"^make(?:\[\d+\])?: \*\*\* .*", re.MULTILINE)

_WARNING = re.compile(r"^.*\bwarning: .*|^WARNING: modpost: .*", re.MULTILINE | re.IGNORECASE)

# The compiler driver, make and the shell report a killed process in different words.
_KILLED = re.compile(
    r"^.*(?:Killed signal terminated program|\] Killed$|Error 137\b|: Killed\b).*", re.MULTILINE
)

_DISK_FULL = re.compile(r"^.*No space left on device.*", re.MULTILINE)

# Headers of the host that the build's own programs include, and their Debian packages.
_HOST_HEADERS = {
    "libelf.h": "libelf-dev",
    "gelf.h": "libelf-dev",
    "openssl/": "libssl-dev",
    "ncurses.h": "libncurses-dev",
}


@dataclass(frozen=True)
class Blame:
    """An error class with its message and hint, without the log's name."""

    kind: type[TestbedError]
    message: str
    hint: str = ""


def first_error(log: str) -> str:
    """Return the first line with an error, or the first failure of make, or the last line."""
    match = _ERROR.search(log) or _VAGUE.search(log) or _ANY_FAILURE.search(log)
    return match[0].strip() if match else (log.strip().splitlines() or ["no output"])[-1]


def error_lines(log: str) -> list[str]:
    """Return every line with an error of the compiler, the linker, modpost, Kconfig or make."""
    return [match[0].strip() for match in _ERROR.finditer(log)]


def first_warning(log: str) -> str | None:
    """Return the first warning of the compiler or modpost, if any."""
    match = _WARNING.search(log)
    return match[0].strip() if match else None


def blame(log: str) -> Blame:
    """Return the error for a failed build. The tree is at fault unless the log shows otherwise."""
    if match := _KILLED.search(log):
        return Blame(
            InfraError,
            f"the compiler was killed, probably by lack of memory: {match[0].strip()}",
            hint="build with fewer jobs (-j), or on a host with more memory",
        )
    if match := _DISK_FULL.search(log):
        hint = "free some space, or set cache_dir to another disk"
        return Blame(InfraError, f"the disk is full: {match[0].strip()}", hint)
    error = first_error(log)
    for header, package in _HOST_HEADERS.items():
        if f"fatal error: {header}" in error:
            return Blame(
                SetupError, f"a header of the host is missing: {error}", f"apt install {package}"
            )
    return Blame(BuildError, error)


def build_error(what: str, log: Path, *, cause: Exception | None = None) -> TestbedError:
    """Return the exception to raise for a failed build. It names the whole log."""
    found = blame(log.read_text(errors="replace"))
    error = found.kind(f"{what} failed: {found.message}", hint=found.hint, logs=(log,))
    error.__cause__ = cause
    return error
