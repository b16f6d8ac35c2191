"""Training on a GPU: the data on the device, a step as one CUDA graph, several models side by side.

A small network's step is a few hundred kernels of microseconds each; launched one by one they
leave the device idle. Here one step (cut the batch, forward, backward, optimiser) is captured
once per model and replayed, with the epoch's order and the learning rates already on the device,
so that the processor launches one graph per step. Models of a group replay on streams of their
own and overlap. The arithmetic is that of the plain loop; a step of SAM holds both of its passes.

The backend "compiled" lets torch.compile fuse what lies between the matrix products of the same
step before it is captured, and cuDNN try its algorithms: faster, and the one backend that does not
promise the same bits twice. Networks of one class share one compiled step.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.config.recipe import Recipe, learning_rate
from seepage.errors import InputError
from seepage.fleet.engine import epoch_seed
from seepage.fleet.feed import Draw, Feed
from seepage.fleet.loop import Job, Progress, init_model
from seepage.fleet.spec import FleetSpec
from seepage.record import Diverged, Resident
from seepage.record.resident import cut

__all__ = ["GROUP", "Captured", "Step", "can_capture", "compiled_loss", "loss_of", "train_graphs"]

GROUP = 8
WARM_UP = 3


def can_capture(recipe: Recipe) -> bool:
    """Adam's host-side counters are left to the plain loop."""
    return recipe.optimizer in ("sgd", "sam")


LossOf = Callable[[nn.Module, torch.Tensor, torch.Tensor, bool], torch.Tensor]


def loss_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor, half: bool) -> torch.Tensor:
    """Mean cross-entropy of a batch, the network in bf16 where `half`, the loss in float32."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
        logits = model(x)
    return nn.functional.cross_entropy(logits.float(), y)


@functools.cache
def compiled_loss() -> LossOf:
    """`loss_of` through torch.compile: made once per process, shared by networks of one class."""
    compiled: LossOf = torch.compile(loss_of, dynamic=False)
    return compiled


def _at(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """values[index] for an index on the device: plain indexing would ask the host, and wait."""
    return values.index_select(0, index.view(1)).squeeze(0)


class Step:
    """One model's training step without the host: order, rates and counters are tensors.

    Nothing here is a CUDA matter; `Captured` records it once and replays it. Needs the pool's
    pixels as a tensor (`Resident.on_device`).
    """

    def __init__(self, spec: FleetSpec, pool: Resident, job: Job) -> None:
        self.job, self.recipe, self.pool = job, spec.recipe, pool
        self.half = spec.recipe.precision == "bf16"
        self.loss_of = compiled_loss() if spec.execution.backend == "compiled" else loss_of
        device = pool.device
        assert pool.on_device is not None
        self.model = init_model(spec, job.seed, device)
        self.feed = Feed(pool, job.members, spec.recipe, job.seed, job.scale)
        total = self.feed.steps * spec.recipe.epochs
        rates = [learning_rate(spec.recipe, s, total) for s in range(total)]
        self.rates = torch.tensor(rates, device=device)
        self.step = torch.zeros((), dtype=torch.int64, device=device)
        self.at = torch.zeros((), dtype=torch.int64, device=device)
        self.worst = torch.zeros((), device=device)
        self.scale, self.shift = (torch.from_numpy(a).to(device) for a in job.scale)
        shape = (self.feed.steps, self.feed.batch)
        integer = {"dtype": torch.int64, "device": device}
        self.rows = torch.zeros(shape, **integer)  # type: ignore[call-overload]
        moved = pool.image and bool(spec.recipe.crop)
        self.dy = torch.zeros(shape, **integer) if moved else None  # type: ignore[call-overload]
        self.dx = torch.zeros(shape, **integer) if moved else None  # type: ignore[call-overload]
        mirrored = pool.image and spec.recipe.flip
        self.flip = torch.zeros(shape, dtype=torch.bool, device=device) if mirrored else None
        self.params: list[torch.Tensor] = [p for p in self.model.parameters() if p.requires_grad]
        self.momentum = [torch.zeros_like(p) for p in self.params]
        for p in self.params:
            p.grad = torch.zeros_like(p)

    def run(self) -> None:
        """One step of the recipe on the batch that `at` points to."""
        pixels = self.pool.on_device
        assert pixels is not None
        rows = _at(self.rows, self.at)

        def part(a: torch.Tensor | None) -> torch.Tensor | None:
            return None if a is None else _at(a, self.at)

        if self.pool.image:
            moves = (part(self.dy), part(self.dx), part(self.flip))
            x = cut(pixels, rows, self.scale, self.shift, *moves)
        else:
            x = pixels[rows] * self.scale + self.shift
        y = self.pool.labels[rows]
        grads = [p.grad for p in self.params if p.grad is not None]
        loss = self._backward(x, y, grads)
        if self.recipe.optimizer == "sam":
            before = self._ascend(grads)
            self._backward(x, y, grads)
            with torch.no_grad():
                torch._foreach_copy_(self.params, before)
        with torch.no_grad():
            # A NaN stays in the sum: one read per epoch shows whether any step diverged.
            self.worst.add_(loss.detach() * 0)
            self._update(grads)
            self.step.add_(1)
            self.at.add_(1)

    def _backward(
        self, x: torch.Tensor, y: torch.Tensor, grads: list[torch.Tensor]
    ) -> torch.Tensor:
        """The batch's loss; its gradients replace what `grads`, the parameters' own, held."""
        loss = self.loss_of(self.model, x, y, self.half)
        torch._foreach_zero_(grads)
        torch.autograd.backward(loss)
        return loss

    def _ascend(self, grads: list[torch.Tensor]) -> list[torch.Tensor]:
        """To the worst point in SAM's ball, as `optim.sam_step`; returns the weights to go back to."""
        with torch.no_grad():
            norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in grads]))
            before = [p.clone() for p in self.params]
            up = torch._foreach_mul(grads, self.recipe.rho / (norm + 1e-12))
            torch._foreach_add_(self.params, up)
        return before

    def _update(self, grads: list[torch.Tensor]) -> None:
        r = self.recipe
        rate = _at(self.rates, self.step)
        if r.weight_decay:
            torch._foreach_add_(grads, self.params, alpha=r.weight_decay)
        if r.momentum:
            torch._foreach_mul_(self.momentum, r.momentum)
            torch._foreach_add_(self.momentum, grads)
            if r.nesterov:
                torch._foreach_add_(grads, self.momentum, alpha=r.momentum)
            else:
                grads = self.momentum
        steps: tuple[torch.Tensor, ...] = torch._foreach_mul(grads, rate)
        torch._foreach_sub_(self.params, steps)

    def load(self, epoch: int) -> None:
        """Order and transforms of an epoch, onto the device."""
        d: Draw = self.feed.draw(epoch)
        for there, here in (
            (self.rows, d.rows),
            (self.dy, d.dy),
            (self.dx, d.dx),
            (self.flip, d.flip),
        ):
            if there is not None and here is not None:
                there.copy_(torch.from_numpy(np.ascontiguousarray(here)))
        self.at.zero_()


