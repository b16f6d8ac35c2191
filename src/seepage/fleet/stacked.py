"""Several perceptrons of one shape at once, as batched products.

Small matrices leave a core, and far more so a GPU, waiting. M networks of one shape are trained
as one set of stacked weights (M, out, in); their gradients never mix, since each only sees its own
slice. Every network keeps its own seed, members, batches and normalisation, so the result is that
of training them one by one up to the rounding of the products.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from seepage.config.model import Model
from seepage.config.recipe import Recipe, learning_rate
from seepage.errors import InputError
from seepage.fleet import optim
from seepage.fleet.engine import epoch_seed, seed_streams
from seepage.fleet.feed import Feed
from seepage.fleet.loop import Job, Progress, init_model
from seepage.fleet.spec import FleetSpec
from seepage.models.plain import MLP
from seepage.record import Diverged, Resident

__all__ = ["GROUP", "Stack", "can_stack", "train_stack"]

GROUP = {"cpu": 8, "cuda": 64}
"""Networks per stack: on a CPU their weights and momentum should stay in the L2 cache."""


def can_stack(ref: Model, recipe: Recipe) -> bool:
    """Whether the stack trains this: a perceptron of K logits and an elementwise optimiser."""
    plain = ref.factory is None and ref.name == "mlp" and ref.task == "classification"
    return plain and recipe.optimizer != "sam"


class Stack(nn.Module):
    """M perceptrons as stacked weights; each network's own parameters become views into them."""

    def __init__(self, networks: Sequence[MLP]) -> None:
        super().__init__()
        self.networks = tuple(networks)
        layers = [[m for m in n.modules() if isinstance(m, nn.Linear)] for n in networks]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for same in zip(*layers, strict=True):
            weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in same]))
            bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in same])[:, None])
            for k, layer in enumerate(same):
                layer.weight.data = weight.data[k]
                layer.bias.data = bias.data[k, 0]
            self.weights.append(weight)
            self.biases.append(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs (M, B, D) -> logits (M, B, K); the last layer in float32."""
        last = len(self.weights) - 1
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            if i == last:
                with torch.autocast(x.device.type, enabled=False):
                    return torch.baddbmm(b, x.float(), w.mT)
            x = torch.relu(torch.baddbmm(b.to(x.dtype), x, w.mT))
        raise AssertionError("a perceptron has a head")


def train_stack(
    spec: FleetSpec, pool: Resident, jobs: Sequence[Job], progress: Progress
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Train the jobs together and yield (plan row, record); one that diverges fails alone."""
    began = time.perf_counter()
    recipe, device = spec.recipe, pool.device
    networks = []
    for job in jobs:
        network = init_model(spec, job.seed, device)
        assert isinstance(network, MLP)
        networks.append(network)
    stack = Stack(networks)
    optimizer = optim.make(recipe, stack)
    feeds = [Feed(pool, job.members, recipe, job.seed, job.scale) for job in jobs]
    steps = feeds[0].steps
    if any(f.steps != steps or f.batch != feeds[0].batch for f in feeds):
        raise InputError(
            "backend: expected runs with equally many batches of one size to stack, got others; use "
            "backend = 'process'"
        )
    failed: dict[int, str] = {}
    for job, network in zip(jobs, networks, strict=True):
        job.recorder.start(network, steps_per_epoch=steps)
    step = 0
    for epoch in range(recipe.epochs):
        stack.train()
        seed_streams(epoch_seed(jobs[0].seed, epoch), device)
        for batches in zip(*(f.batches(epoch, copied=True) for f in feeds), strict=True):
            x = torch.stack([b[0].flatten(1) for b in batches])
            y = torch.stack([b[1] for b in batches])
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step, steps * recipe.epochs)
            with torch.autocast(
                device.type, torch.bfloat16, enabled=spec.recipe.precision == "bf16"
            ):
                logits = stack(x)
            losses = nn.functional.cross_entropy(
                logits.flatten(0, 1), y.flatten(), reduction="none"
            ).view(len(jobs), -1)
            torch.autograd.backward(losses.mean(1).sum())
            for k in (~losses.detach().sum(1).isfinite()).nonzero()[:, 0].tolist():
                failed.setdefault(k, f"loss not finite at step {step}")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            _each(jobs, failed, "step_end")
        _each(jobs, failed, "epoch_end")
        for job in jobs:
            progress(job.row, epoch + 1.0)
    seconds = (time.perf_counter() - began) / len(jobs)
    for k, job in enumerate(jobs):
        if k in failed:
            yield job.row, job.sink.failed(failed[k])
        else:
            job.recorder.finish()
            yield (
                job.row,
                job.sink.done(
                    seconds=round(seconds, 3),
                    looking=round(job.recorder.seconds, 3),
                    steps=step,
                    members=len(job.members),
                ),
            )


def _each(jobs: Sequence[Job], failed: dict[int, str], event: str) -> None:
    for k, job in enumerate(jobs):
        if k not in failed:
            try:
                getattr(job.recorder, event)()
            except Diverged as e:
                failed[k] = str(e)
