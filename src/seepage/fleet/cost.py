"""What an audit will cost in time, memory and disk: measured on a few real steps, then scaled."""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psutil

from seepage.attacks import Attack
from seepage.attacks.base import TIMELESS
from seepage.config.execution import Execution
from seepage.config.function import Function
from seepage.config.model import Model, as_model
from seepage.config.recipe import Recipe
from seepage.config.record import Record
from seepage.data import Dataset
from seepage.defenses import Defense
from seepage.errors import InputError
from seepage.fleet import graphs, stacked
from seepage.fleet.backends import choose_backend
from seepage.fleet.estimators import EstimatorWarning, without_network
from seepage.fleet.held_memory import HeldMemory
from seepage.fleet.machine import choose_device
from seepage.fleet.start import Silent, train
from seepage.metrics import sample_auc
from seepage.plan import SubsetPlan, half_split

__all__ = [
    "Cost",
    "Rates",
    "Workload",
    "estimate",
    "interval_width",
    "measure",
    "workload",
]


@dataclass(frozen=True)
class Workload:
    """The size of an audit.

    samples N, models R, checkpoints T, epochs; batch: samples a step; member_share: the part of
    the pool that a run trains on; input_bytes: one sample as it lies in memory, 0 in its file; signal_bytes: what
    one checkpoint of one run writes per sample, all signals and views; parameters of the network;
    kept: checkpoints whose weights are kept.
    """

    samples: int
    models: int
    checkpoints: int
    epochs: int
    batch: int = 128
    member_share: float = 0.5
    input_bytes: int = 3072
    signal_bytes: int = 17
    parameters: int = 1_000_000
    kept: int = 1

    @property
    def steps(self) -> int:
        """Optimiser steps of one run."""
        members = max(1, int(self.samples * self.member_share))
        return self.epochs * (members // min(self.batch, members))


@dataclass(frozen=True)
class Rates:
    """What a machine does, per worker: seconds of a training step, of evaluating one sample at one
    checkpoint, of starting; seconds of scoring one (model, sample) pair at one checkpoint, all
    attacks at the last one and the main attack at the others; bytes that a worker holds, its share of
    the process that waits for it included, and that one process holds before it scores."""

    step: float
    look: float
    start: float = 0.0
    score_all: float = 0.0
    score_main: float = 0.0
    worker_bytes: int = 0
    main_bytes: int = 0


@dataclass(frozen=True)
class Cost:
    """Seconds of wall time, bytes on disk and bytes in memory, each by part."""

    seconds: dict[str, float]
    disk: dict[str, int]
    memory: dict[str, int]

    @property
    def total_seconds(self) -> float:
        """Wall time of the whole audit."""
        return sum(self.seconds.values())

    @property
    def train_seconds(self) -> float:
        """Wall time of `seepage train`, without scoring and report."""
        return sum(v for k, v in self.seconds.items() if k not in ("scoring", "report"))

    @property
    def total_disk(self) -> int:
        """Bytes on disk when it is done."""
        return sum(self.disk.values())

    @property
    def peak_memory(self) -> int:
        """Bytes in memory at most: fleet and scoring come one after the other."""
        m = self.memory
        return max(m["data"] + m["workers"], m["scoring"])


def estimate(work: Workload, rates: Rates, workers: int = 1) -> Cost:
    """Cost of `work` on `workers` that each do `rates`: arithmetic only, nothing is run.

    training = ⌈R/W⌉ · steps · step;  evaluation = ⌈R/W⌉ · T · N · look;
    scoring = R · N · (all attacks once + the main attack at T checkpoints), in one process;
    disk: R · T · N · signal bytes + kept weights (4 bytes a parameter) + membership.
    Assumes that workers do not slow each other down beyond what `rates` already holds.

    >>> work = Workload(samples=1_000, models=4, checkpoints=2, epochs=3, batch=100)
    >>> cost = estimate(work, Rates(step=0.01, look=1e-4), workers=2)
    >>> {k: round(v, 2) for k, v in cost.seconds.items()}
    {'start': 0.0, 'training': 0.3, 'evaluation': 0.4, 'scoring': 0.0}
    >>> cost.disk["signals"]
    136000
    """
    if workers < 1:
        raise InputError(f"workers: expected at least 1, got {workers}")
    turns = math.ceil(work.models / workers)
    pairs = work.models * work.samples
    seconds = {
        "start": rates.start,
        "training": turns * work.steps * rates.step,
        "evaluation": turns * work.checkpoints * work.samples * rates.look,
        "scoring": pairs * (rates.score_all + work.checkpoints * rates.score_main),
    }
    disk = {
        "signals": pairs * work.checkpoints * work.signal_bytes,
        "weights": work.models * work.kept * work.parameters * 4,
        "plan": pairs,
    }
    memory = {
        "data": work.samples * work.input_bytes,
        # Weights, gradients, momentum and an evaluation's signals, in addition to what a process
        # and its batches need.
        "workers": min(workers, work.models)
        * (rates.worker_bytes + 12 * work.parameters + work.samples * work.signal_bytes),
        # One checkpoint of two signals in float32 and its scores in float64.
        "scoring": rates.main_bytes + pairs * (2 * 4 + 8 + 1),
    }
    return Cost(seconds, disk, memory)


def interval_width(inside: int, outside: int, level: float = 0.95) -> float:
    """Width of the interval of one sample's AUC (`seepage.metrics.sample_auc`) near ½.

    inside, outside: how many runs train on the sample, and how many do not, at least one each.

    >>> [round(interval_width(n, n), 2) for n in (4, 16, 64)]
    [0.85, 0.41, 0.2]
    """
    models = inside + outside
    # The members spread evenly over the ranks of the signal: about as often above as below others.
    at = ((np.arange(inside) + 0.5) * models / inside).astype(np.int64)
    member = np.zeros((models, 1), dtype=np.bool_)
    member[at] = True
    found = sample_auc(np.arange(models, dtype=np.float64)[:, None], member, level)
    return float(found.high[0] - found.low[0])


def workload(
    data: Dataset,
    plan: SubsetPlan,
    recipe: Recipe,
    model: str | Model,
    record: Record,
    function: Function | None = None,
) -> Workload:
    """The size of an audit from what `seepage.train` takes.

    Of a function that trains no network a whole fit is one step, and no weights are kept.
    """
    fitted = function is not None and not function.network
    if fitted:
        assert function is not None
        record, recipe = without_network(function, record, recipe, None)
    times = record.times(recipe.epochs)
    net = (
        None if fitted else as_model(model).for_task(data.task).make(data.shape, len(data.classes))
    )
    per_view = sum(1 if s == "correct" else 4 for s in record.for_task(data.task).rules())
    logits = 4 * len(data.classes) if record.logits else 0
    record = record.for_task(data.task)
    # Of documents the bytes of all their tokens.
    tokens = sum(np.dtype(kind).itemsize for kind in record.of_tokens().values())
    each = (int((data.inputs >= 0).sum()) / len(data) - 1) if tokens else 0.0
    logits += math.ceil(tokens * each)
    return Workload(
        samples=len(data),
        models=plan.models,
        checkpoints=len(times),
        epochs=1 if fitted else recipe.epochs,
        batch=len(data) if fitted else recipe.batch,
        member_share=_shown(plan),
        input_bytes=0
        if data.file is not None
        else data.inputs[0].numel() * data.inputs.element_size(),
        signal_bytes=per_view * len(record.views) + logits,
        parameters=0 if net is None else sum(p.numel() for p in net.parameters()),
        kept={"none": 0, "final": 1, "all": len(times)}[record.keep],
    )


def _shown(plan: SubsetPlan) -> float:
    """Samples that a run is shown in an epoch, over those of the pool: canaries as often as they are repeated."""
    times = np.ones(plan.samples)
    if plan.canaries is not None and plan.canaries.repeats is not None:
        times[plan.canaries.index] = plan.canaries.repeats
    return float((plan.member @ times).mean()) / plan.samples


class _Clock(Silent):
    """When runs ended."""

    def __init__(self) -> None:
        self.first = 0.0

    def done(self, row: int, record: dict[str, Any]) -> None:
        self.first = self.first or time.perf_counter()


def measure(
    data: Dataset,
    plan: SubsetPlan,
    recipe: Recipe,
    attacks: Sequence[Attack] = (),
    *,
    model: str | Model = "mlp",
    record: Record | None = None,
    execution: Execution | None = None,
    function: Function | None = None,
    defense: Defense | None = None,
    reference: Dataset | None = None,
) -> tuple[Rates, int]:
    """Rates of this machine for an audit, and the number of workers, from a few real steps.

    Trains a few short runs on a small part of the pool in a temporary folder, with the workers,
    the backend and the defence that the audit would use, so that what they cost each other is
    measured too. Each worker trains two tasks; only the second counts, since the first loads and
    compiles. Of a function that trains no network, whose time does not grow with epochs and steps,
    each worker fits once to half of the whole pool, and that is a step. What is taken is what `seepage.train` takes; `attacks`: the main one first.
    """
    record, execution = record or Record(), execution or Execution()
    device = choose_device(execution.device)
    count = execution.workers or max(1, (psutil.cpu_count(logical=False) or 1) // execution.threads)
    if device == "cuda":
        count = execution.workers or 1
    plain = function is None and defense is None
    ref = as_model(model)
    chosen = choose_backend(
        execution.backend,
        ref,
        recipe,
        plan,
        device,
        plain=plain and not ref.starts,
        own=function is not None,
        resident=data.file is None,
    )
    together = {"stacked": stacked.GROUP[device], "graphs": graphs.GROUP}
    together["compiled"] = graphs.GROUP
    group = together.get(chosen, 1)
    fitted = function is not None and not function.network
    size = len(data) if fitted else min(len(data), max(16 * recipe.batch, 1024))
    runs = count + count % 2 if fitted else 2 * group * count
    short = recipe.changed(epochs=2)
    times: tuple[float, ...] = (0.0, 2.0)
    if fitted:
        assert function is not None
        asked, short = without_network(function, record, recipe, defense)
        times = asked.times(short.epochs)
    rows = np.random.default_rng(0).choice(len(data), size, replace=False)
    part = replace(data.take(np.sort(rows).astype(np.int64)), source={})
    unwatched: dict[str, Any] = {
        "curvature": None, "curvature_options": {}, "curvature_checkpoints": None,
        "layers": False, "layer_options": {}, "extra": (),
    }  # fmt: skip
    brief = record.changed(checkpoints=times, keep="none", **unwatched)
    memory = HeldMemory()
    with (
        tempfile.TemporaryDirectory(prefix="seepage-cost-") as folder,
        warnings.catch_warnings(),
        memory,
    ):
        # What is noted of an estimator is said of the audit's own run.
        warnings.simplefilter("ignore", EstimatorWarning)
        clock, began = _Clock(), time.perf_counter()
        run = train(
            part,
            half_split(size, models=runs, seed=plan.seed),
            out=f"{folder}/run",
            model=ref,
            function=function,
            recipe=short,
            record=brief,
            execution=execution.changed(workers=count, backend=chosen, save_every=1e9),
            defense=defense,
            reference=reference,
            watcher=clock,
        )
        start = clock.first - began
    usable = [r for r in run.records.values() if r["status"] == "done"]
    if not usable:
        why = next(iter(run.failed.values()))
        raise InputError(f"recipe: expected runs that converge, got {why}; lower lr")
    # The faster half has no loading and compiling in it.
    quick = sorted(usable, key=lambda r: r["seconds"])[: max(1, len(usable) // 2)]
    step = float(np.median([(r["seconds"] - r["looking"]) / max(1, r["steps"]) for r in quick]))
    look = float(np.median([r["looking"] / (len(times) * size) for r in quick]))
    scores = [_score_seconds(a, plan.models, size) for a in attacks]
    small = workload(part, half_split(size, models=runs), short, ref, brief, function)
    # What `estimate` adds for the whole pool is in what was seen already, for a part of it.
    counted = estimate(small, Rates(0.0, 0.0), count).memory
    taken = memory.most - counted["data"] - counted["workers"]
    return Rates(
        step=max(step, 0.0),
        look=look,
        start=max(0.0, start - quick[0]["seconds"]),
        # Twice: the report scores permuted membership as well as the real one.
        score_all=2 * sum(scores),
        score_main=2 * scores[0] if scores else 0.0,
        worker_bytes=max(0, taken // min(count, runs)),
        main_bytes=psutil.Process().memory_info().rss,
    ), count


def _score_seconds(attack: Attack, models: int, samples: int) -> float:
    """Seconds of one leave-one-out pass, per (model, sample)."""
    rng = np.random.default_rng(0)
    member = half_split(samples, models=models + models % 2).member[:models]
    signals = {
        k: np.zeros(member.shape)
        if k in TIMELESS
        else np.abs(rng.normal(size=member.shape + (2,) * attack.trajectory)).astype(np.float32)
        for k in attack.requires
    }
    best = math.inf
    for _ in range(2):
        at = time.perf_counter()
        attack.leave_one_out(signals, member)
        best = min(best, time.perf_counter() - at)
    return best / member.size
