# SPDX-License-Identifier: GPL-2.0
"""Source text with a series applied, and the build directory that belongs to it.

    ROOT/src/         the pristine text as hard links; what a series touches is a real copy
    ROOT/obj/         O= of make
    ROOT/state.json   what src/ holds

make decides by time what to build again. So a file of src/ is written only when its
content changes, and then it is new: a series of one C file costs one object.
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
from testbed.kernel.fit import apply_patch, fill_stage, refuse_conflicts
from testbed.kernel.series import Series
from testbed.kernel.source import SourceTree

_NOT_TEXT = frozenset({".git"})


@dataclass(frozen=True)
class Worktree:
    """A work directory whose source is as asked."""

    root: Path
    src: Path

    @property
    def obj(self) -> Path:
        return self.root / "obj"


@dataclass(frozen=True)
class _State:
    """What src/ holds. An empty `source`: unknown, a change was under way."""

    source: str = ""
    series: str = ""
    touched: tuple[str, ...] = ()


def prepare_worktree(root: Path, tree: SourceTree, series: Series) -> Worktree:
    """Bring the work directory to that text and that series; what is right already stays.

    A user's own clean tree without a series is built straight from where it is.

    Raises:
        PatchError: a patch does not apply; src/ is as it was before.
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
    """Make src/ a copy of the pristine text."""
    src, obj = root / "src", root / "obj"
    if (root / "state.json").exists():
        _write_state(root, _State())
    elif src.exists():
        # The very first time was interrupted: nothing was built from it yet.
        shutil.rmtree(src)
    # A link keeps its file's old time: wrong where objects were built from other text.
    # A link to a file of the user's own would be altered when he edits in place.
    link = not src.exists() and not any(obj.iterdir()) and not tree.in_place
    wanted = set()
    for name in _files(tree.path):
        wanted.add(name)
        _bring(tree.path / name, src / name, link=link)
    for name in list(_files(src)):
        if name not in wanted:
            (src / name).unlink()


def _files(top: Path) -> Iterator[str]:
    """Names of all files and symbolic links below `top`; their directories exist below it."""
    for folder, directories, names in os.walk(top):
        directories[:] = [name for name in directories if name not in _NOT_TEXT]
        links = [name for name in directories if os.path.islink(os.path.join(folder, name))]
        for name in [*names, *links]:
            yield os.path.relpath(os.path.join(folder, name), top)


def _bring(pristine: Path, target: Path, *, link: bool) -> None:
    """Give `target` the content of `pristine`; it stays untouched when it has that already."""
    if _same(pristine, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if link and not pristine.is_symlink():
        try:
            os.link(pristine, target)
            return
        except OSError as exc:
            # Another file system, or fs.protected_hardlinks.
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
    """A new file at `target`: whoever has the old one by a hard link keeps it as it was."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.new")
    scratch.unlink(missing_ok=True)
    # copy, not copy2: the time is to be now.
    shutil.copy(origin, scratch, follow_symlinks=False)
    scratch.rename(target)


def _switch_series(root: Path, pristine: Path, state: _State, series: Series) -> None:
    with tempfile.TemporaryDirectory(prefix="stage-", dir=root) as scratch:
        stage = Path(scratch)
        files = series.files
        fill_stage(stage, series, pristine)
        refuse_conflicts(apply_patch(patch, stage) for patch in series.patches)
        touched = sorted({*state.touched, *files})
        # Should this be interrupted, the next run finds no series that it could trust.
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
