"""Fresh interpreters in a worker's environment, and one that forks workers, as their parent sees it.

Each worker would spend more time importing than a small fleet trains; so one process imports
(`seepage.fleet.forking`). It ends with the process that started it, and its workers with it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing import reduction
from multiprocessing.connection import Connection

from seepage.extensions import searched

__all__ = [
    "ENVIRONMENT",
    "ForkServer",
    "can_fork",
    "die_with_parent",
    "expect_workers",
    "interpreter",
    "server",
]

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    # Keep large blocks in the heap: without these every step maps and unmaps its activations.
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
    # Without a fixed workspace cuBLAS may choose another algorithm on another stream.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
# Ctrl-C reaches the whole process group: the parent alone handles it and stops its workers.
_ENTRY = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "from seepage.fleet.{} import main; main()"
)


def die_with_parent() -> None:
    """Ask the system to kill this process when the one that started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def can_fork() -> bool:
    """Whether a process that has imported numerical libraries may be forked: not on macOS."""
    return sys.platform == "linux"


def interpreter(module: str, pipe: Connection, threads: int) -> subprocess.Popen[bytes]:
    """A fresh interpreter in a worker's environment that calls `main` of this module of the room."""
    env = {**os.environ, **ENVIRONMENT}
    env["OMP_NUM_THREADS"] = env["MKL_NUM_THREADS"] = str(threads)
    # The child must find the user's modules where the parent finds them.
    env["PYTHONPATH"] = searched()
    # Not the working directory first: there a file could stand in for an installed package.
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _ENTRY.format(module), str(pipe.fileno())],
        env=env,
        pass_fds=[pipe.fileno()],
        stdin=subprocess.DEVNULL,
    )


class ForkServer:
    """The server as its parent sees it; what it was started with decides whether it still fits."""

    def __init__(self, threads: int) -> None:
        self.environment = _environment(threads)
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = interpreter("forking", theirs, threads)
        theirs.close()

    def fork(self, pipe: Connection) -> int:
        """Process number of a new worker at the other end of `pipe`; EOFError where it died."""
        try:
            self.pipe.send(None)
            reduction.send_handle(self.pipe, pipe.fileno(), self.process.pid)
            pid: int = self.pipe.recv()
        except OSError:
            raise EOFError from None
        return pid

    def end(self, pid: int, *, kill: bool) -> None:
        """Wait until a worker has ended, or end it."""
        # Where the server died so did its workers.
        with contextlib.suppress(EOFError, OSError):
            self.pipe.send((pid, kill))
            self.pipe.recv()

    def close(self) -> None:
        """End the server, with the workers that it still has."""
        self.pipe.close()
        self.process.kill()
        self.process.wait()


def _environment(threads: int) -> tuple[object, ...]:
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = ""
    return os.getpid(), threads, searched(), here, dict(os.environ)


_early: list[ForkServer] = []


def expect_workers(threads: int) -> None:
    """Start a server for the fleet that comes, so that it imports beside what this process does."""
    if can_fork() and not _early:
        _early.append(ForkServer(threads))
        atexit.register(_not_needed)


def _not_needed() -> None:
    while _early:
        server = _early.pop()
        if server.environment[0] == os.getpid():
            server.close()


def server(threads: int) -> ForkServer:
    """The server that was started early, if this process is still as it was then; else a new one."""
    if _early and _early[0].environment == _environment(threads):
        return _early.pop()
    _not_needed()
    return ForkServer(threads)
