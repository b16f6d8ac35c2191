"""One model: its figures, groups, references by hand, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seepage
from seepage.attacks import RMIA, LiRA
from seepage.errors import InputError
from seepage.findings.result import Blind
from seepage.metrics import Estimate, Subjects, auc, auc_interval, conformal_p, joint_rates
from seepage.plan import half_split
from seepage.single import (
    Recorded,
    RecordedReferences,
    Service,
    TrainedReferences,
    from_logits,
    words,
)
from seepage.store.result_files import read_result

Side = tuple[np.ndarray, np.ndarray]


def _world(n: int = 400, leak: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a model that is more confident of the first half, and labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    z = rng.normal(size=(n, 3))
    z[np.arange(n), y] += 1.0 + leak * (np.arange(n) < n // 2)
    return z, y


def _audit(z: np.ndarray, y: np.ndarray, **options: Any) -> Any:
    half = len(y) // 2
    return seepage.audit(Recorded(z[:half], z[half:]), y[:half], y[half:], **options)


def test_figures_are_those_of_the_metrics() -> None:
    z, y = _world()
    one = _audit(z, y)
    member = np.arange(400) < 200
    loss = -from_logits(z, y).signals["loss"]
    found = one.attack("loss")
    expected = auc_interval(loss, member)
    assert (found.auc.mean, found.auc.low, found.auc.high) == (
        expected.mean,
        expected.low,
        expected.high,
    )
    rates = joint_rates(loss, member, (0.01,))
    assert found.rates[0].tpr.mean == rates.tpr[0]
    assert found.rates[0].realised_high == rates.fpr_high[0]
    assert not found.rates[1].resolved
    assert one.said == "leaks"
    assert one.strongest.estimate.low > 0.5


def test_p_values_are_against_held_others() -> None:
    z, y = _world()
    one = _audit(z, y)
    scores = one.attack(one.main).scores
    held = ~one.member & np.isnan(one.p)
    tested = ~held
    assert held.sum() == 100
    np.testing.assert_array_equal(one.p[tested], conformal_p(scores[tested], scores[held]))
    assert one.naming is not None
    assert one.naming.count == one.named.sum()
    assert not one.named[held].any()


def test_without_a_leak_nothing_is_shown_and_the_room_is_told() -> None:
    one = _audit(*_world(leak=0.0, seed=3))
    assert one.said == "not shown"
    assert one.headline.startswith("No leak was shown")
    assert f"{one.strongest.estimate.high:.3f}" in one.headline
    assert "no proof" in one.limits[0]
    assert any("For an interval of ± 0.02" in step for step in one.steps)


def test_no_verdict_where_the_blind_baseline_wins() -> None:
    z, y = _world(leak=0.0)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 3)) + 2.0 * (np.arange(400) < 200)[:, None]
    one = seepage.audit(Recorded(z[:200], z[200:]), (x[:200], y[:200]), (x[200:], y[200:]))
    assert one.said == "refused"
    assert one.headline.startswith("No verdict")
    assert "Draw others" in one.steps[0]
    assert "Draw members and others again at random, or pass groups (groups=)" in one.headline
    assert "1 honest draw in 40" not in one.headline  # no honest draw comes that far
    close = replace(one, blind=Blind(Estimate(0.572, 0.506, 0.636, 0.95, 1), ""))
    assert "again at random, or pass groups" in words.headline(close)
    assert words.headline(close).endswith(": 1 honest draw in 40 comes to such an interval.")
    # Labels alone are enough to notice that classes differ.
    y = np.where(np.arange(400) < 200, 0, y)
    assert _audit(z, y).said == "refused"


def test_sides_that_are_exchanged_are_no_verdict() -> None:
    z, y = _world()
    one = seepage.audit(Recorded(z[200:], z[:200]), y[200:], y[:200])
    assert one.strongest.estimate.high < 0.5
    assert one.said == "refused"
    assert "others look more like members than the members do, AUC 0." in one.headline
    assert one.steps[0].startswith("Exchange members and others")
    assert not _audit(z, y).reversed


def test_others_that_are_surely_more_often_right_are_no_verdict() -> None:
    """Though the entropy, which knows no label, may tell nothing: others are 200 of 200 right, and members 160."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    sure = rng.normal(size=400) ** 2 + 0.1
    wrong = np.arange(400) % 5 * (np.arange(400) < 200) == 1
    z = np.eye(2)[np.where(wrong, 1 - y, y)] * sure[:, None]
    one = _audit(z, y)
    assert one.strongest.estimate.high > 0.5
    assert one.said == "refused"
    assert "others are right more often than members, 100.0% and 80.0%" in one.headline
    assert "Probably members and others are exchanged" in one.headline


