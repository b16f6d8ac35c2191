"""Risk estimated while one model trains, without shadow models, and how good such estimates are.

A `Monitor` turns the losses of a single run into proxies of every sample's risk. `Monitor.judge`
and `evaluate_monitors` compare the proxies with the risk that a full attack finds later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_bools, given_floats
from seepage.metrics import auc, over_targets
from seepage.plane.difficulty import Correlation, by_epoch, loss_iqr, mean_loss, spearman
from seepage.plane.paths import SignalSource
from seepage.short_repr import short_repr

__all__ = ["Judgement", "Monitor", "MonitorEvaluation", "Snapshot", "evaluate_monitors"]

_FIGURES = ("rho", "precision", "auc")


@dataclass(frozen=True)
class Snapshot:
    """One run at one epoch: means over its members and non-members, and how they differ.

    loss in nats; gap = non-members' mean loss − members'; auc of the LOSS attack on this run alone
    (score −loss), 0.5 without any visible leakage.
    """

    epoch: float
    member_loss: float
    nonmember_loss: float
    gap: float
    member_accuracy: float
    nonmember_accuracy: float
    auc: float


@dataclass(frozen=True)
class Judgement:
    """How well a proxy agrees with the full attack, over the samples it was evaluated on.

    correlation: Spearman's ρ with the final risk. precision: share of the k samples it ranked
    highest that are among the k of highest final risk (ties at either border in part). auc: as a
    detector of those. chance: k / n, what precision a random ranking has.
    """

    correlation: Correlation
    precision: float
    auc: float
    k: int
    chance: float


@final
class Monitor:
    """Estimates every sample's risk from the losses of a single run.

    `seepage.record.Watching` passes on what a Recorder evaluates; in a loop of your own::

        for epoch in ...:                      # the training loop
            ...
            monitor.update(epoch, loss, correct, member)

    loss, correct (N,) of all samples, members or not; member (N,) is fixed by the first call.
    Memory: T·N float32. It only reads and cannot change the run.

    Its scores are proxies, high = presumed vulnerable: a single run does not show how the model
    would treat a sample that it was not trained on. Published for members (LT-IQR, arXiv
    2411.05743); `judge` compares each proxy with a full attack on the same data.
    """

    def __init__(self) -> None:
        self._epochs: list[float] = []
        self._loss: list[NDArray[np.float32]] = []
        self._curvature: Float64Array | None = None
        self._member: BoolArray | None = None
        self.history: list[Snapshot] = []

    def update(
        self,
        epoch: float,
        loss: FloatArray,
        correct: ArrayLike,
        member: BoolArray,
        curvature: FloatArray | None = None,
    ) -> Snapshot:
        """Take in one evaluation of all samples and return its summary.

        Raises InputError when shapes or membership change, an epoch does not rise, or a loss is not
        finite.
        """
        loss = given_floats(loss, "loss")
        right = given_floats(correct, "correct") > 0.5
        member = given_bools(member, "member")
        if loss.ndim != 1 or right.shape != loss.shape or member.shape != loss.shape:
            raise InputError(
                f"loss, correct, member: expected one value per sample, got shapes {loss.shape}, "
                f"{right.shape}, {member.shape}"
            )
        if member.all() or not member.any():
            raise InputError("member: expected members and non-members, got one kind only")
        if self._member is not None and not np.array_equal(member, self._member):
            raise InputError("member: expected the same members as before; use one Monitor per run")
        if self._epochs and epoch <= self._epochs[-1]:
            raise InputError(f"epoch: expected more than {self._epochs[-1]}, got {epoch}")
        if not np.isfinite(loss).all():
            raise InputError(
                f"loss: expected finite values, got {int((~np.isfinite(loss)).sum())} others at "
                f"epoch {epoch}"
            )
        if curvature is not None and np.shape(curvature) != loss.shape:
            raise InputError(f"curvature: expected shape {loss.shape}, got {np.shape(curvature)}")
        self._member = member.copy()
        self._epochs.append(float(epoch))
        self._loss.append(loss.astype(np.float32))
        if curvature is not None:
            self._curvature = np.array(curvature, dtype=np.float64)
        inside, outside = float(loss[member].mean()), float(loss[~member].mean())
        self.history.append(
            Snapshot(
                epoch=float(epoch),
                member_loss=inside,
                nonmember_loss=outside,
                gap=outside - inside,
                member_accuracy=float(right[member].mean()),
                nonmember_accuracy=float(right[~member].mean()),
                auc=auc(-loss, member),
            )
        )
        return self.history[-1]

    def scores(self) -> dict[str, FloatArray]:
        """Proxies so far by name, (N,) each, high = presumed vulnerable.

        lt_iqr: interquartile range of the loss (`loss_iqr`; 0 with one update). slope: fall of the
        loss per e-fold of (1 + epoch), least squares; *our own choice*. loss: the mean loss so far
        (`mean_loss`). All three are over training time so far, with losses interpolated between
        updates, so that they do not depend on how the updates are spaced. curvature: the latest,
        if any was given.
        """
        if not self._loss:
            raise InputError("monitor: expected at least one update, got none; call update first")
        trace, epochs = np.stack(self._loss), np.asarray(self._epochs)
        even, times = by_epoch(trace, epochs)
        time = np.log1p(times)
        time -= time.mean()
        spread = float((time**2).sum())
        slope = -(time @ even) / spread if spread > 0 else 0.0 * even[0]
        named = {
            "lt_iqr": loss_iqr(trace, epochs),
            "slope": np.asarray(slope, dtype=np.float64),
            "loss": mean_loss(trace, epochs),
        }
        if self._curvature is not None:
            named["curvature"] = self._curvature.copy()
        return named

    def judge(
        self,
        final_risk: ArrayLike,
        rng: np.random.Generator,
        *,
        share: float = 0.01,
        members_only: bool = True,
        replicates: int = 500,
    ) -> dict[str, Judgement]:
        """Each proxy against the full attack's per-sample risk, such as the final advantage.

        final_risk (N,), high = vulnerable, NaN left out; share: of the judged samples that count as
        vulnerable (at least one). members_only: judge on this run's members, whose losses reflect
        that they were trained on. replicates: behind ρ's interval; 0 leaves it out.
        """
        risk = given_floats(final_risk, "final_risk")
        scores = self.scores()
        assert self._member is not None
        if risk.shape != self._member.shape:
            raise InputError(f"final_risk: expected shape {self._member.shape}, got {risk.shape}")
        if not 0 < share < 1:
            raise InputError(f"share: expected between 0 and 1, got {share}; 0.01 is usual")
        rows = np.isfinite(risk) & (self._member | (not members_only))
        risk = risk[rows]
        if len(risk) < 3:
            raise InputError(f"final_risk: expected at least 3 samples to judge, got {len(risk)}")
        k = min(max(1, round(share * len(risk))), len(risk) - 1)
        truth = _top_weight(risk, k)
        # Samples tied at the border all count as vulnerable for the AUC.
        positive = truth > 0
        judged = {}
        for name, score in scores.items():
            s = score[rows]
            if s.min() == s.max():
                continue
            judged[name] = Judgement(
                correlation=spearman(s, risk, rng, replicates=replicates),
                precision=float((_top_weight(s, k) * truth).sum() / k),
                auc=auc(s, positive) if not positive.all() else float("nan"),
                k=k,
                chance=k / len(risk),
            )
        return judged


def _top_weight(values: FloatArray, k: int) -> FloatArray:
    """Probability that each sample is among the k highest when ties are broken at random."""
    border = np.partition(values, -k)[-k]
    above, tied = values > border, values == border
    weight: FloatArray = above + tied * ((k - above.sum()) / tied.sum())
    return weight


@short_repr
@dataclass(frozen=True, eq=False)
class MonitorEvaluation:
    """A proxy against the full attack, mean over the monitored runs; T checkpoints.

    rho, precision, auc (T, 3): value, low, high of the results of `Monitor.judge`, with 95 %
    intervals over pairs of runs (they judge the same samples, so the intervals cover other runs,
    not other data); NaN where all samples have the same proxy. chance: precision of a random
    ranking. runs: how many were monitored.
    """

    checkpoints: FloatArray
    rho: FloatArray
    precision: FloatArray
    auc: FloatArray
    chance: float
    runs: int


def evaluate_monitors(
    run: SignalSource,
    models: ArrayLike,
    final_risk: FloatArray,
    *,
    share: float = 0.05,
) -> dict[str, MonitorEvaluation]:
    """Give each of the runs `models` a Monitor of its own and evaluate it at every checkpoint.

    models: rows that the attack behind `final_risk` did not use, whole pairs, as `split_models`
    sets aside. final_risk (N,): such as the final advantage. share: of a run's members that count
    as vulnerable. Reads the signals "loss" and "correct". Returns proxy -> figures.

    Raises InputError for rows that do not exist and risks that do not vary.
    """
    rows = given_array(models, "models")
    if rows.dtype == np.bool_:
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or not rows.size or rows.min() < 0 or rows.max() >= len(run.member):
        raise InputError(f"models: expected rows within 0 to {len(run.member) - 1}, got {rows!r}")
    member = np.asarray(run.member, dtype=np.bool_)[rows]
    monitors = [Monitor() for _ in rows]
    times = len(run.checkpoints)
    rng = np.random.default_rng(0)
    per_run: dict[str, Float64Array] = {}
    chance = float("nan")
    for t, epoch in enumerate(np.asarray(run.checkpoints, dtype=np.float64)):
        loss, correct = (_identity(run.signal_at(name, t))[rows] for name in ("loss", "correct"))
        for r, monitor in enumerate(monitors):
            monitor.update(float(epoch), loss[r], correct[r], member[r])
            judged = monitor.judge(final_risk, rng, share=share, replicates=0)
            for name, j in judged.items():
                each = per_run.setdefault(name, np.full((len(_FIGURES), times, len(rows)), np.nan))
                each[:, t, r] = j.correlation.rho, j.precision, j.auc
                chance = j.chance
    out = {}
    for name, each in per_run.items():
        spans = np.array([[_span(v, member) for v in figure] for figure in each])
        spans[1:] = spans[1:].clip(0, 1)
        figures = dict(zip(_FIGURES, spans, strict=True))
        out[name] = MonitorEvaluation(
            np.asarray(run.checkpoints, dtype=np.float64), **figures, chance=chance, runs=len(rows)
        )
    return out


def _span(values: FloatArray, member: BoolArray) -> tuple[float, float, float]:
    if not np.isfinite(values).all():
        return float("nan"), float("nan"), float("nan")
    # No monitored run is a reference: their figures are independent given the attack's.
    e = over_targets((values + 1) / 2, member, shared=False)
    return 2 * e.mean - 1, 2 * e.low - 1, 2 * e.high - 1


def _identity(values: FloatArray) -> FloatArray:
    v = given_array(values, "values")
    return v[..., 0] if v.ndim == 3 else v
