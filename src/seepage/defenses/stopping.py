"""Early stopping at the best reference loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F

from seepage.defenses.base import Context, Defense, check_number
from seepage.defenses.networks import eval_logits, snapshot

__all__ = ["EarlyStopping"]


@dataclass(frozen=True)
class EarlyStopping(Defense):
    """Stops when the reference loss has not fallen for `patience` epochs; keeps the best weights.

    Source: old practice; Song & Mittal (arXiv 2003.10595) measure it as a defence.
    Fails: on data learnt slowly the most exposed samples are memorised before the stop.
    """

    name: ClassVar[str] = "early-stopping"
    title: ClassVar[str] = "Early stopping"
    source: ClassVar[str] = "arXiv 2003.10595"
    traits: ClassVar[frozenset[str]] = frozenset({"reference"})

    patience: int = 3

    def validate(self) -> None:
        check_number("patience", self.patience, 1)

    def start(self, context: Context) -> Any:
        return {"loss": float("inf"), "epoch": -1, "weights": None}

    def epoch_end(self, context: Context) -> None:
        assert context.reference is not None
        logits, labels = eval_logits(context.model, context.reference)
        loss = float(F.cross_entropy(logits.double(), labels))
        if loss < context.state["loss"]:
            context.state.update(loss=loss, epoch=context.epoch, weights=snapshot(context.model))
        # Here and not in `finish`: the checkpoint of the last epoch must see what is released.
        context.stop = context.epoch - context.state["epoch"] >= self.patience
        over = context.stop or context.epoch + 1 == context.epochs
        if over and context.state["weights"] is not None:
            context.model.load_state_dict(context.state["weights"])

    def finish(self, context: Context) -> None:
        context.facts["stopped_at_epoch"] = context.state["epoch"] + 1