def test_an_attack_below_chance_is_told_beside_one_above() -> None:
    z, y = _world(leak=0.0)
    # References that find members easier and others harder than the target does: LiRA turns round.
    rng, mine = np.random.default_rng(3), np.arange(400) < 200
    member = half_split(400, models=16, seed=2).member
    phi = from_logits(z, y).signals["phi"] + 2.0 * (mine - 0.5)
    near = (
        phi[None] + 2.0 * (member - 0.5) + 2.0 * (mine - 0.5) + 0.1 * rng.normal(size=member.shape)
    )
    one = seepage.audit(
        Recorded({"phi": phi[:200]}, {"phi": phi[200:]}),
        None,
        None,
        references=RecordedReferences(member, signals={"phi": near}),
    )
    lira = one.attack("lira")
    assert lira.auc_wide.high < 0.5 < one.strongest.estimate.low
    assert any("LiRA" in told and "below chance" in told for told in one.limits)


def test_recorded_signals_alone() -> None:
    z, y = _world()
    found = from_logits(z, y).signals
    part = {k: found[k] for k in ("loss",)}
    one = seepage.audit(
        Recorded({k: v[:200] for k, v in part.items()}, {k: v[200:] for k, v in part.items()}),
        None,
        None,
    )
    assert set(one.skipped) >= {"mentr", "entropy", "gap", "quantile", "lira"}
    assert "labels, which were not given" in one.skipped["quantile"]
    expected = auc(-found["loss"], np.arange(400) < 200)
    assert one.attack("loss").auc.mean == pytest.approx(expected, abs=1e-12)
    assert one.blind.auc is None
    assert "neither inputs nor labels" in one.blind.note


def test_groups_are_judged_as_subjects() -> None:
    rng = np.random.default_rng(0)
    # 120 subjects of 1 to 6 records; those of members are larger, which alone must tell nothing.
    sizes = np.concatenate([rng.integers(3, 7, 60), rng.integers(1, 4, 60)])
    whose = np.repeat(np.arange(120), sizes)
    n = len(whose)
    y = rng.integers(0, 2, n)
    z = rng.normal(size=(n, 2))
    z[np.arange(n), y] += 1.0
    first = int((whose < 60).sum())
    groups = whose[:first].tolist(), whose[first:].tolist()
    sides: Any = (y[:first], y[first:])
    one = seepage.audit(Recorded(z[:first], z[first:]), *sides, groups=groups, blind=False)
    assert (one.members, one.others, one.unit) == (60, 60, "subjects")
    assert one.samples == (first, n - first)
    assert one.attack("loss").auc.covers(0.5)
    assert "subjects" in one.skipped["attack-p"]
    z[whose < 60, :] *= 1.0
    z[np.arange(first), y[:first]] += 1.0
    leaky = seepage.audit(Recorded(z[:first], z[first:]), *sides, groups=groups, blind=False)
    loss = -from_logits(z, y).signals["loss"]
    member = whose < 60
    unit = Subjects(whose)
    expected = auc(loss - loss[~member].mean(), member, unit=unit)
    assert leaky.attack("loss").auc.mean == pytest.approx(expected, abs=1e-12)
    assert expected > 0.8
    assert leaky.ids.tolist() == [str(g) for g in range(120)]
    with pytest.raises(InputError, match="got 1 on both sides, the first '0'"):
        seepage.audit(
            Recorded(z[:first], z[first:]), *sides, groups=(groups[0], [0, *groups[1][1:]])
        )


@pytest.fixture(scope="module")
def fleet() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Logits (17, N, K) of a target and 16 references, their members, the target's list, labels."""
    rng = np.random.default_rng(0)
    n = 300
    y = rng.integers(0, 4, n)
    target = np.arange(n) < n // 2
    rows = np.concatenate([target[None], half_split(n, models=16, seed=3).member])
    z = rng.normal(size=(17, n, 4)) + rng.normal(size=n)[None, :, None]
    z[:, np.arange(n), y] += rng.normal(2.0, 2.0, n) + 1.5 * rows
    return z, rows, target, y


