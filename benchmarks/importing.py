"""Memory and time of an import: arrays that no memory has to hold.

    python -m benchmarks.importing [--models 64] [--checkpoints 12] [--samples 50000] [--classes 10]

Writes logits of random numbers as an .npz and as a folder of .npy files, a φ of the same size as a
table, imports each in a process of its own and prints what was read and written, the seconds, and the
largest resident memory of the process above what it held before the import (VmHWM − VmRSS), in MiB.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

_CHILD = """
import json, sys, time
import seepage
from seepage.fleet.import_run import import_run

def status(field):
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(field)) / 1024

open("/proc/self/clear_refs", "w").write("5")  # the high-water mark starts anew
before, began = status("VmRSS"), time.perf_counter()
run = import_run(sys.argv[1], sys.argv[2])
print(json.dumps({"seconds": time.perf_counter() - began, "MiB": status("VmHWM") - before}))
"""


def measure(source: Path, out: Path) -> dict[str, float]:
    """One import in a fresh process; what it wrote is removed."""
    told = subprocess.run(
        [sys.executable, "-c", _CHILD, str(source), str(out)],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(told.stdout)
    found["written MiB"] = sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) / 2**20
    files = source.rglob("*") if source.is_dir() else [source]
    found["read MiB"] = sum(p.stat().st_size for p in files if p.is_file()) / 2**20
    shutil.rmtree(out)
    return found


def write(place: Path, size: tuple[int, int, int, int]) -> None:
    """logits.npy and what belongs to it, by models, so that this needs no memory either."""
    r, t, n, k = size
    rng = np.random.default_rng(0)
    place.mkdir()
    logits = np.lib.format.open_memmap(place / "logits.npy", "w+", np.float32, size)
    for row in range(r):
        logits[row] = rng.standard_normal((t, n, k), dtype=np.float32)
    logits.flush()
    del logits
    np.save(place / "member.npy", rng.random((r, n)) < 0.5)
    np.save(place / "labels.npy", np.arange(n) % k)
    np.save(place / "checkpoints.npy", np.arange(1.0, t + 1))


def archive(folder: Path, path: Path) -> None:
    """The same arrays as numpy.savez has them."""
    np.savez(path, **{p.stem: np.load(p, mmap_mode="r") for p in folder.glob("*.npy")})


def table(path: Path, size: tuple[int, int, int]) -> None:
    """A row per model, checkpoint and sample, a model at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    r, t, n = size
    rng = np.random.default_rng(0)
    writer = None
    for row in range(r):
        member = np.tile(rng.random(n) < 0.5, t)
        part = pa.table(
            {
                "model": np.full(t * n, row, np.int16),
                "checkpoint": np.repeat(np.arange(1, t + 1, dtype=np.int16), n),
                "sample": np.tile(np.arange(n, dtype=np.int32), t),
                "member": member,
                "phi": rng.standard_normal(t * n, dtype=np.float32),
            }
        )
        writer = writer or pq.ParquetWriter(path, part.schema)
        writer.write_table(part)
    assert writer is not None
    writer.close()


def main() -> None:
    """Write, import, print, remove."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, default in (
        ("models", 64),
        ("checkpoints", 12),
        ("samples", 50_000),
        ("classes", 10),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", choices=("folder", "npz", "table"))
    asked = parser.parse_args()
    size = (asked.models, asked.checkpoints, asked.samples, asked.classes)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for kind in ("folder", "npz", "table"):
            if asked.only not in (None, kind):
                continue
            source = place / {"folder": "arrays", "npz": "a.npz", "table": "a.parquet"}[kind]
            if kind == "table":
                table(source, size[:3])
            elif not (place / "arrays").exists():
                write(place / "arrays", size)
            if kind == "npz":
                archive(place / "arrays", source)
            told = ", ".join(f"{k} {v:.0f}" for k, v in measure(source, place / "run").items())
            print(f"{kind} of {size[:3] if kind == 'table' else size}: {told}", flush=True)
            if kind != "folder":
                source.unlink()


if __name__ == "__main__":
    main()
