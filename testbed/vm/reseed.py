# SPDX-License-Identifier: GPL-2.0
"""Reseeding a clone: fresh random bytes and the time, through its reseed port."""

from __future__ import annotations

import os
import socket
import struct
import time

from testbed.deadline import Deadline

# The other end is tests/probes/reseed.
_SEED = 64
_MESSAGE = struct.Struct(f">QI{_SEED}s")
_ANSWER = struct.Struct(">I")


def reseed(port: socket.socket, deadline: Deadline) -> None:
    """Give the guest fresh random bytes and the host's time, and wait for its answer.

    Raises:
        OSError: the guest does not answer in time, hangs up, or cannot use them.
    """
    now = time.time_ns()
    message = _MESSAGE.pack(now // 10**9, now % 10**9, os.urandom(_SEED))
    port.settimeout(deadline.remaining)
    port.sendall(message)
    answer = port.recv(_ANSWER.size, socket.MSG_WAITALL)
    if len(answer) < _ANSWER.size:
        raise OSError("the reseed port was closed")
    (errno,) = _ANSWER.unpack(answer)
    if errno:
        raise OSError(errno, f"in the guest: {os.strerror(errno)}")
