"""What git says of the checkout that gmbench runs from."""

from __future__ import annotations

import subprocess
from pathlib import Path


def uncommitted() -> list[str] | None:
    """The checkout's files, of code or data, that are not as in its commit; None outside of a checkout."""
    status = git("status", "--porcelain", "--", ":!leaderboards")
    return None if status is None else [line.split(maxsplit=1)[1] for line in status.splitlines()]


def git(*arguments: str) -> str | None:
    """Output of git in the checkout that gmbench runs from; None if it is not in one."""
    home = Path(__file__).resolve().parents[2]
    if not (home / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "-C", str(home), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
