# SPDX-License-Identifier: GPL-2.0
"""Words of the probe's language (docs/probe.md) as expressions of C."""

from __future__ import annotations


def c_bytes(text: str) -> str:
    """Return a NUMBER or an ERROR of the probe's language as an expression of C."""
    if text.endswith("p") and text[:-1].isdigit():
        return f"PAGES({text[:-1]}ULL)"
    scale = {"k": 1 << 10, "m": 1 << 20}.get(text[-1])
    if scale and text[:-1].isdigit():
        return f"{int(text[:-1]) * scale}UL"
    if text.removeprefix("-").isidentifier():
        return f"-{text.removeprefix('-')}"
    return text


def c_prot(text: str) -> str:
    names = {"r": "PROT_READ", "w": "PROT_WRITE", "x": "PROT_EXEC"}
    return " | ".join(names[letter] for letter in text) if text != "none" else "PROT_NONE"


def c_flags(text: str) -> str:
    return c_or("MAP_", text)


def c_or(prefix: str, text: str) -> str:
    return " | ".join(f"{prefix}{word.upper()}" for word in text.split(","))


def c_address(text: str | None) -> str:
    if text is None:
        return "NULL"
    name, _, offset = text.partition("+")
    return f"run->at[{name.upper()}].addr + {c_bytes(offset or '0')}"