class Captured(Step):
    """One model's training step as a replayable graph."""

    def __init__(self, spec: FleetSpec, pool: Resident, job: Job) -> None:
        super().__init__(spec, pool, job)
        self.stream = torch.cuda.Stream(pool.device)  # type: ignore[no-untyped-call]
        self.graph = torch.cuda.CUDAGraph()
        self._capture()

    def _capture(self) -> None:
        before = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.model.train()
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            for _ in range(WARM_UP):
                self.at.zero_()
                self.step.zero_()
                self.run()
        torch.cuda.current_stream().wait_stream(self.stream)
        with torch.cuda.graph(self.graph, stream=self.stream):
            self.run()
        # Warming up trained for a moment: put everything back.
        with torch.no_grad():
            for k, v in self.model.state_dict().items():
                v.copy_(before[k])
            for m in self.momentum:
                m.zero_()
            self.step.zero_()
            self.worst.zero_()


def _capture(spec: FleetSpec, pool: Resident, job: Job) -> Captured:
    try:
        return Captured(spec, pool, job)
    except torch._dynamo.exc.TorchDynamoException as e:
        # What torch.compile needs (a C compiler, Triton) is found missing only when it is used.
        first = (str(e).strip().splitlines() or [""])[0]
        raise InputError(
            f"backend: 'compiled' expected torch.compile to work here, got {type(e).__name__}: "
            f"{first}; use 'graphs'"
        ) from e


def train_graphs(
    spec: FleetSpec, pool: Resident, jobs: Sequence[Job], progress: Progress
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Train the jobs side by side on one GPU and yield (plan row, record)."""
    began = time.perf_counter()
    captured = [_capture(spec, pool, job) for job in jobs]
    failed: dict[int, str] = {}
    for c in captured:
        c.job.recorder.start(c.model, steps_per_epoch=c.feed.steps)
    fractions = any(t % 1 for t in spec.times)
    for epoch in range(spec.recipe.epochs):
        for c in captured:
            c.model.train()
            c.load(epoch)
        torch.manual_seed(epoch_seed(jobs[0].seed, epoch))
        torch.cuda.synchronize()
        for step in range(max(c.feed.steps for c in captured)):
            for k, c in enumerate(captured):
                if step < c.feed.steps and k not in failed:
                    with torch.cuda.stream(c.stream):
                        c.graph.replay()
            if fractions:
                torch.cuda.synchronize()
                _look(captured, failed, "step_end")
        torch.cuda.synchronize()
        for k, c in enumerate(captured):
            if k not in failed and not bool(c.worst.isfinite()):
                failed[k] = f"loss not finite before step {int(c.step)}"
        if not fractions:
            for c in captured:
                c.job.recorder.step += c.feed.steps
        _look(captured, failed, "epoch_end")
        for job in jobs:
            progress(job.row, epoch + 1.0)
    seconds = (time.perf_counter() - began) / len(jobs)
    for k, c in enumerate(captured):
        if k in failed:
            yield c.job.row, c.job.sink.failed(failed[k])
        else:
            c.job.recorder.finish()
            yield (
                c.job.row,
                c.job.sink.done(
                    seconds=round(seconds, 3),
                    looking=round(c.job.recorder.seconds, 3),
                    steps=int(c.step),
                    members=len(c.job.members),
                ),
            )


def _look(captured: Sequence[Captured], failed: dict[int, str], event: str) -> None:
    for k, c in enumerate(captured):
        if k not in failed:
            try:
                getattr(c.job.recorder, event)()
            except Diverged as e:
                failed[k] = str(e)
