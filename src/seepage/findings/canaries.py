"""Canaries of language models: how exposed they are, by repeats and over training, and ε by their coins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array
from seepage.epsilon.one_run import ceiling_of_runs, epsilon_of_runs, joint_epsilon
from seepage.errors import InputError
from seepage.metrics import over_targets
from seepage.short_repr import short_repr
from seepage.tokens import exposure, exposure_by_chance, holds_tokens, secret_logp

__all__ = [
    "Bits",
    "CanaryFinding",
    "CanaryGroup",
    "canaries_of_run",
    "canary_finding",
    "canary_rows",
]


@short_repr
@dataclass(frozen=True)
class Bits:
    """Exposure in bits at every checkpoint, the mean over models, with its 95 % interval: (T,) each.

    NaN where no model is concerned; low and high are NaN of one model or pair.
    """

    mean: Float64Array
    low: Float64Array
    high: Float64Array


@short_repr
@dataclass(frozen=True)
class CanaryGroup:
    """Canaries of one kind that a training set holds equally often in each epoch.

    held, out: their exposure under models that were trained on them, and under the others, which `chance`
    of the finding foretells. ids (C,), each (T, C): of every canary by itself, the mean over models that
    hold it, NaN where none does. epsilon: a lower bound on ε by their coins alone, of models that differ in
    `repeats` copies of a text; guesses: how many guesses, all of them right, gave it, None where some were
    wrong.
    """

    kind: str
    repeats: int
    ids: NDArray[np.str_]
    held: Bits
    out: Bits
    each: Float64Array
    epsilon: float
    guesses: int | None


@short_repr
@dataclass(frozen=True)
class CanaryFinding:
    """What canaries that the plan added tell of a run, or of one of its models.

    groups: by kind and repeats. checkpoints (T,). models: how many were judged. candidates: texts of each kind
    that no run held; most: the exposure of whoever is likelier than all of them; chance: the mean
    of a canary that a model did not see. epsilon: of all canaries together, joint over the models,
    at `delta`, with probability `level`; of models that differ in as many copies as the most repeated
    canary has. guesses: as of a group. from_start: whether scores are what training added to log p since
    checkpoint 0.
    """

    groups: tuple[CanaryGroup, ...]
    checkpoints: Float64Array
    models: int
    candidates: int
    most: float
    chance: float
    epsilon: float
    guesses: int | None
    level: float
    delta: float
    from_start: bool

    def summary(self) -> dict[str, Any]:
        """JSON types: what commands and reports show."""

        def bits(b: Bits) -> dict[str, Any]:
            return {"mean": _plain(b.mean), "low": _plain(b.low), "high": _plain(b.high)}

        return {
            "checkpoints": self.checkpoints.tolist(),
            "models": self.models,
            "candidates": self.candidates,
            "largest_exposure": self.most,
            "exposure_by_chance": self.chance,
            "epsilon": self.epsilon,
            "guesses_all_right": self.guesses,
            "level": self.level,
            "delta": self.delta,
            "scores_less_the_start": self.from_start,
            "groups": [
                {
                    "kind": g.kind,
                    "repeats": g.repeats,
                    "canaries": len(g.ids),
                    "held": bits(g.held),
                    "out": bits(g.out),
                    "epsilon": g.epsilon,
                    "guesses_all_right": g.guesses,
                    "each": {str(i): _plain(v) for i, v in zip(g.ids, g.each.T, strict=True)},
                }
                for g in self.groups
            ],
        }


def _plain(values: Float64Array) -> list[float | None]:
    return [v if np.isfinite(v) else None for v in values.tolist()]


def canary_finding(run: Any) -> CanaryFinding | None:
    """`canaries_of_run` of all models; None without added canaries or recorded tokens."""
    told = _told(run)
    return None if told is None or not holds_tokens(run) else canaries_of_run(run)


def _told(run: Any) -> dict[str, Any] | None:
    told = (getattr(run, "manifest", {}).get("plan") or {}).get("canaries") or {}
    return told if "repeats" in told else None


def canaries_of_run(
    run: Any, *, target: int | None = None, delta: float = 1e-5, level: float = 0.95
) -> CanaryFinding:
    """Exposure of the canaries that a plan added, and lower bounds on ε from each run by itself.

    run: of texts, trained with `[plan.canaries]` random or rare. target: an index of usable runs, one model
    alone. Exposure is the rank of log p of what is secret of a canary among the candidates of its kind
    under the same model (`seepage.tokens.exposure`); intervals are Student's t over pairs of runs, for the
    canaries that were drawn: another draw of C of them moves a mean by about 1.44/√C bits.

    ε: each canary is guessed held or not by what training added to that log p since checkpoint 0, or by
    log p itself where 0 was not recorded; nothing of another run is read. In every run each canary has a
    fair coin of its own, so that the bound of one run holds (`seepage.epsilon.epsilon_of_runs`); over runs it is
    joint. Each group's bound is at `level` by itself, without a correction for their number. A
    canary that is shown k times differs neighbouring training sets in k texts: its ε is that of a
    group of k.

    Raises InputError for runs without such canaries or without log p of every token.
    """
    told = _told(run)
    if told is None:
        raise InputError(
            f"{run.path}: expected a run of texts with canaries that its plan added, got none; train one with "
            "plan.canaries.random or plan.canaries.rare"
        )
    if not holds_tokens(run):
        raise InputError(
            f"{run.path}: expected log p of every token, got none; train it with record.tokens = true"
        )
    if not 0.5 < level < 1:
        raise InputError(f"level: expected a number between 0.5 and 1, got {level}; use 0.95")
    whole = np.asarray(run.member, dtype=np.bool_)
    if target is not None and not 0 <= target < len(whole):
        raise InputError(f"target: expected a usable run from 0 to {len(whole) - 1}, got {target}")
    models = list(range(len(whole))) if target is None else [target]
    index = np.asarray(told["index"], dtype=np.int64)
    begin, repeats = (np.asarray(told[k], dtype=np.int64) for k in ("begin", "repeats"))
    kinds = np.asarray(told["kind"])
    offsets = np.asarray(run.offsets)
    times = len(run.checkpoints)
    logp = np.array(
        [
            [
                secret_logp(run.token_signal("token_logp", r, t), offsets, index, begin)
                for t in range(times)
            ]
            for r in models
        ]
    )
    member = whole[models]
    bits = np.full(logp.shape, np.nan)
    for kind in np.unique(kinds):
        own, others = (kinds == kind) & (repeats > 0), (kinds == kind) & (repeats == 0)
        for r, t in np.ndindex(logp.shape[:2]):
            bits[r, t, own] = exposure(logp[r, t, own], logp[r, t, others])
    from_start = times > 1 and float(run.checkpoints[0]) == 0
    scores = logp[:, -1] - logp[:, 0] if from_start else logp[:, -1]
    held = member[:, index]

    def bound(at: BoolArray) -> tuple[float, int | None]:
        # One target alone needs no half of the error for the others.
        each = level if target is None else 1 - 2 * (1 - level)
        found = joint_epsilon(epsilon_of_runs(scores[:, at], held[:, at], delta=delta, level=each))
        return found, ceiling_of_runs(found, int(at.sum()), delta=delta, level=each)

    candidates = int(((kinds == kinds[0]) & (repeats == 0)).sum())
    most = float(np.log2(candidates + 1))
    ids = np.asarray(run.ids)
    pairs = member[:, index[repeats > 0]]
    groups = []
    for kind in dict.fromkeys(kinds.tolist()):
        for k in sorted(set(repeats[(kinds == kind) & (repeats > 0)].tolist())):
            at = (kinds == kind) & (repeats == k)
            groups.append(
                CanaryGroup(
                    kind,
                    k,
                    ids[index[at]],
                    _bits(bits[:, :, at], held[:, at], pairs, most),
                    _bits(bits[:, :, at], ~held[:, at], pairs, most),
                    _each(bits[:, :, at], held[:, at]),
                    *bound(at),
                )
            )
    return CanaryFinding(
        tuple(groups),
        np.asarray(run.checkpoints, dtype=np.float64),
        len(models),
        candidates,
        most,
        exposure_by_chance(candidates),
        *bound(repeats > 0),
        level,
        delta,
        from_start,
    )


def _bits(bits: Float64Array, side: BoolArray, pairs: BoolArray, most: float) -> Bits:
    """Mean over models of the mean exposure of the canaries (R, T, C) on a side (R, C)."""
    count = side.sum(axis=1)
    some = count > 0
    times = bits.shape[1]
    if not some.any():
        return Bits(*(np.full(times, np.nan) for _ in range(3)))
    each = (bits * side[:, None, :]).sum(axis=2)[some] / count[some, None]
    # An interval of shares, in units of the largest exposure.
    found = [over_targets(each[:, t] / most, pairs[some], shared=False) for t in range(times)]
    return Bits(*(most * np.array([getattr(e, f) for e in found]) for f in ("mean", "low", "high")))


def _each(bits: Float64Array, held: BoolArray) -> Float64Array:
    """Of every canary, the mean over models that hold it: (R, T, C) -> (T, C)."""
    count = held.sum(axis=0)
    total = (bits * held[:, None, :]).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def canary_rows(f: CanaryFinding) -> list[tuple[str, ...]]:
    """A row for each group: kind, repeats, canaries, exposure at the end held and not held, ε at least."""
    rows: list[tuple[str, ...]] = []
    for g in f.groups:
        most = f" (the most that {g.guesses} guesses can show)" if g.guesses else ""
        rows.append(
            (
                g.kind,
                str(g.repeats),
                str(len(g.ids)),
                _shown(g.held),
                _shown(g.out),
                f"{g.epsilon:.3f}{most}",
            )
        )
    return rows


def _shown(b: Bits) -> str:
    if not np.isfinite(b.mean[-1]):
        return "–"
    ends = f" [{b.low[-1]:.2f}, {b.high[-1]:.2f}]" if np.isfinite(b.low[-1]) else ""
    return f"{b.mean[-1]:.2f}{ends}"
