"""How many models each way of computing rates needs, measured by splitting one large fleet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from seepage.array_types import BoolArray, FloatArray
from seepage.attacks import LiRA
from seepage.attacks.binding import inputs
from seepage.errors import InputError
from seepage.plan import tuples
from seepage.plane import ClosedForm, Counting, NaturalThreshold, StudentTLaw, points
from seepage.store import Run
from seepage.study.dynamics.analyse import provenance

__all__ = ["models_needed"]


WAYS = {
    "Counting": Counting(),
    "ClosedForm, Gaussian": ClosedForm(jackknife=False),
    "ClosedForm, Student t": ClosedForm(law=StudentTLaw(), jackknife=False),
}


def models_needed(
    run: Run,
    *,
    reference: int,
    sizes: Sequence[int],
    tolerance: float = 0.1,
    coverage: float = 0.9,
) -> dict[str, Any]:
    """Share of samples whose rates from few models lie within ± tolerance of the reference.

    The last checkpoint's pairs are split: `reference` models on one side, disjoint blocks of each
    size on the other. Every way computes (FPR, TPR) of each sample from a block; it covers a
    sample's rate when |rate − truth| <= tolerance. Two truths, since the attack itself gets better
    with more references:

    - "same size": decisions of the attack with as many models as the block, counted over disjoint
      blocks of that size within the reference part; what counting estimates without bias.
    - "all": decisions of the attack with all of the reference part.

    Truths are counts over `reference`/2 targets a side themselves: with standard error s_ref, a
    perfect way of computing rates covers `ceiling` only (normal approximation, mean over samples).
    With the two rates their difference, the advantage, is evaluated, and all again over the tenth
    of samples whose true advantage is highest. `needed` is the smallest size from which coverage
    stays at `coverage`, None if none of the sizes has it.

    Targets of one fleet share references, so errors of the fitted laws do not average out over
    targets: for a sample that leaks nothing the two laws are one, and which side of it the rule
    calls "member" is chance. Its FPR and TPR then move together, far beyond binomial noise. Raises
    InputError when there are too few models.
    """
    began = time.perf_counter()
    number = tuples(run.member)
    pairs = np.flatnonzero(np.bincount(number[number >= 0]) == 2)
    if reference % 2 or any(s % 2 or s < 8 for s in sizes):
        raise InputError(f"sizes: expected even numbers of at least 8 models, got {list(sizes)}")
    if 2 * len(pairs) < reference + max(sizes):
        raise InputError(
            f"models: expected at least {reference + max(sizes)} in complete pairs, got "
            f"{2 * len(pairs)}; train more models"
        )
    rows = np.concatenate([np.flatnonzero(number == i) for i in pairs])
    phi, member = inputs(LiRA(), run)["phi"][rows], run.member[rows]
    large, small = slice(0, reference), slice(reference, None)
    whole = _counted(phi[large], member[large])
    out: dict[str, Any] = {}
    for size in sizes:
        blocks = list(_blocks(phi[large], member[large], size))
        same = np.mean([_counted(*b) for b in blocks], axis=0)
        truths = {"same size": same, "all": whole}
        found: dict[str, Any] = {"blocks": (len(phi) - reference) // size}
        for name, truth in truths.items():
            n = (len(blocks) * size if name == "same size" else reference) / 2
            found[f"ceiling, {name}"] = _ceiling(truth, n, tolerance)
        for way, rule in WAYS.items():
            errors = []
            for block_phi, block_member in _blocks(phi[small], member[small], size):
                rates = (
                    rule.rates(block_phi, block_member, NaturalThreshold())
                    if isinstance(rule, ClosedForm)
                    else _counted(block_phi, block_member)
                )
                errors.append([np.asarray(rates) - t for t in truths.values()])
            gap = np.array(errors)
            for k, name in enumerate(truths):
                e = gap[:, k]
                found[f"{way}, {name}"] = _judged(e, truths[name], tolerance)
        out[str(size)] = found
    return {
        "models": len(rows),
        "samples": int(member.shape[1]),
        "reference": reference,
        "tolerance": tolerance,
        "coverage": coverage,
        "sizes": out,
        "needed": {
            f"{way}, {truth}": {
                what: _needed(out, f"{way}, {truth}", keys, coverage)
                for what, keys in {
                    "both rates": ("fpr", "tpr"),
                    "both rates, top tenth": ("fpr_top", "tpr_top"),
                    "advantage": ("advantage",),
                    "advantage, top tenth": ("advantage_top",),
                }.items()
            }
            for way in WAYS
            for truth in ("same size", "all")
        },
        "provenance": provenance(run),
        "analysis_seconds": round(time.perf_counter() - began, 2),
    }


def _blocks(phi: FloatArray, member: BoolArray, size: int) -> list[tuple[FloatArray, BoolArray]]:
    return [(phi[k : k + size], member[k : k + size]) for k in range(0, len(phi) - size + 1, size)]


def _counted(phi: FloatArray, member: BoolArray) -> FloatArray:
    """(2, N): FPR and TPR by counting LiRA's decisions."""
    attack = LiRA()
    scores = attack.leave_one_out(phi, member)
    state = points(NaturalThreshold().decide(scores, member, attack), member)
    return np.stack([state.fpr, state.tpr])


def _ceiling(truth: FloatArray, targets: float, tolerance: float) -> float:
    """Coverage of a way without error, when the truth is itself a count over `targets`."""
    from scipy.stats import norm

    spread = np.sqrt(np.maximum(truth * (1 - truth), 1 / targets**2) / targets)
    return round(float((2 * norm.cdf(tolerance / spread) - 1).mean()), 4)


def _judged(e: FloatArray, truth: FloatArray, tolerance: float) -> dict[str, float]:
    """Coverage, error and bias; e (blocks, 2, N) errors of (FPR, TPR), truth (2, N)."""
    gain = truth[1] - truth[0]
    top = gain >= np.quantile(gain, 0.9)
    kinds = {"fpr": e[:, 0], "tpr": e[:, 1], "advantage": e[:, 1] - e[:, 0]}
    out = {}
    for name, error in kinds.items():
        near = np.abs(error) <= tolerance + 1e-9
        out[name] = round(float(near.mean()), 4)
        out[f"{name}_top"] = round(float(near[:, top].mean()), 4)
        out[f"rmse_{name}"] = round(float(np.sqrt((error**2).mean())), 4)
        out[f"bias_{name}"] = round(float(error.mean()), 4)
    return out


def _needed(sizes: dict[str, Any], key: str, figures: Sequence[str], coverage: float) -> int | None:
    needed = None
    for size in sorted(map(int, sizes), reverse=True):
        found = sizes[str(size)][key]
        if min(found[f] for f in figures) < coverage:
            break
        needed = size
    return needed
