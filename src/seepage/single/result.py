"""What the audit of one model found, as numbers; `summary()` is what goes into the JSON file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array
from seepage.errors import InputError
from seepage.findings.result import AtFpr, Blind, Naming, SubjectFinding
from seepage.findings.slices import SliceFinding
from seepage.findings.tail import TailFinding
from seepage.findings.variant_result import Variants
from seepage.local_paths import local_path
from seepage.metrics import Estimate, Strongest, strongest
from seepage.short_repr import short_repr
from seepage.store.files import plain, replacing
from seepage.store.result_files import sealed

__all__ = ["OneAttack", "Said", "SingleAudit"]

_SHOWN = 3
_MEASURED = {
    "accuracy": "Accuracy",
    "label-vectors": "Share with all labels right",
    "rmse": "Root-mean-square error, in units of the target",
    "divergence": "Mean divergence KL(q ‖ p) from the targets, in nats",
}

Said = Literal["leaks", "not shown", "refused"]


@short_repr
@dataclass(frozen=True, eq=False)
class OneAttack:
    """One attack on the one model.

    auc, with its interval over samples (subjects); auc_wide: the same with the interval that the
    choice of the strongest needs; rates: TPR at low FPR, both rates jointly; rates_wide: the same with
    the intervals that the choice of the strongest needs; roc_fpr, roc_tpr: the
    curve, thinned; scores (U,): of every sample (subject), higher = more likely a member.
    """

    name: str
    title: str
    auc: Estimate
    auc_wide: Estimate
    rates: tuple[AtFpr, ...]
    rates_wide: tuple[AtFpr, ...]
    roc_fpr: Float64Array
    roc_tpr: Float64Array
    scores: Float64Array


@dataclass(frozen=True, eq=False)
class SingleAudit:
    """One model, audited on members and others. Axis U: what is judged, samples or subjects.

    title: what the model is called; asked: "network", "estimator", "function" or "recorded outputs";
    ids (U,), member (U,): what is judged, members first; samples: (members, others) as samples;
    subjects: whether groups are judged; whose: what belonging together changes for `main`, None for
    samples. accuracy: of members and of others, None where it is not
    known; what it is says `measure`, as in `seepage.findings.Utility`: "accuracy", "label-vectors",
    and, where less is better, "rmse" or "divergence". blind: the attack that never sees the model. attacks: those that ran, `skipped`: why the
    rest did not. naming: whom `main` names; p (U,): conformal p-value against held others, NaN for
    those that calibrate; named (U,). references: how many reference models. queries, cached: samples
    asked about, and answers from the cache. notes: what is to be known of the outputs. limits: what
    cannot be said. steps: what to do next. task: what labels are. doubts: why figures may be
    of something else, in a clause each; the first notes say it with figures. release: the model as it is
    released, its variants and the worst of them, or None. prepared: how inputs would have to be prepared for
    members to be right far more often, in a clause with both figures, or "". unlearnt: whether a model
    that learnt nothing may come to that, at chance as given and not nearly always right then. tail: what the
    losses alone tell of LiRA's TPR, an estimate (`seepage.metrics.tail_estimate`); None where unresolved.
    slices: the attack `main` within the parts that were asked for.
    """

    title: str
    asked: str
    ids: NDArray[np.str_]
    member: BoolArray
    samples: tuple[int, int]
    subjects: bool
    whose: SubjectFinding | None
    classes: int
    accuracy: tuple[Estimate, Estimate] | None
    blind: Blind
    attacks: tuple[OneAttack, ...]
    skipped: Mapping[str, str]
    main: str
    naming: Naming | None
    p: Float64Array
    named: BoolArray
    references: int
    balanced: Estimate | None
    queries: int
    cached: int
    notes: tuple[str, ...]
    limits: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    headline: str = ""
    task: str = "classification"
    measure: str = "accuracy"
    doubts: tuple[str, ...] = ()
    release: Variants | None = None
    prepared: str = ""
    unlearnt: bool = False
    tail: TailFinding | None = None
    slices: tuple[SliceFinding, ...] = ()

    @property
    def members(self) -> int:
        """Members that are judged, samples or subjects."""
        return int(self.member.sum())

    @property
    def others(self) -> int:
        """Others that are judged."""
        return int((~self.member).sum())

    @property
    def unit(self) -> str:
        """ "subjects" or "samples"."""
        return "subjects" if self.subjects else "samples"

    @property
    def strongest(self) -> Strongest:
        """The largest AUC of all attacks, with an interval that pays for the choice."""
        return strongest({a.name: (a.auc, a.auc_wide) for a in self.attacks})

    @property
    def said(self) -> Said:
        """ "leaks" where the strongest attack's whole interval lies above chance; "refused" where
        members and others differ without the model, where the references give the members away,
        where inputs are prepared otherwise than in training, or where every attack reads below chance
        or none leaks and others are surely right more often,
        as when members and others are exchanged."""
        if self._refused_besides or self.prepared:
            return "refused"
        return "leaks" if self.strongest.estimate.low > 0.5 else "not shown"

    @property
    def released_said(self) -> Said | None:
        """The verdict on the release, that of the worst variant that is judged, by the same rule."""
        if self.release is None:
            return None
        worst = self.release.worst[1].estimate
        if self._told_apart or worst.high < 0.5 or self.prepared:
            return "refused"
        return "leaks" if worst.low > 0.5 else "not shown"

    @property
    def _refused_besides(self) -> bool:
        """Whether there is no verdict for a reason other than how inputs are prepared."""
        return self._told_apart or self.reversed

    @property
    def _told_apart(self) -> bool:
        """Whether members and others are told apart without the model."""
        e = self.balanced
        counted = e is not None and bool(np.isfinite(e.low)) and e.low > 0.5
        return self.blind.shifted or counted

    @property
    def reversed(self) -> bool:
        """Whether even the strongest attack's whole interval lies below chance, or none leaks and others are
        surely right more often than members."""
        return bool(self.strongest.estimate.high < 0.5) or self.wronger

    @property
    def wronger(self) -> bool:
        """Whether members are surely right less often than others, by the interval of the attack that asks
        whether answers are right, paid for the number of attacks, and no attack leaks."""
        gap = next((a for a in self.attacks if a.name == "gap"), None)
        below = gap is not None and bool(gap.auc_wide.high < 0.5)
        return below and not self.strongest.estimate.low > 0.5

    def attack(self, name: str) -> OneAttack:
        """The attack of that name; InputError where it did not run."""
        for a in self.attacks:
            if a.name == name:
                return a
        why = self.skipped.get(name)
        known = ", ".join(a.name for a in self.attacks)
        raise InputError(
            f"attack: expected one of {known}, got {name!r}" + (f": it {why}" if why else "")
        )

    def summary(self) -> dict[str, Any]:
        """Everything but scores and curves, as JSON types."""
        return {
            "format": "seepage.single/1",
            "model": self.title,
            "asked": self.asked,
            "headline": self.headline,
            "verdict": self.said,
            "prepared_otherwise": self.prepared,
            "doubts": list(self.doubts),
            "may_have_learnt_nothing": self.unlearnt and not self._refused_besides,
            "task": self.task,
            "unit": self.unit,
            "members": self.members,
            "others": self.others,
            "subjects_of_records": None if self.whose is None else plain(self.whose.summary()),
            "samples": {"members": self.samples[0], "others": self.samples[1]},
            "accuracy": None
            if self.accuracy is None
            else {"members": plain(self.accuracy[0]), "others": plain(self.accuracy[1])},
            "measure": self.measure,
            "blind_baseline": plain(self.blind),
            "strongest": plain(self.strongest),
            "tail_estimate": plain(self.tail),
            "attacks": [
                {
                    "name": a.name,
                    "title": a.title,
                    "auc": plain(a.auc),
                    "auc_wide": plain(a.auc_wide),
                    "rates": plain(a.rates),
                    "rates_wide": plain(a.rates_wide),
                }
                for a in self.attacks
            ],
            "slices": [s.summary() for s in self.slices],
            "skipped_attacks": dict(self.skipped),
            "named_by": self.main,
            "naming": plain(self.naming),
            "references": self.references,
            "balance_of_references": plain(self.balanced),
            "queries": self.queries,
            "answers_from_cache": self.cached,
            "as_released": None
            if self.release is None
            else plain(self.release.summary()) | {"verdict": self.released_said},
            "notes": list(self.notes),
            "cannot_be_said": list(self.limits),
            "next": list(self.steps),
            self.unit: [
                {"id": i, "member": m, "p": p, "named": n, **k}
                for i, m, p, n, k in zip(
                    self.ids.tolist(),
                    self.member.tolist(),
                    plain(self.p),
                    self.named.tolist(),
                    self._records(),
                    strict=True,
                )
            ],
        }

    def _records(self) -> list[dict[str, int]]:
        """How many records each subject has; of samples nothing."""
        if self.whose is None:
            return [{} for _ in self.ids]
        return [{"records": k} for k in self.whose.sizes.tolist()]

    def write_json(self, path: str | os.PathLike[str]) -> Path:
        """Write `summary()` with its digest, whole or not at all; `seepage check` reads it.

        Raises InputError where it cannot be written.
        """
        target = Path(local_path(path, "path"))
        with replacing(target) as draft:
            text = json.dumps(sealed(self.summary()), indent=1, allow_nan=False)
            draft.write_text(text + "\n", encoding="utf-8")
        return target

    @property
    def accuracy_said(self) -> str:
        """Accuracy, or the task's error, of both sides in a sentence; empty where it is not known."""
        if self.accuracy is None:
            return ""
        form = ".4g" if self.measure == "rmse" else ".3f"
        a, b = (f"{e.mean:{form}} [{e.low:{form}}, {e.high:{form}}]" for e in self.accuracy)
        return f"{_MEASURED[self.measure]}: members {a}, others {b}."

    def __repr__(self) -> str:
        e = self.strongest.estimate
        right = ""
        if self.accuracy is not None:
            inside, outside = (v.mean for v in self.accuracy)
            right = f"{self.measure} {inside:.3g} and {outside:.3g}, "
        noted = f", {len(self.notes)} notes: {self.notes[0][:100]}" if self.notes else ""
        return (
            f"SingleAudit({self.title[:60]!r}: {self.said}, {self.strongest.attack} AUC {e.mean:.3f} "
            f"[{e.low:.3f}, {e.high:.3f}], {right}{self.members:,} members, {self.others:,} others, "
            f"{self.unit}{noted})"
        )

    def __str__(self) -> str:
        """The headline, the accuracies, every attack and the first notes."""
        rows = [f"{self.title}: {self.headline}"]
        if self.accuracy is not None:
            rows.append(f"  {self.accuracy_said}")
        rows += [
            f"  {a.title:24s} AUC {a.auc.mean:.3f} [{a.auc.low:.3f}, {a.auc.high:.3f}]"
            for a in self.attacks
        ]
        rows += [f"  note: {n}" for n in self.notes[:_SHOWN]]
        if len(self.notes) > _SHOWN:
            rows.append(f"  ({len(self.notes) - _SHOWN} more in .notes)")
        return "\n".join(rows)
