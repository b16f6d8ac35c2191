"""The training loop: one run, from its seed and members to its last checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seepage.array_types import BoolArray, Int64Array
from seepage.config.recipe import learning_rate
from seepage.errors import CorruptStore
from seepage.fleet import optim
from seepage.fleet.feed import Feed
from seepage.fleet.sink import StoreSink
from seepage.fleet.spec import FleetSpec
from seepage.record import Diverged, Recorder, Resident
from seepage.store.storage import Storage
from seepage.store.tensors import pack, unpack

__all__ = ["Job", "prepare", "state_key", "train_run"]

Progress = Callable[[int, float], None]
"""Called with (plan row, epochs done) as a run goes on."""


@dataclass
class Job:
    """One run about to train: its row, members, seed, recorder and sink."""

    row: int
    members: Int64Array
    seed: int
    scale: tuple[NDArray[np.float32], NDArray[np.float32]]
    recorder: Recorder
    sink: StoreSink


def state_key(row: int) -> str:
    """Key of the saved training state of an unfinished run."""
    return f"state/{row:05d}.safetensors"


def prepare(
    spec: FleetSpec,
    storage: Storage,
    pool: Resident,
    member: BoolArray,
    row: int,
    seed: int,
) -> Job:
    """Members, normalisation, sink and recorder of plan row `row`."""
    members = np.flatnonzero(member).astype(np.int64)
    scale = spec.pool.dataset().member_scale(members)
    names = (
        *spec.record.signals,
        *(("logits",) if spec.record.logits else ()),
        *(n for e in spec.extra for n in e.names),
    )
    sink = StoreSink(storage, row, names, len(spec.times), spec.record.keep, member)
    recorder = Recorder(
        pool,
        spec.times,
        sink,
        signals=spec.record.signals,
        views=spec.record.views,
        logits=spec.record.logits,
        extra=spec.extra,
        precision=spec.recipe.precision,
        seed=seed % 2**32,
        scale=scale,
        compiled=spec.execution.compiled,
        batch=4096 if spec.execution.device == "cuda" else 512,
    )
    return Job(row, members, seed, scale, recorder, sink)


def init_model(spec: FleetSpec, seed: int, device: torch.device) -> nn.Module:
    """The run's network at initialisation: the same bits on every backend and device."""
    torch.manual_seed(seed % 2**63)
    model = spec.model.make(spec.pool.shape, len(spec.pool.classes))
    if len(spec.pool.shape) == 3:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.to(device)


def epoch_seed(seed: int, epoch: int) -> int:
    """Seed of torch's stream (dropout and the like) in one epoch."""
    return int(np.random.SeedSequence([seed, epoch, 1]).generate_state(1, np.uint64)[0] % 2**63)


def train_run(
    spec: FleetSpec, storage: Storage, pool: Resident, job: Job, progress: Progress
) -> dict[str, Any]:
    """Train one run to the end and write its record; a run that diverges is recorded as failed.

    Streams are forked: the process's own random state is what it was afterwards.
    """
    began = time.perf_counter()
    facts: dict[str, Any] = {}
    cuda = [pool.device] if pool.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        try:
            if spec.function is not None:
                steps = _train_user(spec, job)
            elif spec.defense is not None:
                from seepage.fleet.defended import train_defended

                apart = None if spec.reference is None else spec.reference.dataset("reference")
                steps, facts = train_defended(spec, pool, job, progress, apart)
            else:
                steps = _train_built_in(spec, storage, pool, job, progress)
        except Diverged as e:
            return job.sink.failed(str(e))
    record = job.sink.done(
        seconds=round(time.perf_counter() - began, 3),
        looking=round(job.recorder.seconds, 3),
        steps=steps,
        members=len(job.members),
        facts=facts,
    )
    storage.delete(state_key(job.row))
    return record


def _train_user(spec: FleetSpec, job: Job) -> int:
    assert spec.function is not None
    torch.manual_seed(job.seed % 2**63)
    spec.function.function(job.members, job.seed, job.recorder)
    job.recorder.finish()
    return job.recorder.step


def _train_built_in(
    spec: FleetSpec, storage: Storage, pool: Resident, job: Job, progress: Progress
) -> int:
    recipe, device = spec.recipe, pool.device
    model = init_model(spec, job.seed, device)
    optimizer = optim.make(recipe, model)
    feed = Feed(pool, job.members, recipe, job.seed, job.scale)
    steps = feed.steps * recipe.epochs
    first = _restore(storage, job, model, optimizer)
    job.recorder.start(model, steps_per_epoch=feed.steps, epoch=float(first))
    saved = time.perf_counter()
    step = first * feed.steps
    for epoch in range(first, recipe.epochs):
        model.train()
        torch.manual_seed(epoch_seed(job.seed, epoch))
        for x, y in feed.batches(epoch):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step, steps)
            loss = _backward(model, x, y, spec.recipe.precision)
            if recipe.optimizer == "sam":
                again = partial(_backward, model, x, y, spec.recipe.precision)
                optim.sam_step(optimizer, recipe.rho, again)
            if not math.isfinite(loss):
                raise Diverged(f"loss not finite at step {step}")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            job.recorder.step_end()
        job.recorder.epoch_end()
        progress(job.row, epoch + 1.0)
        if epoch + 1 < recipe.epochs and time.perf_counter() - saved >= spec.execution.save_every:
            _save(storage, job, model, optimizer, epoch + 1)
            saved = time.perf_counter()
    job.recorder.finish()
    return step


def _backward(model: nn.Module, x: torch.Tensor, y: torch.Tensor, precision: str) -> float:
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = model(x)
    loss = nn.functional.cross_entropy(logits.float(), y)
    torch.autograd.backward(loss)
    return float(loss.detach())


def _save(
    storage: Storage, job: Job, model: nn.Module, optimizer: torch.optim.Optimizer, epoch: int
) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"optimizer.{k}": v for k, v in optim.state_tensors(optimizer).items()}
    facts = {"epoch": epoch, "digests": job.sink.digests, "accuracy": job.sink.accuracy}
    storage.put(state_key(job.row), pack(tensors, facts))


def _restore(storage: Storage, job: Job, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Epochs that a saved state already holds, put back into model, optimiser and sink.

    A state whose bytes changed is no state: the run starts anew and ends in the same bits.
    """
    key = state_key(job.row)
    raw = storage.get(key)
    if raw is None:
        return 0
    try:
        tensors, facts = unpack(raw, key)
    except CorruptStore:
        return 0
    model.load_state_dict(
        {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    )
    optim.load_state(
        optimizer,
        {k.removeprefix("optimizer."): v for k, v in tensors.items() if k.startswith("optimizer.")},
    )
    job.sink.restore(facts["digests"], facts["accuracy"])
    return int(facts["epoch"])