def test_references_give_what_is_computed_by_hand(
    fleet: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    z, rows, target, y = fleet
    phi = np.stack([from_logits(v, y).signals["phi"] for v in z])
    held = {"phi": phi, "loss": np.logaddexp(0, -phi)}
    near, far = ({k: v[at] for k, v in held.items()} for at in (0, slice(1, None)))
    expected = {a.name: auc(a.score(near, far, rows[1:]), target) for a in (LiRA(), RMIA())}
    sides = (y[:150], y[150:])
    mine = Recorded(z[0, :150], z[0, 150:])
    ways = {
        "recorded logits": RecordedReferences(rows[1:], logits=z[1:]),
        "recorded signals": RecordedReferences(rows[1:], signals={"phi": phi[1:]}),
        "given": [(Recorded(v[:150], v[150:]), m) for v, m in zip(z[1:], rows[1:], strict=True)],
    }
    for way, references in ways.items():
        one = seepage.audit(mine, *sides, references=references)
        assert one.references == 16
        for name, value in expected.items():
            assert one.attack(name).auc.mean == pytest.approx(value, abs=1e-12), way
        assert one.balanced is None
        assert "curvature" in one.skipped
        assert not any("Without reference models" in text for text in one.limits)
        assert one.main == "rmia"
    alone = seepage.audit(mine, *sides)
    assert one.strongest.estimate.mean > alone.strongest.estimate.mean
    only = seepage.audit(
        mine, *sides, references=ways["recorded logits"], attacks=[RMIA(gamma=1.0)]
    )
    assert {a.name for a in only.attacks} >= {"rmia", "loss"}
    assert "lira" not in {a.name for a in only.attacks}


def test_references_that_tell_who_is_a_member_are_refused(
    fleet: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    z, rows, target, y = fleet
    rng = np.random.default_rng(0)
    biased = rng.random(rows[1:].shape) < np.where(target, 0.7, 0.3)
    one = seepage.audit(
        Recorded(z[0, :150], z[0, 150:]),
        y[:150],
        y[150:],
        references=RecordedReferences(biased, logits=z[1:]),
    )
    assert one.said == "refused"
    assert "references give the members away" in one.headline


def test_references_trained_within_a_budget() -> None:
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import ExtraTreesClassifier

    x, y = load_breast_cancer(return_X_y=True)
    at = np.random.default_rng(0).permutation(len(x))
    m, o = at[:200], at[200:400]

    def train(inputs: np.ndarray, labels: np.ndarray, seed: int) -> ExtraTreesClassifier:
        assert len(inputs) == len(labels) == 200
        return ExtraTreesClassifier(10, random_state=seed).fit(inputs, labels)

    model = train(x[m], y[m], 1)
    sides = ((x[m], y[m]), (x[o], y[o]))
    one = seepage.audit(model, *sides, references=TrainedReferences(train, seconds=600, most=8))
    assert one.references == 8
    assert any("8 models on random halves" in note for note in one.notes)
    assert one.said == "leaks"
    assert any("exactly 0 or 1" in note for note in one.notes)


def test_curvature_is_measured_on_request() -> None:
    from seepage.attacks import CurvatureThreshold
    from seepage.curvature import ZerothOrder, curvature

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 4)).astype(np.float32)
    y = rng.integers(0, 3, 80)
    nets = [
        torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
        for _ in range(5)
    ]
    sides = ((x[:40], y[:40]), (x[40:], y[40:]))
    masks = half_split(80, models=4, seed=0).member
    pairs = list(zip(nets[1:], masks, strict=True))
    one = seepage.audit(nets[0], *sides, references=pairs, curvature=True, blind=False)
    nets[0].eval()
    by_hand = curvature(nets[0], x, y, ZerothOrder(), generator=np.random.default_rng(0)).score
    nothing = np.zeros((1, 80))
    expected = CurvatureThreshold().score(by_hand, nothing, nothing.astype(bool))
    np.testing.assert_allclose(one.attack("curvature").scores, expected)
    assert {"curvature-calibrated", "curvature-mast"} <= {a.name for a in one.attacks}
    without = seepage.audit(nets[0], *sides, references=pairs, blind=False)
    assert "curvature=True" in without.skipped["curvature"]
    assert "curvature=True" in without.skipped["curvature-mast"]
    two = tuple((a, b % 2) for a, b in sides)
    other = seepage.audit(_model, *two, blind=False, curvature=True)
    assert "networks alone" in other.skipped["curvature"]


