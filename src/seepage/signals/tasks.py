"""Tasks: what a target is, what a network answers, which signals that gives and which it does not.

>>> task("regression").refused["phi"][:33]
'regression has no φ: a density is'
>>> task("binary").outputs(2), task("multi-label").outputs(5)
(1, 5)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

from seepage.errors import InputError, nearest
from seepage.signals import SIGNALS, SignalRule, entropy, softplus

if TYPE_CHECKING:
    import torch

__all__ = [
    "TASKS",
    "Binary",
    "Classification",
    "Language",
    "MultiLabel",
    "Regression",
    "SoftLabels",
    "Task",
    "divergence",
    "gaussian_loss",
    "joint_correct",
    "joint_entropy",
    "joint_loss",
    "joint_phi",
    "next_token_logp",
    "residual",
    "task",
    "token_logp",
    "two_logits",
]


def two_logits(outputs: torch.Tensor) -> torch.Tensor:
    """One logit z of class 1 as two, (0, z): (B,) or (B, 1) -> (B, 2). Its softmax is the sigmoid.

    >>> import torch
    >>> two_logits(torch.tensor([3.0, -1.0])).tolist()
    [[0.0, 3.0], [0.0, -1.0]]
    """
    from torch.nn import functional

    return functional.pad(outputs.reshape(-1, 1), (1, 0))


def _against(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Log-odds against each given label, −s z with s = ±1: (B, L) float64."""
    return (1 - 2 * targets.double()) * logits.double()


def joint_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """−log P(y) of a whole vector of labels, Σ_l log(1 + e^{−s_l z_l}) in nats, s_l = 2 y_l − 1.

    (B, L), (B, L) of 0 and 1 -> (B,) float64. Given the input, the network's labels are
    independent: that is what L sigmoids say.

    >>> import torch
    >>> round(float(joint_loss(torch.zeros(1, 3), torch.ones(1, 3))[0]), 4)
    2.0794
    """
    return softplus(_against(logits, targets)).sum(1)


