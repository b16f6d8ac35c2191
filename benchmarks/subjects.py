"""Subjects of several records: closed forms, few models, and what real sums lose and gain.

    python -m benchmarks.subjects [--fleets 8] [--page]

Writes benchmarks/results/subjects.json and, from it alone, docs/subjects.md (--page writes only the
page). Ends with status 1 where a measured AUC is farther than 3.5 standard errors from its closed
form, where noise reads other than ½, or where intervals over subjects cover less than they promise
(99 % Clopper-Pearson).

Fleets are of 200 subjects with 1 to 20 records. φ is normal with variance 1; any two records of a
subject have the correlation ρ in every model, and membership shifts φ by δ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.stored import RESULTS, ROOT, measured_page, table
from seepage.attacks import LOSS, Attack, LiRA, of_unit
from seepage.attacks.subjects import centred
from seepage.metrics import (
    Subjects,
    auc_interval,
    clopper_pearson,
    discounted,
    operating_points,
    signal_correlation,
    subject_auc,
)
from seepage.plan import half_split

OUT = RESULTS / "subjects.json"
PAGE = ROOT / "docs" / "subjects.md"
SUBJECTS, MOST = 200, 20
SHIFT = 0.3
RHOS = (0.0, 0.1, 0.3, 0.6, 1.0)
MODELS = (8, 16, 64, 256)

Signals = tuple[NDArray[np.float64], NDArray[np.bool_], Subjects]


def fleet(models: int, rho: float, shift: float, seed: int, grow: float = 0.0) -> Signals:
    """φ (R, N), membership (R, N), whose the records are; the shift is shift · n**grow."""
    rng = np.random.default_rng([seed, models, round(1000 * rho)])
    unit = Subjects(np.repeat(np.arange(SUBJECTS), rng.integers(1, MOST + 1, SUBJECTS)))
    n = len(unit.codes)
    member = half_split(n, models=models, seed=seed, groups=unit.codes).member
    own = rng.normal(size=(models, SUBJECTS))[:, unit.codes]
    noise = np.sqrt(rho) * own + np.sqrt(1 - rho) * rng.normal(size=(models, n))
    return noise + shift * unit.sizes[unit.codes] ** grow * member, member, unit


def known(rho: float, fleets: int) -> dict[str, Any]:
    """Log-ratios of the true laws: measured less closed form, of both sums, over all targets."""
    gaps: dict[str, list[float]] = {"discounted": [], "plain": []}
    values: dict[str, list[float]] = {"discounted": [], "plain": []}
    for seed in range(fleets):
        x, member, unit = fleet(64, rho, SHIFT, seed)
        ratio = SHIFT * (x - SHIFT / 2)
        truth = np.asarray(unit.member(member))
        for way in gaps:
            used = rho if way == "discounted" else 0.0
            each = operating_points(discounted(ratio, unit, used), truth, ()).auc
            want = [
                subject_auc(unit.sizes[m], unit.sizes[~m], SHIFT, rho, discount=way == "discounted")
                for m in truth
            ]
            gaps[way] += (each - want).tolist()
            values[way] += each.tolist()
    out: dict[str, Any] = {"rho": rho, "targets": len(gaps["plain"])}
    for way, gap in gaps.items():
        error = float(np.std(gap, ddof=1) / np.sqrt(len(gap)))
        out[way] = {
            "auc": float(np.mean(values[way])),
            "gap": float(np.mean(gap)),
            "standard_error": error,
            "holds": bool(abs(np.mean(gap)) <= 3.5 * error),
        }
    out["holds"] = out["discounted"]["holds"] and out["plain"]["holds"]
    return out


def estimated(
    attack: Attack, models: int, rho: float, grow: float, fleets: int, shift: float | None = None
) -> dict[str, Any]:
    """An attack with laws and correlation estimated from `models` runs: AUC by record and subject."""
    rows: list[list[float]] = []
    found: list[float] = []
    for seed in range(fleets):
        size = (SHIFT if grow == 0 else SHIFT / 2) if shift is None else shift
        x, member, unit = fleet(models, rho, size, 100 + seed, grow)
        signals = {"phi": x, "loss": 5.0 - x}
        truth = np.asarray(unit.member(member))
        own = signals[attack.requires[0]]
        alone = centred(attack, attack.leave_one_out(own, member))
        whole = of_unit(attack, alone, signals, member, unit)
        raw = unit.scores(attack.leave_one_out(own, member))
        rows.append(
            [
                float(operating_points(s, m, ()).auc.mean())
                for s, m in (
                    (alone, member),
                    (unit.scores(alone), truth),
                    (whole, truth),
                    (raw, truth),
                )
            ]
        )
        found.append(signal_correlation(x, member, unit).value)
    single, plain, whole_auc, uncentred = np.mean(rows, axis=0).tolist()
    spread = (np.std(rows, axis=0, ddof=1) / np.sqrt(fleets)).tolist()
    better = np.array(rows)[:, 2] - np.array(rows)[:, 1]
    return {
        "attack": attack.name,
        "models": models,
        "rho": rho,
        "grow": grow,
        "fleets": fleets,
        "correlation": float(np.mean(found)),
        "single": single,
        "plain": plain,
        "discounted": whole_auc,
        "uncentred": uncentred,
        "standard_errors": spread,
        "gain": float(better.mean()),
        "gain_error": float(better.std(ddof=1) / np.sqrt(fleets)),
    }


def covered(rho: float, fleets: int) -> dict[str, Any]:
    """How often the interval of one target over subjects holds the closed form of its sizes."""
    hits = 0
    for seed in range(fleets):
        x, member, unit = fleet(2, rho, SHIFT, 1000 + seed)
        truth = np.asarray(unit.member(member))[0]
        scores = discounted(SHIFT * (x[0] - SHIFT / 2), unit, rho)
        want = subject_auc(unit.sizes[truth], unit.sizes[~truth], SHIFT, rho)
        hits += auc_interval(scores, truth).covers(want)
    _, high = clopper_pearson(hits, fleets, 0.99)
    share = hits / fleets
    return {"rho": rho, "targets": fleets, "covered": share, "holds": bool(high >= 0.95)}


def study(fleets: int) -> dict[str, Any]:
    """Everything on the page."""
    laws = [known(rho, fleets) for rho in RHOS]
    few = [
        estimated(LiRA(), models, rho, grow, fleets)
        for models in MODELS
        for rho in (0.0, 0.3, 0.6)
        for grow in (0.0, 0.5)
    ]
    loss = [estimated(LOSS(), 16, rho, 0.0, fleets) for rho in (0.0, 0.3, 0.6)]
    noise = [estimated(LiRA(), 16, rho, 0.0, 3 * fleets, shift=0.0) for rho in (0.0, 0.6)]
    for row in noise:
        row["holds"] = bool(abs(row["discounted"] - 0.5) <= 3.5 * row["standard_errors"][2])
    intervals = [covered(rho, 100 * fleets) for rho in (0.0, 0.3, 0.6)]
    rows = [*laws, *noise, *intervals]
    return {
        "laws": laws,
        "few": few,
        "loss": loss,
        "noise": noise,
        "intervals": intervals,
        "holds": all(r["holds"] for r in rows),
    }


def _growth() -> list[list[str]]:
    rows = []
    for rho in RHOS:
        row = [f"{rho:g}"]
        for n in (1, 2, 5, 10, 20):
            count = n / (1 + (n - 1) * rho)
            row.append(f"{subject_auc([n], [n], SHIFT, rho):.3f} ({count:.3g})")
        rows.append(row)
    return rows


def page(result: dict[str, Any]) -> str:
    """docs/subjects.md, from the stored result alone."""
    laws = [
        [
            f"{r['rho']:g}",
            str(r["targets"]),
            *(
                f"{r[w]['auc']:.4f} ({r[w]['gap']:+.4f} ± {r[w]['standard_error']:.4f})"
                for w in ("discounted", "plain")
            ),
        ]
        for r in result["laws"]
    ]
    few = [
        [
            str(r["models"]),
            f"{r['rho']:g}",
            "as √n" if r["grow"] else "one",
            f"{r['correlation']:.2f}",
            *(f"{r[k]:.3f}" for k in ("single", "plain", "discounted")),
            f"{r['gain']:+.4f} ± {r['gain_error']:.4f}",
        ]
        for r in result["few"]
    ]
    loss = [
        [f"{r['rho']:g}", *(f"{r[k]:.3f}" for k in ("single", "uncentred", "plain", "discounted"))]
        for r in result["loss"]
    ]
    noise = ", ".join(f"{r['discounted']:.4f} (ρ = {r['rho']:g})" for r in result["noise"])
    held = ", ".join(f"{r['covered']:.3f} (ρ = {r['rho']:g})" for r in result["intervals"])
    worst = min(result["few"], key=lambda r: r["gain"])
    best = max(result["few"], key=lambda r: r["gain"])
    return f"""<!-- Written by `python -m benchmarks.subjects`; do not edit. -->