def test_labels_of_an_estimator_are_its_own_classes() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3))
    y = np.array(["sick", "well"])[(x[:, 0] > 0).astype(int)]
    model = LogisticRegression().fit(x[:60], y[:60])
    one = seepage.audit(model, (x[:60], y[:60]), (x[60:], y[60:]))
    assert one.accuracy is not None
    assert one.accuracy[0].mean == model.score(x[:60], y[:60])
    with pytest.raises(InputError, match="one of the model's 2 classes, got 'dead'"):
        seepage.audit(model, (x[:60], y[:60]), (x[60:], np.where(y[60:] == "sick", "dead", "well")))


def test_a_reference_that_never_saw_a_class() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 3))
    y = np.array(["a", "b", "rare"])[np.where(np.arange(120) % 40 == 0, 2, x[:, 0] > 0)]
    model = LogisticRegression().fit(x[:60], y[:60])
    two = LogisticRegression().fit(x[y != "rare"], y[y != "rare"])
    mask = half_split(120, models=2, seed=0).member
    sides = ((x[:60], y[:60]), (x[60:], y[60:]))
    one = seepage.audit(model, *sides, references=[(model, mask[0]), (two, mask[1])])
    assert one.references == 2
    few = tuple((a[b != "rare"], b[b != "rare"]) for a, b in sides)
    kept = (y != "rare").sum()
    with pytest.raises(InputError, match="target's classes, got one with 'rare'"):
        seepage.audit(two, *few, references=[(model, np.arange(kept) % 2)])


def test_a_data_frame_is_asked_row_by_row() -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    frames = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    x = frames.DataFrame({"age": rng.normal(size=120), "size": rng.normal(size=120)})
    y = (x["age"] > 0).astype(int).to_numpy()
    x.loc[3, "size"] = np.nan
    model = HistGradientBoostingClassifier(max_iter=5).fit(x[:60], y[:60])
    one = seepage.audit(model, (x[:60], y[:60]), (x[60:], y[60:]))
    assert one.blind.auc is not None
    assert "quantile" not in one.skipped


def test_an_estimator_that_held_members_out_is_noted() -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 2))
    y = (x[:, 0] > 0).astype(int)
    sides = ((x[:60], y[:60]), (x[60:], y[60:]))
    for stops in (True, False):
        trees = HistGradientBoostingClassifier(
            max_iter=3, early_stopping=stops, validation_fraction=0.2, random_state=0
        )
        one = seepage.audit(make_pipeline(StandardScaler(), trees).fit(*sides[0]), *sides)
        assert any("held out 20%" in note for note in one.notes) is stops


def test_a_dataset_and_a_file_are_read(tmp_path: Path) -> None:
    from seepage.data.npz import from_arrays

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 3)).astype(np.float32), np.arange(80) % 2

    def model(inputs: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-inputs[:, 0]))

    data = from_arrays(x, y)
    a = seepage.audit(model, data.take(np.arange(40)), data.take(np.arange(40, 80)))
    np.savez(tmp_path / "m.npz", x=x[:40], y=y[:40])
    np.savez(tmp_path / "o.npz", inputs=x[40:], labels=y[40:])
    b = seepage.audit(model, str(tmp_path / "m.npz"), tmp_path / "o.npz")
    assert a.attack("loss").auc == b.attack("loss").auc
    assert a.ids[0] == "train/0"
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    halves = (torch.utils.data.Subset(pairs, range(i, i + 40)) for i in (0, 40))
    assert seepage.audit(model, *halves).attack("loss").auc == a.attack("loss").auc


def test_the_summary_is_json_and_the_page_is_written(tmp_path: Path) -> None:
    z, y = _world()
    one = _audit(z, y, name="<mine> & yours")
    held = json.loads(one.write_json(tmp_path / "one.json").read_text())
    assert held["format"] == "seepage.single/1"
    assert len(held["samples"]) == 400
    page = seepage.write_report(one, tmp_path / "page.html").read_text()
    assert "&lt;mine&gt; &amp; yours" in page
    assert one.headline in page
    assert "<script" not in page
    assert json.loads((tmp_path / "page.json").read_text()) == held
    assert read_result(tmp_path / "page.json") == {k: v for k, v in held.items() if k != "digest"}
    for text in one.limits:
        assert text.split(":")[0] in page


