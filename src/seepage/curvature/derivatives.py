"""Curvature from exact derivatives of the network: Hutchinson's estimator, and Gauss-Newton.

`Hutchinson` takes Hessian-vector products of any differentiable network; `ExactGaussNewton` is exact
for piecewise-linear networks, from K − 1 vector-Jacobian products.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import scipy
import torch

from seepage.curvature.base import PER_INPUT_SQUARED, Rows, SampleStreams, WhiteBox
from seepage.curvature.measured_model import Network
from seepage.errors import InputError

__all__ = [
    "AllClasses",
    "Classes",
    "ExactGaussNewton",
    "Hutchinson",
    "LogitProbes",
    "TopK",
    "mean_and_error",
    "root_and_error",
]


@dataclass(frozen=True)
class Hutchinson(WhiteBox):
    """tr H = E vᵀHv and ‖H‖_F² = E‖Hv‖² over n Rademacher directions v, with standard errors.

    Hv is exact (double backward), so there is no step and no bias: the trace and the squared norm
    are unbiased, the norm is the root of the latter (biased low by about its squared relative
    error). Points where the loss has no second derivative contribute nothing. Errors are sample
    standard deviations over √n; for a diagonal H the trace is exact and its error 0.

    Cost: one forward pass and about 2n + 1 backward passes. Source: Hutchinson 1990; used for
    input curvature in arXiv 2402.18726, there with finite differences (`FiniteDifference`).

    >>> Hutchinson(n=10).estimates
    'tr H and ‖H‖_F by 10 random directions, with errors'
    """

    n: int = 10
    signals: ClassVar[Mapping[str, str]] = {
        "curvature_trace": "trace",
        "curvature_frobenius": "frobenius",
    }

    def __post_init__(self) -> None:
        if self.n < 2:
            raise InputError(f"Hutchinson: expected n >= 2 for a standard error, got {self.n}")

    @property
    def score_unit(self) -> str:
        return PER_INPUT_SQUARED

    @property
    def estimates(self) -> str:
        return f"tr H and ‖H‖_F by {self.n} random directions, with errors"

    @property
    def passes(self) -> int:
        return 1

    def measure(
        self, measured: Network, inputs: torch.Tensor, labels: torch.Tensor, streams: SampleStreams
    ) -> Rows:
        leaf = inputs.detach().clone().requires_grad_()
        total = measured.losses(leaf, labels).sum()
        (slope,) = torch.autograd.grad(total, leaf, create_graph=True)
        signs = streams.signs(self.n, inputs)
        forms = torch.zeros(self.n, len(inputs), dtype=torch.float64, device=inputs.device)
        norms = torch.zeros_like(forms)
        for k in range(self.n):
            v = signs[k]
            (hv,) = torch.autograd.grad(slope, leaf, v, retain_graph=k < self.n - 1)
            wide = hv.flatten(1).double()
            forms[k] = (wide * v.flatten(1)).sum(1)
            norms[k] = wide.square().sum(1)
        trace, trace_error = mean_and_error(forms)
        norm, norm_error = root_and_error(norms)
        return {
            "trace": trace,
            "trace_error": trace_error,
            "frobenius": norm,
            "frobenius_error": norm_error,
            "score": trace,
        }

    def bytes_per_sample(self, graph: int, numbers: int, classes: int, itemsize: int) -> int:
        return 4 * graph + numbers * (3 * itemsize + 16)


def mean_and_error(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over the first axis and its standard error: (n, B) -> (B,), (B,)."""
    return values.mean(0), values.std(0) / math.sqrt(len(values))