# Subjects: people with several records

Where `groups` say whose each record is ([how data says so](data.md#subjects)), *subjects* are what is judged:
AUC and rates, intervals, the plane and its dynamics, the exposed list and its false-discovery rate, names,
bounds on ε, and the gate. A subject is a member when all of its records are; plans assign whole subjects,
permuted membership moves whole subjects, and a subject on both sides is refused. `--unit sample` of `attack`,
`check` and `dynamics`, `unit=Samples()` of `seepage.findings.collect`, judge single records instead; these
stay of records everywhere: accuracy, and the pool's size.

```python
from seepage.attacks import LiRA
from seepage.metrics import unit_of

unit = unit_of(run.groups)
scores = seepage.score(run, LiRA(), unit=unit)  # (R, G): of subjects, the rule below
sums = unit.scores(seepage.score(run, LiRA()))  # (R, G): plain sums of the records' scores
member = unit.member(run.member)  # (R, G)
```

## The rule

    score(g) = Σ score(x) over the n records x of g  /  (1 + (n − 1) ρ)

| score of a record | what is summed | ρ, the correlation of two records of one subject |
|---|---|---|
| log-ratio (`Attack.log_ratio`): LiRA, the likelihood ratios of curvature, curvature and confidence | the score itself, whose zero speaks for neither side | of the signal that it reads first (φ, curvature) over models, given membership, estimated on the runs outside the target's part of the fleet |
| any other: loss, entropy, Attack-P, Attack-R, difficulty calibration, offline LiRA, RMIA, BASE, shadow classifier, gap | the score less its mean over the pool under the same target (of one model alone: over the others) | of the scores themselves over subjects, among non-members of the other targets (of one model alone: among the others) |

Sums of scores that have no zero, as −loss, would count a subject's records and little else. Nothing in the
rule reads the target's members, but for the others of one model alone, which calibrate its p-values too.

**Why discounted sums, and always.** Log-ratios of independent records add up. Records of a person are
not independent given membership: they move together from model to model, and the sum counts the same
evidence several times. It ranks subjects of one size as before and those of different sizes too far apart.
For normal laws of one variance, records of one shift and any two records of a subject of correlation ρ, the
discounted sum *is* the log-ratio of all records together (Σ⁻¹1 = 1/(1 + (n − 1) ρ)). ρ = 0 gives the sum,
ρ = 1, copies, the mean. It was chosen before any result and is not exchanged for the sum where that looks
better; `seepage attack` and the report show both.

**ρ is one number.** A covariance matrix for each subject would need more runs than records. The residuals of
φ about the mean of their side are correlated pair by pair within subjects, and pooled over pairs, subjects and
sides (`seepage.metrics.signal_correlation`); the 95 % interval is over subjects. For targets it is cut to 0..1, and estimated on some 8,000 records of a larger pool. It
includes what all records of one class have in common from model to model, and `between`, the correlation of records of
different subjects, says what all records have in common. Where it cannot be estimated (no two records
of a subject, too few runs) it is 0, and the report says so.

## How risk grows with the number of records

A subject of n records has the distance Δ between members and non-members, in standard deviations,

    Δ² = n δ² / (1 + (n − 1) ρ)

δ that of one record: it grows as √n for independent records, slower where they resemble each other, and
never beyond δ/√ρ. AUC for δ = {SHIFT:g}, and in brackets how many independent records n of them count as:

{table(("ρ", *(f"n = {n}" for n in (1, 2, 5, 10, 20))), _growth())}

Of mixed sizes it is the mean over pairs of a member and a non-member of Φ(½ √(Δ_n² + Δ_m²)), which
`seepage.metrics.subject_auc` computes. The report draws measured AUC by number of records beside it. That the
records of one source together tell more than one of them is what arXiv 2109.03975 (records correlated in
time) and 2310.09266 (users of a fine-tuned model) rest on; their texts were not at hand, and the formula above
is derived here, not theirs.

## Measured

{SUBJECTS} subjects of 1 to {MOST} records, δ = {SHIFT:g}. With the true laws and the true ρ, mean AUC over targets, and in brackets how far it
lies from the closed form, ± one standard error:

{table(("ρ", "targets", "discounted sums", "plain sums"), laws)}

Without leakage LiRA of 16 models with an estimated ρ reads {noise}. Intervals of one target over subjects hold
the closed form in {held} of {result["intervals"][0]["targets"]} targets each.

LiRA with everything estimated from the fleet. Shift: one for all records, or growing as √n with the records
of a subject, as where records of a person help each other into the model:

{table(("models", "ρ", "shift", "ρ found", "single records", "plain sums", "discounted", "difference of the sums"), few)}

With few models ρ is found too low, by a part of (1 − ρ²)/2ν. The two sums differ by {worst["gain"]:+.4f} to
{best["gain"]:+.4f}: what the discount changes most is not the order of subjects but what a score says.
Where large subjects leak more *per record* and models are few the plain sum may rank better.

The loss, 16 models, here with records of one difficulty: summed as it is, centred, and centred and discounted:

{table(("ρ", "single records", "plain −loss", "centred sums", "discounted"), loss)}

## What cannot be said

- One ρ for all subjects: a subject whose records are more alike than those of others is still overstated.
- A subject is judged by all of its records together. Its one most exposed record may be more exposed than
  the subject is: look at single records with `--unit sample`.
- Members are known by whole subjects. Whether an attacker who holds *other* records of a person can tell that
  the person took part (arXiv 2310.09266 asks that) is not measured: every score is of records that were, or were not, trained on.
- A bound on ε by subject (`seepage.epsilon`, `unit=`) is about adding or removing all records of a person at
  once. It is no bound for one record, and records of one subject, which share a coin, are not trials of their own.
- Expected AUC by size assumes that records leak alike. Subjects of many records often leak more, or
  less, per record: a measured curve off the expected one says so, and not why.
- Groups must be known. Records of one person under two names are two subjects, and their resemblance then counts
  as what non-members know.
"""


def main() -> None:
    """Measure, store, write the page."""
    measured_page(__doc__, study, page, at=(OUT, PAGE), size=("fleets", 8))


if __name__ == "__main__":
    main()
