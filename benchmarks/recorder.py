"""What a Recorder costs in a person's own loop, beyond the evaluations that it was asked for.

The same loop is run with and without a Recorder, alternately; its evaluations are timed by the
Recorder itself (`seconds`) and taken off. Processor time of one thread, medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import seepage
from seepage.fleet.machine import hardware
from seepage.models import build
from seepage.record import Memory, Recorder, Resident


def loop(data: seepage.Dataset, epochs: int, recorder: Recorder | None) -> float:
    """Processor seconds of training, the Recorder's evaluations left out."""
    rows = np.arange(0, len(data), 2)
    scale = data.member_scale(rows)
    pool = Resident.of(data)
    torch.manual_seed(0)
    model = build("mlp", data.shape, len(data.classes))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    rng = np.random.default_rng(0)
    inside = 0.0
    began = time.process_time()
    if recorder is not None:
        at = time.process_time()
        recorder.start(model, steps_per_epoch=len(rows) // 64)
        inside += time.process_time() - at
    for _ in range(epochs):
        order = rng.permutation(rows)
        for s in range(len(rows) // 64):
            batch = order[s * 64 : (s + 1) * 64]
            loss = nn.functional.cross_entropy(
                model(pool.batch(batch, *scale)), pool.labels[torch.from_numpy(batch)]
            )
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if recorder is not None:
                recorder.step_end()
        if recorder is not None:
            # An epoch's end is where it looks: its evaluations are what was asked for.
            before, at = recorder.seconds, time.process_time()
            recorder.epoch_end()
            if recorder.seconds > before:
                inside += time.process_time() - at
    return time.process_time() - began - inside


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=40)
    a = parser.parse_args()
    torch.set_num_threads(1)
    data = seepage.load("digits")
    pool = Resident.of(data)
    scale = data.member_scale(np.arange(0, len(data), 2))
    times = seepage.record.log_spaced(a.epochs, 8)
    loop(data, 2, None)
    plain, watched = [], []
    for _ in range(a.repeats):
        plain.append(loop(data, a.epochs, None))
        watched.append(loop(data, a.epochs, Recorder(pool, times, Memory(), scale=scale)))
    row = {
        "name": "Recorder in a loop of one's own (mlp, digits)",
        "seconds": statistics.median(watched),
        "reference": "the same loop without it",
        "reference_seconds": statistics.median(plain),
        "overhead": statistics.median(watched) / statistics.median(plain) - 1,
        "all": {"with": watched, "without": plain},
    }
    print(f"{row['name']}: {row['overhead']:+.1%} beyond its evaluations")
    if a.out:
        a.out.write_text(json.dumps({"hardware": hardware(), "rows": [row]}, indent=1))


if __name__ == "__main__":
    main()
