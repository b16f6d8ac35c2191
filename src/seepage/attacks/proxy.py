"""The proxy attack: the law of members borrowed from other samples, that of others a sample's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self, final

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks.base import Attack, Source
from seepage.attacks.binding import labelled
from seepage.attacks.lira import LiRAOfflineTwoSided
from seepage.attacks.targets import dropped, each_row
from seepage.attacks.variance import TINY, Centre, Mean, StudentT, Variance

__all__ = ["PMIA"]


@final
@dataclass(frozen=True, eq=False)
class PMIA(Attack):
    """Likelihood ratio whose IN law is that of the members of the sample's class, in nats.

        score(x) = mean over views of log N(φ; m_c, s_c²) − log p(φ | OUT)

    m_c the median and s_c the standard deviation of φ over all IN references of all samples of the
    class of x, its proxies; p(· | OUT) fitted to the OUT references of x alone, as in LiRA. It is
    the attack of one who has models without x, and models of his own with others like it. Higher =
    more likely a member. Where samples of a class differ by more than membership moves them, the
    borrowed law is far too wide, and φ far from where x lies without it scores high whatever the
    side. 0 is the natural threshold of a likelihood ratio, though a proxy's ratio is no exact one.

    by_class: False borrows from all samples, the paper's global proxy, which is done unasked where a
    run has no labels. The paper's third proxy, the nearest images of a CLIP model, needs inputs and
    is not here. centre, variance: of the OUT law; `Median(), PerSample()` are the released code's.
    Needs 1 IN and 2 OUT references. IN entries of x itself are one of many proxies of its class.
    Source: arXiv 2507.21412 and its released code.

    >>> rng = np.random.default_rng(0)
    >>> member = np.tile(np.eye(2, dtype=bool), (3, 20))
    >>> phi = rng.normal(size=member.shape) + 3 * member
    >>> signals = {"phi": phi, "labels": np.zeros(phi.shape)}
    >>> scores = PMIA().leave_one_out(signals, member)
    >>> bool(scores[member].mean() > 0 > scores[~member].mean())
    True
    """

    by_class: bool = True
    centre: Centre = field(default_factory=Mean)
    variance: Variance = field(default_factory=StudentT)

    name: ClassVar[str] = "pmia"
    title: ClassVar[str] = "PMIA (proxy)"
    reference: ClassVar[str] = "Proxy attack of arXiv 2507.21412"
    requires: ClassVar[tuple[str, ...]] = ("phi", "labels")
    min_in: ClassVar[int] = 1
    min_out: ClassVar[int] = 2
    fitted: ClassVar[bool] = True
    threshold: ClassVar[float | None] = 0.0

    def __post_init__(self) -> None:
        # What the contract keeps on the class is the instance's own, since classes are an option.
        object.__setattr__(self, "requires", ("phi", "labels") if self.by_class else ("phi",))
        self._outside()

    def bound(self, source: Source) -> Self:
        """One law of members for all samples where the run has no labels."""
        known = not self.by_class or labelled(source)
        return self if known else replace(self, by_class=False)

    def _outside(self) -> LiRAOfflineTwoSided:
        return LiRAOfflineTwoSided(self.centre, self.variance)

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        out = self._outside().run(target, references, member)
        inside = _Borrowed.of(references["phi"], member, self._classes(target))
        return out + inside.log_density(target["phi"])

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        out = np.asarray(self._outside().run_all(signals, member, use))
        phi, classes = signals["phi"], self._classes({k: v[0] for k, v in signals.items()})
        drop = dropped(use)

        def one(e: int) -> None:
            rows = np.flatnonzero(drop.which == e)
            kept = use[rows[0]]
            inside = _Borrowed.of(phi[kept], member[kept], classes)
            for r in rows:
                out[r] += inside.log_density(phi[r])

        each_row(one, len(drop.sets))
        return out

    def _classes(self, signals: Mapping[str, FloatArray]) -> FloatArray:
        """(N,) of one target."""
        return signals["labels"][:, 0] if self.by_class else np.zeros(len(signals["phi"]))


@dataclass(frozen=True, eq=False)
class _Borrowed:
    """Median and variance of members' φ, of the class of every sample: (N, A)."""

    centre: Float64Array
    variance: Float64Array

    @classmethod
    def of(cls, phi: FloatArray, member: BoolArray, classes: FloatArray) -> _Borrowed:
        centre, variance = np.empty(phi.shape[1:]), np.empty(phi.shape[1:])
        for c in np.unique(classes):
            at = np.flatnonzero(classes == c)
            own = phi[:, at][member[:, at]].astype(np.float64)
            if len(own):
                centre[at] = np.median(own, axis=0)
                variance[at] = np.maximum(own.var(axis=0), TINY)
            else:
                centre[at], variance[at] = np.nan, np.nan
        return cls(centre, variance)

    def log_density(self, phi: FloatArray) -> Float64Array:
        """Mean over views of log p(φ): (N, A) -> (N,)."""
        away = (phi.astype(np.float64) - self.centre) ** 2 / self.variance
        return np.asarray(-0.5 * (away + np.log(2 * np.pi * self.variance)).mean(axis=1))
