"""Is what is called a bound on ε above the truth as rarely as it says? 1,000 audits of each kind.

python -m benchmarks.epsilon             # writes benchmarks/results/epsilon.json, docs/epsilon-measured.md
python -m benchmarks.epsilon --page      # the page alone

Mechanisms whose ε is known: none at all, Gaussian, Laplace, randomised response. Exit status 1 where
the lower end of the 99 % interval of the share above the truth exceeds .05 for a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.stored import RESULTS, ROOT, measured_page, table
from seepage import epsilon
from seepage.array_types import BoolArray, Float64Array
from seepage.epsilon.one_run import epsilon_of_runs, joint_epsilon
from seepage.metrics import Subjects, clopper_pearson

__all__ = ["OUT", "PAGE", "page", "study"]

OUT, PAGE = RESULTS / "epsilon.json", ROOT / "docs" / "epsilon-measured.md"

DELTA = 1e-5
LEVEL = 0.95
TRIALS = 400
CANARIES = 500
MODELS = 8
RECORDS = 3


@dataclass(frozen=True)
class Mechanism:
    """Scores of n trials, and what is true of them: ε at δ = 1e-5 and at 0, and μ.

    gaussian: whether it is exactly as private as a Gaussian mechanism.
    """

    name: str
    draw: Callable[[np.random.Generator, BoolArray], Float64Array]
    at_delta: float
    pure: float
    mu: float
    gaussian: bool = False


def _laplace_delta(epsilon: float, shift: float) -> float:
    return max(0.0, 1 - float(np.exp((epsilon - shift) / 2)))


def _mu_of(tpr: Float64Array, fpr: Float64Array) -> float:
    from scipy import special

    return float((special.ndtri(tpr) - special.ndtri(fpr)).max())


def mechanisms() -> list[Mechanism]:
    """Null, Gaussian μ = 1, Laplace with ε = 1, randomised response with ε = 1."""
    fpr = np.linspace(1e-4, 1 - 1e-4, 20_001)
    laplace = np.minimum(np.e * fpr, np.where(fpr > 0.5 / np.e, 1 - np.exp(-1.0) / (4 * fpr), 1))
    laplace = np.where(fpr > 0.5, 1 - np.exp(-1.0) * (1 - fpr), laplace)
    answer = 1 / (1 + np.exp(-1.0))
    both = np.array([answer]), np.array([1 - answer])

    def response(rng: np.random.Generator, member: BoolArray) -> Float64Array:
        right = rng.random(member.shape) < answer
        # Unlike sizes, so that no cut falls on ties.
        return np.where(member == right, 1.0, -1.0) * rng.uniform(1, 2, member.shape)

    return [
        Mechanism("no leak", lambda rng, m: rng.normal(size=m.shape), 0.0, 0.0, 0.0, True),
        Mechanism(
            "Gaussian, μ = 1", lambda rng, m: rng.normal(size=m.shape) + m,
            epsilon.gdp_epsilon(1.0, DELTA), np.inf, 1.0, True,
        ),
        Mechanism(
            "Laplace, ε = 1", lambda rng, m: rng.laplace(size=m.shape) + m,
            1 + 2 * float(np.log1p(-DELTA)), 1.0, _mu_of(laplace, fpr),
        ),
        Mechanism(
            "randomised response, ε = 1", response,
            float(np.log((answer - DELTA) / (1 - answer))), 1.0, _mu_of(*both),
        ),
    ]  # fmt: skip


Value = Callable[[np.random.Generator, Mechanism], float]
Truth = Callable[[Mechanism], float]


def _pair(m: Mechanism) -> float:
    return m.at_delta


def _halves(
    rng: np.random.Generator, m: Mechanism, n: int = TRIALS
) -> tuple[Float64Array, BoolArray]:
    member = np.arange(n) % 2 == 0
    return m.draw(rng, member), member


def _coins(rng: np.random.Generator, m: Mechanism) -> tuple[Float64Array, BoolArray]:
    member = rng.random(CANARIES) < 0.5
    return m.draw(rng, member), member


def _multi(**options: Any) -> Value:
    def value(rng: np.random.Generator, m: Mechanism) -> float:
        made = {k: v(rng) if callable(v) else v for k, v in options.items()}
        return epsilon.multi_run(*_halves(rng, m), level=LEVEL, **{"delta": DELTA} | made).epsilon

    return value


def _gdp(what: str, **options: Any) -> Value:
    def value(rng: np.random.Generator, m: Mechanism) -> float:
        found = epsilon.gdp(*_halves(rng, m), delta=DELTA, level=LEVEL, **options)
        return float(getattr(found, what))

    return value


def _one(what: str, **options: Any) -> Value:
    def value(rng: np.random.Generator, m: Mechanism) -> float:
        counts = options.get("guesses", (60, 125, 250, 500))
        found = epsilon.one_run_from_scores(
            *_coins(rng, m),
            counts,
            level=LEVEL,
            **{"delta": DELTA} | {k: v for k, v in options.items() if k != "guesses"},
        )
        return float(getattr(found, what))

    return value


def _fleet(rng: np.random.Generator, m: Mechanism) -> float:
    member = rng.random((MODELS, CANARIES)) < 0.5
    return joint_epsilon(epsilon_of_runs(m.draw(rng, member), member, delta=DELTA, level=LEVEL))


def _subject(rng: np.random.Generator, m: Mechanism) -> float:
    """A subject's scores are summed; each of its records carries a share, and noise of its own."""
    member = rng.random(CANARIES) < 0.5
    whose = np.repeat(np.arange(CANARIES), RECORDS)
    own = rng.normal(size=(CANARIES, RECORDS))
    own -= own.mean(axis=1, keepdims=True)
    scores = (m.draw(rng, member)[:, None] / RECORDS + own).ravel()
    return epsilon.one_run_from_scores(
        scores, member[whose], (60, 125, 250, 500), delta=DELTA, level=LEVEL, unit=Subjects(whose)
    ).epsilon


