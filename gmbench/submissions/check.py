"""`gmbench check`: is a method fit to be proposed? What can be said without running it, then what a tiny run shows."""

from __future__ import annotations

from pathlib import Path

from gmbench.errors import DataError
from gmbench.registry import CARD, Method, find_method, methods, methods_in_folder
from gmbench.submissions.reading import Finding, read_findings
from gmbench.support.progress import Progress
from gmbench.support.schema import Strict

BRANCH = "this branch"
"""Stands for a method's name where the changes of a branch as a whole are meant."""


class Checked(Strict):
    """What was found of one method, or of a branch as a whole."""

    method: str
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return all(finding.ok for finding in self.findings)


def check(name: str, progress: Progress) -> list[Checked]:
    """Checks the method of a slug, or all methods in a folder.

    Raises:
        NotFoundError: there is no method of that name.
    """
    try:
        found = _methods_of(name)
    except DataError as error:
        return [Checked(method=name, findings=[Finding(check="card", ok=False, message=str(error))])]
    return [_checked(method, progress) for method in found]


def _methods_of(name: str) -> list[Method]:
    if "/" in name or "\\" in name or (name not in methods() and (Path(name) / CARD).is_file()):
        return methods_in_folder(Path(name))
    return [find_method(name)]


def _checked(method: Method, progress: Progress) -> Checked:
    findings = read_findings(method)
    if method.card.attributor is not None:
        findings += _tried(method, progress)
    return Checked(method=method.slug, findings=findings)


def _tried(method: Method, progress: Progress) -> list[Finding]:
    from gmbench.submissions.trial import tried_findings

    return tried_findings(method, progress)
