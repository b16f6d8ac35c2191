"""Simulated fleets whose laws are known: heavy tails, unlike samples, models of unlike quality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seepage.metrics import auc
from seepage.plan import half_split

__all__ = ["FLEET_LAWS", "Fleet", "Law", "World", "exact_rates", "sample_truth"]


@dataclass(frozen=True)
class Law:
    """φ of sample i under model r: b_i + o_r + s_i c_r (ε + l_r d_i m), ε ~ t with 5 dof.

    b_i ~ N(2, 2²); s_i log-normal(.5); d_i = leak · Gamma(½, 2), so that few samples leak most.
    Model effects: o_r ~ N(0, .5²), c_r log-normal(.15), l_r log-normal(.3). m: membership.
    """

    name: str
    leak: float
    effects: bool = True

    def pool(self, rng: np.random.Generator, samples: int) -> dict[str, np.ndarray]:
        """b, s, d of every sample."""
        return {
            "b": rng.normal(2, 2, samples),
            "s": np.exp(0.5 * rng.normal(size=samples)),
            "d": self.leak * rng.gamma(0.5, 2, size=samples),
        }

    def models(self, rng: np.random.Generator, models: int) -> dict[str, np.ndarray]:
        """o, c, l of every model, (R, 1) each."""
        offset, scale, leak = rng.normal(size=(3, models, 1)) * float(self.effects)
        return {"o": 0.5 * offset, "c": np.exp(0.15 * scale), "l": np.exp(0.3 * leak)}

    @staticmethod
    def phi(
        pool: dict[str, np.ndarray],
        model: dict[str, np.ndarray],
        member: np.ndarray,
        noise: np.ndarray,
    ) -> np.ndarray:
        """Signals (R, N)."""
        lift = model["l"] * pool["d"] * member
        return pool["b"] + model["o"] + pool["s"] * model["c"] * (noise + lift)


FLEET_LAWS = {law.name: law for law in (Law("no leak", 0.0), Law("leak", 0.5))}


def heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Student's t with 5 degrees of freedom."""
    return rng.standard_normal(shape) / np.sqrt(rng.standard_gamma(2.5, shape) / 2.5)


@dataclass(frozen=True)
class Fleet:
    """φ and membership (R, N) of one fleet on a pool of which every sample occurs `copies` times."""

    phi: np.ndarray
    member: np.ndarray

    @property
    def loss(self) -> np.ndarray:
        """−log of the confidence whose logit φ is."""
        return np.logaddexp(0, -self.phi)

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        law: Law,
        pool: dict[str, np.ndarray],
        models: int,
        copies: int = 1,
        member: np.ndarray | None = None,
    ) -> Fleet:
        """A fleet of complementary pairs, on the given plan or one of its own."""
        pool = {k: np.tile(v, copies) for k, v in pool.items()}
        if member is None:
            seed = int(rng.integers(2**31))
            member = half_split(len(pool["b"]), models=models, seed=seed).member
        noise = heavy(rng, member.shape)
        return cls(law.phi(pool, law.models(rng, models), member, noise), member)


def exact_rates(scores: np.ndarray, member: np.ndarray, fprs: np.ndarray) -> np.ndarray:
    """TPR at *exactly* the given FPRs of one large set of scores (n,): the ROC, interpolated."""
    out, inside = np.sort(scores[~member])[::-1], np.sort(scores[member])
    at = fprs * len(out) - 0.5
    low = np.clip(np.floor(at).astype(int), 0, len(out) - 2)
    bar = out[low] + (at - low) * (out[low + 1] - out[low])
    beaten = np.searchsorted(inside, bar, "left") + np.searchsorted(inside, bar, "right")
    return 1 - beaten / (2 * len(inside))


def sample_truth(
    rng: np.random.Generator,
    law: Law,
    pool: dict[str, np.ndarray],
    samples: int,
    draws: int = 20_000,
) -> np.ndarray:
    """AUC across models of each of the first samples, by `draws` models of either kind."""
    out = np.empty(samples)
    for i in range(samples):
        one = {k: v[i : i + 1] for k, v in pool.items()}
        sides = [
            law.phi(one, law.models(rng, draws), np.full((draws, 1), m), heavy(rng, (draws, 1)))
            for m in (True, False)
        ]
        out[i] = auc(np.concatenate(sides).ravel(), np.repeat([True, False], draws))
    return out


@dataclass(frozen=True)
class World:
    """One target and its references, fixed; samples or subjects are drawn anew as often as wanted.

    The target leaks three times as much as its references and is sharper: it was trained longer.
    Records of a subject share half of the variance of everything that is drawn.
    """

    law: Law
    model: dict[str, np.ndarray]

    @classmethod
    def draw(cls, rng: np.random.Generator, references: int) -> World:
        """Row 0 is the target."""
        law = Law("one target", 0.5)
        model = law.models(rng, references + 1)
        model["l"][0] *= 3
        model["c"][0] *= 0.8
        return cls(law, model)

    def signals(
        self, rng: np.random.Generator, sizes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """φ and membership (R + 1, N) of subjects with `sizes` records, and whose record each is."""
        subjects, models = len(sizes), len(self.model["o"])
        codes = np.repeat(np.arange(subjects), sizes)
        pool = {k: v[codes] for k, v in self.law.pool(rng, subjects).items()}
        # References in complementary pairs, the target on a fixed half.
        half = np.arange(subjects) % 2 == 0
        ones = rng.permuted(np.tile(half, (models // 2, 1)), axis=1)
        pairs = np.stack([ones, ~ones], axis=1).reshape(-1, subjects)
        member = np.concatenate([half[None], pairs])[:, codes]
        if (sizes == 1).all():
            noise = heavy(rng, member.shape)
        else:
            noise = (heavy(rng, (models, subjects))[:, codes] + heavy(rng, member.shape)) / 2**0.5
        return self.law.phi(pool, self.model, member, noise), member, codes
