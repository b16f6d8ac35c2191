"""Texts held several times: who is held how often, that copies stay together, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seepage.config.audit import AuditConfig
from seepage.config.prepare import prepare
from seepage.data import (
    copy_numbers,
    from_arrays,
    from_texts,
    one_of_each,
    reload,
    repeat,
)
from seepage.errors import InputError

TEXTS = [f"text number {i} of its own" for i in range(40)]


def test_every_number_of_copies_has_its_share_and_copies_are_the_text() -> None:
    data = from_texts(TEXTS, context=64)
    before = data.inputs.clone()
    held = repeat(data, [1, 2, 4, 8], seed=3)
    assert len(held) == 10 * (1 + 2 + 4 + 8)
    first = one_of_each(held.ids)
    numbers = copy_numbers(held.ids)
    assert np.array_equal(np.unique(numbers[first], return_counts=True)[1], [10] * 4)
    # Texts keep their order, so that a first copy is the text of the pool without copies.
    assert np.array_equal(held.inputs[first].numpy(), data.inputs.numpy())
    assert held.groups is not None
    for name in np.unique(held.groups):
        rows = np.flatnonzero(held.groups == name)
        assert len(rows) == numbers[rows[0]]
        assert bool((held.inputs[rows] == held.inputs[rows[0]]).all())
    assert len(set(held.ids.tolist())) == len(held)
    assert np.array_equal(data.inputs.numpy(), before.numpy())


def test_who_is_held_how_often_does_not_follow_the_order_of_the_pool() -> None:
    def of(seed: int) -> list[int]:
        ids = repeat(from_texts(TEXTS, context=64), [1, 4], seed=seed).ids
        return [int(n) for n in copy_numbers(ids)[one_of_each(ids)]]

    assert of(0) == of(0)
    assert of(0) != of(1)
    assert of(0) != [1, 4] * 20


def test_subjects_that_texts_have_are_kept() -> None:
    data = from_texts(TEXTS[:4], context=64, groups=["a", "a", "b", "b"])
    held = repeat(data, [2])
    assert held.groups is not None
    assert held.groups.tolist() == ["a"] * 4 + ["b"] * 4


def test_a_pool_without_copies_is_read_as_held_once() -> None:
    assert copy_numbers(["a", "b#2", "c#x/2", "d#/"]).tolist() == [1, 1, 1, 1]
    assert one_of_each(["a", "b#2/2", "b#1/2"]).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([], r"data.repeats: expected numbers of copies from 1 to 1024.*got \[\]"),
        ([1, 0], r"data.repeats: expected numbers of copies from 1 to 1024.*got \[1, 0\]"),
        ([1025], "data.repeats: expected numbers of copies from 1 to 1024"),
        ([1] * 41, "data.repeats: expected at most as many numbers as there are texts, 40, got 41"),
    ],
)
def test_other_numbers_are_refused(counts: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        repeat(from_texts(TEXTS, context=64), counts)


def test_other_tasks_and_copies_of_copies_are_refused() -> None:
    with pytest.raises(InputError, match=r'data.repeats: expected with task = "language", got'):
        repeat(from_arrays([[0.0], [1.0]], [0, 1]), [2])
    with pytest.raises(InputError, match="expected texts that are held once, got copies already"):
        repeat(repeat(from_texts(TEXTS, context=64), [2]), [2])


def test_repeats_of_a_configuration_leave_the_start_and_go_with_the_plan() -> None:
    """The start is that of the pool without copies; runs hold a text with all of its copies or not."""
    content: dict[str, Any] = {
        "data": {"name": "python-topics", "task": "language", "context": 16, "long": "split",
                 "limit": 60, "copies": "drop"},
        "model": {"name": "gpt", "options": {"width": 8, "depth": 1, "heads": 2}},
        "start": {"samples": 20},
        "plan": {"models": 8},
        "record": {"checkpoints": [0, 1]},
        "recipe": {"epochs": 1},
    }  # fmt: skip
    plain = prepare(AuditConfig(**content))
    content["data"] = {**content["data"], "repeats": [1, 3]}
    held = prepare(AuditConfig(**content))
    assert plain.start is not None
    assert held.start is not None
    assert held.start.digest == plain.start.digest
    first = one_of_each(held.data.ids)
    assert len(first) == len(plain.data) < len(held.data)
    assert np.array_equal(held.data.inputs[first].numpy(), plain.data.inputs.numpy())
    assert held.data.groups is not None
    for name in np.unique(held.data.groups):
        of = held.plan.member[:, held.data.groups == name]
        assert (of == of[:, :1]).all()
    assert held.data.digest != plain.data.digest
    again = reload(held.data.source, held.data.digest)
    assert again is not None
