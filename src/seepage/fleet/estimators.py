"""Fleets of models that are no torch networks: what can be recorded of them, and what is said."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from seepage.errors import InputError

if TYPE_CHECKING:
    from seepage.config.function import Function
    from seepage.config.recipe import Recipe
    from seepage.config.record import Record
    from seepage.defenses import Defense
    from seepage.store.run import Run

__all__ = ["EstimatorWarning", "notes_of", "say_notes", "without_network"]


class EstimatorWarning(UserWarning):
    """What the figures of a fleet of estimators must be read with."""


def without_network(
    function: Function, record: Record, recipe: Recipe, defense: Defense | None
) -> tuple[Record, Recipe]:
    """What is recorded of a training without a network, and for how many epochs it lasts.

    Checkpoints are those at which the function can be asked, `function.checkpoints`, or some of
    them where they are listed; weights are not kept. Raises InputError for other checkpoints and
    for what needs a network, before anything is trained.
    """
    offered = tuple(float(c) for c in getattr(function.function, "checkpoints", (1.0,)))
    asked = record.checkpoints
    if isinstance(asked, tuple) and not set(asked) <= set(offered):
        raise InputError(
            f"record.checkpoints: expected some of {', '.join(f'{c:g}' for c in offered)}, when "
            f"{function.called} can be asked, got {', '.join(f'{c:g}' for c in asked)}; leave them "
            "out, or pass stages= where the estimator trains in rounds"
        )
    needing = {
        "keep": "keep" in record.model_fields_set and record.keep != "none",
        "curvature": record.curvature is not None,
        "layers": bool(record.layers),
        "extra": bool(record.extra),
        "views": len(record.views) > 1,
    }
    wrong = [name for name, given in needing.items() if given]
    if wrong:
        raise InputError(
            f"record.{wrong[0]}: expected none for {function.called}, which trains no torch network "
            "and is asked once about every sample; leave it out"
        )
    if defense is not None:
        raise InputError(
            f"defense: expected none for {function.called}, which trains itself, got {defense.name}; "
            "leave it out, or train a network"
        )
    return (
        record.changed(checkpoints=asked if isinstance(asked, tuple) else offered, keep="none"),
        recipe.changed(epochs=int(max(offered))),
    )


def notes_of(run: Run) -> tuple[str, ...]:
    """What runs noted of their estimators, each thing once, and how many samples tie."""
    facts = [run.records[row].get("facts") or {} for row in run.models.tolist()]
    notes = list(dict.fromkeys(str(note) for f in facts for note in f.get("notes", ())))
    tied = [list(f["clipped"].values())[-1] for f in facts if f.get("clipped")]
    if sum(tied):
        notes.append(
            f"{sum(tied):,} of {len(tied) * run.member.shape[1]:,} answers give a class a "
            "probability of 0 or 1 as far as the estimator tells them apart: these tie, and what "
            "differs beyond is not measured"
        )
    return tuple(notes)


def say_notes(run: Run) -> None:
    """Warn of what runs noted of their estimators."""
    for note in notes_of(run):
        warnings.warn(f"{run.path}: {note}", EstimatorWarning, stacklevel=3)
