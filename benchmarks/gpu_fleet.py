"""A fleet of ResNet-9 on CIFAR-10 on one GPU: minutes, accuracy, and the fraction of the peak.

    python -m benchmarks.gpu_fleet --out fleet.json --runs runs/gpu-fleet --seconds 150

First the rate of one captured step, plain and through torch.compile, with several models side by
side; then the fleet by the way that was faster, 64 models and 8 checkpoints unless told otherwise.
The run folder resumes: what a first call does not finish within --seconds, a second one does, and
the file always says how many of the models asked for are in its figures. Nothing is scaled up.

Every run leaves out one eighth of the pool, every image is left out by 8 of 64 runs, and accuracy
is that on the images that a run never saw. Where not all of CIFAR-10 is at hand the pool is the
part that is; the file says how many images that was.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import seepage
from benchmarks.training import flops
from seepage.config.model import as_model
from seepage.fleet import Silent, graphs
from seepage.fleet.loop import Job
from seepage.fleet.machine import hardware, matrix_peak
from seepage.fleet.spec import FleetSpec, PoolFile
from seepage.plan import SubsetPlan, leave_out
from seepage.record import Recorder, Resident

WAYS = ("graphs", "compiled")


def eighths(n: int, models: int, folds: int) -> SubsetPlan:
    """`models` runs, each without its own 1/folds of the pool; every sample OUT equally often."""
    parts = [leave_out(n, folds=folds, seed=s) for s in range(models // folds)]
    member = np.concatenate([p.member for p in parts])
    seeds = np.concatenate([p.seeds for p in parts])
    return SubsetPlan(member, seeds, "leave_out", 0, {"folds": folds, "times": len(parts)})


def spec_of(data: seepage.Dataset, model: str, recipe: seepage.Recipe, backend: str) -> FleetSpec:
    """What a captured step reads of a fleet, without a store."""
    return FleetSpec(
        store="",
        pool=PoolFile("", data.kind, data.classes, None, data.shape),
        reference=None,
        model=as_model(model),
        function=None,
        recipe=recipe,
        record=seepage.Record(signals=("phi",), keep="none"),
        execution=seepage.Execution(device="cuda", backend=backend, save_every=1e9),
        defense=None,
        times=(0.0,),
        extra=(),
        manifest="",
    )


def captured(
    data: seepage.Dataset, pool: Resident, spec: FleetSpec, plan: SubsetPlan, models: int
) -> list[graphs.Captured]:
    """Steps of the plan's first runs, captured with cuDNN set as the backend sets it."""
    free = spec.execution.backend == "compiled"
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = not free, free
    found = []
    for row in range(models):
        members = plan.members(row)
        scale = data.member_scale(members)
        job = Job(row, members, int(plan.seeds[row]), scale, None, None)  # type: ignore[arg-type]
        found.append(graphs.Captured(spec, pool, job))
        found[-1].model.train()
        found[-1].load(0)
    torch.cuda.synchronize()
    return found


def replay(steps: list[graphs.Captured], number: int) -> float:
    """Seconds of so many steps of each, side by side."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    for k in range(number):
        for c in steps:
            # On the stream that reads them: another one would not wait.
            with torch.cuda.stream(c.stream):
                if k % c.feed.steps == 0:
                    c.at.zero_()
                if k == 0:
                    c.step.zero_()
                c.graph.replay()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def kernels(steps: list[graphs.Captured], top: int = 12) -> dict[str, Any]:
    """Where the device's time goes in three steps of one model."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as p:
        replay(steps[:1], 3)
    rows = [(e.key, e.self_device_time_total, e.count) for e in p.key_averages()]
    total = sum(t for _, t, _ in rows) or 1.0
    rows.sort(key=lambda r: -r[1])
    found = [
        {"kernel": name[:120], "share": t / total, "calls_per_step": n / 3}
        for name, t, n in rows[:top]
    ]
    return {"milliseconds_per_step": total / 3e3, "kernels": found}


