"""Training the runs of a plan: recipe, loop, workers, resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seepage.faces import lazily

if TYPE_CHECKING:
    from seepage.fleet.budget import Budget
    from seepage.fleet.contradictions import ContradictionWarning
    from seepage.fleet.estimators import EstimatorWarning
    from seepage.fleet.local import FleetError, Watcher
    from seepage.fleet.spec import TrainFunction
    from seepage.fleet.start import ProvenanceWarning, Silent, train, train_prepared
else:
    __getattr__, __dir__ = lazily(__name__)

__all__ = [
    "Budget",
    "ContradictionWarning",
    "EstimatorWarning",
    "FleetError",
    "ProvenanceWarning",
    "Silent",
    "TrainFunction",
    "Watcher",
    "train",
    "train_prepared",
]
