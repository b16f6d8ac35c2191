"""Options of probes by name: set on the probe that has them, refused in one line else, used and not kept apart from others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seepage
import tiny_fleet
from seepage.attacks import Merlin
from seepage.errors import InputError
from seepage.probes.copies import Augmented, NoisyLoss
from seepage.probes.imitation import Imitation
from seepage.probes.options import option_names, with_options
from seepage.probes.registry import PROBES, probes_of


def test_every_option_can_be_set_to_what_it_is() -> None:
    for probe in PROBES:
        for name in option_names(probe):
            if hasattr(probe, name):
                assert with_options([probe], {name: getattr(probe, name)}) == (probe,)
    (curved,) = with_options(probes_of(["curvature_zo"]), {"n": 3})
    assert curved.queries == 13


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"copes": 3},
            "copes: expected an option of what is measured, got none; .*noisy-loss.copies",
        ),
        ({"augmented.copies": 3}, "augmented.copies: expected an option"),
        ({"copies": 2.5}, "copies: expected int, got 2.5"),
        ({"copies": True}, "copies: expected int, got True"),
        ({"sigma": float("inf")}, "sigma: expected float, got inf"),
        ({"copies": 0}, "copies: expected at least 1, got 0"),
        ({"noise": 3}, r"noise: expected tuple\[float, ...\], got 3"),
        ({"name": "x"}, "name: expected an option"),
        ({"epochs": -1}, "imitation: expected positive epochs"),
    ],
)
def test_what_is_no_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_options([NoisyLoss(), Augmented(), Imitation()], options)


def test_an_option_that_several_have_is_asked_for_by_name() -> None:
    both = probes_of(["curvature_zo", "curvature_fd"])
    with pytest.raises(InputError, match=r"n: expected .* one probe, got one of 2; write finite-"):
        with_options(both, {"n": 3})
    (curved,) = with_options(both, {"zeroth-order.n": 3})
    assert curved.signals == ("curvature_zo",)


def test_the_chosen_probe_measures(tmp_path: Path) -> None:
    run = tiny_fleet.fleet(tmp_path / "run", signals=("phi", "loss"), keep="final")
    data = tiny_fleet.table()

    def shares(*chosen: NoisyLoss) -> set[float]:
        scores = seepage.score(run, Merlin(), model=tiny_fleet.FACTORY, data=data, probes=chosen)
        return set(np.round(np.unique(scores), 6).tolist())

    # Ties count half, so that shares of 2 copies are quarters.
    assert shares(NoisyLoss(copies=2)) <= {0.0, 0.25, 0.5, 0.75, 1.0}
    usual = shares()
    assert not usual <= {0.0, 0.25, 0.5, 0.75, 1.0}
    assert shares(NoisyLoss()) == usual
