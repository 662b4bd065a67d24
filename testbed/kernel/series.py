# SPDX-License-Identifier: GPL-2.0
"""Load a series: patches in their order, from files, mails or commits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import SetupError
from testbed.kernel.content import shapes_configuration
from testbed.kernel.mail import Mailed, fetch, is_mail, is_maildir, split
from testbed.kernel.patch import Patch, make_patch, named_base, read_file, read_patch
from testbed.kernel.revision import read_range, tree_of

# A..B, but not a path such as a/../b, where a slash precedes the dots.
_RANGE = re.compile(r"[^.\s]\S*(?<!/)\.\.")

_MESSAGE_ID = re.compile(r"<?[^\s<>/@]+@[^\s<>/@]+>?|https?://\S+")

_EXAMPLES = (
    "give a patch, a folder of patches, an mbox, a maildir, a message-id, "
    "or a range A..B of the tree that --kernel tree:PATH names"
)


@dataclass(frozen=True)
class Series:
    """Patches in the order of their application. The empty series leaves the tree unchanged."""

    patches: tuple[Patch, ...] = ()
    base: str = ""  # the base commit that it names

    @classmethod
    def of(cls, *paths: Path) -> Series:
        """Read the patches in these files.

        Raises:
            SetupError: a file cannot be read, is not a patch, or is refused.
        """
        return cls(tuple(read_patch(path) for path in paths))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(patch.name for patch in self.patches)

    @property
    def identity(self) -> str:
        """Equal for equal patches in equal order, regardless of names. Empty without patches."""
        return " ".join(patch.identity for patch in self.patches)

    @property
    def files(self) -> tuple[str, ...]:
        """The sorted names, below the tree, of all files that the patches name."""
        return tuple(sorted({name for patch in self.patches for name in patch.files}))

    @property
    def shapes_configuration(self) -> bool:
        """Whether the series may affect Kconfig's result."""
        return any(map(shapes_configuration, self.files))


def load_series(wanted: str, kernel: str = "") -> Series:
    """Load the series of a path, a range of commits, or a message-id.

    A path is one patch, an mbox, a maildir, or a folder of patches with or without a `series`
    file (quilt(1)). A range `A..B` refers to the git tree that `kernel` names. b4 fetches a
    message-id from its configured archive. If `wanted` is empty, the series is empty.

    Raises:
        SetupError: `wanted` does not exist, has no patch, or a patch is refused.
        InfraError: b4 cannot fetch the series.
    """
    if not wanted:
        return Series()
    place = Path(wanted).expanduser()
    if place.is_dir():
        found = _folder(place)
    elif place.is_file():
        found = _file(place)
    elif _RANGE.match(wanted) and (tree := tree_of(kernel)) is not None:
        found = Mailed(tuple(read_range(tree, wanted)), ())
    elif _MESSAGE_ID.fullmatch(wanted):
        found = fetch(wanted)
    else:
        raise SetupError(f"no patch and no folder of patches at {place}", hint=_EXAMPLES)
    return _series(found, wanted)


def _series(found: Mailed, origin: str) -> Series:
    if not found.patches:
        raise SetupError(f"there is no patch in {origin}")
    bases = list(dict.fromkeys(found.bases))
    if len(bases) > 1:
        raise SetupError(f"{origin} names several base commits: {', '.join(bases)}")
    return Series(found.patches, *bases)


def _file(file: Path) -> Mailed:
    text = read_file(file)
    if is_mail(text):
        return split(file)
    base = named_base(text)
    return Mailed((make_patch(file.name, text, origin=str(file)),), (base,) if base else ())


def _folder(folder: Path) -> Mailed:
    if is_maildir(folder):
        return split(folder)
    files = _listed(folder) or sorted(folder.glob("*.patch"))
    if not files:
        raise SetupError(f"{folder} has neither a `series` file nor any *.patch")
    # A cover letter is a mail without a patch.
    found = [_file(file) for file in files]
    patches = (patch for each in found for patch in each.patches)
    return Mailed(tuple(patches), tuple(base for each in found for base in each.bases))


def _listed(folder: Path) -> list[Path]:
    """Return the files of a quilt series file. A comment or an option may follow each name."""
    file = folder / "series"
    lines = file.read_text().splitlines() if file.is_file() else []
    words = [found for line in lines if (found := line.partition("#")[0].split())]
    for name, *options in words:
        if set(options) - {"-p1", "-pab"}:
            message = f"{file}: {name} has the option {' '.join(options)}"
            raise SetupError(message, hint="only -p1 and -pab are supported")
    return [folder / name for name, *_ in words]
