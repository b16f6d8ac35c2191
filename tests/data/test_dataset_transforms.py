"""The dataset's own rules, pooling, canaries and label noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seepage.data import Dataset, apply_canaries, from_arrays, load, pool, relabel, subset
from seepage.errors import InputError
from seepage.plan import Canaries, half_split, plant_canaries

laws = settings(max_examples=30, deadline=None)


def tiny(n: int = 6, **changes: Any) -> Dataset:
    x = np.arange(2.0 * n).reshape(n, 2)
    return replace(from_arrays(x, np.arange(n) % 3), **changes)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"labels": torch.zeros(0, dtype=torch.int64)}, "arrays: expected at least one sample"),
        ({"ids": np.array(["a"])}, r"as many inputs and ids as labels \(6\), got 6 inputs and 1"),
        ({"labels": torch.zeros(6)}, "expected int64 labels of one axis, got torch.float32"),
        ({"classes": ("a",)}, "expected at least two classes, got 1"),
        ({"classes": ("a", "b")}, r"expected labels in 0\.\.1, got 2 at row 2"),
        ({"labels": torch.tensor([0, 1, -1, 0, 1, 2])}, r"labels in 0\.\.2, got -1 at row 2"),
        ({"kind": "image"}, "expected inputs of 4 axes for kind 'image', got shape"),
        (
            {"inputs": torch.tensor([[0.0, float("nan")]] + [[0.0, 1.0]] * 5)},
            r"expected finite inputs, got NaN or infinity in row 0 \(train/0\)",
        ),
        (
            {"groups": np.array(["a"] * 5)},
            r"groups as text, one per sample \(6\), got <U1 of shape",
        ),
        ({"groups": np.arange(6)}, r"groups as text, one per sample \(6\), got int64"),
        ({"groups": np.array(["a", "", "b", "c", "d", "e"])}, r"got none at row 1 \(train/1\)"),
        ({"ids": np.array(["a"] * 5 + ["b"])}, "expected unique ids, got 'a' 5 times"),
    ],
)
def test_a_dataset_is_checked_when_made(changes: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        tiny(**changes)


def test_the_digest_sees_all_content() -> None:
    data = tiny()
    other = data.inputs.clone()
    other[0, 0] += 1
    made = [
        data,
        replace(data, inputs=other),
        replace(data, inputs=data.inputs.double()),
        replace(data, labels=data.labels.flip(0)),
        replace(data, ids=data.ids[::-1].copy()),
        replace(data, classes=("x", "y", "z")),
        replace(data, numeric=np.array([True, False])),
    ]
    assert len({d.digest for d in made}) == len(made)
    assert tiny().digest == data.digest
    assert replace(data, inputs=data.inputs.t().contiguous().t()).digest == data.digest


def test_groups_are_content_and_go_where_samples_go() -> None:
    plain = tiny()
    data = from_arrays(plain.inputs, plain.labels, groups=[3, 3, 1, 1, 2, 2])
    assert data.groups is not None
    assert data.groups.tolist() == ["3", "3", "1", "1", "2", "2"]
    # As before there were groups: folders on disk name this digest.
    assert plain.digest == tiny(groups=None).digest
    assert data.digest not in (plain.digest, replace(data, groups=data.groups[::-1]).digest)
    taken = data.take(np.array([4, 0])).groups
    assert taken is not None
    assert taken.tolist() == ["2", "3"]
    planted = Canaries(np.array([0]), ("blank",), np.array([0]), np.array([-1]))
    for same in (relabel(data, 0.5), apply_canaries(data, planted)):
        assert same.groups is data.groups
    other = from_arrays(plain.inputs, plain.labels, groups=list("312045"))
    both = pool(data, other).groups
    assert both is not None
    assert both.tolist() == [*"331122", *"312045"]
    assert subset(data, 2).groups is not None
    with pytest.raises(InputError, match="pool: expected groups in both parts or in none"):
        pool(data, plain)
    with pytest.raises(InputError, match=r"groups: expected one per sample \(6\), got 2"):
        from_arrays(plain.inputs, plain.labels, groups=["a", "b"])


def test_take_wants_positions_and_not_a_mask() -> None:
    data = tiny()
    taken = data.take(np.array([4, 1]))
    assert taken.ids.tolist() == ["train/4", "train/1"]
    assert taken.inputs.tolist() == [[8, 9], [2, 3]]
    with pytest.raises(InputError, match=r"rows: expected positions of one axis, got bool.*mask"):
        data.take(np.ones(6, dtype=bool))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"rows: expected positions in 0\.\.5, got 0\.\.6"):
        data.take(np.array([0, 6]))
    with pytest.raises(InputError, match="expected at least one sample, got none"):
        data.take(np.array([], dtype=np.int64))


@laws
@given(st.integers(2, 30), st.integers(0, 2**32))
def test_members_alone_decide_the_scale(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 5, (n, 3))
    data = from_arrays(x, np.arange(n) % 2)
    members = np.flatnonzero(rng.random(n) < 0.5)
    if members.size < 2:
        return
    scale, shift = data.member_scale(members)
    z = data.inputs.double().numpy()[members] * scale + shift
    # Scale and shift are float32: of two members that nearly agree the mean is far off in their spread.
    near = 1e-4 + 1e-6 * float(np.abs(shift).max())
    np.testing.assert_allclose(z.mean(0), 0, atol=near)
    np.testing.assert_allclose(z.std(0), 1, rtol=1e-4)
    moved = data.inputs.clone()
    moved[np.setdiff1d(np.arange(n), members)] += 1000
    again = replace(data, inputs=moved).member_scale(members)
    np.testing.assert_array_equal(again[0], scale)
    np.testing.assert_array_equal(again[1], shift)


def test_a_constant_column_or_channel_becomes_zero() -> None:
    # 0.1 is not exact in binary: a mean that is off by one rounding must not be divided by.
    x = np.stack([np.full(7, 0.1), np.arange(7.0)], 1)
    data = from_arrays(x, np.arange(7) % 2)
    scale, shift = data.member_scale(np.arange(7))
    np.testing.assert_allclose(data.inputs.numpy()[:, 0] * scale[0] + shift[0], 0, atol=1e-7)
    for pixels in (np.full((4, 1, 2, 2), 7, np.uint8), np.full((4, 1, 2, 2), 0.1)):
        images = from_arrays(pixels, [0, 1, 0, 1])
        scale, shift = images.member_scale(np.arange(4))
        np.testing.assert_allclose(images.inputs.double().numpy() * scale + shift, 0, atol=1e-6)
        assert scale.tolist() == [1.0]


def test_image_moments_from_the_histogram_are_those_of_the_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 3, 5, 4)).astype(np.uint8)
    data = from_arrays(pixels, np.arange(9) % 2)
    members = np.array([0, 3, 4, 8])
    scale, shift = data.member_scale(members)
    x = pixels[members].astype(np.float64)
    np.testing.assert_allclose(scale, 1 / x.std((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(shift, -x.mean((0, 2, 3)) / x.std((0, 2, 3)), rtol=1e-6)
    with pytest.raises(InputError, match="members: expected positions of at least one sample"):
        data.member_scale(np.ones(9, dtype=bool))  # type: ignore[arg-type]


def test_pool_keeps_ids_apart_and_refuses_strangers() -> None:
    a, b = tiny(), tiny(ids=np.array([f"test/{i}" for i in range(6)]))
    both = pool(a, b)
    assert both.ids.tolist() == [*a.ids.tolist(), *b.ids.tolist()]
    assert torch.equal(both.inputs, torch.cat([a.inputs, b.inputs]))
    assert pool(a, a).ids[6] == "test/train/0"
    with pytest.raises(InputError, match="pool: expected parts of the same classes, got"):
        pool(a, tiny(classes=("x", "y", "z")))
    with pytest.raises(InputError, match="pool: expected parts of the same shape"):
        pool(a, from_arrays(np.zeros((3, 5)), [0, 1, 2]))


@laws
@given(st.integers(0, 4), st.integers(0, 4), st.integers(1, 4), st.integers(0, 2**32))
def test_planted_canaries_change_what_they_name_and_nothing_else(
    wrong: int, blank: int, copies: int, seed: int
) -> None:
    data = subset(load("digits"), 40, seed=1)
    before = data.digest
    plan = plant_canaries(
        half_split(40, models=2),
        data.labels,
        10,
        mislabelled=wrong,
        blank=blank,
        duplicated=copies,
        seed=seed,
    )
    canaries = plan.canaries
    assert canaries is not None
    made = apply_canaries(data, canaries)
    assert replace(data).digest == before != made.digest
    rest = np.setdiff1d(np.arange(40), canaries.index)
    assert torch.equal(made.inputs[rest], data.inputs[rest])
    assert torch.equal(made.labels[rest], data.labels[rest])
    assert (made.ids[rest] == data.ids[rest]).all()
    for at, kind, label, source in zip(
        canaries.index, canaries.kind, canaries.label, canaries.source, strict=True
    ):
        assert made.ids[at] == f"{data.ids[at]}#{kind}"
        assert made.labels[at] == label
        match kind:
            case "mislabelled":
                assert torch.equal(made.inputs[at], data.inputs[at])
                assert label != data.labels[at]
            case "blank":
                assert not made.inputs[at].any()
                assert label == data.labels[at]
            case _:
                assert torch.equal(made.inputs[at], data.inputs[source])
                assert made.labels[at] == data.labels[source]


@pytest.mark.parametrize(
    ("index", "kind", "label", "source", "match"),
    [
        ([0], ["blank"], [0, 1], [0], "of one length, got 1, 1, 2 and 1"),
        ([0, 0], ["blank"] * 2, [0, 0], [-1, -1], r"expected distinct positions in 0\.\.5"),
        ([6], ["blank"], [0], [-1], r"expected distinct positions in 0\.\.5"),
        ([0], ["odd"], [0], [-1], "expected kinds mislabelled, blank, duplicated, got 'odd'"),
        ([0], ["blank"], [3], [-1], r"expected labels in 0\.\.2, got 3 at position 0"),
        ([0], ["duplicated"], [0], [0], "expected an untouched source in .* at 0, got 0"),
        ([0], ["duplicated"], [0], [-1], "expected an untouched source in .* at 0, got -1"),
    ],
)
def test_impossible_canaries_are_refused(
    index: list[int], kind: list[str], label: list[int], source: list[int], match: str
) -> None:
    canaries = Canaries(np.array(index), tuple(kind), np.array(label), np.array(source))
    with pytest.raises(InputError, match=f"canaries: .*{match}"):
        apply_canaries(tiny(), canaries)


@laws
@given(st.floats(0, 1), st.integers(0, 2**32))
def test_label_noise_changes_exactly_its_share(fraction: float, seed: int) -> None:
    data = tiny(30)
    noisy = relabel(data, fraction, seed=seed)
    changed = torch.nonzero(noisy.labels != data.labels).ravel().tolist()
    record = noisy.source["relabel"]
    assert changed == record["rows"]
    assert len(changed) == round(fraction * 30)
    assert record["was"] == data.labels[changed].tolist()
    assert torch.equal(noisy.inputs, data.inputs)
    assert (noisy.ids == data.ids).all()
    assert relabel(data, fraction, seed=seed).digest == noisy.digest


def test_label_noise_is_uniform_over_other_classes() -> None:
    data = from_arrays(np.arange(4000.0)[:, None], np.tile([0, 1], 2000), classes=tuple("abcde"))
    noisy = relabel(data, 1.0, seed=0)
    counts = np.bincount(noisy.labels[data.labels == 0], minlength=5)
    assert counts[0] == 0
    assert (abs(counts[1:] - 500) < 5 * 19.4).all()
    with pytest.raises(InputError, match=r"fraction: expected 0 to 1, got 1.5"):
        relabel(data, 1.5)


def test_a_subset_and_label_noise_of_one_seed_pick_different_samples() -> None:
    data = load("digits")
    few = {int(i.removeprefix("train/")) for i in subset(data, 180, seed=0).ids}
    noisy = set(relabel(data, 180 / 1797, seed=0).source["relabel"]["rows"])
    assert len(few & noisy) < 60
