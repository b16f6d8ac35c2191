"""Defences with an attacker of their own: adversarial regularisation trains against it, MemGuard evades it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from seepage.defenses.base import Context, Defense, check_number
from seepage.defenses.networks import cross_entropy, eval_logits, still_statistics

__all__ = [
    "AdversarialRegularisation",
    "MemGuard",
    "attacker_network",
    "evade",
    "fit_detector",
    "inference_gain",
]


def attacker_network(inputs: int, generator: torch.Generator, hidden: int = 64) -> nn.Sequential:
    """A small network (B, inputs) -> (B, 1) logits of "member", weights drawn from `generator`."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )


def inference_gain(inside: torch.Tensor, outside: torch.Tensor) -> torch.Tensor:
    """½ E_in log h + ½ E_out log(1 − h), h = sigmoid of the attacker's logits; nats, ≤ 0.

    >>> inference_gain(torch.zeros(1), torch.zeros(1))  # log ½: knows nothing
    tensor(-0.6931)
    """
    return 0.5 * (F.logsigmoid(inside).mean() + F.logsigmoid(-outside).mean())


def _view(logits: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.cat([logits.float().softmax(1), F.one_hot(labels, classes).float()], dim=1)


@dataclass(frozen=True)
class AdversarialRegularisation(Defense):
    """min over the model of CE + λ·max over h of the membership gain, played step by step.

    Each step the attacker h takes `attacker_steps` Adam steps on the batch's members against as
    many reference samples; then the model minimises CE + λ·mean log h on its members. h reads the
    posterior and the label. Costs a forward pass of the reference per step. Fails: protects
    against attackers like h on posteriors; calibrated attacks (LiRA) still find members.
    Differs from published ports: hidden layers of h are trained and posteriors are not sorted.
    Source: Nasr, Shokri & Houmansadr, CCS 2018, arXiv 1807.05852.
    """

    name: ClassVar[str] = "adversarial"
    title: ClassVar[str] = "Adversarial regularisation"
    source: ClassVar[str] = "arXiv 1807.05852"
    traits: ClassVar[frozenset[str]] = frozenset({"reference", "batchwise"})

    strength: float = 1.0
    attacker_steps: int = 1
    attacker_rate: float = 1e-3

    def validate(self) -> None:
        check_number("strength", self.strength, 0)
        check_number("attacker_steps", self.attacker_steps, 1)
        check_number("attacker_rate", self.attacker_rate, 0, open_low=True)

    def start(self, context: Context) -> Any:
        h = attacker_network(2 * context.classes, context.generator).to(context.device)
        return h, torch.optim.Adam(h.parameters(), lr=self.attacker_rate)

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        labels: torch.Tensor,
        context: Context,
    ) -> torch.Tensor:
        h, optimizer = context.state
        assert context.reference is not None
        others, other_labels = context.reference.draw(len(labels), context.generator)
        with torch.no_grad(), still_statistics(context.model):
            outside = _view(context.answer(others), other_labels, context.classes)
        inside = _view(logits.detach(), labels, context.classes)
        for _ in range(int(self.attacker_steps)):
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(-inference_gain(h(inside), h(outside)))
            optimizer.step()
        h.requires_grad_(False)
        seen = F.logsigmoid(h(_view(logits, labels, context.classes))).mean()
        h.requires_grad_(True)
        return cross_entropy(logits, targets) + self.strength * seen


# Weights and steps of the released code: |h|, arg-max kept, L1 distance (raised tenfold while
# a solution is found), unit-length gradient steps.
_ARGMAX_WEIGHT = 10.0


_L1_WEIGHTS = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5)


_STEP = 0.1


def fit_detector(
    inside: torch.Tensor, outside: torch.Tensor, generator: torch.Generator, steps: int
) -> nn.Module:
    """An attacker on sorted logits (n, K), full-batch Adam; members `inside` are the positives.

    Returns a module (B, K) -> (B, 1), positive where it says "member". Both sets weigh the same.
    """
    # Answers are often computed where autograd is off; the detector must learn all the same.
    with torch.inference_mode(False), torch.enable_grad():
        return _fit(inside.clone(), outside.clone(), generator, steps)


