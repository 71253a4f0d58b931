"""`gmbench`: all commands, and how they end. What users can get wrong ends in one line and exit code 2."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import suppress

import typer

# isort: off, as help lists commands in the order in which they are registered
from gmbench.cli import (
    data,  # noqa: F401
    generators,  # noqa: F401
    look,  # noqa: F401
    models,  # noqa: F401
    run,  # noqa: F401
    submit,  # noqa: F401
)

# isort: on
from gmbench.cli.options import app, as_json
from gmbench.errors import GmbenchError
from gmbench.support.files import NO_ROOM

STOPPED, PIPE_CLOSED = 130, 141


def main() -> None:
    """Runs a command. What users can get wrong ends in one line on stderr and exit code 2."""
    code = 0
    as_json.set(False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = app(standalone_mode=False) or 0
        sys.stdout.flush()
    except GmbenchError as error:
        _fail(str(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    except BrokenPipeError:
        # Whoever read has read enough.
        _leave_unwritten()
        sys.exit(PIPE_CLOSED)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        if error.filename is None:
            _leave_unwritten()
        _fail(f"cannot write {error.filename or 'output'}: {error.strerror}. Make room; the same command goes on.", 2)
    except Exception as error:
        # Usage errors come from click or, in later releases, from typer's own copy of it.
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "gmbench"
        _fail(f"{error.format_message()} See {command} --help.", 2)
    if code == STOPPED:
        _fail("stopped. The same command goes on from where it was.", STOPPED)
    sys.exit(code)


def _leave_unwritten() -> None:
    """What standard output did not take must not fail once more at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int) -> None:
    line = " ".join(message.split())
    with suppress(OSError):
        if "--json" in sys.argv:
            sys.stdout.write(json.dumps({"error": line}) + "\n")
            sys.stdout.flush()
    with suppress(OSError):
        sys.stderr.write(f"gmbench: {line}\n")
        sys.stderr.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