def _table(rng: np.random.Generator, m: Mechanism) -> tuple[int, int, int, int]:
    s, y = _halves(rng, m)
    return int((s[y] >= 0.5).sum()), int(y.sum()), int((s[~y] >= 0.5).sum()), int((~y).sum())


@dataclass(frozen=True)
class Figure:
    """One figure, what it is to be compared with, and whether it is called a bound there."""

    name: str
    value: Value
    truth: Truth = _pair
    bound: Callable[[Mechanism], bool] = lambda m: True
    kind: str = "bound"


def figures() -> list[Figure]:
    """Everything that is called a bound, and what is not."""

    def split(rng: np.random.Generator) -> epsilon.Split:
        return epsilon.Split(0.3, rng)

    def several(rng: np.random.Generator) -> epsilon.MultiSplit:
        return epsilon.MultiSplit(15, 0.3, rng)

    def pure(m: Mechanism) -> float:
        return m.pure

    def mu(m: Mechanism) -> float:
        return m.mu

    def only_gaussian(m: Mechanism) -> bool:
        return m.gaussian

    def never(m: Mechanism) -> bool:
        return False

    curve, pair = epsilon.FDP(), epsilon.FDP(epsilon.Approximate())
    return [
        Figure("many runs, Bonferroni", _multi()),
        Figure("many runs, Bonferroni, δ = 0", _multi(delta=0.0), pure),
        Figure("many runs, threshold fixed beforehand", _multi(threshold=epsilon.Explicit(0.5))),
        Figure("many runs, split", _multi(threshold=split)),
        Figure("many runs, median of 15 splits", _multi(threshold=several)),
        Figure("many runs, either orientation", _multi(inverted=True)),
        Figure("many runs, ε by μ-GDP", _gdp("epsilon"), _pair, only_gaussian),
        Figure("many runs, μ", _gdp("mu"), mu),
        Figure("many runs, μ, either orientation", _gdp("mu", inverted=True), mu),
        Figure("many runs, μ, threshold fixed", _gdp("mu", threshold=epsilon.Explicit(0.5)), mu),
        Figure("one run", _one("epsilon")),
        Figure("one run, δ = 0", _one("epsilon", delta=0.0), pure),
        Figure("one run, highest scores", _one("epsilon", strategy=epsilon.HighestOnly())),
        Figure("one run, lowest scores", _one("epsilon", strategy=epsilon.LowestOnly())),
        Figure("one run, one number of guesses", _one("epsilon", guesses=250)),
        Figure("one run of subjects", _subject),
        Figure("one run, f-DP, ε by μ-GDP", _one("epsilon", analysis=curve), _pair, only_gaussian),
        Figure("one run, f-DP, μ", _one("mu", analysis=curve), mu),
        Figure("one run, f-DP, (ε, δ)", _one("epsilon", analysis=pair)),
        Figure(f"a fleet, joint over {MODELS} models", _fleet),
        Figure(
            "Jeffreys", lambda rng, m: epsilon.jeffreys(*_table(rng, m), delta=DELTA).epsilon,
            _pair, never, "credible",
        ),
        Figure(
            "joint beta", lambda rng, m: epsilon.joint_beta(*_table(rng, m), delta=DELTA).epsilon,
            _pair, never, "credible",
        ),
        Figure(
            "two Gaussians",
            lambda rng, m: epsilon.gaussian_pair(*_halves(rng, m), rng, delta=DELTA, draws=0).epsilon,
            _pair, never, "estimate",
        ),
    ]  # fmt: skip


