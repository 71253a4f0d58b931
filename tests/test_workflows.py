"""Workflows that run a stranger's code can neither write nor read secrets, and run no action that could change."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).parent.parent / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_gives_nothing_away(path: Path) -> None:
    """Read-only permission, no `pull_request_target`, no secrets, no credentials left behind, actions by commit."""
    text = path.read_text(encoding="utf-8")
    settings = "\n".join(line.partition("#")[0] for line in text.splitlines())
    assert "permissions:\n  contents: read\n" in settings
    assert settings.count("permissions:") == 1
    for forbidden in ("pull_request_target", "workflow_run", "secrets", "write-all"):
        assert forbidden not in settings
    assert settings.count("actions/checkout@") == settings.count("persist-credentials: false") == 1
    for action in re.findall(r"uses: *(\S+)", settings):
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_text_of_a_pull_request_never_becomes_a_script(path: Path) -> None:
    """Expressions stand in `env`, `with`, `concurrency` and the like, and never in a line that a shell runs."""
    in_script = False
    for line in path.read_text(encoding="utf-8").splitlines():
        stripped = line.lstrip("- ").rstrip()
        if stripped.startswith("run:"):
            in_script, depth = True, len(line) - len(line.lstrip("- "))
            assert "${{" not in line
        elif in_script and line.strip() and len(line) - len(line.lstrip()) <= depth:
            in_script = False
        if in_script:
            assert "${{" not in line
