"""What comparing every chunk with its digest costs when a signal is read.

`python -m benchmarks.checked_reading`: seconds of opening and reading one signal, and of hashing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.streaming import make
from seepage.store import open_run
from seepage.store.arrays import chunk_digest
from seepage.store.verify import verify


def main() -> None:
    """Print the best of five."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--checkpoints", type=int, default=12)
    parser.add_argument("--samples", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        make(folder, given.samples, given.models, given.checkpoints)
        values = np.asarray(open_run(folder).signal("phi"))
        whole, hashed = [], []
        for _ in range(5):
            began = time.perf_counter()
            open_run(folder).signal("phi")
            whole.append(time.perf_counter() - began)
            began = time.perf_counter()
            for row in values.reshape(-1, given.samples):
                chunk_digest(row)
            hashed.append(time.perf_counter() - began)
        began = time.perf_counter()
        found = verify(folder)
        print(f"{values.nbytes / 2**20:.1f} MiB in {found.chunks} chunks")
        print(f"open and read {min(whole):.3f} s, of which hashing {min(hashed):.3f} s")
        print(f"verify {time.perf_counter() - began:.3f} s")


if __name__ == "__main__":
    main()
