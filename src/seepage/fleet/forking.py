"""A fresh interpreter that imports what a worker needs once, and forks workers as it is asked.

It computes nothing and starts no thread, so that its forks are what fresh interpreters would be.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from multiprocessing import reduction
from multiprocessing.connection import Connection

from seepage.fleet.fork_server import die_with_parent

__all__ = ["main"]


def main() -> None:
    """Entry of the server: the pipe's descriptor is the only argument."""
    die_with_parent()
    control = Connection(int(sys.argv[1]))
    # What modules make stays: to look for garbage among it takes a tenth of importing them.
    gc.disable()
    import numpy as np

    from seepage.fleet import worker

    gc.freeze()
    gc.enable()
    while True:
        try:
            asked: tuple[int, bool] | None = control.recv()
            if asked is None:
                handle = reduction.recv_handle(control)
        except EOFError:
            return
        if asked is not None:
            pid, kill = asked
            if kill:
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            control.send(None)
            continue
        pid = os.fork()
        if pid == 0:
            control.close()
            # A fresh interpreter's would be unlike the others', too.
            np.random.seed()  # noqa: NPY002
            worker.serve(Connection(handle))
            sys.stdout.flush()
            sys.stderr.flush()
            # Nothing is left to tidy: taking the libraries apart takes as long as a small fleet.
            os._exit(0)
        os.close(handle)
        control.send(pid)
