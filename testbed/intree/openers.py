# SPDX-License-Identifier: GPL-2.0
"""The openers of the probe (tests/probes/probe/openers): their options, and the words for each."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.suggest import suggest
from testbed.tomlvalues import WrongValue

# By opener and option the words that it takes; empty: any text.
_PATH: dict[str, tuple[str, ...]] = {"path": ()}
_VIDEO = _PATH | {"queue": ("capture", "output", "output-mplane")}

OPENERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "bpf": {"map": ("array", "ringbuf", "user-ringbuf", "arena")},
    "dma-heap": _PATH,
    "drm-dumb": _PATH,
    "drm-prime": _PATH,
    "dvb": _PATH,
    "fb": _PATH,
    "io_uring": {"part": ("rings", "sqes", "pbuf")},
    "kcov": _PATH,
    "kvm": {"part": ("vcpu", "memory")},
    "mem": _PATH,
    "memfd": {},
    "memfd-huge": {},
    "oss": _PATH,
    "packet": {},
    "pcm": _PATH,
    "perf": {},
    "proc-pci": _PATH,
    "secretmem": {},
    "sg": _PATH,
    "stm": _PATH,
    "tcp": {"family": ("inet", "inet6")},
    "ublk": {},
    "udmabuf": _PATH,
    "usbmon": _PATH,
    "uverbs": {"device": (), "type": ("rxe", "siw")},
    "v4l2": _VIDEO,
    "v4l2-export": _VIDEO,
    "vfio": _PATH | {"region": ()},
    "xsk": {"ring": ("rx", "tx", "fill", "completion")},
}


def check_opener(name: str) -> str:
    """Return the name of an opener.

    Raises:
        WrongValue: the probe has none of this name.
    """
    if name not in OPENERS:
        raise WrongValue(f"the probe has no opener {name!r}{_meant(name, OPENERS)}")
    return name


def check_options(opener: str, options: Mapping[str, str]) -> None:
    """Check that an opener gets its options, and no others.

    Raises:
        WrongValue: an option is missing, unknown, or has a word that the opener does not take.
    """
    known = OPENERS[opener]
    for key, text in options.items():
        if key not in known:
            raise WrongValue(f"the opener {opener} has no option {key!r}{_meant(key, known)}")
        if known[key] and text not in known[key]:
            raise WrongValue(f"{key} = {text!r} is not one of {', '.join(known[key])}")
    if missing := [key for key in known if key not in options]:
        raise WrongValue(f"the opener {opener} needs the option {missing[0]!r}")


def _meant(word: str, known: Mapping[str, object]) -> str:
    hint = suggest(word, known)
    return f"; {hint}" if hint else ""
