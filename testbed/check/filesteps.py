# SPDX-License-Identifier: GPL-2.0
"""The steps of a plan on an open file: ioctl, write, read. They become steps of the probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from testbed.suggest import suggest

# Of the probe's buffer (tests/probes/probe/calls.c).
_MOST = 16 << 10  # bytes

_KEYS = ("ioctl", "value", "bytes", "mmap_offset", "write", "read")

_OFFSET_KEYS = ("byte", "bits")
_OFFSET_BITS = (32, 64)

_FILE = "file"


class WrongStep(Exception):
    """A step that cannot be used. The text says why."""


def step_words(step: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a step of a plan in the language of the probe.

    Raises:
        WrongStep: a key is missing, unknown or superfluous, or a value is unusable.
    """
    for key in step:
        if key not in _KEYS:
            hint = suggest(key, _KEYS)
            raise WrongStep(f"a step has the unknown key {key!r}" + (f"; {hint}" if hint else ""))
    kinds = [key for key in ("ioctl", "write", "read") if key in step]
    if len(kinds) != 1:
        raise WrongStep(f"{dict(step)} is not one of ioctl, write and read")
    if kinds[0] == "ioctl":
        return _ioctl(step)
    if kinds[0] == "read":
        _only(step, "read")
        return ("read_file", _FILE, str(_number(step["read"], _MOST)))
    return ("write_file", _FILE, _written(step))


def all_step_words(steps: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], ...]:
    """Return the steps of a plan in the language of the probe.

    Raises:
        WrongStep: one is unusable, or several return the mmap offset.
    """
    if sum("mmap_offset" in step for step in steps) > 1:
        raise WrongStep("several steps have an mmap_offset, but mappings count from one only")
    return tuple(map(step_words, steps))


def shown(words: tuple[str, ...]) -> str:
    """Return a step as messages show it."""
    name, _, *rest = words
    return " ".join((name.removesuffix("_file"), *rest))


def _ioctl(step: Mapping[str, Any]) -> tuple[str, ...]:
    _only(step, "ioctl", "value", "bytes", "mmap_offset")
    words = ("ioctl", _FILE, hex(_number(step["ioctl"], (1 << 32) - 1)))
    if "value" in step and "bytes" in step:
        raise WrongStep("an ioctl has both a value and bytes")
    if "bytes" in step:
        return (*words, f"bytes={_hexadecimal(step['bytes'])}", *_mmap_offset(step))
    if "mmap_offset" in step:
        raise WrongStep("mmap_offset needs bytes, the buffer in which the ioctl returns it")
    return (*words, f"value={_number(step.get('value', 0), (1 << 64) - 1)}")


def _mmap_offset(step: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the words for the place of the mmap offset in the buffer of an ioctl."""
    if "mmap_offset" not in step:
        return ()
    place = step["mmap_offset"]
    if not isinstance(place, Mapping) or set(place) != set(_OFFSET_KEYS):
        raise WrongStep(f"mmap_offset is {place!r}, not {{byte = NUMBER, bits = 32 or 64}}")
    bits = place["bits"]
    if type(bits) is not int or bits not in _OFFSET_BITS:
        raise WrongStep(f"an mmap_offset has 32 or 64 bits, not {bits!r}")
    return (f"mmap_offset={_number(place['byte'], _MOST - bits // 8)}", f"bits={bits}")


def _written(step: Mapping[str, Any]) -> str:
    _only(step, "write")
    value = step["write"]
    if isinstance(value, Mapping) and set(value) == {"bytes"}:
        return _hexadecimal(value["bytes"])
    if not isinstance(value, str) or not value:
        raise WrongStep(f"{value!r} is neither a text nor {{bytes = ...}}")
    return value.encode().hex()


def _only(step: Mapping[str, Any], *known: str) -> None:
    for key in step:
        if key not in known:
            raise WrongStep(f"{known[0]} does not take {key!r}")


def _number(value: Any, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise WrongStep(f"{value!r} is not a number from 0 to {most:#x}")
    return value


def _hexadecimal(value: Any) -> str:
    try:
        content = bytes.fromhex(value)
    except (TypeError, ValueError):
        raise WrongStep(f"{value!r} is not a text of bytes in hexadecimal") from None
    if not 0 < len(content) <= _MOST:
        raise WrongStep(f"{len(content)} bytes are not between 1 and {_MOST}")
    return content.hex()