def probe(
    data: seepage.Dataset,
    model: str,
    recipe: seepage.Recipe,
    plan: SubsetPlan,
    backend: str,
    together: tuple[int, ...],
    number: int,
) -> dict[str, Any]:
    """Samples per second of captured steps by the number of models side by side."""
    pool = Resident.of(data, "cuda")
    spec = spec_of(data, model, recipe, backend)
    began = time.perf_counter()
    steps = captured(data, pool, spec, plan, max(together))
    result: dict[str, Any] = {"capture_seconds": time.perf_counter() - began, "rates": {}}
    for m in together:
        part = steps[:m]
        replay(part, 3)
        seen = number * sum(c.feed.batch for c in part)
        result["rates"][str(m)] = seen / replay(part, number)
    result["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    _attempt(result, "look", lambda: look_rate(pool, steps[0], recipe.precision))
    _attempt(result, "profile", lambda: kernels(steps))
    return result


def look_rate(pool: Resident, step: graphs.Captured, precision: str) -> dict[str, Any]:
    """Samples per second of a Recorder's look at the whole pool."""
    from seepage.record import Memory

    recorder = Recorder(
        pool, [0.0], Memory(), precision=precision, scale=step.job.scale, batch=4096
    )
    recorder.start(step.model)  # which looks once: warm
    began = time.perf_counter()
    recorder.observe()
    return {"samples_per_second": len(pool) / (time.perf_counter() - began)}


def agreement(
    data: seepage.Dataset, model: str, recipe: seepage.Recipe, plan: SubsetPlan
) -> dict[str, Any]:
    """Logits of one run by either way after the same 1, 10 and 40 steps, beside their spread."""
    pool = Resident.of(data, "cuda")
    rows = np.arange(min(2048, len(data)))
    found: dict[str, list[torch.Tensor]] = {}
    for way in WAYS:
        (c,) = captured(data, pool, spec_of(data, model, recipe, way), plan, 1)
        done, logits = 0, []
        for until in (1, 10, 40):
            for _ in range(min(until, c.feed.steps) - done):
                with torch.cuda.stream(c.stream):
                    c.graph.replay()
                done += 1
            torch.cuda.synchronize()
            c.model.eval()
            with torch.no_grad():
                logits.append(c.model(pool.batch(rows, *c.job.scale)).float().cpu())
            c.model.train()
        found[way] = logits
    gaps = [(a - b).abs() for a, b in zip(*found.values(), strict=True)]
    spread = [float(a.std()) for a in found["graphs"]]
    return {
        "steps": [1, 10, 40],
        "precision": recipe.precision,
        "median_gap_over_spread": [
            float(g.median()) / s for g, s in zip(gaps, spread, strict=True)
        ],
    }


class TimeUpError(Exception):
    """The budget is spent; what is finished is kept."""


class Clock(Silent):
    """Ends a fleet between two tasks when the next one would not end in time."""

    def __init__(self, until: float, size: int) -> None:
        self.until, self.size = until, size
        self.ended = 0
        self.last = time.perf_counter()

    def done(self, row: int, record: dict[str, Any]) -> None:
        """A run ended; tasks end together."""
        self.ended += 1
        if self.ended % self.size == 0:
            now = time.perf_counter()
            print(f"{self.ended} runs ended, the last {self.size} in {now - self.last:.1f} s",
                  flush=True)  # fmt: skip
            if now + (now - self.last) > self.until:
                raise TimeUpError
            self.last = now


def fleet(
    data: seepage.Dataset,
    model: str,
    recipe: seepage.Recipe,
    plan: SubsetPlan,
    out: Path,
    device: str,
    backend: str,
    checkpoints: int,
    clock: Clock,
) -> seepage.Run:
    """Train what time allows and open what there is."""
    try:
        seepage.train(
            data, plan, model=model, device=device, out=out, keep="none", backend=backend,
            checkpoints=checkpoints, recipe=recipe, watcher=clock,
        )  # fmt: skip
    except TimeUpError:
        print("time is up", flush=True)
    return seepage.open(out)


def figures(
    run: seepage.Run,
    data: seepage.Dataset,
    plan: SubsetPlan,
    recipe: seepage.Recipe,
    model: str,
    peak: float,
) -> dict[str, Any]:
    """What the finished runs of a folder took, over all of its sessions."""
    records = [r for r in run.records.values() if r.get("accuracy")]
    wall = sum(run.storage.get_json(k)["seconds"] for k in run.storage.keys("sessions/"))
    if not records:
        return {"models_finished": 0, "wall_seconds": wall}
    final = np.array([r["accuracy"][-1] for r in records])
    trained = sum(r["steps"] for r in records) * recipe.batch
    looked = len(records) * len(run.checkpoints) * len(data)
    cost = flops(model, data.shape, len(data.classes))
    return {
        "models_finished": len(records),
        "models_asked": plan.models,
        "members_of_a_run": int(plan.member[0].sum()),
        "checkpoints": [float(t) for t in run.checkpoints],
        "wall_seconds": wall,
        "wall_seconds_per_model": wall / len(records),
        "accuracy_unseen": [float(final[:, 1].mean()), float(final[:, 1].min())],
        "accuracy_members": float(final[:, 0].mean()),
        "share_of_runs_at_90": float((final[:, 1] >= 0.9).mean()),
        "training_samples": trained,
        "looking_share": sum(r["looking"] for r in records) / sum(r["seconds"] for r in records),
        "samples_per_second_of_wall": trained / wall,
        "samples_per_second_training": trained / sum(r["seconds"] - r["looking"] for r in records),
        "fraction_of_bf16_peak": (trained + looked / 3) * cost / 1e9 / wall / peak,
        "backend": run.manifest["chosen"]["backend"],
        "precision": run.manifest["chosen"]["precision"],
        "recipe": recipe.model_dump(),
    }


def _attempt(result: dict[str, Any], name: str, call: Any) -> None:
    """Keep what a part gave, or why it could not, and let the rest go on."""
    began = time.perf_counter()
    try:
        result[name] = call()
    except Exception as e:
        result[name] = {"error": f"{type(e).__name__}: {str(e)[:300]}"}
    result[name]["took"] = time.perf_counter() - began
    print(name, json.dumps({k: v for k, v in result[name].items() if k != "profile"}), flush=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def fastest(result: dict[str, Any]) -> str:
    """The way whose best rate was higher; plain graphs when compiling did not work."""
    best = {w: max(result.get(w, {}).get("rates", {"": 0.0}).values()) for w in WAYS}
    return "compiled" if best["compiled"] > 1.05 * best["graphs"] else "graphs"


def main(argv: list[str] | None = None) -> None:
    """Probe, train, print, write after every part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu-fleet"))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--seconds", type=float, default=150.0, help="end in about so long")
    parser.add_argument("--model", default="resnet9")
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--folds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--lr", type=float, default=0.4)
    parser.add_argument("--checkpoints", type=int, default=8)
    parser.add_argument("--group", type=int, default=8, help="models side by side")
    parser.add_argument("--way", choices=("measure", *WAYS), default="measure")
    parser.add_argument("--limit", type=int, help="only so many images")
    parser.add_argument("--smoke", action="store_true", help="every path, tiny, no compilation")
    a = parser.parse_args(argv)
    began = time.perf_counter()
    if a.smoke:
        a.models, a.folds, a.epochs, a.batch, a.group, a.limit = 4, 2, 2, 64, 2, 1024
        a.checkpoints, a.way = 3, "graphs"
    data = seepage.load("cifar10", part="both", limit=a.limit)
    plan = eighths(len(data), a.models, a.folds)
    recipe = seepage.Recipe(
        epochs=a.epochs, batch=a.batch, lr=a.lr, nesterov=True, flip=True, crop=4,
        precision="bf16", warmup=0.2,
    )  # fmt: skip
    cuda = a.device == "cuda"
    peak = matrix_peak("bf16", a.device, 8192 if cuda else 1024)
    result: dict[str, Any] = {
        "hardware": hardware(), "torch": torch.__version__, "model": a.model,
        "data": {"name": data.name, "images": len(data), "images_of_cifar10": 60_000},
        "peak_bf16_gflops": peak, "smoke": a.smoke,
    }  # fmt: skip

    def write() -> None:
        a.out.write_text(json.dumps(result, indent=1) + "\n")

    write()
    if cuda:
        sizes = (1, 2) if a.smoke else (1, 4, 8)
        for way in WAYS if a.way == "measure" else (a.way,):
            _attempt(
                result,
                way,
                lambda way=way: probe(
                    data, a.model, recipe, plan, way, sizes, 4 if a.smoke else 24
                ),
            )
            write()
        if a.way == "measure" and "error" not in result["compiled"]:
            for precision in ("fp32", "bf16"):
                same = recipe.model_copy(update={"precision": precision})
                call = lambda same=same: agreement(data, a.model, same, plan)  # noqa: E731
                _attempt(result, f"agreement {precision}", call)
                write()
    backend = (fastest(result) if a.way == "measure" else a.way) if cuda else "auto"
    size = graphs.GROUP = a.group
    clock = Clock(began + a.seconds, size if cuda else 1)
    try:
        run = fleet(data, a.model, recipe, plan, a.runs, a.device, backend, a.checkpoints, clock)
        result["fleet"] = figures(run, data, plan, recipe, a.model, peak)
    finally:
        write()
    print("fleet", json.dumps(result["fleet"]), flush=True)


if __name__ == "__main__":
    main()