def _fit(
    inside: torch.Tensor, outside: torch.Tensor, generator: torch.Generator, steps: int
) -> nn.Module:
    x = torch.cat([inside, outside]).sort(dim=1).values
    y = torch.cat([torch.ones(len(inside)), torch.zeros(len(outside))]).to(x.device)
    weight = torch.where(y == 1, 0.5 / max(len(inside), 1), 0.5 / max(len(outside), 1))
    h = attacker_network(x.shape[1], generator).to(x.device)
    optimizer = torch.optim.Adam(h.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        per = F.binary_cross_entropy_with_logits(h(x)[:, 0], y, reduction="none")
        torch.autograd.backward((per * weight).sum())
        optimizer.step()
    return h.requires_grad_(False)


def evade(logits: torch.Tensor, detector: nn.Module, steps: int = 50) -> torch.Tensor:
    """Logits (B, K) moved until the detector's verdict flips, nearest in L1 of the posterior.

    Descends |h(sorted z)| + 10·[arg-max lost]₊ + c·‖softmax(z) − p‖₁ by unit-length steps and
    stops for a row when its verdict has flipped under the same arg-max; c grows tenfold while
    that succeeds, and the last success stands. Rows without any success come back unchanged.
    """
    with torch.inference_mode(False), torch.enable_grad():
        return _evade(logits.detach().clone(), detector, steps)


def _evade(logits: torch.Tensor, detector: nn.Module, steps: int) -> torch.Tensor:
    def verdict_of(z: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = detector(z.sort(dim=1).values)[:, 0]
        return out

    best = logits.clone()
    # Rows whose verdict is already open need no noise.
    rows = torch.nonzero(verdict_of(logits).abs() > 1e-5)[:, 0]
    for c in _L1_WEIGHTS:
        if not len(rows):
            break
        origin = logits[rows]
        p, winner = origin.softmax(1), origin.argmax(1, keepdim=True)
        start = verdict_of(origin)
        z, done = origin.clone(), torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        for _ in range(steps):
            at = z.requires_grad_()
            verdict = verdict_of(at)
            kept = at.gather(1, winner)[:, 0]
            rival = at.scatter(1, winner, -torch.inf).amax(1)
            cost = (
                verdict.abs()
                + _ARGMAX_WEIGHT * F.relu(rival - kept)
                + c * (at.softmax(1) - p).abs().sum(1)
            )
            (gradient,) = torch.autograd.grad(cost.sum(), at)
            move = _STEP * F.normalize(gradient, dim=1)
            z = torch.where(done[:, None], at, at - move).detach()
            flipped = verdict_of(z) * start <= 0
            done = done | (flipped & (z.argmax(1) == winner[:, 0]))
            if bool(done.all()):
                break
        best[rows[done]] = z[done]
        rows = rows[done]
    return best


@dataclass(eq=False)
class _Fitted:
    """The detector for one state of the model; a run that was interrupted fits it again."""

    seen: tuple[int, int, float] | None = None
    detector: nn.Module | None = None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Nothing was kept."""


@dataclass(frozen=True)
class MemGuard(Defense):
    """Answers with a noisy posterior that confuses a membership detector, with a probability.

    The defender trains its own detector on sorted logits of members against the reference set,
    again whenever the model has changed. For each answer p the nearest posterior p' that flips the
    detector is found (`evade`); p' is told with probability min(1, budget/‖p' − p‖₁), else p.
    The predicted class never changes. budget: expected L1 distortion, at most 2.
    Fails: label-only attacks are untouched, attackers who train on noisy answers adapt, and the
    drawn answer differs between queries. Training is not touched.
    Differs from the released code: the detector is fitted in process by a few hundred full-batch
    steps, rows are treated as a batch.
    Source: Jia et al., CCS 2019, arXiv 1909.10594.
    """

    name: ClassVar[str] = "memguard"
    title: ClassVar[str] = "MemGuard"
    source: ClassVar[str] = "arXiv 1909.10594"
    traits: ClassVar[frozenset[str]] = frozenset({"reference"})

    budget: float = 1.0
    detector_steps: int = 200
    search_steps: int = 50

    def validate(self) -> None:
        check_number("budget", self.budget, 0, 2)
        check_number("detector_steps", self.detector_steps, 1)
        check_number("search_steps", self.search_steps, 1)

    def start(self, context: Context) -> Any:
        return _Fitted()

    def detector(self, context: Context) -> nn.Module:
        """The detector for the model as it is now, fitted at most once per state of the model."""
        # Weights move in every step, so step and a weight sum tell states apart.
        weights = sum(float(p.detach().double().sum()) for p in context.model.parameters())
        seen = (context.epoch, context.step, weights)
        if context.state.seen != seen:
            assert context.reference is not None
            inside, _ = eval_logits(context.model, context.members, autocast=context.autocast)
            outside, _ = eval_logits(context.model, context.reference, autocast=context.autocast)
            # A stream of its own: asking for answers must not change training.
            generator = torch.Generator().manual_seed(0)
            context.state.detector = fit_detector(
                inside, outside, generator, int(self.detector_steps)
            )
            context.state.seen = seen
        found: nn.Module = context.state.detector
        return found

    def outputs(self, logits: torch.Tensor, context: Context) -> torch.Tensor:
        if self.budget == 0 or not len(logits):
            return logits
        plain = logits.float()
        moved = evade(plain, self.detector(context).to(plain.device), int(self.search_steps))
        distance = (moved.softmax(1) - plain.softmax(1)).abs().sum(1)
        coin = torch.rand(len(plain), generator=context.observer).to(plain.device)
        told = coin * distance <= self.budget
        return torch.where(told[:, None], moved, plain)
