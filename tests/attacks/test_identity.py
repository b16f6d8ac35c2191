"""Options tell attacks apart: what was scored with one is never taken for another."""

from __future__ import annotations

import numpy as np
import torch

from seepage.attacks import ATTACKS, RMIAOffline
from seepage.attacks.identity import known_as
from seepage.comparison.pool import _named
from seepage.defenses.distillation import Distil
from seepage.metrics import EACH, Samples, Subjects


def test_a_key_tells_options_and_long_arrays_apart() -> None:
    assert {_named(cls()) for cls in ATTACKS.values()} == set(ATTACKS)
    long = np.arange(5000)
    other = long.copy()
    other[2500] = 0
    given = [
        RMIAOffline(), RMIAOffline(a=0.7), RMIAOffline(gamma=2.0), RMIAOffline(population=long),
        RMIAOffline(population=other),
    ]  # fmt: skip
    assert len({_named(a) for a in given}) == len(given)
    assert _named(RMIAOffline(population=long)) == _named(RMIAOffline(population=long.copy()))
    assert known_as(RMIAOffline(), None) != known_as(RMIAOffline(a=0.7), None)


def test_what_holds_arrays_is_never_equal_by_a_base_without_fields() -> None:
    assert RMIAOffline(a=0.7) != RMIAOffline()
    assert len({RMIAOffline(a=0.7): 1, RMIAOffline(): 2}) == 2
    assert Subjects(["a", "b"]) != Subjects(["a", "a"])
    assert Samples() == EACH
    assert Distil(torch.zeros(1, 2)) != Distil(torch.ones(1, 2))
