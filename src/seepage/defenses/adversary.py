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
    "helps",
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
# a solution is found), unit-length gradient steps, a verdict so open that no noise is sought.
_ARGMAX_WEIGHT = 10.0
_L1_WEIGHTS = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
_STEP = 0.1
_OPEN = 1e-5
_WIDTHS = (256, 128, 64)


def fit_detector(
    inside: torch.Tensor, outside: torch.Tensor, generator: torch.Generator, steps: int
) -> nn.Module:
    """A detector of members from sorted posteriors (n, K): full-batch Adam, both sides weigh alike.

    inside, outside: posteriors of members and of others, in any order of classes. Returns a module
    (B, K) -> (B, 1), posteriors sorted ascending to logits of "member". Layers of the released
    code: 256, 128, 64.
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
    h = _detector_network(x.shape[1], generator).to(x.device)
    optimizer = torch.optim.Adam(h.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        per = F.binary_cross_entropy_with_logits(h(x)[:, 0], y, reduction="none")
        torch.autograd.backward((per * weight).sum())
        optimizer.step()
    return h.requires_grad_(False)


def _detector_network(inputs: int, generator: torch.Generator) -> nn.Sequential:
    """Weights uniform after Glorot, biases 0, as in the released code."""
    seed = int(torch.randint(2**62, (1,), generator=generator))
    parts: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for width in _WIDTHS:
            parts += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        network = nn.Sequential(*parts, nn.Linear(inputs, 1))
        for part in network:
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)
    return network


def _openness(detector: nn.Module, posterior: torch.Tensor) -> torch.Tensor:
    """|g − ½| of posteriors (B, K) in any order of classes: 0 where the detector cannot tell."""
    verdict: torch.Tensor = detector(posterior.sort(dim=1).values)[:, 0]
    return (verdict.sigmoid() - 0.5).abs()


def helps(logits: torch.Tensor, moved: torch.Tensor, detector: nn.Module) -> torch.Tensor:
    """Whether the detector is less sure of the moved logits than of the others: (B,) bool.

    The rule of the released code: noise that leaves the detector as sure as before, or surer, as by
    a step that went too far, is not told.
    """
    before, after = (_openness(detector, z.softmax(1)) for z in (logits, moved))
    return after < before


def evade(logits: torch.Tensor, detector: nn.Module, steps: int = 300) -> torch.Tensor:
    """Logits (B, K) moved until the detector's verdict flips, nearest in L1 of the posterior.

    Descends |h(softmax(z))| + 10·[arg-max lost]₊ + c·‖softmax(z) − p‖₁ over logits z sorted at the
    start, by at most `steps` steps of length 0.1 for each c, and stops for a row when its verdict
    has flipped under the same arg-max; c grows tenfold from 0.1 to 10⁵ while that succeeds, and
    the last success stands. Rows without any success, and those whose verdict is open already
    (|g − ½| ≤ 10⁻⁵), come back unchanged. As in the released code the order of the start is kept
    during the search; where classes changed places, the detector, which sorts, may not be turned:
    see `helps`.
    """
    with torch.inference_mode(False), torch.enable_grad():
        return _evade(logits.detach().clone(), detector, steps)


def _evade(logits: torch.Tensor, detector: nn.Module, steps: int) -> torch.Tensor:
    order = logits.argsort(dim=1, stable=True)
    back = order.argsort(dim=1)
    origin = logits.gather(1, order)
    target = origin.softmax(1)
    start = detector(target)[:, 0]
    predicted = logits.argmax(1)
    winner = back.gather(1, predicted[:, None])
    best = origin.clone()
    rows = torch.nonzero((start.sigmoid() - 0.5).abs() > _OPEN)[:, 0]
    for c in _L1_WEIGHTS:
        found = []
        # Rows that still search, and where they are.
        live, z = rows, origin[rows]
        for _ in range(steps):
            if not len(live):
                break
            at = z.detach().requires_grad_()
            p = at.softmax(1)
            kept = at.gather(1, winner[live])[:, 0]
            rival = at.scatter(1, winner[live], -torch.inf).amax(1)
            cost = (
                detector(p)[:, 0].abs()
                + _ARGMAX_WEIGHT * F.relu(rival - kept)
                + c * (p - target[live]).abs().sum(1)
            )
            (gradient,) = torch.autograd.grad(cost.sum(), at)
            z = (at - _STEP * F.normalize(gradient, dim=1)).detach()
            flipped = detector(z.softmax(1))[:, 0] * start[live] <= 0
            same = z.gather(1, back[live]).argmax(1) == predicted[live]
            done = flipped & same
            best[live[done]] = z[done]
            found.append(live[done])
            live, z = live[~done], z[~done]
        rows = torch.cat(found) if found else rows[:0]
        if not len(rows):
            break
    return best.gather(1, back)


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

    The defender trains its own detector g on sorted posteriors of members against the reference
    set, again whenever the model has changed. For each answer p the nearest posterior p' that flips
    the detector is found (`evade`); p' is told with probability min(1, budget/‖p' − p‖₁), else p;
    never where it leaves g as sure as before (`helps`). The predicted class never changes. budget:
    expected L1 distortion, at most 2; the released code tries 0 to 1.
    Fails: label-only attacks are untouched, attackers who train on noisy answers adapt, and the
    drawn answer differs between queries. Training is not touched.
    Follows the code of the authors (github.com/jinyuan-jia/MemGuard): layers of the detector,
    weights, steps and stops of the search, the rule that adds no noise when it does not help.
    Differs from it: the detector is fitted in process by full-batch Adam, one step for each of its
    400 epochs of SGD, sides weighed alike whatever their sizes; its loop of 300 steps ends after
    299; a zero gradient, there a division by zero, ends the search of its row without noise; rows
    are treated as a batch; the coin is thrown at every answer, there once for each sample.
    Source: Jia et al., CCS 2019, arXiv 1909.10594.
    """

    name: ClassVar[str] = "memguard"
    title: ClassVar[str] = "MemGuard"
    source: ClassVar[str] = "arXiv 1909.10594"
    traits: ClassVar[frozenset[str]] = frozenset({"reference"})

    budget: float = 1.0
    detector_steps: int = 400
    search_steps: int = 300

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
                inside.float().softmax(1),
                outside.float().softmax(1),
                generator,
                int(self.detector_steps),
            )
            context.state.seen = seen
        found: nn.Module = context.state.detector
        return found

    def outputs(self, logits: torch.Tensor, context: Context) -> torch.Tensor:
        if self.budget == 0 or not len(logits):
            return logits
        plain = logits.float()
        detector = self.detector(context).to(plain.device)
        moved = evade(plain, detector, int(self.search_steps))
        distance = (moved.softmax(1) - plain.softmax(1)).abs().sum(1)
        coin = torch.rand(len(plain), generator=context.observer).to(plain.device)
        told = (coin * distance <= self.budget) & helps(plain, moved, detector)
        return torch.where(told[:, None], moved, plain)
