# SPDX-License-Identifier: GPL-2.0
"""Work directories: source text with a series applied, and the objects built from it.

    ROOT/src/         the pristine text as hard links; files that a series changes are copies
    ROOT/obj/         O= of make
    ROOT/state.json   the content of src/

make decides by time which objects to build again. So a file of src/ is written only if its
content changes. Then it gets a new time. A series that changes one C file rebuilds one object.
"""

from __future__ import annotations

import errno
import filecmp
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from testbed.files import write_whole
from testbed.kernel.fit import apply_series, refuse_conflicts
from testbed.kernel.series import Series
from testbed.kernel.source import SourceTree

_NOT_TEXT = frozenset({".git"})


@dataclass(frozen=True)
class Worktree:
    """A work directory with the requested source."""

    root: Path
    src: Path

    @property
    def obj(self) -> Path:
        return self.root / "obj"


@dataclass(frozen=True)
class _State:
    """The content of src/. An empty `source` means unknown, because a change was interrupted."""

    source: str = ""
    series: str = ""
    touched: tuple[str, ...] = ()


def prepare_worktree(root: Path, tree: SourceTree, series: Series) -> Worktree:
    """Update the work directory to that text and series. Correct files stay untouched.

    The user's clean tree without a series is built without a copy.

    Raises:
        PatchError: a patch does not apply. src/ keeps its previous series.
    """
    (root / "obj").mkdir(exist_ok=True)
    if tree.in_place and not series.patches:
        return Worktree(root, tree.path)
    src = root / "src"
    state = _read_state(root)
    if state.source != tree.source.identity:
        _mirror(root, tree)
        state = _State(tree.source.identity)
        _write_state(root, state)
    if state.series != series.identity:
        _switch_series(root, tree.path, state, series)
    return Worktree(root, src)


def _mirror(root: Path, tree: SourceTree) -> None:
    """Update src/ to the pristine text."""
    src, obj = root / "src", root / "obj"
    if (root / "state.json").exists():
        _write_state(root, _State())
    elif src.exists():
        # The first update was interrupted, and nothing was built from src/ yet.
        shutil.rmtree(src)
    # A link keeps its file's old time, which is wrong if objects were built from another text.
    # A link to a file of the user's tree would change when the user edits that file in place.
    link = not src.exists() and not any(obj.iterdir()) and not tree.in_place
    wanted = set()
    for name in _files(tree.path):
        wanted.add(name)
        _bring(tree.path / name, src / name, link=link)
    for name in list(_files(src)):
        if name not in wanted:
            (src / name).unlink()


def _files(top: Path) -> Iterator[str]:
    """Yield the names of all files and symbolic links below `top`."""
    for folder, directories, names in os.walk(top):
        directories[:] = [name for name in directories if name not in _NOT_TEXT]
        links = [name for name in directories if os.path.islink(os.path.join(folder, name))]
        for name in [*names, *links]:
            yield os.path.relpath(os.path.join(folder, name), top)


def _bring(pristine: Path, target: Path, *, link: bool) -> None:
    """Give `target` the content of `pristine`. Do not touch it if it already has that content."""
    if _same(pristine, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if link and not pristine.is_symlink():
        try:
            os.link(pristine, target)
            return
        except OSError as exc:
            # Another file system, fs.protected_hardlinks, or too many links.
            if exc.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
    _replace(pristine, target)


def _same(one: Path, other: Path) -> bool:
    if one.is_symlink() or other.is_symlink():
        both = one.is_symlink() and other.is_symlink()
        return both and one.readlink() == other.readlink()
    if not other.exists():
        return False
    if os.path.samefile(one, other):
        return True
    return one.stat().st_mode == other.stat().st_mode and filecmp.cmp(one, other, shallow=False)


def _replace(origin: Path, target: Path) -> None:
    """Create a new file at `target`. Hard links to the old file keep the old content."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.new")
    scratch.unlink(missing_ok=True)
    # copy, not copy2: the file must get the current time.
    shutil.copy(origin, scratch, follow_symlinks=False)
    scratch.rename(target)


def _switch_series(root: Path, pristine: Path, state: _State, series: Series) -> None:
    with tempfile.TemporaryDirectory(prefix="stage-", dir=root) as scratch:
        stage = Path(scratch)
        files = series.files
        refuse_conflicts(apply_series(series, pristine, stage))
        touched = sorted({*state.touched, *files})
        # If this is interrupted, the next run finds no valid series and switches again.
        _write_state(root, _State(state.source, "under way", tuple(touched)))
        for name in touched:
            wanted = stage / name if name in files else pristine / name
            if wanted.exists():
                _bring(wanted, root / "src" / name, link=False)
            else:
                (root / "src" / name).unlink(missing_ok=True)
        _write_state(root, _State(state.source, series.identity, files))


def _read_state(root: Path) -> _State:
    try:
        values = json.loads((root / "state.json").read_text())
        return _State(values["source"], values["series"], tuple(values["touched"]))
    except (OSError, ValueError, KeyError, TypeError):
        return _State()


def _write_state(root: Path, state: _State) -> None:
    write_whole(root / "state.json", json.dumps(asdict(state)))
