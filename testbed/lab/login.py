# SPDX-License-Identifier: GPL-2.0
"""The ssh command that logs in to a guest."""

from __future__ import annotations

from testbed.lab.guest import Guest

# ssh finds the guest's host key by this name, because the port differs each time.
_HOST_ALIAS = "testbed-guest"


def ssh_argv(guest: Guest) -> list[str]:
    """Return the ssh command. It checks the host key as strictly as our own session does."""
    image = guest.prepared.image
    known_hosts = guest.vm.spec.log_dir / "known_hosts"
    known_hosts.write_text(f"{_HOST_ALIAS} {image.host_key.read_text()}")
    # fmt: off
    return [
        "ssh", "-F", "none", "-p", str(guest.vm.ssh_port),
        "-i", str(image.client_key), "-o", "IdentitiesOnly=yes",
        "-o", f"UserKnownHostsFile={known_hosts}", "-o", "StrictHostKeyChecking=yes",
        "-o", f"HostKeyAlias={_HOST_ALIAS}",
        "root@127.0.0.1",
    ]
    # fmt: on