def study(audits: int = 1000) -> dict[str, Any]:
    """Shares above the truth, with the lower end of their 99 % intervals."""
    rows = []
    for number, figure in enumerate(figures()):
        for m in mechanisms():
            rng = np.random.default_rng([number, len(rows)])
            truth = figure.truth(m)
            values = np.array([figure.value(rng, m) for _ in range(audits)])
            # A hair of rounding is not above.
            above = int((values > truth * (1 + 1e-9) + 1e-12).sum())
            low = float(clopper_pearson(above, audits, 0.99)[0])
            rows.append(
                {
                    "figure": figure.name,
                    "kind": figure.kind
                    if figure.kind != "bound" or figure.bound(m)
                    else "not here",
                    "mechanism": m.name,
                    "truth": None if np.isinf(truth) else truth,
                    "mean": float(values.mean()),
                    "above": above,
                    "audits": audits,
                    "low": low,
                    "holds": low <= 1 - LEVEL or figure.kind != "bound" or not figure.bound(m),
                }
            )
            print(rows[-1], flush=True)
    return {"audits": audits, "rows": rows, "holds": all(r["holds"] for r in rows)}


def page(result: dict[str, Any]) -> str:
    """The page, from a stored result alone."""

    def cells(r: dict[str, Any]) -> str:
        share = f"{r['above'] / r['audits']:.3f} [{r['low']:.3f}]"
        truth = "∞" if r["truth"] is None else f"{r['truth']:.2f}"
        return f"{share if r['holds'] else f'**{share}**'}, {r['mean']:.2f} of {truth}"

    names = list(dict.fromkeys(r["mechanism"] for r in result["rows"]))
    parts: dict[bool, list[tuple[str, ...]]] = {True: [], False: []}
    for figure in dict.fromkeys(r["figure"] for r in result["rows"]):
        by = {r["mechanism"]: r for r in result["rows"] if r["figure"] == figure}
        kind = by[names[0]]["kind"]
        told = tuple(
            cells(by[n]) + (" (no bound here)" if by[n]["kind"] == "not here" else "")
            for n in names
        )
        label = figure if kind in ("bound", "not here") else f"{figure} ({kind})"
        parts[kind in ("bound", "not here")].append((label, *told))
    verdict = (
        "Every bound holds."
        if result["holds"]
        else "In bold: what is called a bound and does not hold."
    )
    return f"""# How often a bound on ε is above the truth

Written by `python -m benchmarks.epsilon` from `benchmarks/results/epsilon.json`.

{result["audits"]:,} audits of each kind on mechanisms whose ε is known, at 95 %: {TRIALS} models for audits over many
runs, {CANARIES} canaries for those in one. δ = 1e-5 unless it says δ = 0. In every cell the share of audits
whose figure lies above the truth, in brackets the lower end of its 99 % Clopper-Pearson interval, which may
not exceed .05 for what is called a bound; then the mean figure and the truth. {verdict}

## Called a bound

{table(("figure", *names), parts[True])}

ε by μ-GDP is a bound where the mechanism is exactly as private as a Gaussian one; elsewhere it
extrapolates, and μ is what is bounded.

## Not called a bound

{table(("figure", *names), parts[False])}

Credible ends hold on average over a prior; the estimate has no level at all. Both stand here to show why
neither may pass for a bound.
"""


if __name__ == "__main__":
    measured_page(
        __doc__,
        study,
        page,
        at=(OUT, PAGE),
        size=("audits", 1000),
    )
