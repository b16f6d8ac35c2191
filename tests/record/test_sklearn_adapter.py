"""Fleets of estimators: what they answer is what is recorded, and what makes a member less is said."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import seepage
from seepage.data import from_arrays
from seepage.errors import InputError
from seepage.fleet import EstimatorWarning
from seepage.fleet.rebuild import rebuild
from seepage.fleet.user_code import follow
from seepage.plan import half_split
from seepage.record import Memory, Recorder, Resident
from seepage.signals import SIGNALS
from seepage.sklearn import fit
from tiny_fleet import table

# Constants, and models of labels that are random, know no label.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*answers. members are right in:seepage.fleet.ContradictionWarning"
)

DATA = table(48)
X = DATA.inputs.numpy().astype(np.float64)
Y = DATA.labels.numpy()
INLINE = {"executor": "inline", "device": "cpu"}


def fleet(out: Path, estimator: Any, **options: Any) -> seepage.Run:
    function = estimator if callable(estimator) else fit(estimator)
    plan = half_split(len(DATA), models=4, seed=1)
    return seepage.train(DATA, plan, function=function, out=out, **{**INLINE, **options})


def recorded(p: Any, least: float | None = None, **options: Any) -> tuple[Recorder, Any]:
    """What a Recorder keeps of the probabilities of the pool."""
    memory = Memory()
    recorder = Recorder(Resident.of(DATA), [1.0], memory, **options)
    recorder.answers(p, epoch=1.0, least=least)
    recorder.finish()
    return recorder, memory.values[0]


def by_hand(p: Any) -> tuple[Any, Any]:
    """phi and loss, written down directly."""
    own = p[np.arange(len(p)), Y]
    rest = np.where(np.arange(p.shape[1]) == Y[:, None], 0.0, p).sum(axis=1)
    return np.log(own) - np.log(rest), -np.log(own)


def test_what_is_recorded_follows_from_predict_proba(tmp_path: Path) -> None:
    run = fleet(tmp_path / "run", make_pipeline(StandardScaler(), LogisticRegression()))
    assert run.checkpoints.tolist() == [1.0]
    for row, member in enumerate(run.member):
        own = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[member], Y[member])
        phi, loss = by_hand(own.predict_proba(X))
        # Stored in float32; the rules themselves in float64.
        np.testing.assert_allclose(run.signal_at("phi", 0)[row].ravel(), phi, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(run.signal_at("loss", 0)[row].ravel(), loss, rtol=1e-7)
        right = own.predict(X) == Y
        np.testing.assert_array_equal(run.signal_at("correct", 0)[row].ravel(), right)
    assert run.verify() == []
    assert run.weights(0) is None


def test_signals_of_probabilities_are_exact_to_1e_12() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(3), len(Y))
    held: dict[str, Any] = {}

    def kept(logits: Any, labels: Any) -> Any:
        held.update({name: SIGNALS[name](logits, labels).numpy() for name in ("phi", "loss")})
        return SIGNALS["phi"](logits, labels)

    recorded(p, signals=[kept])
    phi, loss = by_hand(p)
    np.testing.assert_allclose(held["phi"], phi, atol=1e-12)
    np.testing.assert_allclose(held["loss"], loss, atol=1e-12)


def test_zeros_and_ones_are_raised_to_a_bound_and_counted() -> None:
    p = np.full((len(Y), 3), 1 / 3)
    p[0] = np.eye(3)[Y[0]]
    p[1] = np.eye(3)[(Y[1] + 1) % 3]
    recorder, values = recorded(p)
    assert recorder.facts["clipped"] == {"1": 2}
    assert values["phi"][0] == pytest.approx(-np.log(1e-12))
    assert values["phi"][1] == pytest.approx(np.log(0.5e-12), rel=1e-6)
    _, values = recorded(p.astype(np.float32))
    assert values["phi"][0] == pytest.approx(-np.log(np.finfo(np.float32).eps))
    _, values = recorded(p, least=0.01)
    assert values["phi"][0] == pytest.approx(-np.log(0.01))
    # A class that is 0 adds no more than the bound to the others.
    p[2] = [0.9, 0.1, 0.0]
    _, values = recorded(p, least=0.01)
    assert np.isfinite(values["mentr"]).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda p: p[:-1], "expected float32 or float64 of shape"),
        (lambda p: p[:, :2] / p[:, :2].sum(1, keepdims=True), "expected 3 columns"),
        (lambda p: np.where(np.arange(len(p))[:, None] == 5, np.nan, p), "first at row 5"),
        (lambda p: p * 0.9, "with sum 0.9"),
        (lambda p: p - [[0.9, 0, -0.9]], "expected rows from 0"),
        (lambda p: (p * 10).astype(np.int64), "got int64"),
    ],
)
def test_what_is_no_probabilities_is_refused(wrong: Any, message: str) -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(3), len(Y))
    with pytest.raises(InputError, match=message):
        recorded(wrong(p))


def test_a_forest_leaks_and_a_constant_does_not(tmp_path: Path) -> None:
    inputs, labels = load_breast_cancer(return_X_y=True)
    data = from_arrays(inputs[:240].astype(np.float32), labels[:240])
    plan = half_split(240, models=8, seed=0)
    found = {}
    for name, estimator in (("forest", ExtraTreesClassifier(15)), ("constant", DummyClassifier())):
        given = fit(estimator, least=None)
        if name == "forest":
            with pytest.warns(EstimatorWarning, match=r"answers give a class .* these tie"):
                run = seepage.train(data, plan, function=given, out=tmp_path / name, **INLINE)
        else:
            run = seepage.train(data, plan, function=given, out=tmp_path / name, **INLINE)
        scores = run.signal_at("phi", 0).reshape(8, 240)
        found[name] = [seepage.metrics.auc(s, m) for s, m in zip(scores, run.member, strict=True)]
    assert min(found["forest"]) > 0.6
    # One prior per class and run: within a class all answers are the same.
    for run_scores, member in zip(scores, run.member, strict=True):
        for c in (0, 1):
            mine = data.labels.numpy() == c
            assert seepage.metrics.auc(run_scores[mine], member[mine]) == 0.5


def test_seeds_of_runs_reach_every_part(tmp_path: Path) -> None:
    inner = BaggingClassifier(DecisionTreeClassifier(random_state=5), 2, random_state=7)
    seen: list[dict[str, Any]] = []
    plan = half_split(len(DATA), models=4, seed=1)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    for row in (0, 0, 1):
        recorder = Recorder(Resident.of(DATA), [1.0], Memory())
        fitted = fit(make_pipeline(StandardScaler(), inner))(
            np.flatnonzero(plan.member[row]), int(plan.seeds[row]), recorder
        )
        seen.append({k: v for k, v in fitted.get_params().items() if "random_state" in k})
    assert seen[0] == seen[1] != seen[2]
    assert set(seen[0]) == {
        "baggingclassifier__random_state",
        "baggingclassifier__estimator__random_state",
    }
    assert len(set(seen[0].values())) == 2
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert inner.random_state == 7  # the caller's own is not changed


class Global(ClassifierMixin, BaseEstimator):
    """Draws from NumPy's global stream, as some do."""

    def fit(self, x: Any, y: Any) -> Global:
        self.classes_ = np.unique(y)
        self.p_ = np.random.dirichlet(np.ones(3))  # noqa: NPY002
        return self

    def predict_proba(self, x: Any) -> Any:
        return np.tile(self.p_, (len(x), 1))


