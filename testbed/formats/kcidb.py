# SPDX-License-Identifier: GPL-2.0
"""KCIDB 5.3, the report format of KernelCI (https://docs.kernelci.org/kcidb/).

A known defect is a FAIL with an incident of the defect's issue. A kernel that does not build is a
build with status FAIL, without tests. The schema has no references that are checked: `faults` does.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from testbed.errors import SetupError, TreeError
from testbed.formats.section import Section, dotted, shortened
from testbed.results.model import Case, Environment, Status

ORIGIN = "mmap_testbed"  # of reports; KernelCI gives each sender a name

_VERSION = {"major": 5, "minor": 3}
_EXCERPT = 16_384  # characters, the schema's limit of log_excerpt
_STATUSES = {Status.XFAIL: "FAIL", Status.FIXED: "PASS"}

_KINDS = ("checkouts", "builds", "tests", "issues", "incidents")

# What refers to what, by kinds of objects.
_REFERENCES = {
    "builds": {"checkout_id": "checkouts"},
    "tests": {"build_id": "builds"},
    "incidents": {"issue_id": "issues", "test_id": "tests"},
}

Values = dict[str, Any]


def kcidb_text(sections: Sequence[Section], origin: str = ORIGIN) -> str:
    """Return a report with a checkout for each section. Raises as kcidb_content() does."""
    return json.dumps(kcidb_content(sections, origin), indent=1) + "\n"


def kcidb_content(sections: Sequence[Section], origin: str = ORIGIN) -> Values:
    """Return the report as values that json.dumps() accepts.

    Raises:
        SetupError: the schema does not allow this origin.
        ValueError: an id would stand twice, as that of two sections with one name.
    """
    if not re.fullmatch(r"[a-z0-9_]+", origin):
        hint = "use small letters, digits and underscores"
        raise SetupError(f"{origin!r} is not the name of an origin", hint=hint)
    reports = [_Report(section, origin) for section in sections]
    content: Values = {"version": _VERSION}
    for kind in ("checkouts", "builds", "tests", "incidents"):
        content[kind] = [value for report in reports for value in getattr(report, kind)()]
    issues = {issue["id"]: issue for report in reports for issue in report.issues()}
    content["issues"] = list(issues.values())
    if found := faults(content):
        raise ValueError("; ".join(found))
    return content


def faults(content: Values) -> list[str]:
    """Return what the schema does not check: ids that stand twice, and references to nothing."""
    ids = {kind: Counter(each["id"] for each in content.get(kind, ())) for kind in _KINDS}
    found = [
        f"{kind}: {name} stands {count} times"
        for kind, counts in ids.items()
        for name, count in counts.items()
        if count > 1
    ]
    for kind, references in _REFERENCES.items():
        for key, other in references.items():
            wanted = {each[key] for each in content.get(kind, ()) if key in each}
            missing = sorted(wanted - ids[other].keys())
            found += [f"{kind}: {key} {name} is not in {other}" for name in missing]
    return found


class _Report:
    """The objects of one section."""

    def __init__(self, section: Section, origin: str) -> None:
        self.run = section.run
        self.origin = origin
        self.prefix = ".".join(filter(None, (f"{origin}:{section.run.name}", section.lane)))
        self.environments = {env.arch: env for env in self.run.environments}
        self.arches = list(dict.fromkeys(case.arch for case in self.run.cases))
        self.unbuilt = {arch: case for arch in self.arches if (case := self._unbuilt(arch))}

    def checkouts(self) -> Iterator[Values]:
        env = next(iter(self.run.environments), None)
        found = {**self._object(self.prefix), "start_time": self.run.started, "valid": True}
        yield found | (_checkout_of(env) if env else {})

    def builds(self) -> Iterator[Values]:
        for arch in self.arches:
            build = {**self._object(self._build_id(arch)), "checkout_id": self.prefix}
            env, failed = self.environments.get(arch), self.unbuilt.get(arch)
            if arch:
                build["architecture"] = arch
            if env is not None:
                build |= _build_of(env)
            elif failed is not None:
                excerpt = shortened(_text(failed.evidence), _EXCERPT)
                build |= {"status": "FAIL", "log_excerpt": excerpt, "comment": _text(failed.reason)}
            else:
                build["status"] = "MISS"
            yield build

    def tests(self) -> Iterator[Values]:
        for name, case in self._cases():
            yield self._test(name, case)

    def issues(self) -> Iterator[Values]:
        for _, case in self._cases():
            if case.status is Status.XFAIL:
                culprit = {"code": True, "tool": False, "harness": False}
                issue = {**self._object(self._issue_id(case)), "version": 1, "culprit": culprit}
                yield issue | {"report_subject": _text(case.reason)}

    def incidents(self) -> Iterator[Values]:
        for name, case in self._cases():
            if case.status is Status.XFAIL:
                incident = {"issue_id": self._issue_id(case), "issue_version": 1, "test_id": name}
                yield self._object(f"{name}.{_defect(case)}") | incident | {"present": True}

    def _cases(self) -> Iterator[tuple[str, Case]]:
        """Yield the tests of kernels that were built, each with its id."""
        for number, case in enumerate(self.run.cases, 1):
            if case.arch not in self.unbuilt:
                yield f"{self.prefix}.{number}", case

    def _test(self, name: str, case: Case) -> Values:
        misc = {"status": case.status, "path": case.path, "guarantees": list(case.guarantees)}
        found = {
            **self._object(name),
            "build_id": self._build_id(case.arch),
            "path": path_of(case),
            "status": _STATUSES.get(case.status, str(case.status)),
            "duration": case.seconds,
            "misc": {key: value for key, value in misc.items() if value},
        }
        if case.reason:
            found["comment"] = _text(case.reason)
        if case.evidence:
            found["log_excerpt"] = shortened(_text(case.evidence), _EXCERPT)
        if env := self.environments.get(case.arch):
            found["environment"] = {"comment": f"QEMU {env.qemu}, {env.accel}"}
        return found

    def _unbuilt(self, arch: str) -> Case | None:
        """Return the case that shows why an architecture has no kernel, if the tree is to blame."""
        if arch in self.environments:
            return None
        cases = (case for case in self.run.cases if case.arch == arch)
        return next((case for case in cases if case.raised(TreeError)), None)

    def _object(self, name: str) -> Values:
        return {"id": _text(name), "origin": self.origin}

    def _build_id(self, arch: str) -> str:
        return f"{self.prefix}.{arch or 'any'}.build"

    def _issue_id(self, case: Case) -> str:
        return f"{self.origin}:{_defect(case)}"


def path_of(case: Case) -> str:
    """Return the path of a test: file, function and parameters. Each architecture has the same."""
    file, _, name = case.test.partition("::")
    function, _, parameters = name.partition("[")
    words = [word for word in parameters.removesuffix("]").split("-") if word != case.arch]
    parts = ("mmap_testbed", dotted(file).rpartition(".")[2], function, "-".join(words))
    return ".".join(re.sub(r"[^\w-]", "_", part, flags=re.A) for part in parts if part)


def _checkout_of(env: Environment) -> Values:
    """Return what identifies the text. Only a commit of a git tree has a hash."""
    found: Values = {
        "git_commit_name": env.kernel.partition("-testbed-")[0],
        "comment": _text(env.source),
    }
    if env.commit:
        found["git_commit_hash"] = env.commit
    if env.patchset or not env.series:
        found["patchset_hash"] = env.patchset
    if env.series:
        found["misc"] = {"series": list(env.series)}
    return found


def _build_of(env: Environment) -> Values:
    misc = {
        "kernel_key": env.kernel_key,
        "config_sha256": env.config_digest,
        "release": env.kernel,
        "isolation": env.isolation,
    }
    found: Values = {
        "status": "PASS",
        "duration": env.build_seconds,
        "config_name": env.flavour,
        "misc": {key: value for key, value in misc.items() if value},
    }
    return found | ({"compiler": env.compiler} if env.compiler else {})


def _defect(case: Case) -> str:
    """Return the name of the defect that a case with status XFAIL shows, such as KD7."""
    return case.reason.partition(":")[0] or "defect"


def _text(text: str) -> str:
    return text.replace("\0", "\ufffd")
