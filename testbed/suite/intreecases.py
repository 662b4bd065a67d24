# SPDX-License-Identifier: GPL-2.0
"""What tests of the kernel's own files and stacks have in common (testbed/intree)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from testbed.errors import GuestCommandError
from testbed.intree.bar import find_bar
from testbed.intree.intreefile import INTREE_FILES, InTreeFile, set_up
from testbed.intree.stacks import FILE_STACKS, FileStack
from testbed.lab.guest import Guest
from testbed.mmap.script import Script

_PAGE_OF_DISKS = 4096


def intree_files(
    wanted: Callable[[InTreeFile], bool] = lambda user: True, *, most: int | None = None
) -> pytest.MarkDecorator:
    """Parametrize a test with in-tree files, each on its paths, or on the first `most` of them."""
    return pytest.mark.parametrize(
        ("user", "path"),
        [
            pytest.param(user, path, marks=_marks(user), id=f"{user}-{path}")
            for user in INTREE_FILES
            if wanted(user)
            for path in user.paths[:most]
        ],
    )


def intree_named(*names: str) -> pytest.MarkDecorator:
    """Parametrize a test with the in-tree files of these names."""
    known = {user.name: user for user in INTREE_FILES}
    cases = [pytest.param(known[name], marks=_marks(known[name]), id=name) for name in names]
    return pytest.mark.parametrize("user", cases)


def file_stacks(*names: str, writable: bool = False) -> pytest.MarkDecorator:
    """Parametrize a test with the kernel's own stacks of these names, or all; or the writable."""
    known = {served.name: served for served in FILE_STACKS if served.writable or not writable}
    cases = [
        pytest.param(known[name], marks=_marks(known[name], by=name), id=name)
        for name in names or known
    ]
    return pytest.mark.parametrize("served", cases)


def _marks(found: InTreeFile | FileStack, **by: str) -> list[pytest.MarkDecorator]:
    """Return what a test of a file needs of the kernel, and the hook that it reaches."""
    return [pytest.mark.kconfig(*found.symbols), pytest.mark.reaches(found.hook, **by)]


def ready(guest: Guest, user: InTreeFile) -> Script:
    """Set up an in-tree file, or skip the test. Return a script that opens it."""
    try:
        return set_up(guest, user)
    except GuestCommandError as error:
        page_size = guest.session.hello().page_size
        if user.page_sized_blocks and page_size != _PAGE_OF_DISKS:
            pytest.skip(
                f"{user} needs blocks of one page, which has {page_size} bytes here: {error}"
            )
        raise


def first_page(guest: Guest, user: InTreeFile) -> int:
    """Return the offset to map at, in pages.

    With STRICT_DEVMEM, /dev/mem refuses ordinary memory: its tests map a device's.
    """
    if user.name != "mem":
        return user.offset
    return find_bar(guest).pfn(guest.session.hello().page_size)