def test_the_global_stream_follows_the_seed(tmp_path: Path) -> None:
    first, again = fleet(tmp_path / "a", Global()), fleet(tmp_path / "b", Global())
    np.testing.assert_array_equal(first.signal("phi"), again.signal("phi"))
    assert len(np.unique(first.signal("phi")[:, 0, 0])) == 4


def test_a_class_that_a_run_has_not_seen_has_probability_0() -> None:
    members = np.flatnonzero(Y != 1)
    memory = Memory()
    recorder = Recorder(Resident.of(DATA), [1.0], memory, logits=True)
    fitted = fit(GaussianNB(), least=1e-6)(members, 3, recorder)
    assert fitted.classes_.tolist() == [0, 2]
    p = np.exp(memory.values[0]["logits"])
    np.testing.assert_allclose(p[:, 1], 0.5e-6, rtol=1e-5)
    np.testing.assert_allclose(p[:, [0, 2]], fitted.predict_proba(X).clip(0.5e-6), rtol=1e-5)
    assert recorder.facts["clipped"]["1"] >= int((Y == 1).sum())
    assert recorder.facts["classes"] == 2


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (SVC(), "got SVC without predict_proba; wrap it in sklearn.calibration"),
        (make_pipeline(StandardScaler(), SVC()), "got Pipeline without predict_proba; wrap it in"),
        (RandomForestClassifier, r"got the class RandomForestClassifier; call it"),
        (StandardScaler(), "StandardScaler without predict_proba"),
        (3, "expected a classifier with fit and predict_proba, got int"),
    ],
)
def test_what_is_no_classifier_is_refused(estimator: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(estimator)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (RandomForestClassifier(4), "RandomForestClassifier is fitted to a bootstrap .* about 64%"),
        (RandomForestClassifier(4, max_samples=0.5), "sees about 40% of"),
        (BaggingClassifier(n_estimators=4), "BaggingClassifier is fitted to a bootstrap"),
        (BaggingClassifier(n_estimators=4, bootstrap=False, max_samples=0.5), "about 50%"),
        (GradientBoostingClassifier(n_estimators=2, subsample=0.5), "fitted to 50% of its members"),
        (GradientBoostingClassifier(n_estimators=2, n_iter_no_change=1), "holds out 10%"),
        (HistGradientBoostingClassifier(max_iter=2, early_stopping=True), "holds out 10%"),
        (make_pipeline(SGDClassifier("log_loss", early_stopping=True)), "SGDClassifier holds out"),
        (CalibratedClassifierCV(GaussianNB(), cv=2), "different parts of its members"),
        (ExtraTreesClassifier(4), None),
        (HistGradientBoostingClassifier(max_iter=2), None),
    ],
    ids=lambda v: None if isinstance(v, str) else type(v).__name__,
)
def test_members_that_are_less_than_members_are_noted(estimator: Any, message: str | None) -> None:
    plan = half_split(len(DATA), models=4, seed=1)
    recorder = Recorder(Resident.of(DATA), [1.0], Memory())
    fit(estimator)(np.flatnonzero(plan.member[0]), 1, recorder)
    notes = recorder.facts.get("notes", [])
    if message is None:
        assert notes == []
    else:
        (note,) = notes
        assert re.search(message, note), note


