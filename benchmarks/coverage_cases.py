"""The cases of the coverage study: every interval that is printed, against laws that are known.

Each case is a function of a `Size` that returns rows; `CASES` lists them with what they cost.
A further case is a further entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.coverage_laws import (
    FLEET_LAWS,
    Fleet,
    World,
    exact_rates,
    heavy,
    sample_truth,
)
from seepage import epsilon
from seepage.attacks import LOSS, RMIA, LiRA, usual
from seepage.comparison.evaluate import over_pairs, per_pair
from seepage.epsilon.one_run import epsilon_of_runs, joint_epsilon
from seepage.metrics import (
    Estimate,
    auc,
    auc_interval,
    clopper_pearson,
    joint_rates,
    operating_points,
    over_targets,
    pooled_by_target,
    pooled_points,
    row_auc,
    sample_auc,
    tpr_at_fpr,
)
from seepage.plan import half_split

__all__ = ["CASES", "LEVEL", "Case", "Row", "Size", "coverage_row"]

LEVEL = 0.95
MODELS = (8, 16, 32, 64)
FPRS = (0.01, 0.001)


@dataclass(frozen=True)
class Size:
    """How much is simulated: fleets a case, pools they are spread over, and the wanted coverage."""

    fleets: int = 2000
    pools: int = 5
    copies: int = 4
    large: int = 25
    wanted: float = LEVEL
    quick: bool = False

    @classmethod
    def small(cls) -> Size:
        """A few seconds for a few cases; a coarser criterion."""
        return cls(fleets=40, pools=1, copies=2, large=4, wanted=0.85, quick=True)


@dataclass(frozen=True)
class Row:
    """One interval under one law.

    measured: the coverage (or what `wanted` speaks of); upper: the upper end of its 99 %
    Clopper-Pearson interval with fleets as trials; width: the mean one; beside: the coverage of
    another truth, which `note` names. printed: whether the product prints this interval; then it
    must hold.
    """

    figure: str
    law: str
    models: int | None
    fleets: int
    measured: float
    upper: float
    width: float
    wanted: str
    holds: bool
    printed: bool = True
    beside: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Case:
    """A name for progress and selection, and what computes its rows."""

    name: str
    rows: Callable[[Size], list[Row]]


class Tally:
    """Hits of one interval: one share in [0, 1] a fleet."""

    def __init__(self) -> None:
        self.hits: list[float] = []
        self.other: list[float] = []
        self.widths: list[float] = []

    def add(
        self, low: np.ndarray | float, high: np.ndarray | float, truth: np.ndarray | float,
        other: np.ndarray | float | None = None,
    ) -> None:  # fmt: skip
        """One fleet; several intervals of it count as their share that covers."""
        low, high = np.asarray(low), np.asarray(high)
        self.hits.append(float(((low <= truth) & (truth <= high)).mean()))
        self.widths.append(float((high - low).mean()))
        if other is not None:
            self.other.append(float(((low <= other) & (other <= high)).mean()))


def coverage_row(
    figure: str,
    law: str,
    models: int | None,
    tally: Tally,
    size: Size,
    *,
    printed: bool = True,
    note: str = "",
) -> Row:
    """The row of a tally: it fails where even the upper end of the coverage is below the wanted one."""
    fleets, covered = len(tally.hits), float(np.mean(tally.hits))
    upper = float(clopper_pearson(covered * fleets, fleets, 0.99)[1])
    return Row(
        figure, law, models, fleets, covered, upper, float(np.mean(tally.widths)),
        f"coverage {size.wanted:g}", upper >= size.wanted, printed,
        float(np.mean(tally.other)) if tally.other else None, note,
    )  # fmt: skip


def attacks_of(fleet: Fleet) -> dict[str, np.ndarray]:
    """Leave-one-out scores by the title of the attack."""
    return {
        "LiRA": LiRA().leave_one_out(fleet.phi, fleet.member),
        "RMIA": RMIA().leave_one_out(fleet.loss, fleet.member),
        "LOSS": LOSS().leave_one_out(fleet.loss, fleet.member),
    }


TIED = (
    "scores are multiples of 1/2000: the truth is the TPR at the level that is used, over all "
    "fleets; fleets where less than half of the allowed false positives is realised print none"
)
AT_EXACT = "beside: the TPR at exactly the nominal FPR"
UNLIKE = (
    "j = 1: the TPR of a threshold with this *expected* FPR lies below the TPR at this FPR, "
    "because the ROC is concave; the pooled rate stands in its place"
)


def fleets(models: int, law: str, size: Size) -> list[Row]:
    """AUC and TPR of a fleet by three attacks; per-sample AUC, TPR and FPR."""
    rng = np.random.default_rng([models, *law.encode()])
    given = FLEET_LAWS[law]
    # 0.1 % of one target needs 999 non-members; the cases that cost most go without.
    many = models < 32 or (models == 64 and law == "leak")
    samples, looked_at = (2000 if many else 1000, 100) if not size.quick else (1000, 20)
    tallies: dict[tuple[str, bool, str], Tally] = {}
    per_pool = size.fleets // size.pools

    def tally(figure: str, printed: bool = True, note: str = "") -> Tally:
        return tallies.setdefault((figure, printed, note), Tally())

    for _ in range(size.pools):
        pool = given.pool(rng, samples)
        null = np.floor(np.array(FPRS) * (samples / 2 + 1)) / (samples / 2 + 1)
        resolved = null > 0
        exact: dict[str, list[np.ndarray]] = {}
        for _ in range(size.large):
            large = Fleet.draw(rng, given, pool, models, size.copies)
            for name, s in attacks_of(large).items():
                pairs = list(zip(s, large.member, strict=True))
                own = [
                    np.mean([exact_rates(a, m, f) for a, m in pairs], 0)
                    for f in (null, np.array(FPRS))
                ]
                exact.setdefault(name, []).append(
                    np.stack([*own, exact_rates(s.ravel(), large.member.ravel(), np.array(FPRS))])
                )
        truth_of_samples = sample_truth(rng, given, pool, looked_at)
        kept: dict[str, list[tuple[float, float, float]]] = {}
        said_in, said_out, counts = np.zeros(looked_at), np.zeros(looked_at), []
        for _ in range(per_pool):
            fleet = Fleet.draw(rng, given, pool, models)
            member = fleet.member
            for name, s in attacks_of(fleet).items():
                each = operating_points(s, member, FPRS)
                e = over_targets(each.auc, member)
                kept.setdefault(name, []).append((e.mean, e.low, e.high))
                at = np.mean(exact[name], axis=0)
                added = pooled_by_target(s, member, FPRS)
                for f, fpr in enumerate(FPRS):
                    words = f"{100 * fpr:g} % FPR, {name}"
                    if resolved[f]:
                        few = null[f] * (samples / 2 + 1) < 4.5
                        one = over_targets(each.tpr[:, f], member)
                        tally(
                            f"TPR at {words}, per target, mean over targets", not few,
                            UNLIKE if few else AT_EXACT,
                        ).add(one.low, one.high, at[0, f], at[1, f])  # fmt: skip
                    if name == "RMIA" and fpr < 0.01:
                        continue  # Its scores tie there: see `ties`.
                    all_in = over_targets(added[:, f], member)
                    tally(f"TPR at {words}, pooled").add(all_in.low, all_in.high, at[2, f])
                if name == "LiRA":
                    said = s[:, :looked_at] >= 0
                    inside = member[:, :looked_at]
                    tp, fp_ = (said & inside).sum(0), (said & ~inside).sum(0)
                    said_in, said_out = said_in + tp, said_out + fp_
                    counts.append((tp, fp_))
            found = sample_auc(fleet.phi[:, :looked_at], member[:, :looked_at])
            tally("AUC of one sample over models").add(found.low, found.high, truth_of_samples)
        for name, all_of in kept.items():
            # The AUC is unbiased at any size: its mean over the pool's fleets is the truth.
            middle = float(np.mean([m for m, _, _ in all_of]))
            for _, low, high in all_of:
                tally(f"AUC of a fleet, {name}").add(low, high, middle)
        half = models // 2
        for tp, fp_ in counts:
            for what, k, total in (("TPR", tp, said_in), ("FPR", fp_, said_out)):
                low, high = clopper_pearson(k, half)
                tally(
                    f"{what} of one sample over models, decisions of a leave-one-out", False,
                    "the truth is the rate over further fleets; decisions share references",
                ).add(low, high, total / (half * per_pool))  # fmt: skip
    return [
        coverage_row(figure, law, models, t, size, printed=printed, note=note)
        for (figure, printed, note), t in tallies.items()
    ]


def ties(models: int, law: str, size: Size) -> list[Row]:
    """Pooled TPR of RMIA at 0.1 %, where its scores tie."""
    rng = np.random.default_rng([3, models, *law.encode()])
    given, tally = FLEET_LAWS[law], Tally()
    for _ in range(size.pools):
        pool = given.pool(rng, 2000)
        found: list[tuple[Estimate, float]] = []
        tops, members = [], 0
        for _ in range(size.fleets // size.pools):
            fleet = Fleet.draw(rng, given, pool, models)
            s = RMIA().leave_one_out(fleet.loss, fleet.member)
            e = over_targets(pooled_by_target(s, fleet.member, FPRS[1:])[:, 0], fleet.member)
            found.append((e, float(pooled_points(s, fleet.member, FPRS[1:]).threshold[0, 0])))
            inside = s[fleet.member]
            members += len(inside)
            tops.append(inside[inside > 0.95])
        top = np.sort(np.concatenate(tops))
        for e, bar in found:
            if np.isfinite(e.low):
                tally.add(e.low, e.high, (len(top) - np.searchsorted(top, bar)) / members)
    return [coverage_row("TPR at 0.1 % FPR, RMIA, pooled", law, models, tally, size, note=TIED)]


def differences(models: int, size: Size) -> list[Row]:
    """Change of AUC and pooled TPR between two fleets on one plan, as when defences are compared."""
    rng = np.random.default_rng(500 + models)
    law, samples = FLEET_LAWS["leak"], 1000
    tallies = {"AUC": Tally(), "TPR at 1 % FPR, pooled,": Tally()}
    for _ in range(size.pools):
        pool = law.pool(rng, samples)
        less = pool | {"d": pool["d"] / 2}
        kept: dict[str, list[Estimate]] = {k: [] for k in tallies}
        for _ in range(size.fleets // size.pools):
            a = Fleet.draw(rng, law, pool, models)
            b = Fleet.draw(rng, law, less, models, member=a.member)
            own, other = (LiRA().leave_one_out(f.phi, f.member) for f in (a, b))
            for what, figure in (
                ("AUC", lambda s: operating_points(s, a.member, ()).auc),  # noqa: B023
                ("TPR at 1 % FPR, pooled,",
                 lambda s: pooled_by_target(s, a.member, FPRS[:1])[:, 0]),  # noqa: B023
            ):  # fmt: skip
                gap = per_pair(figure(own), a.member) - per_pair(figure(other), a.member)
                kept[what].append(over_pairs(gap, shared=True, bounds=(-1.0, 1.0)))
        for what, found in kept.items():
            truth = float(np.mean([e.mean for e in found]))
            for e in found:
                tallies[what].add(e.low, e.high, truth)
    return [
        coverage_row(f"{what} of LiRA, change between two fleets", "leak", models, t, size)
        for what, t in tallies.items()
    ]


def halves(models: int, size: Size) -> list[Row]:
    """Per-sample rates with references from one half of the pairs and targets from the other."""
    rng = np.random.default_rng(models)
    law, samples = FLEET_LAWS["leak"], 50
    tallies = {"TPR": Tally(), "FPR": Tally()}
    for _ in range(min(size.fleets, 20 if size.quick else 150)):
        pool = law.pool(rng, samples)
        fleet = Fleet.draw(rng, law, pool, models)
        cut = models // 4 * 2
        refs, of = fleet.phi[:cut], fleet.member[:cut]
        said = np.stack([LiRA().score(x, refs, of) >= 0 for x in fleet.phi[cut:]])
        inside = fleet.member[cut:]
        # Further targets under the same references.
        draws = 200
        for what, m in (("TPR", True), ("FPR", False)):
            new = law.phi(
                pool,
                law.models(rng, draws),
                np.full((draws, samples), m),
                heavy(rng, (draws, samples)),
            )
            truth = np.mean([LiRA().score(x, refs, of) >= 0 for x in new], axis=0)
            side = inside == m
            low, high = clopper_pearson((said & side).sum(0), side.sum(0))
            tallies[what].add(low, high, truth)
    note = "R/2 references, R/2 targets; the truth is the rate of further targets given them"
    return [
        coverage_row(
            f"{what} of one sample over models, references apart", "leak", models, t, size,
            printed=False, note=note,
        )
        for what, t in tallies.items()
    ]  # fmt: skip


def one_target(models: int, size: Size) -> list[Row]:
    """AUC and the rates' rectangle of one target trained otherwise than its references."""
    rng = np.random.default_rng(1000 + models)
    worlds = max(1, size.fleets // 100)
    each = size.fleets // worlds
    tallies: dict[tuple[str, str], Tally] = {}

    def tally(figure: str, note: str = "") -> Tally:
        return tallies.setdefault((figure, note), Tally())

    def scored(world: World, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        phi, member, codes = world.signals(rng, sizes)
        return LiRA().score(phi[0], phi[1:], member[1:]), member[0], codes

    for _ in range(worlds):
        world = World.draw(rng, models)
        parts = 1 if size.quick else 4
        big = [scored(world, np.ones(40_000, int))[:2] for _ in range(parts)]
        s, y = (np.concatenate(v) for v in zip(*big, strict=True))
        outside, inside = np.sort(s[~y]), np.sort(s[y])
        truth = auc(s, y)
        shape = np.array([1, 2, 3, 6])
        many, own, _ = scored(world, np.tile(shape, 10_000))
        truth_by_record = auc(many, own)
        for _ in range(each):
            for n in (20, 400):
                s, y, _ = scored(world, np.ones(n, int))
                e = auc_interval(s, y)
                tally(f"AUC of one target, {n // 2} + {n // 2} samples").add(e.low, e.high, truth)
            s, y, codes = scored(world, rng.permutation(np.tile(shape, 15)))
            e = auc_interval(s, y, groups=codes)
            tally("AUC of one target, 30 + 30 subjects of 1 to 6 records").add(
                e.low, e.high, truth_by_record
            )
            for n, fpr in ((600, 0.01), (4000, 0.001)):
                s, y, _ = scored(world, np.ones(n, int))
                r, point = joint_rates(s, y, [fpr]), tpr_at_fpr(s, y, fpr)
                # Members and others that reach the threshold, in the large draw.
                fp, tp = (
                    1 - np.searchsorted(v, point.threshold) / len(v) for v in (outside, inside)
                )
                at = exact_rates(
                    np.concatenate([inside, outside]),
                    np.arange(len(inside) * 2) < len(inside),
                    np.array([fpr]),
                )
                both = (r.fpr_low[0] <= fp <= r.fpr_high[0]) and (
                    r.tpr_low[0] <= tp <= r.tpr_high[0]
                )
                alone = point.low <= at[0] <= point.high
                t = tally(
                    f"(FPR, TPR) of one target at {100 * fpr:g} %, jointly, {n // 2} + {n // 2}",
                    "beside: Clopper-Pearson of the TPR alone, of the TPR at exactly the nominal FPR",
                )
                t.hits.append(float(both))
                t.other.append(float(alone))
                t.widths.append(float(r.tpr_high[0] - r.tpr_low[0]))
    return [
        coverage_row(figure, "one target", models, t, size, note=note)
        for (figure, note), t in tallies.items()
    ]


def privacy(size: Size) -> list[Row]:
    """Lower bounds on ε of a Gaussian mechanism, of which ε(δ) is known: at or below it."""
    rng = np.random.default_rng(7)
    delta = 1e-5
    rows = []
    for mu in (0.5, 1.5):
        truth = epsilon.gdp_epsilon(mu, delta)
        tallies: dict[str, Tally] = {}

        def at_most(figure: str, bound: float, of: float, kept: dict[str, Tally] = tallies) -> None:
            t = kept.setdefault(figure, Tally())
            t.hits.append(float(bound <= of))
            t.widths.append(of - bound)

        y = np.arange(400) < 200
        canaries = 200
        for _ in range(size.fleets):
            s = rng.normal(size=400) + mu * y
            bound, curve = epsilon.multi_run(s, y, delta=delta), epsilon.gdp(s, y, delta=delta)
            at_most("ε at least, many runs (multi_run)", bound.epsilon, truth)
            at_most("μ at least (gdp)", curve.mu or 0.0, mu)
            at_most("ε at least (gdp)", curve.epsilon, truth)
            coins = rng.random((1, canaries)) < 0.5
            s = rng.normal(size=coins.shape) + mu * coins
            one = epsilon.one_run_from_scores(s[0], coins[0], (50, 100), delta=delta)
            at_most("ε at least, one run (one_run_from_scores)", one.epsilon, truth)
            split = half_split(canaries, models=4, seed=int(rng.integers(2**31))).member
            s = rng.normal(size=split.shape) + mu * split
            joint = joint_epsilon(epsilon_of_runs(s, split, delta=delta))
            at_most("ε at least of a fleet (joint_epsilon)", joint, truth)
        rows += [
            coverage_row(
                figure, f"Gaussian mechanism, μ = {mu:g}", None, t, size,
                note="width: how far the bound lies below the truth",
            )
            for figure, t in tallies.items()
        ]  # fmt: skip
    return rows


def null_auc(size: Size) -> list[Row]:
    """On data without leakage every figure called AUC is .5 ± .005."""
    rng = np.random.default_rng(11)
    law = FLEET_LAWS["no leak"]
    models, samples = 16, 1000
    found: dict[str, list[float]] = {}
    decisions: dict[str, int] = {}

    def add(name: str, values: np.ndarray | float, count: int) -> None:
        found.setdefault(name, []).append(float(np.mean(values)))
        decisions[name] = decisions.get(name, 0) + count

    for _ in range(4 if size.quick else 60):
        fleet = Fleet.draw(rng, law, law.pool(rng, samples), models)
        signals = {"phi": fleet.phi, "loss": fleet.loss}
        for attack in usual():
            if attack.trajectory or not set(attack.requires) <= set(signals):
                continue
            scores = attack.leave_one_out({k: signals[k] for k in attack.requires}, fleet.member)
            points = operating_points(scores, fleet.member, ())
            add(f"null AUC of a fleet, {attack.title}", points.auc, scores.size)
            add(f"null AUC of a fleet, {attack.title}, one threshold for all",
                pooled_points(scores, fleet.member, ()).auc, scores.size)  # fmt: skip
        for name, signal in (("φ", fleet.phi), ("−loss", -fleet.loss)):
            add(f"null AUC of one sample, mean over samples, {name}",
                sample_auc(signal, fleet.member).auc, fleet.phi.size)  # fmt: skip
        scores = LiRA().leave_one_out(fleet.phi, fleet.member)
        add("null AUC of one sample, from scores of a leave-one-out (`row_auc`)",
            row_auc(scores, fleet.member), scores.size)  # fmt: skip
        world = World.draw(rng, models)
        world.model["l"][:] = 0
        phi, member, _ = world.signals(rng, np.ones(samples * 7, int))
        s = LiRA().score(phi[0], phi[1:], member[1:])
        add("null AUC of one target", auc_interval(s, member[0]).mean, len(s))
    rows = []
    for name, values in found.items():
        mean = float(np.mean(values))
        error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
        printed = "row_auc" not in name
        off = 0.03 if size.quick else 0.005
        rows.append(
            Row(
                name,
                "no leak",
                models,
                len(values),
                mean,
                mean + 2.576 * error,
                error,
                f".5 ± {off:g}",
                abs(mean - 0.5) <= off,
                printed,
                note=f"{decisions[name]:,} decisions; width: the standard error",
            )
        )
    return rows


CASES: list[Case] = [
    *(
        Case(f"fleets, {law}, R = {models}", partial(fleets, models, law))
        for models in reversed(MODELS)
        for law in FLEET_LAWS
    ),
    Case("privacy", privacy),
    *(
        Case(f"one target, R = {models}", partial(one_target, models))
        for models in reversed(MODELS)
    ),
    *(
        Case(f"ties, {law}, R = {models}", partial(ties, models, law))
        for models in MODELS
        for law in FLEET_LAWS
    ),
    *(Case(f"differences, R = {models}", partial(differences, models)) for models in MODELS),
    *(Case(f"references apart, R = {models}", partial(halves, models)) for models in MODELS),
    Case("null AUC", null_auc),
]
"""The longest first, so that processes end together."""
