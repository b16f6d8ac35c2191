"""One run of a fleet, from its seed and members to its record."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seepage.array_types import BoolArray, Int64Array
from seepage.data import Dataset
from seepage.fleet.engine import Engine, initial_network
from seepage.fleet.saved import SavedRun, Unfit
from seepage.fleet.sink import StoreSink
from seepage.fleet.spec import AS_GIVEN, PREPARED, STANDARDISED, FleetSpec
from seepage.record import Diverged, Recorder, Resident
from seepage.store.storage import Storage

__all__ = ["Job", "Progress", "init_model", "prepare", "train_run"]

Progress = Callable[[int, float], None]
"""Called with (plan row, epochs done) as a run progresses."""


@dataclass
class Job:
    """One run about to train: its row, members, seed, recorder and sink."""

    row: int
    members: Int64Array
    seed: int
    scale: tuple[NDArray[np.float32], NDArray[np.float32]]
    recorder: Recorder
    sink: StoreSink


def prepare(
    spec: FleetSpec,
    storage: Storage,
    data: Dataset,
    pool: Resident,
    member: BoolArray,
    row: int,
    seed: int,
) -> Job:
    """Members, normalisation, sink and recorder of plan row `row`."""
    members = np.flatnonzero(member).astype(np.int64)
    if spec.often:
        times = np.ones(len(member), dtype=np.int64)
        for at, count in spec.often:
            times[at] = count
        members = np.repeat(members, times[members])
    # A loop of the user's own prepares its inputs itself.
    as_given = spec.function is not None and not spec.function.standardise
    scale = data.member_scale(members)
    names = (
        *spec.record.rules(),
        *spec.record.of_tokens(),
        *(("logits",) if spec.record.logits else ()),
        *(n for e in spec.extra for n in e.names),
    )
    sink = StoreSink(storage, row, names, len(spec.times), spec.record.keep, member, spec.manifest)
    recorder = Recorder(
        pool,
        spec.times,
        sink,
        signals=spec.record.of_outputs(),
        views=spec.record.views,
        logits=spec.record.logits,
        extra=spec.extra,
        precision=spec.recipe.precision,
        seed=seed % 2**32,
        scale=None if as_given else scale,
        compiled=spec.execution.compiled,
        batch=4096 if spec.execution.device == "cuda" else 512,
        noise=spec.record.noise,
        outside=~np.asarray(member, dtype=np.bool_),
        tokens=bool(spec.record.of_tokens()),
    )
    return Job(row, members, seed, scale, recorder, sink)


def init_model(spec: FleetSpec, seed: int, device: torch.device) -> nn.Module:
    """The run's network at initialisation: the same bits on every backend and device."""
    return initial_network(
        lambda: spec.model.make(spec.pool.shape, len(spec.pool.classes)),
        len(spec.pool.shape) == 3,
        seed,
        device,
    )


def train_run(
    spec: FleetSpec, storage: Storage, pool: Resident, job: Job, progress: Progress
) -> dict[str, Any]:
    """Train one run to the end and write its record; a run that diverges is recorded as failed.

    Streams are forked: the process's own random state is what it was afterwards.
    """
    began = time.perf_counter()
    facts: dict[str, Any] = {}
    saved = SavedRun(storage, job.row, job.sink, spec.execution.save_every)
    cuda = [pool.device] if pool.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        try:
            if spec.function is not None:
                steps, facts = _train_user(spec, job)
            else:
                steps, facts = _train_built_in(spec, pool, job, progress, saved)
        except Diverged as e:
            record = job.sink.failed(str(e))
        else:
            record = job.sink.done(
                seconds=round(time.perf_counter() - began, 3),
                looking=round(job.recorder.seconds, 3),
                steps=steps,
                members=len(job.members),
                facts=facts,
            )
    saved.discard()
    return record


def _train_user(spec: FleetSpec, job: Job) -> tuple[int, dict[str, Any]]:
    """Steps of a run of the user's own loop, how inputs were given, and the loop's own accuracy."""
    assert spec.function is not None
    torch.manual_seed(job.seed % 2**63)
    job.recorder.watch_inputs(job.members)
    spec.function.function(job.members, job.seed, job.recorder)
    job.recorder.finish()
    told = job.recorder.accuracy
    facts = {
        "inputs": PREPARED
        if job.recorder.preprocess is not None
        else STANDARDISED
        if spec.function.standardise
        else AS_GIVEN,
        "own_accuracy": [told.get(t) for t in spec.times] if told else None,
        **job.recorder.facts,
    }
    return job.recorder.step, facts


def _train_built_in(
    spec: FleetSpec, pool: Resident, job: Job, progress: Progress, saved: SavedRun
) -> tuple[int, dict[str, Any]]:
    """Optimiser steps and facts of a run, gone on with where it was saved if that still fits."""
    saved.load()
    try:
        return _train_stages(spec, pool, job, progress, saved)
    except Unfit:
        saved.restart()
        return _train_stages(spec, pool, job, progress, saved)


def _train_stages(
    spec: FleetSpec, pool: Resident, job: Job, progress: Progress, saved: SavedRun
) -> tuple[int, dict[str, Any]]:
    engine = Engine(
        spec.recipe,
        spec.recipe.precision,
        len(spec.pool.classes),
        lambda seed: init_model(spec, seed, pool.device),
        pool,
        job.members,
        job.scale,
        job.seed,
        job.recorder,
        reference=None if spec.reference is None else spec.reference.dataset("reference"),
        progress=lambda epochs: progress(job.row, epochs),
        saved=saved,
        rounding=spec.execution.backend == "fused",
    )
    engine.train(spec.defense)

    def remaining() -> None:
        # A run that stopped early is evaluated, unchanged, at the checkpoints that remain.
        for t in spec.times:
            if t > engine.done:
                job.recorder.checkpoint(t)

    engine.passes.pausing(remaining)
    job.recorder.finish()
    if spec.defense is None:
        return engine.steps, dict(job.recorder.facts)
    passes = {"forward": engine.passes.forward, "backward": engine.passes.backward}
    return engine.steps, engine.facts | passes