def test_notes_are_warned_of_once_and_kept(tmp_path: Path) -> None:
    with pytest.warns(EstimatorWarning) as said:
        run = fleet(tmp_path / "run", RandomForestClassifier(5))
    texts = [str(w.message) for w in said]
    assert len(texts) == len(set(texts)) == 2
    assert sum("a bootstrap of its members" in t for t in texts) == 1
    for record in run.records.values():
        assert "bootstrap" in record["facts"]["notes"][0]
        assert record["facts"]["least"] == 0.1
        assert record["facts"]["clipped"]["1"] > 0


@pytest.mark.parametrize(
    ("estimator", "least"),
    [
        (RandomForestClassifier(5), 0.1),
        (RandomForestClassifier(5, max_depth=2), 0.5 / (5 * 24)),
        (RandomForestClassifier(5, class_weight="balanced"), 0.1),
        (RandomForestClassifier(5, class_weight="balanced", max_depth=2), None),
        (BaggingClassifier(n_estimators=5), 0.1),
        (BaggingClassifier(DecisionTreeClassifier(max_depth=2), 5), 0.5 / (5 * 24)),
        (BaggingClassifier(GaussianNB(), 5), None),
        (KNeighborsClassifier(5), 0.1),
        (KNeighborsClassifier(5, weights="distance"), None),
        (GradientBoostingClassifier(n_estimators=3), None),
        (LogisticRegression(), None),
    ],
    ids=lambda v: None if isinstance(v, float) else type(v).__name__,
)
def test_the_bound_is_what_an_estimator_tells_apart(estimator: Any, least: float | None) -> None:
    plan = half_split(len(DATA), models=4, seed=1)
    recorder = Recorder(Resident.of(DATA), [1.0], Memory())
    fit(estimator)(np.flatnonzero(plan.member[0]), 1, recorder)
    assert recorder.facts["least"] == least


