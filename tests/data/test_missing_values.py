"""NaN where an estimator takes missing values: kept on request, refused for networks, equal to itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from torch import nn

import seepage
from seepage.data import count_copies, from_arrays, load, reload
from seepage.errors import InputError
from seepage.metrics import blind_baseline

RNG = np.random.default_rng(0)
N = 80
X = RNG.normal(size=(N, 3)).astype(np.float32)
X[::4, 1] = np.nan
Y = RNG.integers(0, 2, N)
DATA = from_arrays(X, Y, missing="keep")
PLAN = seepage.half_split(N, models=4)
TREES = HistGradientBoostingClassifier(max_iter=3, early_stopping=False)


def test_a_fleet_of_an_estimator_that_takes_them(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ties
        run = seepage.train(
            DATA, PLAN, function=seepage.sklearn.fit(TREES), out=tmp_path / "r", executor="inline"
        )
    assert np.isfinite(run.signal("phi")).all()
    by_hand = TREES.fit(X[PLAN.members(0)], Y[PLAN.members(0)]).predict_proba(X)
    p = by_hand[np.arange(N), Y]
    np.testing.assert_allclose(run.signal("loss")[0, -1], -np.log(p), rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, r"for a network, got NaN in row 0 \(train/0\)"),
        ({"function": seepage.sklearn.fit(LogisticRegression())}, r"for fit\(LogisticRegression\)"),
    ],
)
def test_what_takes_none_is_refused_before_training(
    options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        seepage.train(DATA, PLAN, out=tmp_path / "r", **options)
    assert not (tmp_path / "r").exists()


def test_unasked_they_are_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'got NaN or infinity in row 0 .*pass missing="keep"'):
        from_arrays(X, Y)
    with pytest.raises(InputError, match="got infinity in row 0"):
        from_arrays(np.where(np.isnan(X), np.inf, X), Y, missing="keep")
    with pytest.raises(InputError, match="expected values in every column, got none in 'x1'"):
        from_arrays(np.where([0, 1, 0], np.nan, X), Y, missing="keep")
    with pytest.raises(InputError, match="missing: expected 'refuse', 'keep', got 'indicator'"):
        from_arrays(X, Y, missing="indicator")  # type: ignore[arg-type]


def test_files_keep_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    lines = [f"{'' if np.isnan(b) else b},{a},{y}" for (a, b, _), y in zip(X, Y, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["b,a,y", *lines]))
    for data in (
        load(tmp_path / "a.npz", missing="keep"),
        load(tmp_path / "a.csv", label="y", missing="keep"),
    ):
        assert int(torch.isnan(data.inputs).sum()) == N // 4
        again = reload(data.source, data.digest)
        assert again is not None
    assert data.columns == ("b", "a")


def test_every_missing_value_is_the_same() -> None:
    other = X.copy()
    odd = np.frombuffer(np.array([0x7FC00001], np.uint32).tobytes(), np.float32)[0]
    other[::4, 1] = odd
    assert other.tobytes() != X.tobytes()
    assert from_arrays(other, Y, missing="keep").digest == DATA.digest
    twice = from_arrays(np.concatenate([X, other]), np.concatenate([Y, Y]), missing="keep")
    copies = count_copies(twice, np.ones((1, 2 * N), dtype=bool))
    assert (copies.samples, copies.contents) == (2 * N, N)


def test_what_is_missing_tells_members_without_a_model() -> None:
    member = np.zeros(N, dtype=bool)
    member[::2] = True  # every missing value is a member's
    assert blind_baseline(X, member).estimate.low > 0.5


def test_one_model_of_missing_values() -> None:
    sides = ((X[:40], Y[:40]), (X[40:], Y[40:]))
    one = seepage.audit(TREES.fit(*sides[0]), *sides)
    assert one.blind.auc is not None
    with pytest.raises(InputError, match="members: expected finite inputs, got NaN or infinity"):
        seepage.audit(nn.Linear(3, 2), *sides)
    with pytest.raises(InputError, match="others that are exact copies of members"):
        seepage.audit(TREES, sides[0], sides[0])
