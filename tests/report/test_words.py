"""Sentences of the summary that could be read as their opposite."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from seepage.report.words import halfway


@pytest.mark.parametrize(
    ("half", "onset", "says"),
    [
        (
            0,
            1,
            "half of the final excess was there at epoch 1, but not beyond chance from there on",
        ),
        (1, 1, "half of the final excess is reached by epoch 6"),
        (2, 1, "half of the final excess is reached by epoch 12"),
    ],
)
def test_half_of_the_excess_before_the_onset_is_no_contradiction(
    half: int, onset: int, says: str
) -> None:
    found: Any = SimpleNamespace(
        halfway=half, onset=onset, checkpoints=[1.0, 6.0, 12.0], clock=lambda t: f"epoch {t:g}"
    )
    assert halfway(found, "; ") == f"; {says}"