def root_and_error(squares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Root of the mean and its standard error to first order: (n, B) -> (B,), (B,)."""
    mean, error = mean_and_error(squares)
    root = mean.sqrt()
    return root, torch.where(root > 0, error / (2 * root.clamp_min(1e-300)), 0.0)


@dataclass(frozen=True)
class Classes(ABC):
    """Directions of logit space whose vector-Jacobian products are taken, and their use.

    With A = diag p − ppᵀ and J the Jacobian of the logits, H = JᵀAJ. A maps the constant vector to
    0, so only differences of logits matter.
    """

    random: ClassVar[bool] = False

    @abstractmethod
    def rows(self, classes: int) -> int:
        """Vector-Jacobian products per sample."""

    @abstractmethod
    def directions(self, log_p: torch.Tensor, streams: SampleStreams) -> torch.Tensor:
        """Cotangents in logit space: (B, K) float64 -> (B, rows, K) float64."""

    @abstractmethod
    def finish(self, gram: torch.Tensor, log_p: torch.Tensor) -> Rows:
        """Trace and norm from the Gram matrix of the products: (B, rows, rows)."""


@dataclass(frozen=True)
class AllClasses(Classes):
    """Every class, exact: K − 1 products, each logit against the most probable one.

    Differences with the largest logit keep their precision in float32 even for a sample whose
    other classes have vanishing probability.
    """

    def rows(self, classes: int) -> int:
        return classes - 1

    def directions(self, log_p: torch.Tensor, streams: SampleStreams) -> torch.Tensor:
        others = _others(log_p)
        out = torch.zeros(*others.shape, log_p.shape[1], dtype=log_p.dtype, device=log_p.device)
        out.scatter_(2, others[..., None], 1.0)
        top = log_p.argmax(1)[:, None, None].expand(-1, others.shape[1], 1)
        return out.scatter_(2, top, -1.0)

    def finish(self, gram: torch.Tensor, log_p: torch.Tensor) -> Rows:
        p = log_p.gather(1, _others(log_p)).exp()
        # Rows are relative to the top class, so the rest of A is diag p − ppᵀ over the others.
        ag = p[..., None] * (gram - (p[:, None, :] @ gram))
        return _norms(ag)


@dataclass(frozen=True)
class TopK(Classes):
    """The k most probable classes of each sample exactly, the rest by `probes` random mixtures.

    k + 1 + probes products. By the law of total variance H = H_k + H_rest, both positive
    semidefinite: H_k holds the top classes and their distance from the mean of the rest, H_rest
    the spread within the rest. trace is tr H_k plus an unbiased estimate of tr H_rest, with its
    standard error. frobenius is ‖H_k‖_F, never more than ‖H‖_F and at most tr H_rest below it.
    extra "left_out" bounds tr H_rest from above with probability `confidence`: the mean over the
    probes times probes / χ²_probes(1 − confidence), as a Gaussian mean square of a positive
    semidefinite form falls short most often when the form has rank one.
    """

    k: int
    probes: int = 4
    confidence: float = 0.99
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k < 1 or self.probes < 2 or not 0 < self.confidence < 1:
            raise InputError(
                "TopK: expected k >= 1, probes >= 2 and confidence in (0, 1), got "
                f"k={self.k}, probes={self.probes}, confidence={self.confidence}"
            )

    def rows(self, classes: int) -> int:
        return self.k + 1 + self.probes

    def directions(self, log_p: torch.Tensor, streams: SampleStreams) -> torch.Tensor:
        if self.k >= log_p.shape[1] - 1:
            raise InputError(
                f"TopK: expected k below classes − 1 = {log_p.shape[1] - 1}, got {self.k}; "
                "use AllClasses()"
            )
        order = log_p.argsort(dim=1, descending=True)
        top, rest = order[:, : self.k], order[:, self.k :]
        log_top, log_rest = log_p.gather(1, top), log_p.gather(1, rest)
        mass_top, mass_rest = log_top.logsumexp(1), log_rest.logsumexp(1)
        zero = torch.zeros_like(log_p)
        mean_top = zero.scatter(1, top, (log_top - mass_top[:, None]).exp())
        mean_rest = zero.scatter(1, rest, (log_rest - mass_rest[:, None]).exp())
        unit = torch.zeros(*top.shape, log_p.shape[1], dtype=log_p.dtype, device=log_p.device)
        unit.scatter_(2, top[..., None], 1.0)
        within = (log_top / 2).exp()[..., None] * (unit - mean_top[:, None])
        between = ((mass_top + mass_rest) / 2).exp()[:, None] * (mean_top - mean_rest)
        xi = torch.from_numpy(streams.normals(self.probes, rest.shape[1])).to(log_p)
        root = (log_rest / 2).exp()[:, None] * xi
        spread = torch.zeros(len(log_p), self.probes, log_p.shape[1]).to(log_p)
        spread.scatter_(2, rest[:, None].expand(-1, self.probes, -1), root)
        spread -= root.sum(2, keepdim=True) * mean_rest[:, None]
        return torch.cat([within, between[:, None], spread], dim=1)

    def finish(self, gram: torch.Tensor, log_p: torch.Tensor) -> Rows:
        head = self.k + 1
        out = _norms(gram[:, :head, :head])
        squares = gram.diagonal(dim1=1, dim2=2)[:, head:]
        rest = squares.mean(1)
        out["trace"] = out["trace"] + rest
        out["trace_error"] = squares.std(1) / math.sqrt(self.probes)
        short = float(scipy.stats.chi2.ppf(1 - self.confidence, self.probes)) / self.probes
        out["left_out"] = rest / short
        return out


@dataclass(frozen=True)
class LogitProbes(Classes):
    """n random mixtures in logit space: unbiased for tr H and ‖H‖_F², with standard errors.

    Rows Jᵀ S ξ with S Sᵀ = A and ξ standard normal: E‖row‖² = tr H, and for two rows
    E(row·row′)² = ‖H‖_F². Cheaper than K − 1 products when n is smaller.
    """

    n: int = 10
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.n < 3:
            raise InputError(f"LogitProbes: expected n >= 3, got {self.n}")

    def rows(self, classes: int) -> int:
        return self.n

    def directions(self, log_p: torch.Tensor, streams: SampleStreams) -> torch.Tensor:
        xi = torch.from_numpy(streams.normals(self.n, log_p.shape[1])).to(log_p)
        root = (log_p / 2).exp()[:, None] * xi
        return root - root.sum(2, keepdim=True) * log_p.exp()[:, None]

    def finish(self, gram: torch.Tensor, log_p: torch.Tensor) -> Rows:
        n = self.n
        squares = gram.diagonal(dim1=1, dim2=2)
        crossed = gram.square() * (1 - torch.eye(n, dtype=gram.dtype, device=gram.device))
        norm2 = crossed.sum((1, 2)) / (n * (n - 1))
        # Leaving out one probe at a time: pairs share probes, so they are not independent.
        without = (crossed.sum((1, 2))[:, None] - 2 * crossed.sum(2)) / ((n - 1) * (n - 2))
        error2 = ((n - 1) * (without - without.mean(1, keepdim=True)).square().mean(1)).sqrt()
        return {
            "trace": squares.mean(1),
            "trace_error": squares.std(1) / math.sqrt(n),
            "frobenius": norm2.sqrt(),
            "frobenius_error": _root_error(norm2, error2),
        }


@dataclass(frozen=True)
class ExactGaussNewton(WhiteBox):
    """tr H and ‖H‖_F of H = Jᵀ(diag p − ppᵀ)J, without sampling.

    H is the Gauss-Newton matrix of cross-entropy with respect to the input. For a
    piecewise-linear network in eval mode (ReLU, max-pool, BatchNorm) it is the Hessian itself
    wherever that exists; for others (GELU, tanh) it is the part without the curvature of the
    logits, and `curvature` warns and names the module. It is positive semidefinite and does not
    depend on the label: on a piecewise-linear network two samples that differ in their labels
    only have the same input curvature.

    With G = JJᵀ (K × K): tr H = tr(AG), ‖H‖_F² = tr(AGAG), A = diag p − ppᵀ. J is taken in the
    model's own precision, everything after it in float64. Cost with all classes: one forward and
    K − 1 backward passes; `TopK` and `LogitProbes` are for many classes.

    Source: generalised Gauss-Newton (Schraudolph 2002); used here in place of the sampled
    estimators of arXiv 2407.02747, which the released code approximates by differences.

    >>> ExactGaussNewton().estimates
    'tr H and ‖H‖_F of the Gauss-Newton Hessian, exact'
    """

    classes: Classes = AllClasses()
    signals: ClassVar[Mapping[str, str]] = {
        "curvature_trace": "trace",
        "curvature_frobenius": "frobenius",
    }

    @property
    def random(self) -> bool:
        return self.classes.random

    @property
    def score_unit(self) -> str:
        return PER_INPUT_SQUARED

    @property
    def estimates(self) -> str:
        how = "with errors" if self.random else "exact"
        return f"tr H and ‖H‖_F of the Gauss-Newton Hessian, {how}"

    @property
    def passes(self) -> int:
        return 1

    def measure(
        self, measured: Network, inputs: torch.Tensor, labels: torch.Tensor, streams: SampleStreams
    ) -> Rows:
        leaf = inputs.detach().clone().requires_grad_()
        logits = measured.logits(leaf)
        log_p = logits.detach().double().log_softmax(1)
        cotangents = self.classes.directions(log_p, streams)
        # Scaled to about unit size by an exact power of two: a weight of 1e-30 would underflow
        # in the model's precision.
        size = cotangents.abs().amax(2).clamp_min(1e-300).log2().floor().exp2()
        unit = (cotangents / size[..., None]).to(logits.dtype)
        products = vector_jacobian_products(logits, leaf, unit)
        gram = (products @ products.mT) * size[:, :, None] * size[:, None, :]
        out = self.classes.finish(gram, log_p)
        out["score"] = out["trace"]
        return out

    def bytes_per_sample(self, graph: int, numbers: int, classes: int, itemsize: int) -> int:
        return graph + self.classes.rows(classes) * (numbers * (itemsize + 8) + classes * 16)


def vector_jacobian_products(
    logits: torch.Tensor, leaf: torch.Tensor, cotangents: torch.Tensor
) -> torch.Tensor:
    """Vector-Jacobian products on one graph: (B, K), leaf (B, ...), (B, m, K) -> (B, m, D)."""
    count = cotangents.shape[1]
    out = torch.empty(len(leaf), count, leaf[0].numel(), dtype=torch.float64, device=leaf.device)
    for i in range(count):
        (row,) = torch.autograd.grad(logits, leaf, cotangents[:, i], retain_graph=i < count - 1)
        out[:, i] = row.flatten(1)
    return out


def _others(log_p: torch.Tensor) -> torch.Tensor:
    """Every class but the most probable one, (B, K − 1)."""
    top = log_p.argmax(1, keepdim=True)
    index = torch.arange(log_p.shape[1] - 1, device=log_p.device).expand(len(log_p), -1)
    return index + (index >= top)


def _norms(product: torch.Tensor) -> Rows:
    """Trace and Frobenius norm of a positive semidefinite H from AG: (B, m, m)."""
    trace = product.diagonal(dim1=1, dim2=2).sum(1)
    squared = (product * product.mT).sum((1, 2))
    return {"trace": trace.clamp_min(0), "frobenius": squared.clamp_min(0).sqrt()}


def _root_error(squared: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
    """Standard error of √x from that of x, to first order; 0 where x is 0."""
    return torch.where(squared > 0, error / (2 * squared.clamp_min(1e-300).sqrt()), 0.0)
