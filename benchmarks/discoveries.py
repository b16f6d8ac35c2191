"""Names and false names: the rates that are promised, measured on simulated fleets with known truth.

    python -m benchmarks.discoveries [--fleets 2000] [--page]

Writes benchmarks/results/discoveries.json and, from it alone, docs/naming.md (--page writes only the
page). Ends with status 1 where a promise does not hold: a mean false share above q + 2 standard
errors, or a coverage whose 99 % Clopper-Pearson upper end lies below the level.

Fleets are heterogeneous (scales, effects and difficulty differ between samples), have heavy tails
(Student's t with 4 degrees), effects of the model (a shift of all its signals, and a gain), and
near-duplicates: a tenth of the samples without an effect of their own carries that of a neighbour.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.stored import RESULTS, ROOT, measured_page, table
from seepage.attacks import RMIA, Attack, LiRA
from seepage.metrics import (
    at_most_false,
    clopper_pearson,
    cut_off,
    evidence,
    fewest_named,
    name_over_targets,
)
from seepage.plan import subsets
from seepage.plane import GlobalFPR, OwnFPR, fpr_spread, points

OUT = RESULTS / "discoveries.json"
PAGE = ROOT / "docs" / "naming.md"
SAMPLES = 2000
MODELS = (8, 16, 32, 64)
LEAKING = (0.0, 0.1, 0.5)
# To be named in one model a record must leak by more than to be found over a fleet.
STRENGTH = {"tested": 0.4, "named": 1.2}
LEVEL = 0.05
# An attack on every target of a fleet costs more than a test per sample does, and so do many models.
FEWER, LARGE = 40, 64


def plans(models: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """(models, parts): pairs of every number, quarters of the largest."""
    yield from ((r, 2) for r in models)
    if models[-1] >= 16:
        yield models[-1], 4


def fleet(
    rng: np.random.Generator,
    models: int,
    parts: int,
    leaking: float,
    samples: int,
    strength: float,
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Signals {phi, loss} (R, N), membership (R, N), and whose training on has an effect (N,)."""
    member = subsets(samples, models=models, parts=parts, seed=int(rng.integers(2**31))).member
    exposed = rng.random(samples) < leaking
    effect = np.where(exposed, rng.gamma(4.0, strength, samples), 0.0)
    scale = 0.6 * rng.lognormal(0.0, 0.4, samples)
    shift, gain = rng.normal(0.0, 0.3, (models, 1)), rng.lognormal(0.0, 0.1, (models, 1))
    own = effect * member
    twin = rng.permutation(samples)
    near = ~exposed & (rng.random(samples) < 0.1)
    own = own + np.where(near, effect[twin] * member[:, twin], 0.0)
    noise = rng.standard_t(4, (models, samples))
    phi = rng.normal(-2, 1, samples) + gain * scale * (noise + own) + shift
    return {"phi": phi, "loss": np.logaddexp(0.0, -phi)}, member, exposed


def _share(values: list[float], limit: float) -> dict[str, Any]:
    v = np.array(values)
    error = float(v.std(ddof=1) / np.sqrt(len(v)))
    return {
        "mean_false_share": float(v.mean()),
        "standard_error": error,
        "more_than_q": float((v > limit).mean()),
        "holds": bool(v.mean() <= limit + 2 * error),
    }


