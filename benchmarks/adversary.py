"""What knowing the pool is worth: oracles with known laws, by plan, against their closed forms.

    python -m benchmarks.adversary [--pools 40] [--page]

Writes benchmarks/results/adversary.json and, from it alone, docs/adversary.md (--page writes only the
page). Ends with status 1 where a measured AUC lies more than 3 standard errors from its closed form,
or a ratio of distances more than 3 above the factor that `seepage.plan.distance_factor` states (to
terms of order 1/n).

Both oracles have a signal that is linear in the membership of a run of n members from N samples:

    φ_i = (1/n) Σ_j b_j g_ij + τ ε

*Class mean*: the model is the mean of its members, the signal of x_i its inner product with it, g_ij =
⟨x_i, x_j⟩, x standard normal in `DIMENSIONS` dimensions, τ = 0. *Gaussian*: g_ij independent normal,
g_ii = c, with training noise τ as large as the part of the others, or none.

Closed forms. Given the pool, n members drawn without replacement have (finite population)

    OUT: mean a_i,                       variance s_i²/n · (1 − n/(N − 1)),
    IN:  mean (g_ii + (n − 1) a_i)/n,    variance s_i² (n − 1)/n² · (1 − (n − 1)/(N − 1)),

a_i and s_i² the mean and variance (divisor N − 2) of g_ij over j ≠ i; τ² is added to both variances. If
the other members are drawn anew from the population, a_i = 0, s_i² is its variance (|x_i|² for the class
mean) and the brackets are 1. Both laws are nearly normal with nearly one variance, so that the best test
orders by φ and

    AUC_i = Φ((mean IN − mean OUT)/√(variance IN + variance OUT)) = Φ(d'/√2).

Of halves the brackets are ½, so that d'(pool) = √2 d'(anew) and AUC = Φ(d'(anew)).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from benchmarks.stored import RESULTS, ROOT, measured_page, table
from seepage.attacks import LiRA
from seepage.metrics import auc
from seepage.plan import (
    distance_factor,
    fresh_draws,
    half_split,
    partitions,
    pool_share,
    subsets,
)

OUT = RESULTS / "adversary.json"
PAGE = ROOT / "docs" / "adversary.md"
MEMBERS = 200
DIMENSIONS = 40
AUDITED = 400
AUCS = ("closed", "known", "fleet", "lira", "lira_samples")


@dataclass(frozen=True)
class Oracle:
    """name; tau: standard deviation of the noise, in that of what members drawn anew add."""

    name: str
    tau: float = 0.0

    def pool(self, rng: np.random.Generator, audited: int, size: int) -> np.ndarray:
        """What every sample of the pool adds to the signal of each audited one, (audited, size)."""
        if self.name == "class mean":
            x = rng.normal(size=(size, DIMENSIONS))
            return np.asarray(x[:audited] @ x.T)
        g = rng.normal(size=(audited, size))
        g[np.arange(audited), np.arange(audited)] = np.sqrt(DIMENSIONS)
        return g

    def anew(self, rng: np.random.Generator, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """g_ii, and the standard deviation of g_ij over the population: (N,) each."""
        if self.name == "class mean":
            own = rng.chisquare(DIMENSIONS, samples)
            spread = np.sqrt(own)
        else:
            own, spread = np.full(samples, np.sqrt(DIMENSIONS)), np.ones(samples)
        return own, spread


def laws(
    own: np.ndarray, mean: np.ndarray, square: np.ndarray, n: int, size: float, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(mean IN, sd IN, mean OUT, sd OUT) of every sample; size: of the pool, infinite if anew."""
    v_out = square / n * (1 - n / (size - 1)) + noise
    v_in = square * (n - 1) / n**2 * (1 - (n - 1) / (size - 1)) + noise
    return (own + (n - 1) * mean) / n, np.sqrt(v_in), mean, np.sqrt(v_out)


def distance(law: tuple[np.ndarray, ...]) -> np.ndarray:
    """d' of every sample: the distance in the root of the mean variance."""
    gap = law[0] - law[2]
    return np.asarray(gap / np.sqrt((law[1] ** 2 + law[3] ** 2) / 2))


