# SPDX-License-Identifier: GPL-2.0
"""Hosts that are network namespaces on one bridge."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from testbed.errors import CommandError, SetupError
from testbed.process import find_tool, run

# Another network for each process: two campaigns may run at once.
_NET = f"10.213.{os.getpid() % 250}"


def why_no_namespaces() -> str:
    """Return why this host cannot have network namespaces; empty if it can."""
    name = f"tb-{os.getpid()}"
    try:
        find_tool("ip", package="iproute2")
        run(["ip", "netns", "add", name])
        run(["ip", "link", "add", name, "type", "bridge"])
        run(["ip", "link", "del", name])
        run(["ip", "netns", "del", name])
    except (SetupError, CommandError) as error:
        return f"no network namespaces: {error.message}: {error.evidence}"
    return ""


def address(number: int) -> str:
    """Return the address of a host; 1 is this one."""
    return f"{_NET}.{number}"


def inside(number: int, argv: Sequence[str]) -> list[str]:
    """Return the command that runs on a host."""
    return ["ip", "netns", "exec", _name(number), *argv]


@contextmanager
def hosts(count: int) -> Iterator[None]:
    """Make the hosts 2 to count + 1, each with an interface of its own. They go with the block."""
    bridge = f"tb{os.getpid()}"
    with ExitStack() as stack:
        run(["ip", "link", "add", bridge, "type", "bridge"])
        stack.callback(run, ["ip", "link", "del", bridge])
        run(["ip", "address", "add", f"{address(1)}/24", "dev", bridge])
        run(["ip", "link", "set", bridge, "up"])
        for number in range(2, count + 2):
            run(["ip", "netns", "add", _name(number)])
            stack.callback(run, ["ip", "netns", "del", _name(number)])
            _connect(number, bridge)
        yield


def _connect(number: int, bridge: str) -> None:
    outer, name = f"tb{os.getpid()}-{number}", _name(number)
    run(["ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name])
    run(["ip", "link", "set", outer, "master", bridge, "up"])
    run(inside(number, ["ip", "address", "add", f"{address(number)}/24", "dev", "eth0"]))
    run(inside(number, ["ip", "link", "set", "eth0", "up"]))
    run(inside(number, ["ip", "link", "set", "lo", "up"]))


def _name(number: int) -> str:
    return f"tb-{os.getpid()}-{number}"