def tested(
    models: int, parts: int, leaking: float, *, fleets: int, samples: int, seed: int
) -> dict[str, Any]:
    """The exact test with Benjamini and Hochberg's rule, and the bound for sets chosen after looking."""
    shares, counts, bounds, kept = [], [], [], 0
    for f in range(fleets):
        rng = np.random.default_rng([seed, models, parts, round(100 * leaking), f])
        signals, member, exposed = fleet(rng, models, parts, leaking, samples, STRENGTH["tested"])
        p = evidence(signals["phi"], member)
        named = p <= cut_off(p, LEVEL)
        false = int((named & ~exposed).sum())
        shares.append(false / max(int(named.sum()), 1))
        counts.append(int(named.sum()))
        bounds.append(at_most_false(p, named, LEVEL))
        # A set for every purpose, all of the same fleet: one that fails is a failure.
        order = np.argsort(p, kind="stable")
        sets = [named, p <= 0.01, np.arange(samples) % 10 == 0, np.ones(samples, dtype=np.bool_)]
        for k in (1, 10, 100, samples // 2):
            first = np.zeros(samples, dtype=np.bool_)
            first[order[:k]] = True
            sets.append(first)
        # The worst that can be chosen: the smallest p among the false ones alone.
        sets.append(~exposed & (p <= np.sort(p[~exposed])[min(20, (~exposed).sum() - 1)]))
        kept += all(int((s & ~exposed).sum()) <= at_most_false(p, s, LEVEL) for s in sets)
    _, high = clopper_pearson(kept, fleets, 0.99)
    out = {"models": models, "parts": parts, "leaking": leaking, "fleets": fleets}
    out |= _share(shares, LEVEL)
    out |= {
        "mean_named": float(np.mean(counts)),
        "mean_bound": float(np.mean(bounds)),
        "mean_false": float(np.mean(np.array(shares) * counts)),
        "coverage": kept / fleets,
    }
    out["holds"] = bool(out["holds"] and high >= 1 - LEVEL)
    return out


def named(
    attack: Attack,
    models: int,
    parts: int,
    leaking: float,
    *,
    q: float,
    estimate_share: bool,
    fleets: int,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Which records of each model can be named from leave-one-out scores."""
    shares: list[float] = []
    more, count, found = [], [], []
    for f in range(fleets):
        rng = np.random.default_rng([seed, models, parts, round(100 * leaking), f, round(100 * q)])
        signals, member, _ = fleet(rng, models, parts, leaking, samples, STRENGTH["named"])
        scores = attack.leave_one_out(signals, member)
        got = name_over_targets(scores, member, rng, q=q, estimate_share=estimate_share)
        shares.append(got.false.mean)
        more.append((got.false_share > q).mean())
        count.append(got.mean_count)
        found.append(got.found)
    out = {
        "attack": attack.name,
        "models": models,
        "parts": parts,
        "leaking": leaking,
        "q": q,
        "estimate_share": estimate_share,
        "fleets": fleets,
        "members": samples // parts,
        "fewest": fewest_named(*_sizes(samples, parts), q),
    }
    out |= _share(shares, q)
    out |= {
        "more_than_q": float(np.mean(more)),
        "mean_named": float(np.mean(count)),
        "found": float(np.mean(found)),
    }
    return out


def _sizes(samples: int, parts: int) -> tuple[int, int]:
    """Candidates and calibration records of one target."""
    outside = samples - samples // parts
    return samples // parts + outside // 2, (outside + 1) // 2


def thresholds(*, samples: int, models: int, fpr: float, seed: int) -> list[dict[str, Any]]:
    """Per-sample false-positive rates under one threshold, and under one for each sample."""
    rng = np.random.default_rng([seed, models])
    signals, member, _ = fleet(rng, models, 2, 0.5, samples, STRENGTH["tested"])
    # What an attacker has who calibrates nothing by sample: scales are log-normal with σ = 0.6.
    plain = rng.lognormal(0.0, 0.6, samples) * rng.normal(size=member.shape) + 1.0 * member
    rows = []
    for name, scores in (
        ("not calibrated by sample", plain),
        ("LiRA", LiRA().leave_one_out(signals, member)),
    ):
        for rule in (GlobalFPR(fpr), OwnFPR(fpr), OwnFPR(fpr, "normal")):
            state = points(rule.decide(scores, member), member)
            spread = fpr_spread(state.fpr, state.n_out)
            rows.append(
                {"score": name, "rule": repr(rule), "tpr": float(state.tpr.mean())} | vars(spread)
            )
    return rows


def study(
    *, fleets: int, samples: int = SAMPLES, models: tuple[int, ...] = MODELS, seed: int = 0
) -> dict[str, Any]:
    """Everything the page says."""
    size: dict[str, Any] = {"samples": samples, "seed": seed}
    out: dict[str, Any] = {"q": LEVEL, "samples": samples, "seed": seed, "tested": [], "named": []}
    for r, parts in plans(models):
        many = fleets if r < LARGE else fleets // 2
        few = max(2, many // FEWER)
        for leaking in LEAKING:
            out["tested"].append(tested(r, parts, leaking, fleets=many, **size))
            for attack in (LiRA(), RMIA()):
                for q in (LEVEL, 4 * LEVEL):
                    # One estimate of the share, on the same fleets, where some leak.
                    for share in (False, True) if leaking == LEAKING[-1] else (False,):
                        out["named"].append(
                            named(
                                attack, r, parts, leaking,
                                q=q, estimate_share=share, fleets=few, **size,
                            )
                        )  # fmt: skip
            print(json.dumps(out["tested"][-1]), flush=True)
    out["thresholds"] = thresholds(models=2 * models[-1], fpr=0.01, **size)
    out["holds"] = all(r["holds"] for r in (*out["tested"], *out["named"]))
    return out


def _plan(r: dict[str, Any]) -> str:
    return f"{r['models']}" + (f", k = {r['parts']}" if r["parts"] != 2 else "")


def page(result: dict[str, Any]) -> str:
    """docs/naming.md from the stored result."""
    q = result["q"]
    first = [
        (
            _plan(r),
            f"{r['leaking']:.0%}",
            f"{r['fleets']:,}",
            f"{r['mean_named']:.1f}",
            f"{r['mean_false_share']:.4f} ± {r['standard_error']:.4f}",
            f"{r['more_than_q']:.0%}",
            f"{r['mean_false']:.1f}",
            f"{r['mean_bound']:.1f}",
            f"{r['coverage']:.3f}",
            "holds" if r["holds"] else "**does not hold**",
        )
        for r in result["tested"]
    ]
    ends = {f(r["models"] for r in result["named"]) for f in (min, max)}
    second = [
        (
            r["attack"],
            _plan(r),
            f"{r['leaking']:.0%}",
            f"{r['q']:g}",
            "estimated" if r["estimate_share"] else "1",
            f"{r['fleets']:,}",
            f"{r['mean_named']:.1f} of {r['members']:,} ({r['fewest']})",
            f"{r['mean_false_share']:.4f} ± {r['standard_error']:.4f}",
            f"{r['more_than_q']:.0%}",
            "holds" if r["holds"] else "**does not hold**",
        )
        for r in result["named"]
        if r["models"] in ends
    ]
    third = [
        (
            r["score"],
            f"`{r['rule']}`",
            f"{r['mean']:.4f}",
            f"{r['sd']:.4f} ({r['sd_counting']:.4f})",
            f"{r['top']:.3f} ({r['top_counting']:.3f})",
            f"{r['zero']:.0%} ({r['zero_counting']:.0%})",
            f"{r['tpr']:.3f}",
        )
        for r in result["thresholds"]
    ]
    leak = [r for r in result["tested"] if r["leaking"] > 0 and r["parts"] == 2]
    worst = [min(r["more_than_q"] for r in leak), max(r["more_than_q"] for r in leak)]
    tenth = [r for r in leak if r["leaking"] == min(x["leaking"] for x in leak)]
    grows = f"{tenth[0]['mean_named']:.0f} names with {tenth[0]['models']} models and "
    grows += f"{tenth[-1]['mean_named']:.0f} with {tenth[-1]['models']}"
    pairs = tenth[0]["models"] // 2
    grows += f" ({pairs} pairs give no p below 1/{2**pairs})"
    return f"""# Names, and how many are false

Written by `python -m benchmarks.discoveries` from `benchmarks/results/discoveries.json`: simulated
fleets of {
        result["samples"]:,} samples with known truth, of which a stated share leaks; heterogeneous
samples, heavy tails, effects of the model, near-duplicates.

Two questions, which must be kept apart:

1. **Does training on this record raise its signal?** Over all runs of a fleet:
   `seepage.metrics.evidence`, an exact test of each sample. It says that the training procedure leaks
   this record, if perhaps by very little.
2. **Which records of *this* model can an attacker name?** For one model:
   `seepage.metrics.name_members`, and `name_over_targets` for every model of a fleet once.

## Does training on this record raise its signal?

```python
from seepage.metrics import at_most_false, benjamini_hochberg, evidence

p = evidence(phi, member)                     # (R, N) -> (N,)
named = benjamini_hochberg(p) <= 0.05         # the expected share of false names is at most 5 %
at_most_false(p, named)                       # in this fleet, with 95 % confidence, at most so many
at_most_false(p, named & (labels == 3))       # of any part of them, chosen after looking, too
```

`benjamini_hochberg` controls the *expected* share of false names, an average over fleets. In a single
fleet it may be more: here it was in {worst[0]:.0%} to {worst[1]:.0%} of the fleets that leak.
`at_most_false` bounds the number of false names in *this* fleet, for all sets of names at once, in 95 %
of fleets (closed testing with Simes' local tests). Given the signals, the p-values of samples without an
effect depend on the plan's own draws alone, which are independent between samples: effects of the model
do not matter.

A small p is not a large leak. At the same effects, {
        grows
    }. Read every name beside an effect size, such
as the AUC of its signal over models.

{
        table(
            (
                "models",
                "leaking",
                "fleets",
                "named",
                f"mean false share (q = {q:g})",
                "fleets with more",
                "false names",
                "bound",
                "bound holds in",
                "",
            ),
            first,
        )
    }

## Which records of this model can an attacker name?

```python
from seepage.metrics import name_members, name_over_targets

found = name_members(scores_of_candidates, scores_of_known_non_members, q=0.05)
found.named, found.fewest
over = name_over_targets(attack.leave_one_out(phi, member), member, np.random.default_rng(0), q=0.05)
over.mean_count, over.fewest, over.false.mean, over.named_in / over.n_in
```

Each candidate's score is ranked among those of known non-members of the *same* model, which are not
candidates themselves: p = (1 + #{{calibration ≥ score}})/(n + 1), then Benjamini and Hochberg's rule
(a *reconstruction* of the decision rule of MIAFdR, [2508.07066](https://arxiv.org/abs/2508.07066)). In a
fleet every model is the target once, without its tuple of runs as references; its non-members are split
at random into a calibration and a candidate half, so that the mean false share is at most q whatever the
scores share. Complementary tuples give every candidate equally many IN and OUT references; plans in which
the number of IN references is the membership are refused.

With m candidates and n calibration records no fewer than ⌈m/(q(n + 1))⌉ names can be made at all: the
number in brackets. *None named* then says that the calibration set is small, or that few records leak
strongly, and not that none does. `estimate_share` divides q by Storey's estimate of the share of
non-members among the candidates, and names more. Of the {
        len(result["named"])
    } rows measured, those with the fewest
and the most models are shown; {sum(r["holds"] for r in result["named"])} hold.

{
        table(
            (
                "attack",
                "models",
                "leaking",
                "q",
                "share of non-members",
                "fleets",
                "named of members (fewest)",
                "mean false share",
                "models with more",
                "",
            ),
            second,
        )
    }

## One threshold for all samples, or one for each

A false-positive rate that holds on average over samples need not hold for each. `GlobalFPR` of
`seepage.plane` takes one threshold for all samples, `OwnFPR` one for each, from its own scores under models
that were not trained on it; `fpr_spread` says by how much the rate differs between samples, beside what
counting over so few models does by itself (in brackets). `seepage dynamics show RUN --fpr 0.01 --own-fpr`
uses it. Where an attack has calibrated by sample already (LiRA), rates under one threshold differ hardly
more than counting gives, and thresholds of each sample's own cost power: its scores are far from normal,
and differ between samples by more than place and scale. {
        2 * max(r["models"] for r in result["tested"])
    } models:

{
        table(
            (
                "score",
                "rule",
                "mean FPR",
                "sd over samples",
                "99th percentile",
                "samples at 0",
                "mean TPR",
            ),
            third,
        )
    }
"""


def main() -> None:
    """Measure, store, write the page."""
    measured_page(__doc__, study, page, at=(OUT, PAGE), size=("fleets", 2000))


if __name__ == "__main__":
    main()