def joint_phi(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Log-odds of a whole vector of labels, φ = log P(y) − log(1 − P(y)): (B, L), (B, L) -> (B,).

    From the loss ℓ of `joint_loss`, −ℓ − log(1 − e^{−ℓ}), in float64 and without cancellation: for
    small ℓ by its series in log ℓ, so that it stays finite where ℓ is below the smallest number.
    With one label it is ±z. The sum of per-label log-odds is another number, and no log-odds.

    >>> import torch
    >>> joint_phi(torch.tensor([[2.5]]), torch.tensor([[0.0]])).tolist()
    [-2.5]
    """
    x = _against(logits, targets)
    terms = softplus(x)
    ell = terms.sum(1)
    small = ell < 1e-4
    log_ell = x.where(x < -40, terms.clamp_min(1e-300).log()).logsumexp(1)
    series = -log_ell - ell / 2 - ell.square() / 24
    held = ell.where(~small, 1.0)
    return series.where(small, -held - (-(-held).expm1()).log())


def joint_correct(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Whether every label is right, z > 0 answering 1: (B, L), (B, L) -> (B,) of 0 and 1."""
    return ((logits > 0) == (targets > 0.5)).all(1).double()


def joint_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Entropy of the law on label vectors that L logits state, Σ_l H(p_l) in nats: (B, L) -> (B,).

    >>> import torch
    >>> round(float(joint_entropy(torch.zeros(1, 3))[0]), 4)
    2.0794
    """
    z = logits.double().abs()
    # H(p) = log(1 + e^{−|z|}) + |z| σ(−|z|), which loses nothing where p is near 0 or 1.
    return (softplus(-z) + z * (-z).sigmoid()).sum(1)


def residual(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """y − ŷ in the target's units: (B,) or (B, 1), (B,) -> (B,) float64."""
    return targets.double() - outputs.double().reshape(len(targets))


def gaussian_loss(residuals: torch.Tensor, scale: float) -> torch.Tensor:
    """−log N(r; 0, σ²) of residuals, in nats of the target's units: r²/2σ² + log σ + ½ log 2π.

    Raises InputError unless scale σ is positive.

    >>> import torch
    >>> round(float(gaussian_loss(torch.tensor([0.0]), 1.0)[0]), 4)
    0.9189
    """
    if not scale > 0:
        raise InputError(
            f"noise: expected a standard deviation above 0, got {scale:g}; a network whose residuals "
            "are all 0 has no scale of noise, give one"
        )
    r = residuals.double() / scale
    constant = r.new_tensor(scale * (2 * math.pi) ** 0.5, device="cpu").log()
    return r.square() / 2 + constant


def next_token_logp(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Mean of log p over a document's predicted tokens, in nats a token: (B, L, V), (B, L) -> (B,).

    Position t answers for token t + 1, so that n tokens are n − 1 predicted ones. tokens int64, −1 where
    the document has ended. float64, without cancellation where p is near 1 (`token_logp`).

    >>> import torch
    >>> next_token_logp(torch.zeros(1, 3, 4), torch.tensor([[1, 2, -1]])).numpy().round(3)
    array([-1.386])
    """
    found, there = token_logp(logits, tokens), tokens[:, 1:] >= 0
    return found.where(there, 0.0).sum(1) / there.sum(1)


def token_logp(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """log p of every predicted token, −log(1 + Σ_{v≠y} e^{z_v − z_y}): (B, L, V), (B, L) -> (B, L − 1).

    Where there is no token (−1) the value means nothing.
    """
    z, y = logits[:, :-1].double(), tokens[:, 1:].long().clamp_min(0)[..., None]
    rest = z.scatter(2, y, -math.inf).logsumexp(2)
    return -softplus(rest - z.gather(2, y)[..., 0])


def divergence(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """KL(q ‖ p) = Σ q (log q − log p) in nats, of distributions q: (B, K), (B, K) -> (B,) float64.

    Cross-entropy against q minus the entropy of q, which no training changes; of a one-hot q it is
    the cross-entropy itself. Logits of more columns than q has count as classes of probability 0.

    >>> import torch
    >>> divergence(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]])).tolist()
    [0.0]
    """
    log_p = logits.double().log_softmax(1)[:, : targets.shape[1]]
    q = targets.double()
    return (q.xlogy(q) - (q * log_p).where(q > 0, 0.0)).sum(1).clamp_min(0.0)


@dataclass(frozen=True)
class Task(ABC):
    """What a target is and what follows from a network's answer to it. Abstract.

    name: as in the configuration and the manifest. refused: signals that are not defined -> why.
    rules: signals by name, each from outputs and targets as `reads` says.
    """

    name: ClassVar[str]
    refused: ClassVar[Mapping[str, str]] = {}
    rules: ClassVar[Mapping[str, SignalRule]]

    def outputs(self, classes: int) -> int:
        """Output units of a network for so many classes, labels or targets."""
        return classes

    def reads_targets(self, signal: str) -> bool:
        """Whether a signal is one of the outputs and the *targets*, not of class numbers."""
        return True

    @property
    def classes(self) -> bool:
        """Whether a sample has one class: what is defined on classes alone may be used."""
        return False

    @abstractmethod
    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """What the built-in loop minimises: the mean over a batch."""

    def by_sample(self) -> Task:
        """The task whose loss is a mean of one term for each sample: itself, where it is that."""
        return self

    def defined(self, signals: tuple[str, ...]) -> tuple[str, ...]:
        """Those signals of a list of defaults that this task has, and then its own."""
        kept = [s for s in signals if s not in self.refused]
        return (*kept, *(s for s in self.rules if s not in kept and s not in SIGNALS))

    def refuse(self, signal: str) -> None:
        """Raise InputError where a signal is not defined."""
        if signal in self.refused:
            raise InputError(
                f"signals: expected some that {self.name} has ({', '.join(self.rules)}), got "
                f"{signal!r}: {self.refused[signal]}"
            )


@dataclass(frozen=True)
class Classification(Task):
    """One of K classes by K logits; of two classes by one logit as well."""

    name: ClassVar[str] = "classification"
    rules: ClassVar[Mapping[str, SignalRule]] = SIGNALS

    def reads_targets(self, signal: str) -> bool:
        return False

    @property
    def classes(self) -> bool:
        return True

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        return functional.cross_entropy(outputs.float(), targets)


@final
@dataclass(frozen=True)
class Binary(Classification):
    """Class 0 or 1 by one logit z, which is (0, z): every signal is that of two logits."""

    name: ClassVar[str] = "binary"

    def outputs(self, classes: int) -> int:
        return 1


@final
@dataclass(frozen=True)
class MultiLabel(Task):
    """L labels of 0 or 1 by L logits; signals of the whole vector."""

    name: ClassVar[str] = "multi-label"
    rules: ClassVar[Mapping[str, SignalRule]] = {
        "loss": joint_loss,
        "phi": joint_phi,
        "correct": joint_correct,
        "entropy": lambda logits, targets: joint_entropy(logits),
    }
    refused: ClassVar[Mapping[str, str]] = {
        "mentr": "modified entropy is defined for one class per sample",
    }

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        return functional.binary_cross_entropy_with_logits(outputs.float(), targets.float())


@final
@dataclass(frozen=True)
class Regression(Task):
    """A real target by one output, in the target's units; the likelihood is that of the residual.

    deviation: of the members' targets, in units of which training measures residuals.
    """

    deviation: float = 1.0

    name: ClassVar[str] = "regression"
    rules: ClassVar[Mapping[str, SignalRule]] = {
        "residual": residual,
        "loss": lambda outputs, targets: gaussian_loss(residual(outputs, targets), 1.0),
    }
    refused: ClassVar[Mapping[str, str]] = {
        "phi": "regression has no φ: a density is no probability, and log p − log(1 − p) not defined",
        "correct": "an answer of regression is not right or wrong",
        "mentr": "regression has no probabilities of classes",
        "entropy": "regression states one law of the noise for every sample, whose entropy is the same",
    }

    def outputs(self, classes: int) -> int:
        return 1

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        answers, scale = outputs.float().reshape(len(targets)), self.deviation
        return functional.mse_loss(answers / scale, targets.float() / scale)

    @staticmethod
    def of(targets: torch.Tensor) -> Regression:
        """The task as it is trained on these members' targets."""
        deviation = float(targets.double().std(correction=0))
        return Regression(deviation if deviation > 0 else 1.0)


