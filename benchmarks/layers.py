"""What a layer probe costs, in forward passes and against full Jacobians, on one thread.

    python benchmarks/layers.py [--samples 2000] [--repeats 3] [--full-repeats 1]

Writes benchmarks/results/layers.json. Seconds are processor time of this process, so a busy
machine shifts them less than wall time; every ratio compares two measurements of one run.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from seepage.layers import DegreesOfFreedom, Jacobian, probe
from seepage.layers.singular_values import singular_values
from seepage.models import build

OUT = Path(__file__).parent / "results" / "layers.json"


def cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--full-repeats", type=int, default=1)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build("resnet18", (3, 32, 32), 10).eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(options.samples, 3, 32, 32, generator=generator)

    def forward() -> None:
        with torch.no_grad():
            for part in x.split(options.batch):
                model(part)

    def dof() -> None:
        probe(model, x, indicators=[DegreesOfFreedom()], batch=options.batch)

    model(x[:8])
    passes = []
    for _ in range(options.repeats):
        one, all_blocks = cpu(forward), cpu(dof)
        passes.append({"forward_s": one, "dof_s": all_blocks, "ratio": all_blocks / one})
        print(f"DoF of all blocks: {all_blocks / one:.2f} forward passes", flush=True)

    layer = "stages.3.1"
    sketch = [Jacobian(images=1, probes=64, exact=0, power=1)]
    full = [Jacobian(images=1, exact=4096, double=False)]
    jacobians = []
    values = {}
    for i in range(options.full_repeats):
        at = x[i : i + 1]

        def run(indicators: list[Jacobian], name: str, at: torch.Tensor = at) -> None:
            values[name] = probe(model, at, [layer], indicators=indicators)

        cheap = median(cpu(lambda: run(sketch, "sketch")) for _ in range(3))
        whole = cpu(lambda: run(full, "full"))
        # The participation ratio needs no decomposition: a fair full Jacobian does without.
        shape = (int(values["full"].d[0]), at.numel())
        noise = np.random.default_rng(0).standard_normal(shape)
        decompose = cpu(lambda noise=noise: singular_values(noise))  # type: ignore[misc]
        jacobians.append({
            "sketch_s": cheap, "full_s": whole, "decomposition_s": decompose, "ratio": (whole - decompose) / cheap,
            "ratio_with_decomposition": whole / cheap,
            "participation_sketch": float(values["sketch"].jac_participation[0]),
            "participation_error": float(values["sketch"].jac_participation_error[0]),
            "participation_full": float(values["full"].jac_participation[0]),
        })  # fmt: skip
        ratio = (whole - decompose) / cheap
        print(f"64 probes are {ratio:.1f} times cheaper than the full Jacobian", flush=True)

    result = {
        "model": "resnet18, 3x32x32, 10 classes, random weights",
        "samples": options.samples,
        "batch": options.batch,
        "threads": 1,
        "layer_of_jacobian": layer,
        "dof": passes,
        "dof_median_ratio": median(p["ratio"] for p in passes),
        "jacobian": jacobians,
        "jacobian_median_ratio": median(j["ratio"] for j in jacobians),
        "machine": {"processor": platform.machine(), "python": platform.python_version()},
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