def _spread(law: tuple[np.ndarray, ...]) -> float:
    """Root of the variance, mean over both laws and all samples."""
    return float(np.sqrt((law[1] ** 2 + law[3] ** 2).mean()))


def _mean(values: list[float] | np.ndarray) -> tuple[float, float]:
    """Mean over pools, and its standard error."""
    v = np.asarray(values)
    return float(v.mean()), float(v.std(ddof=1) / np.sqrt(len(v)))


def _log_ratio(phi: np.ndarray, law: tuple[np.ndarray, ...]) -> np.ndarray:
    one, zero = ((phi - law[k]) / law[k + 1] for k in (0, 2))
    return np.asarray((zero**2 - one**2) / 2 + np.log(law[3] / law[1]))


def _sample_auc(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """AUC of every sample over the runs, of pairs of runs in different tuples: (N,).

    Runs of one tuple depend on each other: who is in one is not in the other.
    """
    ranks = stats.rankdata(scores, axis=0)
    n_in = member.sum(axis=0)
    wins = np.where(member, ranks, 0.0).sum(axis=0) - n_in * (n_in + 1) / 2
    pairs = (n_in * (len(member) - n_in)).astype(np.float64)
    part = partitions(member)
    for u in np.flatnonzero(np.bincount(part) > 1):
        s, m = scores[part == u], member[part == u]
        inside = np.where(m, s, 0.0).sum(axis=0)
        within = np.where(m, 0.0, (s < inside) + (s == inside) / 2).sum(axis=0)
        held = m.any(axis=0)
        wins -= np.where(held, within, 0.0)
        pairs -= np.where(held, len(m) - 1, 0)
    return np.asarray(wins / pairs)


def _fleet_auc(scores: np.ndarray, member: np.ndarray) -> float:
    return float(np.mean([auc(s, m) for s, m in zip(scores, member, strict=True)]))


def from_pool(
    oracle: Oracle,
    plan: str,
    *,
    parts: int,
    models: int,
    pools: int,
    n: int,
    audited: int,
    seed: int,
) -> dict[str, Any]:
    """One oracle under one plan, with the pool known: mean over pools."""
    size = parts * n
    audited = min(audited, size)
    rows: dict[str, list[float]] = {k: [] for k in (*AUCS, "ratio")}
    share = 0.0
    for p in range(pools):
        rng = np.random.default_rng([seed, len(plan), parts, round(10 * oracle.tau), p])
        number = int(rng.integers(2**31))
        if plan == "fresh_draws":
            member = fresh_draws(size, members=n, models=models, seed=number).member
        else:
            member = subsets(size, models=models, parts=parts, seed=number).member
        share = pool_share(member)
        g = oracle.pool(rng, audited, size)
        at = np.arange(audited)
        own = g[at, at].copy()
        others = g.copy()
        others[at, at] = 0.0
        mean = others.sum(axis=1) / (size - 1)
        square = ((others**2).sum(axis=1) - (size - 1) * mean**2) / (size - 2)
        population = own if oracle.name == "class mean" else np.ones(audited)
        noise = oracle.tau**2 * population / n
        law = laws(own, mean, square, n, size, noise)
        fresh = laws(own, np.zeros(audited), population, n, np.inf, noise)
        phi = member.astype(np.float64) @ g.T / n
        phi += np.sqrt(noise) * rng.normal(size=phi.shape)
        truth = member[:, :audited]
        scores = _log_ratio(phi, law)
        rows["closed"].append(float(special.ndtr(distance(law) / np.sqrt(2)).mean()))
        rows["known"].append(float(_sample_auc(scores, truth).mean()))
        rows["fleet"].append(_fleet_auc(scores, truth))
        estimated = LiRA().leave_one_out(phi, truth)
        rows["lira"].append(_fleet_auc(estimated, truth))
        rows["lira_samples"].append(float(_sample_auc(estimated, truth).mean()))
        rows["ratio"].append(_spread(fresh) / _spread(law))
    ratio, error = _mean(rows["ratio"])
    out = {"oracle": oracle.name, "tau": oracle.tau, "plan": plan, "parts": parts}
    out |= {"models": models, "pools": pools, "pool": size, "share": share}
    out |= {"factor": distance_factor(share), "ratio": ratio, "ratio_error": error}
    # The factor leaves terms of order 1/n out.
    return out | _compared(rows, ratio <= distance_factor(share) * (1 + 1 / n) + 3 * error)


def drawn_anew(
    oracle: Oracle, *, models: int, pools: int, n: int, audited: int, seed: int
) -> dict[str, Any]:
    """The same with the other members drawn anew from the population in every run."""
    rows: dict[str, list[float]] = {k: [] for k in AUCS}
    for p in range(pools):
        rng = np.random.default_rng([seed, 99, round(10 * oracle.tau), p])
        member = half_split(audited, models=models, seed=int(rng.integers(2**31))).member
        own, spread = oracle.anew(rng, audited)
        noise = (oracle.tau * spread) ** 2 / n
        law = laws(own, np.zeros(audited), spread**2, n, np.inf, noise)
        # A sum of n (or n − 1) normal terms.
        count = np.where(member, n - 1, n)
        phi = (member * own + np.sqrt(count) * spread * rng.normal(size=member.shape)) / n
        phi += np.sqrt(noise) * rng.normal(size=phi.shape)
        scores = _log_ratio(phi, law)
        rows["closed"].append(float(special.ndtr(distance(law) / np.sqrt(2)).mean()))
        rows["known"].append(float(_sample_auc(scores, member).mean()))
        rows["fleet"].append(_fleet_auc(scores, member))
        estimated = LiRA().leave_one_out(phi, member)
        rows["lira"].append(_fleet_auc(estimated, member))
        rows["lira_samples"].append(float(_sample_auc(estimated, member).mean()))
    out = {"oracle": oracle.name, "tau": oracle.tau, "plan": "drawn anew", "parts": 0}
    out |= {"models": models, "pools": pools, "pool": None, "share": 0.0}
    out |= {"factor": 1.0, "ratio": 1.0, "ratio_error": 0.0}
    return out | _compared(rows, True)


def _compared(rows: dict[str, list[float]], below: bool) -> dict[str, Any]:
    gap, error = _mean(np.array(rows["known"]) - np.array(rows["closed"]))
    out = {f"auc_{k}": float(np.mean(rows[k])) for k in AUCS}
    out |= {"gap": gap, "standard_error": error}
    out["holds"] = bool(below and abs(gap) <= 3 * error)
    return out


def study(
    *, pools: int, n: int = MEMBERS, models: int = 256, audited: int = AUDITED, seed: int = 0
) -> dict[str, Any]:
    """Every oracle under every plan."""
    size: dict[str, Any] = {"pools": pools, "n": n, "audited": audited, "seed": seed}
    rows = []
    for oracle in (Oracle("class mean"), Oracle("Gaussian"), Oracle("Gaussian", tau=1.0)):
        for plan, parts in (
            ("half_split", 2),
            ("subsets", 4),
            ("subsets", 10),
            ("fresh_draws", 10),
        ):
            runs = models // parts * parts if plan == "subsets" else models
            rows.append(from_pool(oracle, plan, parts=parts, models=runs, **size))
            print(json.dumps(rows[-1]), flush=True)
        rows.append(drawn_anew(oracle, models=models, **size))
        print(json.dumps(rows[-1]), flush=True)
    return {"members": n, "rows": rows, "holds": all(r["holds"] for r in rows)}


PLANS = {
    "half_split": "`half_split`",
    "subsets": "`subsets(parts={parts})`",
    "fresh_draws": "`fresh_draws`, 1 of {parts}",
    "drawn anew": "drawn anew",
}


def page(result: dict[str, Any]) -> str:
    """docs/adversary.md from the stored result."""
    lines = [
        (
            r["oracle"] + (f", noise τ = {r['tau']:g}" if r["tau"] else ""),
            PLANS[r["plan"]].format(**r),
            r["models"],
            f"{r['ratio']:.3f} ± {r['ratio_error']:.3f} (at most {r['factor']:.3f})",
            f"{r['auc_closed']:.4f}",
            f"{r['auc_known']:.4f} ({r['gap']:+.4f} ± {r['standard_error']:.4f})",
            f"{r['auc_fleet']:.3f}",
            f"{r['auc_lira']:.3f}",
            f"{r['auc_lira_samples']:.3f}",
            "holds" if r["holds"] else "**does not hold**",
        )
        for r in result["rows"]
    ]
    mean = [r for r in result["rows"] if r["oracle"] == "class mean"]
    half, anew = mean[0], mean[-1]
    head = (
        "oracle",
        "members of a run",
        "models",
        "d' over that of drawn anew",
        "AUC, closed form",
        "AUC per sample, known laws",
        "AUC per target, known laws",
        "AUC per target, LiRA's estimates",
        "AUC per sample, LiRA's leave-one-out scores",
        "",
    )
    return f"""# Which adversary a figure is about

Written by `python -m benchmarks.adversary` from `benchmarks/results/adversary.json`; the closed forms
are derived in `benchmarks/adversary.py`.

An audit trains all runs on members from one pool. Its attacker has reference models from the *same*
pool: apart from the record in question, the members of the target come from samples the attacker knows.
What their choice adds to a model then varies less than if they were drawn anew from the world, because
of N samples n are drawn without replacement: its variance shrinks by 1 − n/N
([2605.25819](https://arxiv.org/abs/2605.25819)). Against an attacker who does not know the pool the audit
overstates the distance d' of the two laws by **at most 1/√(1 − n/N)**: 1.41 with halves, 1.15 with
quarters, 1.05 with tenths. It is an upper factor, for the variance of sampling alone: noise of training
(initial values, order of batches) is the same for both, and where it dominates nothing is overstated. An
attacker who knows the whole pool, as differential privacy assumes one, is not overstated at all.

```python
from seepage.plan import distance_factor, fresh_draws, pool_share, subsets

plan = subsets(len(data), models=64, parts=4)            # every sample IN 1/4 of the runs
plan = fresh_draws(len(data), members=2000, models=64)   # independent draws from a larger pool
distance_factor(pool_share(plan.member))
```

| plan | members of a run | references of a sample |
|---|---|---|
| `half_split` (default) | half of the pool, runs in complementary pairs | half of the others IN, exactly |
| `subsets(parts=k)` | 1/k, runs in complementary tuples, R a multiple of k | R/k − 1 IN, exactly |
| `fresh_draws(members=n)` | any n, runs independent, any R | about R n/N IN, differs between samples by chance |

In complementary tuples the number of IN references says nothing of a target's membership, neither
between the samples of one target nor between the targets of one sample. In `fresh_draws` it says nothing
between the samples of one target; between the targets of one sample it does (those that were trained on
it have one IN reference less), so that figures *per sample* over few models are better taken from tuples.

## Oracles

Runs of {result["members"]} members, laws known, {half["pools"]} pools a row. The per-sample AUC over runs must lie
within 3 standard errors of the closed form. Then means over targets, with the laws known and with those
that LiRA estimates from the other models: what estimating loses. Last the AUC per sample of the same
leave-one-out scores, whose references are shared by the targets of a sample. *Class mean*:
{half["auc_closed"]:.3f} with halves where {anew["auc_closed"]:.3f} is right when the other members are drawn anew;
estimated from {half["models"]} models {half["auc_lira"]:.3f} and {anew["auc_lira"]:.3f} over targets, {half["auc_lira_samples"]:.3f} and
{anew["auc_lira_samples"]:.3f} per sample.

{table(head, lines)}
"""


def main() -> None:
    """Measure, store, write the page."""
    measured_page(__doc__, study, page, at=(OUT, PAGE), size=("pools", 40))


if __name__ == "__main__":
    main()