X, Y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2


def _model(inputs: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-inputs[:, 0]))


class _Hard:
    def fit(self, x: Any, y: Any) -> None: ...

    def predict(self, x: Any) -> Any: ...


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: seepage.audit(_model, (X, Y), (X[:20], Y[:20])), "got 20 of 20 others"),
        (lambda: seepage.audit(_model, (X[:0], Y[:0]), (X, Y)), "members: expected at least 2"),
        (lambda: seepage.audit(_model, (X[:30], Y[:29]), (X[30:], Y[30:])), "'labels': 29"),
        (lambda: seepage.audit(_Hard(), (X[:30], Y[:30]), (X[30:], Y[30:])), "predict_proba"),
        (lambda: seepage.audit(_model, (X[:30] * np.nan, Y[:30]), (X[30:], Y[30:])), "finite"),
        (lambda: seepage.audit(_model, (X[:30], Y[:30] + 5), (X[30:], Y[30:])), "got 5 at row 0"),
        (lambda: seepage.audit(_model, (X[:30], Y[:30]), (X[30:, :1], Y[30:])), "one shape"),
        (lambda: seepage.audit(_model, X[:30], X[30:]), "pass the labels with the inputs"),
        (lambda: seepage.audit(_model, Y[:30], Y[30:]), "no inputs to ask"),
        (lambda: seepage.audit(None, Y[:30], Y[30:]), "recorded outputs"),
        (lambda: seepage.audit(Recorded(X[:9], X[9:]), Y[:30], Y[30:]), "each of the 30 members"),
        (
            lambda: seepage.audit(_model, (X[:30], Y[:30]), (X[30:], Y[30:]), references=[3]),
            "pairs",
        ),
        (
            lambda: seepage.audit(
                _model, (X[:30], Y[:30]), (X[30:], Y[30:]), references=[(_model, Y[:9])]
            ),
            "each of the 60 members",
        ),
        (lambda: Service(batch=0), "batch from 1"),
        (lambda: seepage.audit(_model, (X[:30], Y[:30] * np.nan), (X[30:], Y[30:])), "got nan"),
        (lambda: seepage.audit(Recorded({"phi": 1.0}, {"phi": X[:, 0]}), None, None), "one axis"),
        (lambda: seepage.audit(Recorded(X, X), np.array(1), Y), r"or labels alone \(N,\)"),
        (
            lambda: seepage.audit(_model, (X[:30], np.eye(2)[Y[:30]]), (X[30:], Y[30:])),
            "one class per sample",
        ),
        (lambda: seepage.audit(_model, (np.float64(1), Y[:30]), (X[30:], Y[30:])), "axis of samp"),
        (lambda: seepage.audit(_model, [X[:30], Y[:30], Y[:30]], (X[30:], Y[30:])), "from_torch"),
        (lambda: seepage.audit(_model, (X[:30], Y[:30] + 0.5), (X[30:], Y[30:])), "got 0.5"),
        (
            lambda: seepage.audit(
                torch.nn.Identity(), (X[:30].astype(str), Y[:30]), (X[30:].astype(str), Y[30:])
            ),
            "expected numbers for a network",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(call: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        call()
    assert "\n" not in str(error.value)


def test_copies_are_dropped_when_asked() -> None:
    others = (np.concatenate([X[:5], X[30:]]), np.concatenate([Y[:5], Y[30:]]))
    one = seepage.audit(_model, (X[:30], Y[:30]), others, drop_copies=True)
    assert one.samples == (30, 30)
    assert any("5 exact copies" in note for note in one.notes)
    plain = seepage.audit(_model, (X[:30], Y[:30]), (X[30:], Y[30:]))
    assert one.attack("loss").auc == plain.attack("loss").auc
    # Masks and recorded outputs are given for all samples, and follow.
    mask = np.random.default_rng(0).random((4, 65)) < 0.5
    with_masks = seepage.audit(
        _model,
        (X[:30], Y[:30]),
        others,
        drop_copies=True,
        references=[(lambda x, k=k: _model(x + 0.1 * k), m) for k, m in enumerate(mask)],
    )
    assert with_masks.references == 4
