"""The proxy attack: the law of members borrowed from other samples, that of others a sample's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self, final

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.base import Attack, Source
from seepage.attacks.binding import labelled
from seepage.attacks.kernels.elementary import log
from seepage.attacks.kernels.samplewise import ascending
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
    aligns: ClassVar[bool] = True
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
        everyone = np.ones((1, len(member)), dtype=np.bool_)
        (inside,) = _borrowed(references["phi"], member, self._classes(target), everyone)
        return out + _log_density(target["phi"], inside)

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        out = np.asarray(self._outside().run_all(signals, member, use))
        phi, classes = signals["phi"], self._classes({k: v[0] for k, v in signals.items()})
        drop = dropped(use)

        sets = np.stack([use[np.flatnonzero(drop.which == e)[0]] for e in range(len(drop.sets))])
        inside = _borrowed(phi, member, classes, sets)

        def one(r: int) -> None:
            out[r] += _log_density(phi[r], inside[drop.which[r]])

        each_row(one, len(out))
        return out

    def _classes(self, signals: Mapping[str, FloatArray]) -> FloatArray:
        """(N,) of one target."""
        return signals["labels"][:, 0] if self.by_class else np.zeros(len(signals["phi"]))


def _borrowed(
    phi: FloatArray, member: BoolArray, classes: FloatArray, sets: BoolArray
) -> Float64Array:
    """Median and variance of the members' φ in the class of every sample, for each set of models.

    phi (R, N, A), member (R, N), classes (N,), sets (E, R) -> (E, 2, N, A); NaN without members.
    """
    out = np.full((len(sets), 2, *phi.shape[1:]), np.nan)
    parts = [np.flatnonzero(classes == c) for c in np.unique(classes)]

    short = np.uint16 if len(phi) < 1 << 16 else np.int64  # sorted in one pass

    def one(c: int) -> None:
        at = parts[c]
        inside = member[:, at]
        whose = np.nonzero(inside)[0]
        for a in range(phi.shape[2]):
            own = phi[:, at, a][inside].astype(np.float64)
            order = ascending(own)
            own, by = own[order], whose[order]
            # Each model's places in the order, its count, mean and squares about it.
            places = np.split(
                np.argsort(by.astype(short), kind="stable"), np.cumsum(inside.sum(axis=1))[:-1]
            )
            n = np.array([len(p) for p in places], dtype=np.float64)
            mean = np.array([own[p].mean() if len(p) else 0.0 for p in places])
            squares = np.array(
                [((own[p] - m) ** 2).sum() for p, m in zip(places, mean, strict=True)]
            )
            for e, use in enumerate(sets):
                count = n[use].sum()
                if count:
                    middle = (n[use] * mean[use]).sum() / count
                    spread = squares[use].sum() + (n[use] * (mean[use] - middle) ** 2).sum()
                    out[e, 0, at, a] = _median_without(
                        own, [places[r] for r in (~use).nonzero()[0]]
                    )
                    out[e, 1, at, a] = max(float(spread / count), TINY)

    each_row(one, len(parts))
    return out


def _median_without(ascending: Float64Array, gone: list[Int64Array]) -> float:
    """Median of an ascending sample without those at the given places, not all of them."""
    out = np.sort(np.concatenate(gone)) if gone else np.empty(0, dtype=np.int64)
    left = len(ascending) - len(out)
    # A place that is left has as many before it as were left before those that are gone.
    before = out - np.arange(len(out))
    halves = np.array([(left - 1) // 2, left // 2])
    return float(ascending[halves + np.searchsorted(before, halves, side="right")].mean())


def _log_density(phi: FloatArray, law: Float64Array) -> Float64Array:
    """Mean over views of log N(φ; law): (N, A), (2, N, A) -> (N,)."""
    away = (phi.astype(np.float64) - law[0]) ** 2 / law[1]
    return np.asarray(-0.5 * (away + log(2 * np.pi * law[1])).mean(axis=1))
