"""Bounds on the ε of a subject: all records of one share a coin, and are one trial."""

from __future__ import annotations

import numpy as np
import pytest

from seepage.epsilon import gdp, multi_run, one_run_from_scores
from seepage.epsilon.one_run import epsilon_of_runs
from seepage.errors import InputError
from seepage.metrics import Subjects
from seepage.plan import half_split

WHOSE = np.repeat(np.arange(100), 4)
UNIT = Subjects(WHOSE)


def test_a_subject_is_one_trial() -> None:
    rng = np.random.default_rng(0)
    member = (rng.permutation(100) < 50)[WHOSE]
    scores = rng.normal(size=400) + 1.5 * member
    sums = np.bincount(WHOSE, weights=scores)
    truth = member[::4]
    by_subject = one_run_from_scores(scores, member, 50, unit=UNIT)
    assert by_subject == one_run_from_scores(sums, truth, 50)
    assert by_subject.canaries == 100
    for bound in (multi_run, gdp):
        assert bound(scores, member, unit=UNIT) == bound(sums, truth)
        assert bound(scores, member, unit=UNIT).trials == 100


def test_records_that_share_a_coin_are_not_counted_as_canaries() -> None:
    """Copies of one right guess: by record the bound grows with their number, which is false."""
    rng = np.random.default_rng(1)
    member = rng.random((40, 100)) < 0.5
    scores = rng.normal(size=(40, 100)) + 0.5 * member
    once = epsilon_of_runs(scores, member)
    copied = epsilon_of_runs(scores[:, WHOSE], member[:, WHOSE], unit=UNIT)
    np.testing.assert_allclose(copied, once)
    assert epsilon_of_runs(scores[:, WHOSE], member[:, WHOSE]).mean() > once.mean() + 0.2


def test_a_divided_subject_is_refused() -> None:
    member = half_split(400, models=2).member
    with pytest.raises(InputError, match="expected every subject whole on one side"):
        epsilon_of_runs(np.zeros((2, 400)), member, unit=UNIT)
