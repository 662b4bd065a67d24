# SPDX-License-Identifier: GPL-2.0
"""Load a series: patches in their order, from files, mails or commits."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import SetupError
from testbed.kernel.content import shapes_configuration
from testbed.kernel.conversations import Conversation, conversations
from testbed.kernel.difftext import guess_strip
from testbed.kernel.mail import fetch, is_mail, is_maildir, read_maildir, read_mails
from testbed.kernel.patch import NAME_LENGTH, Patch, diff_text, make_patch, named_base, read_patch
from testbed.kernel.quilt import find_list, read_list
from testbed.kernel.rawfile import COMPRESSED, STDIN, is_readable, read_raw
from testbed.kernel.revision import read_range, tree_of
from testbed.kernel.thread import LeftOut, Letter, choose, left_out_lines

# A..B, but not a path such as a/../b, where a slash precedes the dots.
_RANGE = re.compile(r"[^.\s]\S*(?<!/)\.\.")

_MESSAGE_ID = re.compile(r"<?[^\s<>/@]+@[^\s<>/@]+>?|https?://\S+")

_EXAMPLES = (
    "give a patch, a folder of patches, an mbox, a maildir, a message-id, - for standard input, "
    "or a range A..B of the tree that --kernel tree:PATH names"
)

# The endings of patches and of mails in a folder; the first kind that it has counts.
_PATCHES = (".patch", ".diff")
_MAILS = (".eml", ".mbox", ".mbx")


@dataclass(frozen=True)
class Series:
    """Patches in the order of their application. The empty series leaves the tree unchanged."""

    patches: tuple[Patch, ...] = ()
    base: str = ""  # the base commit that it names
    left_out: tuple[LeftOut, ...] = ()  # mails beside the patches
    notes: tuple[str, ...] = ()  # how the patches were understood, where that is not plain

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
    def patchset_hash(self) -> str:
        """KCIDB's hash: SHA-256 of the lines of the patches' SHA-256. Empty without patches."""
        digests = "".join(f"{hashlib.sha256(patch.text).hexdigest()}\n" for patch in self.patches)
        return hashlib.sha256(digests.encode()).hexdigest() if digests else ""

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

    A path is one patch, an mbox, a mail, a maildir, or a folder of patches with or without a
    `series` file (quilt(1)); `-` is standard input. Files may be compressed. A range `A..B`
    refers to the git tree that `kernel` names. b4 fetches a message-id from its configured
    archive. If `wanted` is empty, the series is empty.

    Raises:
        SetupError: `wanted` does not exist, has no patch, or a patch is refused.
        InfraError: b4 cannot fetch the series.
    """
    if not wanted:
        return Series()
    found = _found(wanted, kernel)
    if not found.patches:
        evidence = "\n".join(left_out_lines(found.left_out))
        raise SetupError(f"there is no patch in {wanted}", evidence=evidence)
    return found


def load_each(folder: Path) -> list[tuple[str, Series | SetupError]]:
    """Load all series of a maildir, each with its name, or the reason why it is refused.

    Raises:
        SetupError: the folder is not a maildir, or cannot be read.
    """
    if not is_maildir(folder):
        raise SetupError(f"{folder} is not a maildir", hint="it must have the folders cur and new")
    found: list[tuple[str, Series | SetupError]] = []
    for each in conversations(read_maildir(folder)):
        try:
            found.append((each.name, _whole(_thread(each.letters, str(folder)), each)))
        except SetupError as error:
            found.append((each.name, error))
    return found


def _whole(series: Series, conversation: Conversation) -> Series:
    """Return the series, unless mails of it are still missing."""
    count = len(series.patches)
    if count < max(1, conversation.count):
        raise SetupError(f"{count} of {max(1, conversation.count)} patches are there")
    return series


def _found(wanted: str, kernel: str) -> Series:
    place = _place(wanted)
    if place is not None and place.is_dir():
        return _folder(place)
    if place is not None and is_readable(place):
        return _file(place)
    if _RANGE.match(wanted) and (tree := tree_of(kernel)) is not None:
        return Series(tuple(read_range(tree, wanted)))
    if _MESSAGE_ID.fullmatch(wanted):
        return _thread(read_mails(fetch(wanted), wanted), wanted)
    raise SetupError(f"no patch and no folder of patches at {wanted}", hint=_EXAMPLES)


def _place(wanted: str) -> Path | None:
    """Return the path that was named; None for a name that no file can have."""
    try:
        place = Path(wanted).expanduser()
        place.exists()
    except (OSError, RuntimeError, ValueError):
        return None
    return place


def _file(file: Path, strip: int | None = None, name: str = "") -> Series:
    """Read a file with one patch or with mails.

    Args:
        strip, name: of its only patch, where a series file gives them.
    """
    text, origin = read_raw(file), _origin(file)
    if not is_mail(text):
        patch = make_patch(name or file.name, text, origin=origin, strip=strip)
        return _series([patch], [text])
    letters = read_mails(text, origin)
    if len(letters) != 1:
        return _thread(letters, origin, strip)
    # A single mail was named on purpose, whatever its subject says.
    if name or _kind(file) in _PATCHES:
        letters = [dataclasses.replace(letters[0], file=name or file.name)]
    if _diff(letters[0]):
        return _of_letters(letters, letters, origin, strip)
    return Series(left_out=(LeftOut(letters[0].subject.text, "no diff"),))