@final
@dataclass(frozen=True)
class SoftLabels(Task):
    """A distribution of K classes as target, and no class that is right."""

    name: ClassVar[str] = "soft-labels"
    rules: ClassVar[Mapping[str, SignalRule]] = {"loss": divergence, "entropy": entropy}
    refused: ClassVar[Mapping[str, str]] = {
        name: f"{what} needs the class that is right, which soft labels do not name; give hard "
        "labels beside the distributions"
        for name, what in (
            ("phi", "φ"),
            ("correct", "correctness"),
            ("mentr", "modified entropy"),
        )
    }

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        return functional.cross_entropy(outputs.float(), targets.float())


@final
@dataclass(frozen=True)
class Language(Task):
    """The next token of a document, by V logits at each of its tokens; signals are of documents.

    alike: whether every document counts alike in the loss of a batch, and not every token: a mean over
    all tokens weighs a document by the lengths of the others.
    """

    alike: bool = False

    name: ClassVar[str] = "language"
    rules: ClassVar[Mapping[str, SignalRule]] = {
        "loss": lambda logits, tokens: -next_token_logp(logits, tokens),
        "logp": next_token_logp,
    }
    refused: ClassVar[Mapping[str, str]] = {
        "phi": "a document has many tokens, each with odds of its own; read logp, the mean over its tokens",
        "correct": "a document is not right or wrong; token_first says it of each token",
        "mentr": "modified entropy is defined for one class per sample",
        "entropy": "a document has an answer for every token; token_mean and token_std tell of each",
    }

    def by_sample(self) -> Language:
        return Language(alike=True)

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of every document alone, the mean over its own predicted tokens, (B,)."""
        from torch.nn import functional

        wanted = targets[:, 1:].long()
        each = functional.cross_entropy(
            outputs[:, :-1].float().transpose(1, 2), wanted, ignore_index=-1, reduction="none"
        )
        return each.sum(1) / (wanted >= 0).sum(1)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy, the mean over all predicted tokens of a batch; what has ended is passed over."""
        if self.alike:
            return self.losses(outputs, targets).mean()
        from torch.nn import functional

        # Of float32: halves would round the sum over the vocabulary.
        logits = outputs[:, :-1].float()
        return functional.cross_entropy(
            logits.reshape(-1, logits.shape[2]), targets[:, 1:].reshape(-1).long(), ignore_index=-1
        )


TASKS: dict[str, Task] = {
    t.name: t
    for t in (
        Classification(),
        Binary(),
        MultiLabel(),
        Regression(),
        SoftLabels(),
        Language(),
    )
}
"""Tasks by name."""


def task(name: str) -> Task:
    """The task of that name; InputError names the nearest.

    >>> task("regresion")
    Traceback (most recent call last):
        ...
    seepage.errors.InputError: task: expected one of classification, binary, multi-label, \
regression, soft-labels, language, got 'regresion'; did you mean 'regression'?
    """
    if name not in TASKS:
        raise InputError(
            f"task: expected one of {', '.join(TASKS)}, got {name!r}; {nearest(name, TASKS)}"
        )
    return TASKS[name]
