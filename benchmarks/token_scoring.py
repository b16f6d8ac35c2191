"""Attacks on texts over a run folder of tokens: time of each and peak memory of all.

    python -m benchmarks.token_scoring [--documents 20000 --tokens 256 --checkpoints 8 --models 16]

The folder is made of synthetic log-probabilities first (not timed), of documents whose lengths are
spread evenly from half of the mean to one and a half; then a fresh interpreter scores every model at every checkpoint by
every attack on texts, and by LiRA of Min-K %++, and reports its own peak.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import seepage
from benchmarks.stored import RESULTS
from seepage.attacks import ATTACKS, Attack, LiRA
from seepage.fleet.array_checks import Pool
from seepage.fleet.folder import create
from seepage.fleet.machine import hardware
from seepage.fleet.sink import StoreSink
from seepage.store.evidence import stamp
from seepage.store.storage import Storage

OUT = RESULTS / "texts.json"
SHAPES = {
    "token_logp": "float32",
    "token_first": "uint8",
    "token_mean": "float16",
    "token_std": "float16",
}


def make(folder: Path, documents: int, tokens: int, checkpoints: int, models: int) -> int:
    """A run folder as fine-tunes of one start would write it; returns the number of tokens."""
    import torch

    rng = np.random.default_rng(0)
    plan = seepage.half_split(documents, models=models, seed=0)
    lengths = tokens // 2 + rng.permutation(documents) % (tokens + 1)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    pool = Pool(
        np.arange(documents).astype(np.str_),
        torch.zeros(documents, dtype=torch.int64),
        ("token",),
        "synthetic",
        task="language",
        offsets=offsets,
        zlib=rng.integers(40, 400, documents),
    )
    whole = int(offsets[-1])
    of = np.repeat(np.arange(documents), lengths)
    storage = Storage(folder, write=True)
    shapes: Any = {
        "loss": ((documents,), "float32"),
        **{k: ((whole,), v) for k, v in SHAPES.items()},
    }
    key = {"model": {"name": "synthetic", "weights": "start"}}
    times = [float(t) for t in range(checkpoints)]
    manifest = create(storage, pool, plan, key, {}, times, shapes, ["identity"], {})
    start = rng.exponential(2.0, whole).astype(np.float32)
    noise = rng.normal(size=whole).astype(np.float32)
    for row in range(models):
        members = plan.member[row]
        sink = StoreSink(storage, row, tuple(shapes), checkpoints, "none", members, stamp(manifest))
        for t in range(checkpoints):
            gain = 0.1 * t * (0.5 * np.roll(noise, 131 * row + 7 * t) + 0.1 * members[of])
            logp = np.minimum(gain - start, -1e-3)
            sink.write(
                t,
                {
                    "loss": (-np.add.reduceat(logp, offsets[:-1]) / lengths).astype(np.float32),
                    "token_logp": logp.astype(np.float32),
                    "token_first": (logp > -0.7).astype(np.uint8),
                    "token_mean": (-1 - 0.2 * start).astype(np.float16),
                    "token_std": (1 + 0.1 * start).astype(np.float16),
                },
            )
        sink.done(seconds=0.0, looking=0.0, steps=0, members=int(members.sum()))
    return whole


def score(folder: Path) -> dict[str, Any]:
    """Every attack at every checkpoint; processor seconds of each, and this process's peak in MiB."""
    run = seepage.open(folder)
    attacks: list[Attack] = [kind() for kind in ATTACKS.values() if kind.of_texts]
    attacks.append(LiRA(signal="min_k_pp"))
    rows = []
    for attack in attacks:
        began, used = time.perf_counter(), time.process_time()
        for t in range(len(run.checkpoints)):
            scores = seepage.score(run, attack, t)
        rows.append(
            {
                "attack": attack.name if attack.of_texts else "lira of min_k_pp",
                "seconds": time.perf_counter() - began,
                "processor": time.process_time() - used,
                "auc": float(
                    np.mean(
                        [seepage.metrics.auc(s, m) for s, m in zip(scores, run.member, strict=True)]
                    )
                ),
            }
        )
    return {"attacks": rows, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    """Make the folder, score it in a fresh interpreter, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--tokens", type=int, default=256, help="of a document, the mean")
    parser.add_argument("--checkpoints", type=int, default=8)
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--score", type=Path, help="score this folder, print JSON, nothing else")
    a = parser.parse_args()
    if a.score:
        print(json.dumps(score(a.score)))
        return
    place = Path(tempfile.mkdtemp())
    try:
        sizes = {k: getattr(a, k) for k in ("documents", "tokens", "checkpoints", "models")}
        whole = make(place / "run", **sizes)
        held = sum(f.stat().st_size for f in (place / "run").rglob("*") if f.is_file())
        command = [sys.executable, "-m", "benchmarks.token_scoring", "--score", str(place / "run")]
        told = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "SEEPAGE_COMPUTED": "off"},
        ).stdout
    finally:
        shutil.rmtree(place, ignore_errors=True)
    found = json.loads(told)
    found |= {**sizes, "all_tokens": whole, "folder_bytes": held, "hardware": hardware()}
    found["holds"] = found["peak_mib"] < 4096
    a.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    sys.exit(0 if found["holds"] else 1)


if __name__ == "__main__":
    main()
