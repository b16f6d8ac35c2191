"""Subjects never become records unasked: a plan and its data are of the same groups, before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import seepage
from seepage.data import from_arrays
from seepage.errors import InputError

WHOSE = np.repeat(np.arange(10), 3)
TABLE = np.random.default_rng(0).normal(size=(30, 2))


@pytest.mark.parametrize(
    ("of_data", "of_plan", "message"),
    [
        (
            WHOSE,
            None,
            r"plan: .* whole on one side, got '\d' with [12] of 3 samples IN run 0; .*=data",
        ),
        (None, WHOSE, r"plan: made of 10 groups, but the data have none.*give the data the same"),
    ],
)
def test_a_plan_of_other_groups_is_refused_before_anything_is_written(
    of_data: object, of_plan: object, message: str, tmp_path: Path
) -> None:
    data = from_arrays(TABLE, np.arange(30) % 2, groups=of_data)  # type: ignore[arg-type]
    plan = seepage.half_split(30, models=4, groups=of_plan)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        seepage.train(data, plan, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
