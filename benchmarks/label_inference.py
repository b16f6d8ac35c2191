"""Does the bound of label inference hold, and does label DP keep what it promises? 1,000 audits of each kind.

python -m benchmarks.label_inference      # writes benchmarks/results/label-inference.json and its page
python -m benchmarks.label_inference --page      # the page alone

Simulated: models that saw no labels, and randomised response over labels, whose ε is exact. Real:
networks on scikit-learn's digits, half of them noise by the coins of a game, without and with label DP.
Exit status 1 where the lower end of the 99 % interval of the share above the truth exceeds .05 for a bound,
where label DP is refuted, or where the undefended network does not exceed the largest ε that was promised.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import seepage
from benchmarks.stored import RESULTS, ROOT, measured_page, table
from seepage import epsilon
from seepage.array_types import Float64Array, Int64Array
from seepage.attacks import LOSS
from seepage.defenses import LabelDP
from seepage.findings.label_inference import label_inference_of_run
from seepage.metrics import clopper_pearson, row_auc

__all__ = ["OUT", "PAGE", "Audit", "audits", "networks", "page", "study"]

OUT, PAGE = RESULTS / "label-inference.json", ROOT / "docs" / "label-inference-measured.md"

LEVEL = 0.95
CANARIES = 500
PROMISED = (1.0, 2.0, 4.0)
# Of the networks: canaries in the pool, of which a half trains each of the models.
POOL, MODELS, EPOCHS = 1000, 4, 200


def _response(
    rng: np.random.Generator, labels: Int64Array, classes: int, promised: float
) -> Int64Array:
    """Labels told by randomised response over all classes."""
    keep = rng.random(len(labels)) < epsilon.prior_accuracy(promised, 1 / classes)
    other = (labels + rng.integers(1, classes, len(labels))) % classes
    return np.where(keep, labels, other)


@dataclass(frozen=True)
class Audit:
    """One kind of audit: the law of candidates, the ε of the mechanism, and which game.

    promised: 0 is a model that saw no label of a canary; it prefers plausible ones. natural: None for the fair game, else
    how often a label is the likeliest of its law, which anybody knows; 0 for labels that follow it.
    """

    name: str
    law: tuple[float, ...]
    promised: float
    natural: float | None = None

    def once(self, rng: np.random.Generator) -> tuple[epsilon.LabelInference, float]:
        """What the guesser finds, and how often what was told is what was trained on."""
        k = len(self.law)
        law = np.tile(self.law, (CANARIES, 1))
        if self.natural is None:
            game = epsilon.draw_game(law, rng)
        else:
            # Each sample has a likeliest class, as a digit has a shape.
            shape = rng.integers(0, k, CANARIES)
            labels = np.where(
                rng.random(CANARIES) < self.natural, shape, rng.choice(k, CANARIES, p=self.law)
            )
            game = epsilon.natural_game(labels, law, rng)
        if self.promised:
            told = _response(rng, game.labels, k, self.promised)
        elif self.natural is None:
            told = rng.choice(k, len(game), p=self.law)
        else:
            told = shape[game.positions]
        # Unlike sizes, so that no cut falls on ties.
        outputs: Float64Array = np.eye(k)[told] * rng.uniform(1, 2, (len(game), 1))
        return epsilon.label_inference(outputs, game, level=LEVEL), float(
            (told == game.labels).mean()
        )


UNIFORM2, UNIFORM10 = (0.5, 0.5), (0.1,) * 10
PRIOR = tuple(float(p) for p in 0.6 ** np.arange(10) / (0.6 ** np.arange(10)).sum())


def audits() -> list[Audit]:
    """The fair game under three laws, and the natural one where labels follow the law and not."""
    laws = {
        "two classes": UNIFORM2, "ten classes": UNIFORM10, "ten classes, 40 % the first": PRIOR
    }  # fmt: skip
    fair = [Audit(name, law, e) for name, law in laws.items() for e in (0.0, *PROMISED)]
    return [
        *fair,
        Audit("natural labels that follow the law", UNIFORM10, 0.0, 0.0),
        Audit("natural labels that follow the law", UNIFORM10, 2.0, 0.0),
        Audit("natural labels that inputs tell", UNIFORM10, 0.0, 0.8),
    ]


def simulated(count: int) -> list[dict[str, Any]]:
    """A row for each kind of audit."""
    rows = []
    for number, audit in enumerate(audits()):
        rng = np.random.default_rng([16, number])
        began = time.perf_counter()
        found = [audit.once(rng) for _ in range(count)]
        values = np.array([f.bound.epsilon for f, _ in found])
        # A hair of rounding is not above.
        above = int((values > audit.promised * (1 + 1e-9) + 1e-12).sum())
        low = float(clopper_pearson(above, count, 0.99)[0])
        k = len(audit.law)
        right = float(np.sum([f.accuracy.right for f, _ in found]))
        guessed = float(np.sum([f.accuracy.count for f, _ in found]))
        rows.append(
            {
                "name": audit.name,
                "bound": audit.natural is None,
                "truth": audit.promised,
                "mean": float(values.mean()),
                "above": above,
                "audits": count,
                "low": low,
                "accuracy": right / guessed,
                "most": float(epsilon.fair_accuracy(audit.promised)),
                "told": float(np.mean([t for _, t in found])),
                "told_most": float(epsilon.prior_accuracy(audit.promised, 1 / k))
                if len(set(audit.law)) == 1 and audit.natural is None
                else None,
                "holds": low <= 1 - LEVEL or audit.natural is not None,
                "seconds": time.perf_counter() - began,
            }
        )
        print(rows[-1], flush=True)
    return rows


def networks(
    pool: int = POOL, models: int = MODELS, epochs: int = EPOCHS, limit: int | None = None
) -> list[dict[str, Any]]:
    """A row for each ε of label DP, and one without a defence, None."""
    data, game = epsilon.label_game(seepage.load("digits", limit=limit), canaries=pool, seed=1)
    plan = seepage.half_split(len(data), models=models, seed=0)
    clean = np.ones(len(data), dtype=np.bool_)
    clean[game.positions] = False
    rows = []
    for promised in (None, *PROMISED):
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as out:
            run = seepage.train(
                data, plan, model="mlp", recipe=seepage.Recipe(epochs=epochs, precision="fp32"),
                defense=None if promised is None else LabelDP(epsilon=promised),
                out=Path(out) / "run", checkpoints=[epochs], logits=True, workers=1, device="cpu",
            )  # fmt: skip
            found = label_inference_of_run(run, game, level=LEVEL, data=data)
            correct = run.signal_at("correct", -1).reshape(models, len(data)).astype(np.float64)
            others = ~run.member & clean
            member_auc = row_auc(seepage.score(run, LOSS()), run.member)
        each = [m.bound.epsilon for m in found.models]
        outside = found.outside
        rows.append(
            {
                "promised": promised,
                "models": models,
                "canaries": found.accuracy.count,
                "epsilon": found.epsilon,
                "largest": max(each),
                "at_ceiling": found.at_ceiling,
                "accuracy": [found.accuracy.share, found.accuracy.low, found.accuracy.high],
                "blind": [found.blind.share, found.blind.low, found.blind.high],
                "outside": None if outside is None else [outside.share, outside.low, outside.high],
                "fair": found.fair,
                "clean_accuracy": float((correct * others).sum() / others.sum()),
                "member_auc": float(np.mean(member_auc)),
                "seconds": time.perf_counter() - began,
            }
        )
        print(rows[-1], flush=True)
    return rows


def _real_holds(rows: list[dict[str, Any]]) -> bool:
    kept = all(r["epsilon"] <= r["promised"] for r in rows if r["promised"] is not None)
    shown = all(r["epsilon"] > max(PROMISED) for r in rows if r["promised"] is None)
    return kept and shown and all(r["fair"] for r in rows)


def study(audits: int) -> dict[str, Any]:
    """Every audit, and the networks."""
    rows, real = simulated(audits), networks()
    return {
        "audits": audits,
        "canaries": CANARIES,
        "rows": rows,
        "networks": real,
        "pool": POOL,
        "epochs": EPOCHS,
        "holds": all(r["holds"] for r in rows) and _real_holds(real),
    }


def page(result: dict[str, Any]) -> str:
    """The page, from a stored result alone."""

    def said(r: dict[str, Any]) -> tuple[str, ...]:
        share = f"{r['above'] / r['audits']:.3f} [{r['low']:.3f}]"
        told = "–" if r["told_most"] is None else f"{r['told']:.4f} of {r['told_most']:.4f}"
        return (
            r["name"], f"{r['truth']:g}", share if r["holds"] else f"**{share}**", f"{r['mean']:.2f}",
            f"{r['accuracy']:.4f} of {r['most']:.4f}", told,
        )  # fmt: skip

    def real(r: dict[str, Any]) -> tuple[str, ...]:
        ends = ["–" if r[n] is None else "{:.3f} [{:.3f}, {:.3f}]".format(*r[n]) for n in
                ("accuracy", "blind", "outside")]  # fmt: skip
        return (
            "none" if r["promised"] is None else f"label DP, ε = {r['promised']:g}",
            f"{r['epsilon']:.2f}" + (" (the most that can be shown)" if r["at_ceiling"] else ""),
            f"{r['largest']:.2f}", *ends, f"{r['clean_accuracy']:.3f}", f"{r['member_auc']:.3f}",
        )  # fmt: skip

    head = (
        "law of the candidates",
        "ε",
        "share above it",
        "mean figure",
        "accuracy of guesses",
        "label itself told",
    )
    fair = [said(r) for r in result["rows"] if r["bound"]]
    other = [said(r)[:5] for r in result["rows"] if not r["bound"]]
    first = result["networks"][0]
    seconds = sum(r["seconds"] for r in result["rows"])
    trained = sum(r["seconds"] for r in result["networks"])
    verdict = "Every bound holds." if result["holds"] else "Something here does not hold."
    return f"""# Label inference, measured

