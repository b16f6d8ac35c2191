"""Estimators that are fitted on the rows of a data frame, not on the numbers that the data hold."""

from __future__ import annotations

import os
import pickle
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

import seepage
from seepage.data import from_arrays
from seepage.errors import InputError
from seepage.fleet.user_code import follow
from seepage.plan import half_split
from seepage.record import Memory, Recorder, Resident
from seepage.sklearn import fit

pytestmark = pytest.mark.filterwarnings("ignore::seepage.fleet.EstimatorWarning")

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"job": RNG.choice(["a", "b", "c"], 40), "age": RNG.normal(size=40)})
Y = np.where((FRAME["age"] + (FRAME["job"] == "a") + RNG.normal(size=40)) > 0.3, "yes", "no")
DATA = from_arrays(FRAME, Y)
MEMBERS = np.arange(0, 40, 2)


def columns(last: Any) -> Any:
    """A Pipeline that names its columns."""
    encoder = OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(
        ColumnTransformer([("job", encoder, ["job"])], remainder="passthrough"), last
    )


def fleet(out: Path, estimator: Any, **options: Any) -> seepage.Run:
    plan = half_split(len(DATA), models=4, seed=1)
    options = {"executor": "inline", "device": "cpu", **options}
    return seepage.train(DATA, plan, function=estimator, out=out, **options)


def test_what_is_recorded_is_of_the_frame_by_its_columns_names(tmp_path: Path) -> None:
    pipeline = columns(LogisticRegression())
    apart = FRAME.sample(frac=1, random_state=0).set_axis(FRAME.index)
    run = fleet(tmp_path / "run", fit(pipeline, inputs=FRAME.set_axis(apart.index + 7)))
    for row, member in enumerate(run.member):
        p = columns(LogisticRegression()).fit(FRAME[member], Y[member]).predict_proba(FRAME)
        own = p[np.arange(40), DATA.labels.numpy()]
        phi = run.signal_at("phi", 0)[row].ravel()
        np.testing.assert_allclose(phi, np.log(own / (1 - own)), rtol=1e-5, atol=1e-7)
        assert run.records[row]["facts"]["inputs"] == "as the rows passed as inputs= are"


def test_a_frame_travels_to_workers_and_rounds_of_boosting_see_it() -> None:
    boosted = fit(columns(GradientBoostingClassifier(n_estimators=4)), inputs=FRAME, stages=[1, 4])
    assert boosted.travels
    found = []
    for function in (boosted, pickle.loads(ForkingPickler.dumps(boosted))):  # noqa: S301
        memory = Memory()
        function(MEMBERS, 1, Recorder(Resident.of(DATA), [1.0, 4.0], memory))
        found.append([memory.values[t]["phi"] for t in (0, 1)])
    np.testing.assert_array_equal(*found)
    assert (found[0][0] != found[0][1]).any()


def test_what_a_frame_holds_is_part_of_the_key_and_its_index_is_not() -> None:
    changed = [
        FRAME.replace("c", "d"),
        FRAME.rename(columns={"age": "size"}),
        FRAME[["age", "job"]],
    ]
    changed += [FRAME.astype({"job": "category"}), FRAME.iloc[::-1]]
    told = [follow(fit(columns(LogisticRegression()), inputs=f)) for f in (FRAME, *changed)]
    assert len({t.digest for t in told}) == 6
    assert {t.unfollowed for t in told} == {()}
    moved = FRAME.set_axis(FRAME.index + 3)
    assert follow(fit(columns(LogisticRegression()), inputs=moved)) == told[0]


def test_frames_that_a_function_reads_are_followed_by_what_they_hold() -> None:
    def reading(held: Any) -> Any:
        def train(members: Any, seed: Any, recorder: Any) -> Any:
            return held

        return follow(train)

    a, b = reading(FRAME["job"]), reading(FRAME["job"].replace("c", "d"))
    assert a.digest != b.digest
    assert a.unfollowed == b.unfollowed == ()
    assert reading(FRAME).digest != reading(FRAME.set_axis(FRAME.index + 3)).digest


def test_the_callers_frame_stays_as_it_is_and_changes_nothing_afterwards() -> None:
    class Spoils(DecisionTreeClassifier):
        def fit(self, x: Any, y: Any) -> Any:
            return super().fit(x[["age"]], y)

        def predict_proba(self, x: Any) -> Any:
            x["age"] = 0.0
            return super().predict_proba(x[["age"]])

    mine = FRAME.copy()
    function = fit(Spoils(), inputs=mine)
    answers = []
    for _ in range(2):
        memory = Memory()
        function(MEMBERS, 1, Recorder(Resident.of(DATA), [1.0], memory))
        answers.append(memory.values[0]["phi"])
        assert mine["age"].nunique() == 40
        mine["age"] = np.arange(40.0)
    np.testing.assert_array_equal(*answers)


def test_texts_may_be_the_inputs() -> None:
    texts = [f"{job} word{k % 3}" for k, job in enumerate(FRAME["job"])]
    model = make_pipeline(CountVectorizer(token_pattern=r"\w+"), MultinomialNB())
    recorder = Recorder(Resident.of(DATA), [1.0], Memory())
    fitted = fit(model, inputs=texts)(MEMBERS, 1, recorder)
    assert set(fitted[0].vocabulary_) == {"a", "b", "c", "word0", "word1", "word2"}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (FRAME[:-1], r"one row for every sample of the data \(40\), got 39; "),
        (FRAME.iloc[::-1], "got the same rows in another, first at row 0; reorder"),
        (
            None,
            r"ColumnTransformer.fit_transform raised ValueError: .*seepage.sklearn.fit\(…, inputs=",
        ),
        (
            FRAME[["age"]],
            r"ColumnTransformer.fit_transform raised ValueError: .*; correct .* inputs=",
        ),
    ],
)
def test_other_rows_are_refused_and_what_raised_is_named(
    tmp_path: Path, inputs: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fleet(tmp_path / "run", fit(columns(RandomForestClassifier(3)), inputs=inputs))
    if inputs is not None and len(inputs.columns) == 2:
        assert os.listdir(tmp_path) == []


def test_inputs_that_are_no_rows_are_refused() -> None:
    with pytest.raises(InputError, match="inputs: expected a data frame, an array or a list"):
        fit(LogisticRegression(), inputs=3)
