"""Labels that are not the model's are seen by its answers to members; rough models are not blamed."""

from __future__ import annotations

import numpy as np
import pytest

from seepage.errors import InputError
from seepage.metrics.own_labels import renumbered, told


def _answers(labels: np.ndarray, classes: int, right: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(labels)) < right, labels, rng.integers(0, classes, len(labels)))


def test_names_sorted_as_text_are_named_as_the_numbering() -> None:
    """'10' and '11' come before '2': two of twelve classes keep their number."""
    labels = np.random.default_rng(0).integers(0, 12, 600)
    as_text = np.argsort(np.argsort([str(k) for k in range(12)]))
    found = renumbered(_answers(as_text[labels], 12, 0.9, 1), labels, 12)
    assert found is not None
    assert found.columns.tolist() == as_text.tolist()
    assert found.accuracy < 0.3
    assert found.better > 0.85
    assert "2 → 4" in found.words


def test_two_of_ten_exchanged_and_a_binary_flip() -> None:
    labels = np.random.default_rng(0).integers(0, 10, 400)
    swap = np.array([0, 1, 2, 7, 4, 5, 6, 3, 8, 9])
    found = renumbered(swap[_answers(labels, 10, 0.95, 1)], labels, 10)
    assert found is not None
    assert found.columns.tolist() == swap.tolist()
    two = np.random.default_rng(0).integers(0, 2, 200)
    assert renumbered(1 - _answers(two, 2, 0.6, 1), two, 2) is not None


def test_two_exchanged_are_certain_from_eleven_members_each_on() -> None:
    """By Fisher's exact test: 1 / C(22, 11) of 45 pairs; nine and nine could be chance among so many."""
    swap = np.array([6, 1, 2, 3, 4, 5, 0, 7, 8, 9])
    for each, seen in ((11, True), (9, False)):
        labels = np.arange(10 * each) % 10
        found = renumbered(swap[labels], labels, 10)
        assert (found is not None) == seen
        if found is not None:
            assert found.columns.tolist() == swap.tolist()
            assert found.likely
            assert (found.accuracy, found.better) == (pytest.approx(0.8), pytest.approx(1.0))
    # One of two classes is answered as the other, by a model that says that one alone: no exchange.
    labels = np.arange(220) % 10
    assert renumbered(np.where(labels == 6, 0, labels), labels, 10) is None
    # Nor two that change places in a network that knows few of the others.
    assert renumbered(np.where(labels % 6 == 0, 6 - labels, 1), labels, 10) is None


def test_answers_to_other_inputs_are_no_numbering() -> None:
    """As of images that are turned: another numbering fits better, and makes few members right."""
    labels = np.random.default_rng(0).integers(0, 10, 800)
    turned = _answers(np.roll(np.arange(10), 3)[labels], 10, 0.3, 1)
    found = renumbered(turned, labels, 10)
    assert found is not None
    assert not found.likely
    assert 0.3 < found.better < 0.45
    assert "layout" in found.words
    assert "number the labels so" not in found.words
    # Two of ten exchanged: the others, which stay, do not count for it.
    some = np.where(labels < 8, labels, turned)
    kept = renumbered(np.where((labels >= 8) & (turned < 8), 17 - labels, some), labels, 10)
    assert kept is not None
    assert kept.likely


@pytest.mark.parametrize("classes", [2, 10, 60])
def test_a_right_numbering_stays_however_poor_the_model(classes: int) -> None:
    rng = np.random.default_rng(classes)
    for k in range(60):
        labels = rng.integers(0, classes, 300)
        assert renumbered(_answers(labels, classes, 0.03, k), labels, classes) is None
    always = np.full(300, classes - 1)
    assert (
        renumbered(always, np.minimum(rng.integers(0, 9 * classes, 300), classes - 1), classes)
        is None
    )


def test_answers_tell_labels_or_not() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(1000) < 0.05).astype(np.int64)
    member = rng.random((3, 1000)) < 0.5
    # Always the frequent class: right in 95 %, and it tells nothing.
    rare = told(np.tile(labels == 0, (3, 1)), labels, member)
    assert rare is not None
    assert rare.nothing
    assert rare.balanced == 0.5
    assert rare.accuracy > 0.9
    # Of every second rare one the class is told, at the price of some accuracy.
    found = rng.random(1000) < 0.5
    useful = told(np.where(labels == 1, found, rng.random(1000) < 0.9), labels, member[0])
    assert useful is not None
    assert not useful.nothing
    assert useful.accuracy < useful.common
    ten = rng.integers(0, 10, 1000)
    shuffled = told(ten == rng.permutation(ten), ten, member[0])
    assert shuffled is not None
    assert shuffled.nothing
    assert "no figure here" in shuffled.words
    assert told(np.ones(1000), np.zeros(1000, int), member[0]) is None


def test_shapes_are_named() -> None:
    with pytest.raises(InputError, match="expected"):
        renumbered(np.zeros(3, int), np.zeros(4, int), 2)
    with pytest.raises(InputError, match="expected"):
        told(np.zeros(3), np.zeros(4), np.zeros(3, bool))
