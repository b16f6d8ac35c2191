"""A run judged as its models are released: every variant like the run itself, and the worst of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.array_types import Float64Array
from seepage.attacks import Attack, usual
from seepage.attacks.binding import bind, lacks, unrecorded
from seepage.config.release import Variant, as_variants
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.findings.judging import Judging
from seepage.findings.source import sides
from seepage.findings.subjects import by_unit
from seepage.findings.unjudged import unjudged
from seepage.findings.variant_result import VariantFinding, Variants
from seepage.fleet.kept import keep_result
from seepage.fleet.rebuild import Factory
from seepage.fleet.released import Released, released
from seepage.metrics import Samples, Subjects, Unit, strongest
from seepage.scoring import score

__all__ = [
    "Sources",
    "scores_as_released",
    "sources",
    "variants",
]

Progress = Callable[[str, int, int], object]
_FPRS = (0.01, 0.001)


@dataclass(frozen=True, eq=False)
class Sources:
    """A run as each variant, by the samples that are judged; attacks as they are run there.

    found: variant's name -> source, in the order asked; left_out: what is not judged, in words.
    """

    found: Mapping[str, Any]
    attacks: tuple[Attack, ...]
    left_out: str


def sources(
    run: Any,
    wanted: Sequence[Variant],
    attacks: Iterable[Attack],
    *,
    model: Factory | None = None,
    data: Dataset | None = None,
    progress: Progress | None = None,
) -> Sources:
    """The run released as each of `wanted`, all judged on the same samples."""
    made = released(run, wanted, model=model, data=data, progress=progress)
    chosen = list(attacks)
    # The one that shows most: what it is judged on, all are.
    widest = max(made, key=lambda source: len(source.signals))
    without = unjudged(widest, chosen)
    return Sources(
        {source.variant.name: without.part(source) for source in made},
        tuple(without.attacks(chosen)),
        without.words,
    )


def scores_as_released(
    source: Any, attacks: Iterable[Attack], unit: Unit
) -> tuple[dict[str, tuple[Attack, Float64Array]], dict[str, str]]:
    """Attack and scores, (R, N) or of subjects (R, G), by name; and why the other attacks did not run."""
    found: dict[str, tuple[Attack, Float64Array]] = {}
    skipped: dict[str, str] = {}
    for attack in attacks:
        why = _hidden(attack, source) or lacks(attack, source)
        if why is None:
            try:
                found[attack.name] = attack, score(source, attack, unit=unit)
                continue
            except InputError as error:
                why = str(error)
        skipped[attack.name] = why
    if not found:
        first, why = next(iter(skipped.items()))
        raise InputError(
            f"released as {source.variant.name}: expected an attack that can be run, got none; "
            f"{first} {why}"
        )
    return found, skipped


def _hidden(attack: Attack, source: Released) -> str | None:
    """That a variant does not show what the attack reads, or None."""
    if attack.trajectory:
        return "reads several checkpoints, and one is released"
    try:
        missing = unrecorded(bind(attack, source), source)
    except InputError:
        return None
    if not missing:
        return None
    return f"reads {', '.join(missing)}, which is not known of what is released so"


def variants(
    run: Any,
    wanted: Any,
    *,
    attacks: Iterable[Attack] | None = None,
    model: Factory | None = None,
    data: Dataset | None = None,
    unit: Unit | None = None,
    seed: int = 0,
    keep: bool = False,
    progress: Progress | None = None,
) -> Variants:
    """The same run audited as released: each variant judged like the run itself.

    run: `seepage.open(...)`; wanted: names ("label-only", "top-1", "rounded-2", "temperature-2",
    "int8", "bf16", "pruned-0.5", joined by + where several apply; "as-trained"), or objects of
    `seepage.signals.released`, `seepage.models.released`, `seepage.config.release.Variant`. attacks: all of
    `seepage.attacks.usual()` that a variant allows. model, data: the factory and the pool again,
    where kept networks must be rebuilt. unit: as in `seepage.findings.collect`. seed: of the null. keep: write it to the run's derived results for the next report.

    The model as trained is always measured, for comparison; the verdict counts it only if it is
    asked for. Targets and references are released alike. Figures are of the last checkpoint and of
    the first view. Attacks on curvature are not run: derivatives of released outputs were not measured.

    Raises InputError as `seepage.fleet.released.released` does, and where no attack can be run.
    """
    asked = as_variants(wanted)
    names = {v.name for v in asked}
    every = asked if Variant().name in names else (Variant(), *asked)
    chosen = usual() if attacks is None else list(attacks)
    held = sources(run, every, chosen, model=model, data=data, progress=progress)
    first = next(iter(held.found.values()))
    counted, unit = by_unit(first, unit)
    judging = Judging.of(counted, Samples())
    redrawn = judging.redrawn(np.random.default_rng(seed))
    permuted = redrawn.member[:, unit.codes] if isinstance(unit, Subjects) else redrawn.member
    scored = {}
    for done, (name, source) in enumerate(held.found.items()):
        if progress is not None:
            progress("attacks on variants", done, len(held.found))
        scored[name] = scores_as_released(source, held.attacks, unit)
    total = sum(len(scored[name][0]) for name in names)
    found = []
    for name, source in held.found.items():
        scores, skipped = scored[name]
        levels = 0.95, 1 - 0.05 / len(scores), 1 - 0.05 / total
        auc: dict[str, Any] = {a: judging.auc(s, *levels) for a, (_, s) in scores.items()}
        best = strongest({a: (e[0], e[1]) for a, e in auc.items()}).attack
        attack, own = scores[best]
        null = redrawn.auc(score(source, attack, member=permuted, unit=unit))[0].mean
        members, others = _accuracy(source, judging.target)
        found.append(
            VariantFinding(
                name=name,
                members=members,
                others=others,
                attacks=auc,
                rates=judging.pooled(own, _FPRS),
                null_auc=null,
                skipped=skipped,
                judged=name in names,
            )
        )
    kind = "subjects" if isinstance(unit, Subjects) else "samples"
    made = Variants(str(run.path), kind, judging.target is not None, tuple(found), held.left_out)
    if keep:
        keep_result(run, "variants", made.summary())
    return made


def _accuracy(source: Any, target: int | None) -> tuple[float, float]:
    """On members and on others: mean over models, or of the target."""
    right = np.asarray(source.signal_at("correct", len(source.checkpoints) - 1), np.float64)
    member = np.asarray(source.member)
    rows = slice(None) if target is None else slice(target, target + 1)
    # As columns: every model is what the mean runs over.
    inside, outside = sides(right[rows].T, member[rows].T)
    return float(np.nanmean(inside)), float(np.nanmean(outside))
