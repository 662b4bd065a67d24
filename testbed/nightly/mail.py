# SPDX-License-Identifier: GPL-2.0
"""The mail of a night, in the manner of regression reports to the kernel's lists.

Plain text without markup: the first lines say what concerns whom, and each part can be quoted.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from testbed.history.records import Class
from testbed.nightly.alike import Group, alike, lanes_of
from testbed.nightly.night import Bisected, Night
from testbed.nightly.summary import kernel_of, searches

MAIL_FILE = "mail.txt"

_WIDTH = 72  # of lines of text; commands and names stay whole

# Findings of one class that a mail shows, each with those that are alike; the rest is counted.
_MOST = 10


def wants_mail(night: Night) -> bool:
    """Whether something changed that people should hear of."""
    return bool(night.of_class(Class.NEW, Class.OTHERWISE, Class.FIXED))


def mail_of(night: Night, to: Sequence[str], sender: str) -> EmailMessage:
    """Return the mail of a night; without `to` it has no receiver yet."""
    mail = EmailMessage()
    mail["From"] = sender
    if to:
        mail["To"] = ", ".join(to)
    mail["Subject"] = subject_of(night)
    mail["Date"] = format_datetime(datetime.fromisoformat(night.started))
    mail["Message-ID"] = make_msgid(night.name, "mmap-testbed")
    mail.set_content("\n".join(_body(night)) + "\n", cte="8bit")
    return mail


def subject_of(night: Night) -> str:
    """Return the subject: what is new, and on which kernels."""
    new = night.of_class(Class.NEW, Class.OTHERWISE)
    fixed = night.of_class(Class.FIXED)
    kernels = ", ".join(dict.fromkeys(each.lane.stream for each in (new or fixed)))
    counts = [f"{len(new)} new"] if new else []
    counts += [f"{len(fixed)} fixed"] if fixed else []
    kind = "REGRESSION" if new else "FIXED"
    return f"[{kind}] mmap hooks on {kernels}: {', '.join(counts)}"


def _body(night: Night) -> Iterator[str]:
    yield from textwrap.wrap(
        f"The mmap testbed ran the matrix {night.matrix} on {night.started[:10]}. These results "
        "differ from those of the nights before.",
        _WIDTH,
    )
    for kind, title in (
        (Class.NEW, "New failures"),
        (Class.OTHERWISE, "Tests that fail in another way than before"),
        (Class.FIXED, "Fixed"),
    ):
        found = night.of_class(kind)
        if found:
            yield from ("", f"{title}: {len(found)}", "")
        groups = alike(found, night)
        for group in groups[:_MOST]:
            yield from _paragraph(group, night)
        rest = groups[_MOST:]
        if rest:
            yield f"... and {sum(map(len, rest))} more, for {len(rest)} other reasons."
    yield from ("", "Kernels of this night:")
    sources = {each.cell.stream: each.cell for each in night.cells}
    for stream, cell in sources.items():
        yield f"  {stream}: {cell.source}{f' with {cell.series}' if cell.series else ''}"


def _paragraph(group: Group, night: Night) -> Iterator[str]:
    finding = group[0]
    yield f"* {finding.test}"
    yield f"  {finding.lane.key}"
    if finding.signature:
        yield from textwrap.wrap(
            finding.signature.text, _WIDTH, initial_indent="  ", subsequent_indent="  "
        )
    if finding.last_good and finding.first_bad:
        yield f"  last good: {kernel_of(finding.last_good)}"
        yield f"  first bad: {kernel_of(finding.first_bad)}"
    for each in searches(group, night):
        yield from _commit(each)
    if len(group) > 1:
        lanes = f"{len(group)} tests for this reason: {lanes_of(group)}"
        yield from textwrap.wrap(lanes, _WIDTH, initial_indent="  ", subsequent_indent="  ")
    yield ""


def _commit(each: Bisected) -> Iterator[str]:
    if not each.commit:
        yield f"  bisection: {each.reason}"
        return
    yield f"  first bad commit: {each.commit}"
    yield f"    {each.title}"
    # regzbot takes the range from such a line (linux/Documentation/process/handling-regressions).
    yield f"  #regzbot introduced: {each.commit[:12]}"
