"""Whether the process that wrote something down still runs, as far as this process can tell."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path

import psutil

__all__ = ["process_table", "runs_still", "started"]

_PROC = Path("/proc")


def process_table() -> str | None:
    """What names the table of processes that this process sees; None where that cannot be known.

    A number of a process means something only to those who see the same table: two containers on
    one machine have the same host name and the same boot id, and tables of their own. On Linux the
    boot id with the namespaces of processes and of time; elsewhere the host name with the time of
    boot. Machines that were cloned while they ran share all of it and must not share a folder.

    >>> process_table() == process_table()
    True
    """
    if sys.platform != "linux":
        try:
            return f"{socket.gethostname()} {psutil.boot_time():.0f}"
        except (OSError, psutil.Error):
            return None
    try:
        # With another table's /proc mounted, what it says of a number is about someone else.
        if os.readlink(_PROC / "self") != str(os.getpid()):
            return None
        parts = [(_PROC / "sys/kernel/random/boot_id").read_text().strip()]
        for name in ("pid", "time"):
            space = _PROC / "self/ns" / name
            if name == "pid" or space.exists():
                found = space.stat()
                parts.append(f"{name} {found.st_dev}:{found.st_ino}")
    except OSError:
        return None
    return " ".join(parts) if parts[0] else None


def started(pid: int) -> str | None:
    """When a process of this table started, in words to compare; None when it is gone or a zombie.

    On Linux in ticks since boot, which setting the clock does not change. Raises PermissionError
    for a process of another user that is hidden from this one.
    """
    if sys.platform != "linux":
        try:
            process = psutil.Process(pid)
            zombie = process.status() == psutil.STATUS_ZOMBIE
            return None if zombie else f"{process.create_time():.0f}"
        except psutil.Error:
            return None
    try:
        # The name, in parentheses, may hold spaces and parentheses itself.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            raise PermissionError(f"process {pid} is hidden") from None
        return None
    return None if fields[0] in ("Z", "X") else fields[19]


def runs_still(table: object, pid: object, when: object) -> bool | None:
    """Whether process `pid` of `table`, started at `when`, runs; None where it cannot be told.

    table, pid, when: what `process_table`, `os.getpid` and `started` said in that process.

    >>> runs_still(process_table(), os.getpid(), started(os.getpid()))
    True
    >>> runs_still("another machine's", os.getpid(), started(os.getpid())) is None
    True
    """
    mine = process_table()
    if mine is None or table != mine or type(pid) is not int or pid < 1 or type(when) is not str:
        return None
    try:
        return started(pid) == when
    except (PermissionError, OverflowError):
        return None
