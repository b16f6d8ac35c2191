"""One trained model, audited by its answers on members and others: `seepage.audit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seepage.faces import lazily

if TYPE_CHECKING:
    from seepage.single.asking import Service
    from seepage.single.auditing import Recorded, audit
    from seepage.single.outputs import Observed, from_logits, from_probabilities, from_signals
    from seepage.single.pool import Side, read_side
    from seepage.single.quantile import cross_fitted_quantile
    from seepage.single.reference_free import population_score
    from seepage.single.references import RecordedReferences
    from seepage.single.result import OneAttack, SingleAudit
    from seepage.single.trained import TrainedReferences
else:
    __getattr__, __dir__ = lazily(__name__)

__all__ = [
    "Observed",
    "OneAttack",
    "Recorded",
    "RecordedReferences",
    "Service",
    "Side",
    "SingleAudit",
    "TrainedReferences",
    "audit",
    "cross_fitted_quantile",
    "from_logits",
    "from_probabilities",
    "from_signals",
    "population_score",
    "read_side",
]
