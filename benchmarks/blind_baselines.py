"""Blind baselines: false alarms on honest splits, and which classifier sees which shift.

    python -m benchmarks.blind_baselines [--draws 200] [--page]

Writes benchmarks/results/blind_baselines.json and, from it alone, docs/blind-baselines-measured.md
(--page writes only the page). Ends with status 1 where a promise does not hold: more false alarms than
2.5 % by the lower end of their 99 % Clopper-Pearson interval, or a shift that nothing finds.

Honest splits draw members at random anew each time; a verdict is refused where the interval of the
strongest classifier, paid for the choice, lies above ½. Shifted ones differ without a difference of
means, or are texts of two halves of a manual, the help topics that Python ships.
"""

from __future__ import annotations

import pydoc_data.topics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.stored import RESULTS, ROOT, measured_page, table
from seepage.metrics import BlindBaseline, blind_baseline, clopper_pearson
from seepage.plan import half_split

OUT = RESULTS / "blind_baselines.json"
PAGE = ROOT / "docs" / "blind-baselines-measured.md"
LEVEL = 0.025

Draw = Callable[[np.random.Generator], BlindBaseline]


def paragraphs() -> list[str]:
    """Paragraphs of Python's help topics, in the order of the manual."""
    topics: dict[str, str] = pydoc_data.topics.topics
    return [p for text in topics.values() for p in text.split("\n\n") if len(p) > 80]


def _columns(samples: int, columns: int, members: int) -> Draw:
    def draw(rng: np.random.Generator) -> BlindBaseline:
        x = rng.normal(size=(samples, columns))
        return blind_baseline(x, rng.permutation(samples) < members)

    return draw


def _digits(rng: np.random.Generator) -> BlindBaseline:
    from sklearn.datasets import load_digits

    digits = load_digits()
    some = rng.permutation(len(digits.data))[:400]
    x = digits.data[some].reshape(-1, 1, 8, 8)
    return blind_baseline(x, rng.permutation(400) < 200, digits.target[some])


def _labels(rng: np.random.Generator) -> BlindBaseline:
    labels = rng.integers(0, 5, 300)
    return blind_baseline(np.zeros((300, 1)), rng.permutation(300) < 150, labels)


def _texts(rng: np.random.Generator) -> BlindBaseline:
    every = paragraphs()
    some = rng.permutation(len(every))[:200]
    return blind_baseline(None, rng.permutation(200) < 100, texts=[every[i] for i in some])


def _plan(models: int) -> Draw:
    def draw(rng: np.random.Generator) -> BlindBaseline:
        plan = half_split(150, models=models, seed=int(rng.integers(2**31)))
        return blind_baseline(rng.normal(size=(150, 6)), plan.member, runs=4)

    return draw


HONEST: dict[str, Draw] = {
    "200 samples of 10 columns": _columns(200, 10, 100),
    "60 samples of 5 columns": _columns(60, 5, 30),
    "300 samples, a sixth members": _columns(300, 10, 50),
    "labels alone, 300 samples": _labels,
    "400 digits": _digits,
    "200 paragraphs": _texts,
    "a fleet of 8 halves": _plan(8),
    "a fleet of 20 halves": _plan(20),
}


def shifts(rng: np.random.Generator) -> Iterator[tuple[str, BlindBaseline]]:
    """Splits that differ, by name."""
    member = rng.permutation(600) < 300
    x = rng.normal(size=(600, 10))
    x[:, 3] += 0.5 * member
    yield "a mean, one of 10 columns", blind_baseline(x, member)
    x = rng.normal(size=(600, 10))
    x[member, 3] *= 2.0
    yield "a variance, one of 10 columns", blind_baseline(x, member)
    x = rng.normal(size=(1000, 10))
    both = (x[:, 0] > 0) ^ (x[:, 1] > 0)
    yield "XOR of two of 10 columns", blind_baseline(x, rng.random(1000) < np.where(both, 0.8, 0.2))
    every = paragraphs()
    first = np.arange(len(every)) < len(every) // 2
    yield "texts, two halves of a manual", blind_baseline(None, first, texts=every)


def measure(draws: int = 200) -> dict[str, Any]:
    """Every case, with a generator of its own."""
    honest, holds = [], True
    for k, (name, draw) in enumerate(HONEST.items()):
        found = [draw(np.random.default_rng([k, d])) for d in range(draws)]
        refused = sum(b.shifted for b in found)
        low, high = (float(v) for v in clopper_pearson(refused, draws, 0.99))
        holds &= low <= LEVEL
        mean = {n: float(np.mean([b.each[n].mean for b in found])) for n in found[0].each}
        honest.append(
            {
                "name": name,
                "draws": draws,
                "refused": refused,
                "low": low,
                "high": high,
                "auc": mean,
            }
        )
        print(honest[-1], flush=True)
    seen = []
    for name, b in shifts(np.random.default_rng(0)):
        holds &= b.shifted
        seen.append(
            {
                "name": name,
                "by": b.by,
                "auc": b.estimate.mean,
                "low": b.estimate.low,
                "high": b.estimate.high,
                "each": {n: e.mean for n, e in b.each.items()},
            }
        )
    return {"level": LEVEL, "honest": honest, "shifted": seen, "holds": holds}


def _of(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())


def page(result: dict[str, Any]) -> str:
    """The page of a stored result."""
    honest = table(
        ("split", "draws", "refused", "of which at most 2.5 % are promised", "mean AUC"),
        (
            (
                h["name"],
                h["draws"],
                h["refused"],
                f"{100 * h['refused'] / h['draws']:.1f} % [{100 * h['low']:.1f}, {100 * h['high']:.1f}]",
                _of(h["auc"]),
            )
            for h in result["honest"]
        ),
    )
    shifted = table(
        ("shift", "strongest", "AUC", "each"),
        (
            (
                s["name"],
                s["by"],
                f"{s['auc']:.3f} [{s['low']:.3f}, {s['high']:.3f}]",
                _of(s["each"]),
            )
            for s in result["shifted"]
        ),
    )
    return (
        "# Blind baselines, measured\n\n"
        "Written by `python -m benchmarks.blind_baselines`, whose docstring says what was done. A verdict is\n"
        "refused where the interval of the strongest classifier, paid for the number of them, lies above ½.\n\n"
        f"## Honest splits\n\nIntervals at 99 %.\n\n{honest}\n\n## Shifted splits\n\n{shifted}\n"
    )


if __name__ == "__main__":
    measured_page(__doc__, measure, page, at=(OUT, PAGE), size=("draws", 200))