Written by `python -m benchmarks.label_inference` from `benchmarks/results/label-inference.json`. What the game
is: [epsilon.md](epsilon.md#label-inference). {verdict}

## Mechanisms whose ε is known

{result["audits"]:,} audits of each kind at 95 %, {result["canaries"]} canaries each: a model that saw no label of a canary
(ε = 0; what it answers follows the law), and randomised response over labels. In the third column the share of audits whose figure
lies above the truth, in brackets the lower end of its 99 % Clopper-Pearson interval, which may not exceed .05;
then the mean figure, the accuracy of guesses about all canaries that the answer prefers one of, beside e^ε/(1 + e^ε),
and how often the answer is the label itself, beside e^ε/(e^ε + K − 1). {seconds:.0f} s.

{table(head, fair)}

## Natural labels: an estimate

The weaker game asks about labels as they are. Where each was itself a draw from the law its figure holds as a bound
would; where inputs tell the label, it is far above the truth of a model that saw none, and the blind guesser shows it.

{table(head[:5], other)}

## Networks on digits

{result["pool"]:,} of scikit-learn's 1,797 digits are canaries under a uniform law, {first["models"]} `mlp` models in pairs of halves,
{first["canaries"]:g} canaries in each on average, {result["epochs"]} epochs. ε at least: joint over the models at 95 %, and the largest of
one model. The interval of an accuracy is that of one model. Left-out canaries: of each model, those that it was not
trained on. Accuracy: of left-out samples that are no canaries. Membership: AUC of the loss over all samples.
{trained:.0f} s.

{table(("defence", "ε at least", "largest", "guesses right", "blind guesser", "left-out canaries", "accuracy", "membership AUC"), [real(r) for r in result["networks"]])}
"""


if __name__ == "__main__":
    measured_page(__doc__, study, page, at=(OUT, PAGE), size=("audits", 1000))
