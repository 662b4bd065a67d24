# SPDX-License-Identifier: GPL-2.0
"""The facts by which kernels are compared, and what hooks promise: pure parts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testbed.intree.intreefile import INTREE_FILES
from testbed.intree.promises import error_of_call, path_of
from testbed.mmap.kernelfacts import kernel_facts
from testbed.mmap.observation import parse_observation
from testbed.mmap.script import Script

FILES = {file.name: file for file in INTREE_FILES}


def facts_of(path: str, sizes: list[dict[str, int]]) -> dict[str, str]:
    script = Script()
    script.maps("m")
    for _ in sizes:
        script.step("status")
    lines: list[dict[str, Any]] = [{"step": 1, "op": "maps", "vmas": [{"path": path}]}]
    for step, fields in enumerate(sizes, 2):
        lines.append({"step": step, "op": "status", "fields": fields, "child": step == 4})
    lines.append({"done": True})
    return kernel_facts(parse_observation(script, "\n".join(map(json.dumps, lines)), ""))


def test_a_mapping_has_its_path_without_what_each_boot_numbers_anew() -> None:
    one, other = facts_of("/dev/uio3", []), facts_of("/dev/uio0", [])
    assert one == other == {"1 maps.vmas[0].path": "/dev/uioN"}
    assert facts_of("/dev/zero", []) != facts_of("/dev/zero (deleted)", [])


def test_sizes_are_changes_since_the_first() -> None:
    facts = facts_of("", [{"VmSize": 70}, {"VmSize": 86}, {"VmSize": 62}])
    wanted = {"2 status.VmSize": "+0", "3 status.VmSize": "+16"}
    assert {key: facts[key] for key in wanted} == wanted
    assert facts["4 status in the child.VmSize"] == "-8"


def test_what_depends_on_other_processes_is_no_fact() -> None:
    facts = facts_of("", [{"VmRSS": 4}, {"VmRSS": 8}])
    assert not any("VmRSS" in key for key in facts)


@pytest.mark.parametrize(
    ("prot", "sharing", "mode", "noexec", "error"),
    [
        ("rw", "shared", "ro", False, "EACCES"),
        ("w", "private", "ro", False, ""),
        ("rx", "private", "rw", True, "EPERM"),
        ("wx", "shared", "ro", True, "EACCES"),
        ("rwx", "shared", "rw", False, ""),
    ],
)
def test_what_mmap_itself_refuses(
    prot: str, sharing: str, mode: str, noexec: bool, error: str
) -> None:
    assert error_of_call(prot, sharing, mode, noexec=noexec) == error


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("zero-shared", "/dev/zero (deleted)"),
        ("zero-private", "/dev/zero"),
        ("shmem", "/memfd:low (deleted)"),
        ("secretmem", "/secretmem (deleted)"),
        ("ramfs", "/tmp/user/file"),
    ],
)
def test_the_path_of_a_mapping(name: str, path: str) -> None:
    assert path_of(FILES[name]) == path
