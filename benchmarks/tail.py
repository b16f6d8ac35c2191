"""How well the tail of one model's losses foretells what LiRA finds, on digits and Fashion-MNIST.

    python -m benchmarks.tail [--models 16] [--page]

Fleets of perceptrons on random halves of digits (1,797) and of 4,000 pictures of Fashion-MNIST, two
widths each, looked at along training. At each checkpoint, mean over models: the true-negative rate of
the loss attack where it misses 1 % of members (`seepage.metrics.tail_estimate`), beside the TPR at 1 %
FPR of LiRA with all other models as references and of the loss attack itself. Writes
benchmarks/results/tail.json and, from it alone, docs/tail-measured.md (--page writes only the page).
Fashion-MNIST is looked for where `seepage.load` looks. Nothing is promised of an estimate: the status
is 1 only where it ranks the checkpoints of all fleets no better than chance.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import seepage
from benchmarks.stored import RESULTS, ROOT, measured_page, table
from seepage.findings.judging import Judging
from seepage.findings.tail import tail_of
from seepage.metrics import Samples

OUT, PAGE = RESULTS / "tail.json", ROOT / "docs" / "tail-measured.md"
RATE = 0.01
CHECKPOINTS = (1, 2, 5, 10, 20, 40)


def measure(models: int = 16) -> dict[str, Any]:
    """Every fleet at every checkpoint, and how the estimate compares."""
    rows: list[dict[str, Any]] = []
    pools = {"digits": None, "fashion-mnist": 4000}
    with tempfile.TemporaryDirectory() as folder:
        for name, limit in pools.items():
            data = seepage.load(name, limit=limit) if limit else seepage.load(name)
            for width in (32, 256):
                run = seepage.train(
                    data,
                    seepage.half_split(len(data), models=models, seed=width),
                    model=seepage.Model(name="mlp", options={"hidden": [width]}),
                    recipe=seepage.Recipe(epochs=CHECKPOINTS[-1], batch=64, lr=0.1),
                    checkpoints=list(CHECKPOINTS),
                    signals=("loss", "phi"),
                    out=Path(folder) / f"{name}-{width}",
                )
                rows += [_at(run, name, width, t) for t in range(len(CHECKPOINTS))]
                print(*rows[-len(CHECKPOINTS) :], sep="\n", flush=True)
    return {"rate": RATE, "models": models, "rows": rows} | _compared(rows)


def _at(run: Any, name: str, width: int, t: int) -> dict[str, Any]:
    judging = Judging.of(run, Samples())
    found = tail_of(run, judging, t=t, rate=RATE)
    assert found is not None
    rates = {}
    for attack in (seepage.attacks.LiRA(), seepage.attacks.LOSS()):
        (at,) = judging.rates(seepage.score(run, attack, t), [RATE])
        rates[attack.name] = [at.tpr.mean, at.tpr.low, at.tpr.high]
    tail = [found.mean, found.low, found.high]
    return {"pool": name, "width": width, "epoch": float(run.checkpoints[t]), "tail": tail} | rates


def _compared(rows: list[dict[str, Any]]) -> dict[str, Any]:
    lira = np.array([r["lira"][0] for r in rows])
    out: dict[str, Any] = {}
    for key in ("tail", "loss"):
        own = np.array([r[key][0] for r in rows])
        ranked = stats.spearmanr(own, lira)
        out[key] = {
            "rmse": float(np.sqrt(((own - lira) ** 2).mean())),
            "ratio": [float(v) for v in np.quantile(own / lira, [0, 0.5, 1])],
            "spearman": float(ranked.statistic),
        }
    within = [
        float(
            stats.spearmanr(
                [r["tail"][0] for r in rows if (r["pool"], r["width"]) == of],
                [r["lira"][0] for r in rows if (r["pool"], r["width"]) == of],
            ).statistic
        )
        for of in dict.fromkeys((r["pool"], r["width"]) for r in rows)
    ]
    return out | {"within": within, "holds": out["tail"]["spearman"] > 0}


def _percent(values: list[float]) -> str:
    mean, low, high = (100 * v for v in values)
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def page(result: dict[str, Any]) -> str:
    """The page of a stored result."""
    head = ("pool", "width", "epoch", "TNR of the loss, %", "TPR of LiRA, %", "TPR of the loss, %")
    rows = table(
        head,
        (
            (
                r["pool"],
                r["width"],
                f"{r['epoch']:g}",
                *(_percent(r[k]) for k in ("tail", "lira", "loss")),
            )
            for r in result["rows"]
        ),
    )
    said = []
    for key, name in (("tail", "TNR of the loss"), ("loss", "TPR of the loss")):
        c = result[key]
        low, middle, high = c["ratio"]
        said.append(
            f"- {name}: {middle:.2f} times LiRA's TPR in the median, {low:.2f} to {high:.2f} times; root-mean-square "
            f"difference {100 * c['rmse']:.2f} points; rank correlation {c['spearman']:.2f}"
        )
    within = ", ".join(f"{w:.2f}" for w in result["within"])
    return (
        "# The tail of the losses, and what LiRA finds\n\n"
        "Written by `python -m benchmarks.tail`, whose docstring says what was done. All rates at 1 %: the TNR of\n"
        "the loss attack where it misses 1 % of members, TPRs at 1 % FPR, means over "
        f"{result['models']} models with 95 % intervals.\n\n{rows}\n\n"
        + "\n".join(said)
        + f"\n- along each fleet's training the rank correlation of the TNR with LiRA's TPR is {within}\n"
    )


if __name__ == "__main__":
    measured_page(__doc__, measure, page, at=(OUT, PAGE), size=("models", 16))