def test_rounds_of_boosting_are_checkpoints(tmp_path: Path) -> None:
    boosted = fit(GradientBoostingClassifier(n_estimators=12), stages=[1, 4, 12])
    run = fleet(tmp_path / "run", boosted)
    assert run.checkpoints.tolist() == [1.0, 4.0, 12.0]
    member = run.member[0]
    recorder = Recorder(Resident.of(DATA), [12.0], Memory())
    seed = int(half_split(len(DATA), models=4, seed=1).seeds[0])
    fitted = boosted(np.flatnonzero(member), seed, recorder)
    for t, p in zip(
        (0, 1, 2), np.array(list(fitted.staged_predict_proba(X)))[[0, 3, 11]], strict=True
    ):
        np.testing.assert_allclose(
            run.signal_at("phi", t)[0].ravel(), by_hand(p)[0], rtol=1e-6, atol=1e-9
        )
    some = fleet(tmp_path / "some", boosted, checkpoints=[4])
    np.testing.assert_array_equal(some.signal_at("phi", 0), run.signal_at("phi", 1))


def test_boosting_that_ends_by_itself_keeps_its_last_answer() -> None:
    memory = Memory()
    recorder = Recorder(Resident.of(DATA), [1.0, 50.0], memory)
    scaled = make_pipeline(
        StandardScaler(), AdaBoostClassifier(DecisionTreeClassifier(), n_estimators=50)
    )
    fitted = fit(scaled, stages=[1, 50])(np.arange(len(Y)), 1, recorder)
    assert len(fitted[-1].estimators_) == 1  # a whole tree has no errors left
    np.testing.assert_array_equal(memory.values[0]["phi"], memory.values[1]["phi"])


@pytest.mark.parametrize(
    ("stages", "estimator", "message"),
    [
        ([1], LogisticRegression(), "LogisticRegression without it"),
        ([4, 2], GradientBoostingClassifier(), r"ascending rounds from 1, got \[4, 2\]"),
        ([0], GradientBoostingClassifier(), "from 1"),
        ([200], GradientBoostingClassifier(), "up to the estimator's 100, got 200"),
    ],
)
def test_stages_that_do_not_exist_are_refused(stages: Any, estimator: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(estimator, stages=stages)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoints": [0, 1]}, r"record.checkpoints: expected some of 1, .* got 0, 1"),
        ({"keep": "final"}, "record.keep: expected none"),
        ({"layers": True}, "record.layers: expected none"),
        ({"curvature": "exact"}, "record.curvature: expected none"),
        ({"defense": seepage.defenses.make("label-smoothing")}, "defense: expected none"),
    ],
)
def test_what_needs_a_network_is_refused_before_training(
    tmp_path: Path, options: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fleet(tmp_path / "run", GaussianNB(), **options)
    assert not (tmp_path / "run").exists()


def test_layers_of_an_estimator_are_refused_in_one_line(tmp_path: Path) -> None:
    run = fleet(tmp_path / "run", LogisticRegression())
    with pytest.raises(InputError, match="trained by an estimator, which is no torch network"):
        rebuild(run, data=DATA)


def test_an_estimator_that_raises_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"KNeighborsClassifier.predict_proba raised ValueError: .*"
    ):
        fleet(tmp_path / "run", KNeighborsClassifier(40))


def test_the_estimator_is_part_of_the_key(tmp_path: Path) -> None:
    fleet(tmp_path / "run", GaussianNB(var_smoothing=1e-9))
    fleet(tmp_path / "run", GaussianNB(var_smoothing=1e-9))
    with pytest.raises(InputError, match=r"function\.digest"):
        fleet(tmp_path / "run", GaussianNB(var_smoothing=1e-8))
    with pytest.raises(InputError, match=r"function\.digest"):
        fleet(tmp_path / "run", fit(GaussianNB(var_smoothing=1e-9), least=1e-5))
    # What each run draws anew, and how many threads there are, is not what is trained.
    one = RandomForestClassifier(random_state=np.random.RandomState(1), n_jobs=2)
    assert follow(fit(one)) == follow(fit(RandomForestClassifier(random_state=3)))
    assert follow(fit(one)).unfollowed == ()


