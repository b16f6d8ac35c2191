"""How the times of checkpoints are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["EPOCHS", "Clock", "clock_of"]


@dataclass(frozen=True)
class Clock:
    """The word before a checkpoint's time: its epoch, or its number where epochs are not known.

    >>> EPOCHS(0.0), EPOCHS(0.25), Clock("checkpoint")(1.0)
    ('initialisation', 'epoch 0.25', 'checkpoint 1')
    """

    unit: str = "epoch"

    def __call__(self, value: float) -> str:
        if value == 0 and self.unit == "epoch":
            return "initialisation"
        return f"{self.unit} {value:g}"


EPOCHS = Clock()


def clock_of(manifest: Mapping[str, Any]) -> Clock:
    """Checkpoints of imported arrays that came without epochs are numbered; all others have them."""
    unknown = manifest.get("key", {}).get("checkpoints", True) is False
    return Clock("checkpoint") if unknown else EPOCHS
