"""One model: labels, masks of references and copies that do not fit are refused or said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import seepage
from seepage.errors import InputError
from seepage.plan import half_split
from seepage.single import Recorded, RecordedReferences, from_probabilities

HALF = 150


def _logits(classes: int = 4, leak: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a model that knows its classes, members first and better, and labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, 2 * HALF)
    z = rng.normal(size=(2 * HALF, classes))
    z[np.arange(len(y)), y] += 2.5 + leak * (np.arange(len(y)) < HALF)
    return z, y


def _audit(z: np.ndarray, y: np.ndarray, **options: Any) -> Any:
    return seepage.audit(Recorded(z[:HALF], z[HALF:]), y[:HALF], y[HALF:], **options)


def test_another_numbering_of_classes_is_refused_with_the_likely_one() -> None:
    z, y = _logits()
    assert _audit(z, y).said == "leaks"
    order = np.array([2, 0, 1, 3])
    with pytest.raises(InputError, match=r"label → column 0 → 2, 1 → 0, 2 → 1 would make members"):
        _audit(z[:, np.argsort(order)], y)
    with pytest.raises(InputError, match=r"0 → 1, 1 → 0 would"):
        _audit(*(lambda v, t: (v, 1 - t))(*_logits(2)))


def test_a_numbering_that_makes_few_members_right_is_said_and_not_refused() -> None:
    rng = np.random.default_rng(5)
    y = rng.integers(0, 10, 1000)
    answer = np.where(rng.random(1000) < 0.3, (y + 3) % 10, rng.integers(0, 10, 1000))
    z = 2.0 * np.eye(10)[answer] + rng.normal(scale=0.1, size=(1000, 10))
    one = seepage.audit(Recorded(z[:500], z[500:]), y[:500], y[500:])
    assert "would make it" in one.notes[0]
    assert "members' answers tell nothing" in one.headline


def test_labels_in_another_order_are_said_in_the_headline() -> None:
    z, y = _logits()
    one = _audit(z, np.random.default_rng(1).permutation(y))
    assert "members' answers tell nothing of their labels" in one.headline
    assert one.notes[0].startswith("answers: members are right in")
    assert one.summary()["notes"][0] == one.notes[0]
    assert _audit(z, y).doubts == ()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda m: ~m, r"got 8 of 8 .*reference 0 fits (that of|those outside)"),
        (lambda m: m[[2, 3, 0, 1, 4, 5, 6, 7]], r"got 4 of 8 .*AUC 0\.\d\d, its mask 0\.\d\d"),
        (lambda m: np.where(np.arange(8)[:, None] == 5, ~m, m), r"reference 5 fits"),
    ],
)
def test_masks_of_references_that_are_not_theirs_are_refused(wrong: Any, told: str) -> None:
    z, y = _logits()
    member = half_split(2 * HALF, models=8, seed=2).member
    rng = np.random.default_rng(3)
    phi = rng.normal(size=2 * HALF) + 2.0 * member + rng.normal(size=member.shape)
    given = RecordedReferences(member, signals={"phi": phi})
    assert "lira" not in _audit(z, y, references=given).skipped
    with pytest.raises(InputError, match=told):
        _audit(z, y, references=RecordedReferences(wrong(member), signals={"phi": phi}))


def test_labels_that_nobody_tells_are_named_before_masks() -> None:
    z, y = _logits()
    member = half_split(2 * HALF, models=8, seed=2).member
    rng = np.random.default_rng(3)
    phi = rng.normal(size=2 * HALF) - 2.0 * member + rng.normal(size=member.shape)
    given = RecordedReferences(member, signals={"phi": phi})
    with pytest.raises(
        InputError, match=r"^answers: members are right in .*besides, references: exp"
    ):
        _audit(z, rng.permutation(y), references=given)


def test_a_single_reference_is_compared_with_the_target() -> None:
    z, y = _logits()
    rng = np.random.default_rng(3)
    member = rng.random((1, 2 * HALF)) < 0.5
    phi = from_probabilities(np.exp(z) / np.exp(z).sum(1, keepdims=True), y).signals["phi"]
    near = phi + 2.0 * member + 0.3 * rng.normal(size=member.shape)
    _audit(z, y, references=RecordedReferences(member, signals={"phi": near}))
    with pytest.raises(InputError, match=r"reference 0 fits those outside of its own, AUC 1\.00"):
        _audit(z, y, references=RecordedReferences(~member, signals={"phi": near}))


@pytest.mark.parametrize("models", [1, 8])
def test_masks_in_another_order_are_said_in_the_headline(models: int) -> None:
    """Of the pool's order instead of members and then others: no list is any reference's, nor inverted."""
    z, y = _logits(leak=2.0)
    rng = np.random.default_rng(3)
    phi = from_probabilities(np.exp(z) / np.exp(z).sum(1, keepdims=True), y).signals["phi"]
    member = rng.random((models, 2 * HALF)) < 0.5
    near = phi - phi[:HALF].mean() + 2.0 * member + 0.5 * rng.normal(size=member.shape)
    right = _audit(z, y, references=RecordedReferences(member, signals={"phi": near}))
    assert right.doubts == ()
    order = rng.permutation(2 * HALF)
    one = _audit(z, y, references=RecordedReferences(member[:, order], signals={"phi": near}))
    assert one.notes[0].startswith(f"references: the {models} are no surer of the samples")
    assert "figures with references cannot be trusted: see the first note" in one.headline


def test_members_below_the_most_frequent_class_are_said() -> None:
    """As a forest asked about other inputs than it was trained on: rare classes are told a little."""
    rng = np.random.default_rng(0)
    y = (rng.random(2 * HALF) < 0.2).astype(np.int64)
    answer = np.where(y == 1, rng.random(len(y)) < 0.9, rng.random(len(y)) < 0.65).astype(int)
    one = _audit(2.0 * np.eye(2)[answer] + rng.normal(scale=0.1, size=(len(y), 2)), y)
    assert "members are right in" in one.notes[0]
    assert "weighed rare classes higher" in one.notes[0]
    assert "less often than the most frequent class alone would be" in one.headline
    assert _audit(3.0 * np.eye(2)[np.zeros_like(y)], y).notes[0].startswith("answers: ")


def test_answers_that_are_classes_are_not_taken_for_probabilities() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2 * HALF, 3))
    y = (x[:, 0] + 0.5 * rng.normal(size=len(x)) > 0).astype(np.int64)
    truth = {row.tobytes(): v for row, v in zip(x[:HALF], y[:HALF], strict=True)}

    def predict(batch: np.ndarray) -> np.ndarray:
        return np.array([truth.get(row.tobytes(), int(row[0] > 0)) for row in batch])

    one = seepage.audit(predict, (x[:HALF], y[:HALF]), (x[HALF:], y[HALF:]))
    assert [a.name for a in one.attacks] == ["gap"]
    assert "taken for classes" in one.notes[0]
    assert "answers with classes alone" in one.skipped["loss"]
    # One answer between is a probability: what is exact is put beside it, and counted.
    soft = from_probabilities(np.array([1.0, 0.0, 0.25]), np.array([1, 0, 0]))
    assert "phi" in soft.signals


def test_copies_within_a_side_are_counted_and_subjects_are_not() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2 * HALF, 3))
    y = rng.integers(0, 2, 2 * HALF)
    x[10:20], y[10:20] = x[0], y[0]
    x[-3:], y[-3:] = x[-4], y[-4]

    def model(batch: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-batch[:, 0]))

    sides = (x[:HALF], y[:HALF]), (x[HALF:], y[HALF:])
    one = seepage.audit(model, *sides, blind=False)
    assert any("10 of 150 members and 3 of 150 others are exact copies" in n for n in one.notes)
    names = np.arange(2 * HALF)
    names[10:20], names[-3:] = 0, names[-4]
    grouped = seepage.audit(model, *sides, groups=(names[:HALF], names[HALF:]), blind=False)
    assert not any("copies" in n for n in grouped.notes)
    assert grouped.members == HALF - 10


def test_an_eval_set_that_decided_is_said() -> None:
    """What boosting libraries keep of one, by the names that XGBoost and LightGBM give it."""
    rng = np.random.default_rng(0)

    class Boosted:
        classes_ = np.array([0, 1])
        best_iteration = 12

        def evals_result(self) -> dict[str, Any]:
            return {"validation_0": {"logloss": [0.6, 0.5]}}

        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            p = 1 / (1 + np.exp(-x[:, 0]))
            return np.stack([1 - p, p], axis=1)

    x = rng.normal(size=(200, 2))
    y = (x[:, 0] > 0).astype(np.int64)
    one = seepage.audit(Boosted(), (x[:100], y[:100]), (x[100:], y[100:]), blind=False)
    assert any("stopped at round 12 by an eval_set" in n for n in one.notes)