MODULE = """
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
import seepage
forest = seepage.sklearn.fit(make_pipeline(StandardScaler(), ExtraTreesClassifier(6, max_depth=4)))
"""
SCRIPT = """
import sys, warnings
import seepage
from tiny_fleet import table
from seepage.plan import half_split
warnings.simplefilter("ignore")
data = table(48)
run = seepage.train(data, half_split(48, models=4, seed=1), function=sys.argv[1], out=sys.argv[2],
                    workers=1, device="cpu", executor=sys.argv[3])
print(len(run.models))
"""


class Margins:
    """Speaks as XGBoost does: probabilities in float32, margins, no class of scikit-learn."""

    def __init__(self, shift: float = 0.0, n_jobs: int | None = None, random_state: Any = None):
        self.shift, self.n_jobs, self.random_state = shift, n_jobs, random_state

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return dict(vars(self))

    def set_params(self, **params: Any) -> Margins:
        vars(self).update(params)
        return self

    def get_booster(self) -> None: ...

    def fit(self, x: Any, y: Any) -> Margins:
        return self

    def predict(self, x: Any, output_margin: bool = False) -> Any:
        return np.stack([x[:, 0] * 9, x[:, 0] * 0, -x[:, 0] * 9], axis=1).astype(np.float32)

    def predict_proba(self, x: Any) -> Any:
        z = self.predict(x, True) * (1 + self.shift)
        return (np.exp(z) / np.exp(z).sum(1, keepdims=True)).astype(np.float32)


def test_margins_are_taken_where_probabilities_are_their_softmax() -> None:
    memory = Memory()
    recorder = Recorder(Resident.of(DATA), [1.0], memory)
    fitted = fit(Margins(), dtype="float32")(np.arange(len(Y)), 1, recorder)
    assert fitted.n_jobs == 1
    z = Margins().predict(X.astype(np.float32)).astype(np.float64)
    rest = np.where(np.arange(3) == Y[:, None], -np.inf, z)
    phi = z[np.arange(len(Y)), Y] - np.log(np.exp(rest).sum(1))
    assert np.abs(phi).max() > 20  # float32 near 1 ends at 16
    np.testing.assert_allclose(
        memory.values[0]["phi"], phi.clip(np.log(0.5e-12), -np.log(1e-12)), atol=1e-5
    )
    assert "notes" not in recorder.facts
    other = Recorder(Resident.of(DATA), [1.0], Memory())
    fit(Margins(shift=0.5))(np.arange(len(Y)), 1, other)
    assert other.facts["notes"] == ["Margins gives probabilities in float32: 1.2e-7 near 1"]


def test_the_bound_of_votes_shows_more_than_the_smallest_number(tmp_path: Path) -> None:
    inputs, labels = load_breast_cancer(return_X_y=True)
    data = from_arrays(inputs.astype(np.float32), labels)
    plan = half_split(len(data), models=12, seed=0)
    auc = {}
    for least in (None, 1e-12):
        function = fit(RandomForestClassifier(20), least=least)
        with pytest.warns(EstimatorWarning):
            run = seepage.train(data, plan, function=function, out=tmp_path / str(least), **INLINE)
        scores = seepage.score(run, seepage.attacks.LiRA())
        auc[least] = np.mean(
            [seepage.metrics.auc(s, m) for s, m in zip(scores, run.member, strict=True)]
        )
    assert auc[None] > auc[1e-12] + 0.03


