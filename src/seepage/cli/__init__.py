"""The command line: parses, calls, prints. Everything it does the Python API does too."""

from __future__ import annotations

# Before anything else is imported.
# isort: off
from seepage.cli import collecting as collecting
# isort: on

import errno
import io
import os
import sys
import warnings
from typing import Any, NoReturn

import typer
from rich.text import Text

from seepage.cli.app import app
from seepage.cli.console import errors
from seepage.errors import SeepageError

# Importing a module registers its commands, in the order of `seepage --help`.
# isort: off
from seepage.cli import audit as audit
from seepage.cli import attack as attack
from seepage.cli import check as check
from seepage.cli import dynamics as dynamics
from seepage.cli import early as early
from seepage.cli import epsilon as epsilon
from seepage.cli import canaries as canaries
from seepage.cli import extract as extract
from seepage.cli import power_law as power_law
from seepage.cli import curvature as curvature
from seepage.cli import layers as layers
from seepage.cli import defend as defend
from seepage.cli import study as study
from seepage.cli import cost as cost
from seepage.cli import folders as folders
from seepage.cli import imports as imports
from seepage.cli import config as config
# isort: on

__all__ = ["app", "main"]

INTERRUPTED = 130
# Typer brings its own copy of click, so the class is reached through one that Typer exports.
UsageError: Any = typer.BadParameter.__base__
# What a machine refuses, rather than what our code gets wrong.
_OUTSIDE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EFBIG,
}
# What it says of a path that cannot be one.
_NAMES = {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR}


def main() -> None:
    """Entry of the `seepage` command.

    Exit status: 0 done, 1 a check that did not hold, 2 bad input (one line on standard error),
    130 interrupted (run the same command again to resume).
    """
    warnings.showwarning = _note
    for stream in (sys.stdout, sys.stderr):
        # Names of files need not be UTF-8; to say so must not fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = app(standalone_mode=False)
    except SeepageError as e:
        _end(str(e), e.exit_status)
    except UsageError as e:
        if type(e).__name__ == "NoArgsIsHelpError":
            e.show()
            sys.exit(2)
        _end(f"{e.format_message()}; see `seepage --help`", 2)
    except OSError as e:
        if e.errno in _NAMES:
            _end(f"{e.filename}: expected a path, got {os.strerror(e.errno or 0)}; correct it", 2)
        if e.errno not in _OUTSIDE:
            raise
        where = f"{e.filename}: " if e.filename else ""
        _end(f"{where}{os.strerror(e.errno)}; free space or repair it and run the same again", 2)
    except ValueError as e:
        # Older releases of the parser ask the system for a path that cannot be one.
        if "null byte" not in str(e):
            raise
        _end("path: expected a name, got one with a zero byte; correct it", 2)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        _end("interrupted; run the same command again to resume", INTERRUPTED)
    sys.exit(status)


def _note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """A warning of ours as one line; those of other libraries as Python shows them."""
    if category.__module__.partition(".")[0] == "seepage":
        errors.print(f"note: {message}", markup=False, soft_wrap=True)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def _end(message: str, status: int) -> NoReturn:
    """One line on standard error, whatever the message holds."""
    line = Text(" ".join(message.split()))
    errors.print(Text.assemble(("seepage:", "bold red"), " ", line), soft_wrap=True)
    sys.exit(status)