def _folder(folder: Path) -> Series:
    if is_maildir(folder):
        return _thread(read_maildir(folder), str(folder))
    if (listing := find_list(folder)) is not None:
        return _listed(folder, listing)
    if find_list(folder / "patches") is not None:
        raise SetupError(
            f"{folder} has its patches in {folder / 'patches'}", hint="name that folder"
        )
    files = _files(folder)
    letters = _letters(files)
    counts = {each.subject.count for each in letters} - {0}
    # In a folder with patches of several series the names of the files give the order.
    if letters and len(counts) <= 1:
        return _thread(letters, str(folder))
    return _joined([_file(file) for file in files])


def _listed(folder: Path, listing: Path) -> Series:
    """Read the patches of a quilt series."""
    listed, left_out = read_list(listing)
    parts: list[Series] = []
    for each in listed:
        file = folder / each.name
        if file.is_file() and not file.stat().st_size:
            left_out.append(LeftOut(each.name, "empty"))
            continue
        part = _file(file, each.strip, each.name)
        if not part.patches:
            raise SetupError(f"{file} is not a patch: it names no file")
        parts.append(part)
    return _joined(parts, left_out)


def _files(folder: Path) -> list[Path]:
    """Return the patches of a folder by name: *.patch and *.diff, else mails, else any patch."""
    # A FIFO below a folder is nobody's patch: to open it might wait for ever.
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name[0] != ".")
    for kinds in (_PATCHES, _MAILS):
        if chosen := [file for file in files if _kind(file) in kinds]:
            return chosen
    if chosen := [file for file in files if _holds_patch(file)]:
        return chosen
    raise SetupError(f"{folder} has neither a `series` file nor any patch", hint=_EXAMPLES)


def _holds_patch(file: Path) -> bool:
    text = read_raw(file)
    try:
        return is_mail(text) or bool(diff_text(file.name, text, guess_strip(text)))
    except SetupError:
        return True  # it is refused when it is read again


def _letters(files: Iterable[Path]) -> list[Letter]:
    """Return the mails of a folder if each file holds exactly one."""
    letters: list[Letter] = []
    for file in files:
        text = read_raw(file)
        found = read_mails(text, str(file)) if is_mail(text) else []
        if len(found) != 1:
            return []
        letters.append(dataclasses.replace(found[0], file=file.name))
    return letters


def _thread(letters: Sequence[Letter], origin: str, strip: int | None = None) -> Series:
    """Make a series of the patches among some mails."""
    chosen = choose(letters, [_diff(letter) for letter in letters], origin)
    found = _of_letters(chosen.letters, letters, origin, strip)
    return dataclasses.replace(found, left_out=chosen.left_out)


def _of_letters(
    chosen: Iterable[Letter], letters: Iterable[Letter], origin: str, strip: int | None
) -> Series:
    """Make a series of the chosen letters; all of them may name its base commit."""
    patches = [
        make_patch(_name(letter, place), letter.patch, origin=origin, strip=strip)
        for place, letter in enumerate(chosen, 1)
    ]
    return _series(patches, [letter.message + letter.patch for letter in letters])


def _diff(letter: Letter) -> bytes:
    try:
        return diff_text("", letter.patch, guess_strip(letter.patch))
    except SetupError:
        return letter.patch  # it is refused when it is read again as a patch


def _name(letter: Letter, place: int) -> str:
    """Return the name of the patch: its file's, else the one that git format-patch would use."""
    if letter.file:
        return letter.file
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", letter.title).strip("-.")[:NAME_LENGTH]
    return f"{letter.subject.number or place:04}-{slug or 'patch'}.patch"


def _series(patches: Sequence[Patch], texts: Iterable[bytes]) -> Series:
    """Make a series of patches whose base commits stand in these texts."""
    return _with_base(patches, (base for text in texts if (base := named_base(text))))


def _joined(parts: Sequence[Series], left_out: Iterable[LeftOut] = ()) -> Series:
    patches = [patch for part in parts for patch in part.patches]
    found = _with_base(patches, (part.base for part in parts if part.base))
    others = (each for part in parts for each in part.left_out)
    return dataclasses.replace(found, left_out=(*left_out, *others))


def _with_base(patches: Sequence[Patch], bases: Iterable[str]) -> Series:
    known = list(dict.fromkeys(bases))
    notes = [f"{patch.name}: {note}" for patch in patches for note in patch.notes]
    if len(known) > 1:
        notes.append(f"the patches name several base commits, none is used: {', '.join(known)}")
    return Series(tuple(patches), known[0] if len(known) == 1 else "", notes=tuple(notes))


def _kind(file: Path) -> str:
    """Return the ending of a file's name, without that of a compressed file."""
    return (file.with_suffix("") if file.suffix in COMPRESSED else file).suffix


def _origin(file: Path) -> str:
    return "standard input" if file == STDIN else str(file)