def test_images_are_flattened_and_a_function_may_standardise() -> None:
    images = np.random.default_rng(0).integers(0, 255, (20, 4, 4), dtype=np.uint8)
    data = from_arrays(images, np.arange(20) % 2)
    seen: list[Any] = []
    spy = make_pipeline(FunctionTransformer(lambda x: seen.append(x) or x), GaussianNB())
    fit(spy)(np.arange(10), 1, Recorder(Resident.of(data), [1.0], Memory()))
    np.testing.assert_array_equal(seen[0], images[:10].reshape(10, 16).astype(np.float64))
    assert seen[0].dtype == np.float64


def test_a_plain_function_may_answer_too(tmp_path: Path) -> None:
    def train(members: Any, seed: int, recorder: Recorder) -> Any:
        for epoch in (1, 2):
            prior = np.bincount(Y[members], minlength=3) + epoch
            recorder.answers(np.tile(prior / prior.sum(), (len(Y), 1)), epoch=epoch)

    run = fleet(tmp_path / "run", train, checkpoints=[1, 2])
    assert run.signal("phi").shape[:3] == (4, 2, 48)
    with pytest.raises(InputError, match="expected the loop to reach epoch 3, it ended at 2"):
        fleet(tmp_path / "more", train, checkpoints=[1, 3])
    train.network, train.checkpoints = False, (1, 2)  # type: ignore[attr-defined]
    assert fleet(tmp_path / "told", train).checkpoints.tolist() == [1.0, 2.0]


def test_worker_processes_give_the_same_bits_and_a_fresh_process_goes_on(tmp_path: Path) -> None:
    (tmp_path / "mine_forest.py").write_text(MODULE)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}

    def script(function: str, out: str, executor: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, function, out, executor],
            capture_output=True, text=True, env=env, cwd=tmp_path, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert script("mine_forest:forest", "local", "local") == "4"
    whole = seepage.open(tmp_path / "local")
    # As an interrupted fleet leaves it: the record of one run, and its chunks, are not there.
    before = np.asarray(whole.signal("phi")).copy()
    record = next(
        p
        for p in (tmp_path / "local").rglob("*.json")
        if p.stem.endswith("2") and "record" in str(p)
    )
    record.unlink()
    assert script("mine_forest:forest", "local", "inline") == "4"
    assert record.exists()
    again = seepage.open(tmp_path / "local")
    assert again.verify() == []
    np.testing.assert_array_equal(again.signal("phi"), before)


class Interrupted(BaseException):
    pass


class Stops:
    """Ends a fleet after its second run."""

    def __init__(self) -> None:
        self.ended = 0

    def start(self, rows: list[int], epochs: float) -> None: ...
    def progress(self, row: int, epoch: float) -> None: ...
    def stop(self) -> None: ...

    def done(self, row: int, record: dict[str, Any]) -> None:
        self.ended += 1
        if self.ended == 2:
            raise Interrupted


def test_an_interrupted_fleet_is_gone_on_with(tmp_path: Path) -> None:
    estimator = ExtraTreesClassifier(6, max_depth=4)
    with pytest.raises(Interrupted):
        fleet(tmp_path / "cut", estimator, watcher=Stops())
    with pytest.warns(EstimatorWarning):
        cut = fleet(tmp_path / "cut", estimator)
    with pytest.warns(EstimatorWarning):
        whole = fleet(tmp_path / "whole", estimator)
    assert [cut.records[r]["digests"] for r in range(4)] == [
        whole.records[r]["digests"] for r in range(4)
    ]


def test_what_cannot_be_sent_is_said() -> None:
    assert fit(ExtraTreesClassifier()).travels
    assert not fit(make_pipeline(FunctionTransformer(lambda x: x), GaussianNB())).travels


def test_the_example_runs_as_it_stands(tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / "examples" / "forest.py"
    assert len(path.read_text().splitlines()) < 60
    source = os.pathsep.join([str(Path(seepage.__file__).parents[1]), *sys.path])
    told = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore:Call to deprecated",
            "-W",
            "ignore:Implicitly cleaning up",
            path,
            tmp_path,
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert told.stderr == ""
    assert "forest, round 1: LiRA AUC 0." in told.stdout
    assert "boosted, round 80: LiRA AUC 0." in told.stdout
    assert "is fitted to a bootstrap" in told.stdout
    assert (tmp_path / "forest.html").exists()
