"""XGBoost, LightGBM and CatBoost as they come: their answers, and the members that are none to them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from catboost import CatBoostClassifier
from lightgbm import LGBMClassifier
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

import seepage
from seepage.data import from_arrays
from seepage.errors import InputError
from seepage.fleet import EstimatorWarning

X, Y = load_breast_cancer(return_X_y=True)
N = 240
DATA = from_arrays(X[:N].astype(np.float32), Y[:N], name="breast-cancer")
PLAN = seepage.half_split(N, models=4, seed=0)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def cat(**options: Any) -> CatBoostClassifier:
    return CatBoostClassifier(
        **{"iterations": 30, "verbose": False, "allow_writing_files": False, **options}
    )


def lgb(**options: Any) -> LGBMClassifier:
    return LGBMClassifier(**{"n_estimators": 30, "verbose": -1, "min_child_samples": 2, **options})


def trained(estimator: Any, out: str = "run", **options: Any) -> tuple[seepage.Run, list[str]]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", EstimatorWarning)
        run = seepage.train(
            DATA,
            PLAN,
            function=seepage.sklearn.fit(estimator, **options),
            out=out,
            executor="inline",
        )
    return run, [str(each.message).partition(f"{out}: ")[2] for each in said]


def margins(fitted: Any) -> np.ndarray[Any, Any]:
    """What the library adds up before it makes probabilities, for all samples."""
    inputs = X[:N].astype(np.float32).astype(np.float64)
    if isinstance(fitted, XGBClassifier):
        return np.asarray(fitted.predict(inputs, output_margin=True), dtype=np.float64)
    if isinstance(fitted, LGBMClassifier):
        return np.asarray(fitted.predict(inputs, raw_score=True))
    return np.asarray(fitted.predict(inputs, prediction_type="RawFormulaVal"))


PLAIN = {
    "xgboost": XGBClassifier(n_estimators=60, learning_rate=1.0),
    "lightgbm": lgb(n_estimators=60, learning_rate=0.6),
    "catboost": cat(iterations=60, learning_rate=0.6, bootstrap_type="No"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_phi_is_the_margin_of_the_library(name: str) -> None:
    """φ of two classes is the margin towards the label, exact where probabilities are rounded."""
    fitted: list[Any] = []
    inner = seepage.sklearn.fit(PLAIN[name])

    def train(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> Any:
        fitted.append(inner(members, seed, recorder))
        return fitted[-1]

    train.network = False  # type: ignore[attr-defined]
    train.checkpoints = (1,)  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = seepage.train(DATA, PLAN, function=train, out="run", executor="inline")
    phi = run.signal("phi")[:, 0]
    for found, one in zip(phi, fitted, strict=True):
        towards = margins(one) * np.where(Y[:N] == 1, 1, -1)
        bound = np.clip(towards, -np.log(1e12), np.log(1e12))
        np.testing.assert_allclose(found, bound, rtol=1e-5, atol=1e-3)
    # They have learned their members, and answer in more than float32 can tell.
    assert np.abs(phi).max() > 5
    scores = seepage.score(run, seepage.attacks.LOSS())
    assert (
        np.mean([seepage.metrics.auc(s, m) for s, m in zip(scores, run.member, strict=True)]) > 0.5
    )


NOTED = [
    (XGBClassifier(n_estimators=5), []),
    (XGBClassifier(n_estimators=5, subsample=0.5), ["fitted to 50% of its members"]),
    (lgb(), []),
    (lgb(subsample=0.5), []),
    (lgb(subsample=0.5, subsample_freq=1), ["fitted to 50% of its members"]),
    (lgb(bagging_fraction=0.25, bagging_freq=2), ["fitted to 25% of its members"]),
    (lgb(data_sample_strategy="goss"), ["members of the largest gradients"]),
    (cat(bootstrap_type="No"), []),
    (cat(), ["fitted to 80% of its members"]),
    (cat(bootstrap_type="Bernoulli", subsample=0.5), ["fitted to 50% of its members"]),
    (cat(bootstrap_type="Bayesian"), ["weighs its members at random"]),
    (cat(bootstrap_type="No", eval_fraction=0.2, early_stopping_rounds=5), ["holds out 20% of its members"]),
    (make_pipeline(StandardScaler(), XGBClassifier(n_estimators=5, subsample=0.5)), ["fitted to 50%"]),
]  # fmt: skip


@pytest.mark.parametrize(("estimator", "said"), NOTED, ids=range(len(NOTED)))
def test_what_makes_a_member_less_than_one_is_said(estimator: Any, said: list[str]) -> None:
    _, notes = trained(estimator)
    notes = [n for n in notes if "probability of 0 or 1" not in n]
    assert len(notes) == len(said)
    assert all(part in note for part, note in zip(said, notes, strict=True))


def test_a_run_is_repeated_in_the_same_bits_and_runs_differ() -> None:
    for name, estimator in PLAIN.items():
        function = seepage.sklearn.fit(estimator)
        found = []
        for out in (f"{name}-a", f"{name}-b"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run = seepage.train(DATA, PLAN, function=function, out=out, executor="inline")
            found.append(run.signal("phi"))
        np.testing.assert_array_equal(*found)
        assert not np.array_equal(found[0][0], found[0][1])


def test_rounds_of_catboost_are_epochs() -> None:
    run, _ = trained(cat(bootstrap_type="No"), stages=[2, 30])
    assert run.checkpoints.tolist() == [2.0, 30.0]
    loss = run.signal("loss")
    assert loss[:, 1].mean() < loss[:, 0].mean()


@pytest.mark.parametrize("name", PLAIN)
def test_one_fitted_model_is_audited(name: str) -> None:
    """LOSS finds what the library's own margins tell, where probabilities are rounded too."""
    order = np.random.default_rng(0).permutation(N)
    m, o = order[: N // 2], order[N // 2 :]
    inputs = X[:N].astype(np.float32).astype(np.float64)
    model = clone(PLAIN[name]).fit(inputs[m], Y[m])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = seepage.audit(model, (inputs[m], Y[m]), (inputs[o], Y[o]))
    towards = (margins(model) * np.where(Y[:N] == 1, 1, -1))[order]
    wanted = seepage.metrics.auc(towards, np.arange(N) < N // 2)
    assert one.attack("loss").auc.mean == pytest.approx(wanted, abs=2e-3)


def test_a_held_out_part_of_one_model_is_said() -> None:
    model = cat(bootstrap_type="No", eval_fraction=0.25, early_stopping_rounds=5).fit(
        X[:200], Y[:200]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = seepage.audit(model, (X[:200], Y[:200]), (X[200:400], Y[200:400]))
    assert any("CatBoostClassifier held out 25% of its samples" in note for note in one.notes)


@pytest.mark.parametrize(
    "estimator", [XGBClassifier(early_stopping_rounds=2), lgb(early_stopping_round=2)]
)
def test_early_stopping_without_a_validation_set_ends_in_one_line(estimator: Any) -> None:
    with pytest.raises(InputError, match=r"estimator: .*fit raised ValueError: .*early stopping"):
        trained(estimator)


@pytest.mark.parametrize("kind", [XGBClassifier, lgb])
def test_rounds_of_libraries_that_answer_by_the_first_of_them(kind: Any) -> None:
    """After s rounds they answer as those do that were trained for s."""
    run, _ = trained(kind(n_estimators=8), stages=[3, 8])
    last, _ = trained(kind(n_estimators=8), "whole")
    first, _ = trained(kind(n_estimators=3), "part")
    assert run.checkpoints.tolist() == [3.0, 8.0]
    for t, alone in ((0, first), (1, last)):
        np.testing.assert_array_equal(run.signal_at("phi", t), alone.signal_at("phi", 0))
