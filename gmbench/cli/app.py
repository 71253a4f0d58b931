"""`gmbench`: all commands, and how they end. What users can get wrong ends in one line and exit code 2."""

from __future__ import annotations

import sys

import typer

from gmbench.cli import data, generators, look, run, submit  # noqa: F401, they register their commands
from gmbench.cli.options import app
from gmbench.errors import GmbenchError

STOPPED = 130


def main() -> None:
    """Runs a command. What users can get wrong ends in one line on stderr and exit code 2."""
    code = 0
    try:
        code = app(standalone_mode=False) or 0
    except GmbenchError as error:
        _fail(str(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    except Exception as error:
        # Usage errors come from click or, in later releases, from typer's own copy of it.
        if not hasattr(error, "format_message"):
            raise
        _fail(f"{error.format_message()} See gmbench --help.", 2)
    if code == STOPPED:
        _fail("stopped. The same command goes on from where it was.", STOPPED)
    sys.exit(code)


def _fail(message: str, code: int) -> None:
    sys.stderr.write("gmbench: " + " ".join(message.split()) + "\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
