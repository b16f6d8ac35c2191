"""Canaries among texts: how they are drawn, who holds them, and how often a run is shown each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seepage
from seepage.config.audit import read_config
from seepage.config.prepare import prepare
from seepage.data import from_arrays, from_texts, from_tokens, insert_texts
from seepage.errors import InputError
from seepage.findings.unjudged import inserted, of_pool, unjudged
from seepage.fleet.feed import Feed
from seepage.plan import half_split, insert_canaries, leave_out, subsets

TEXTS = [f"text {i} of {i * i}, {'abcdefgh'[i % 8]}" for i in range(24)]


def pool(**options: Any) -> seepage.Dataset:
    return from_texts(TEXTS, context=20, **options)


@pytest.mark.parametrize("kind", ["random", "rare"])
def test_canaries_are_what_was_ordered(kind: str) -> None:
    before = pool()
    kept = before.inputs.clone()
    data, c = insert_texts(before, **{kind: 5}, repeats=(1, 4), candidates=7, length=9, seed=3)  # type: ignore[arg-type]
    assert (before.inputs == kept).all()
    assert len(before) == 24
    assert np.array_equal(c.index, np.arange(24, 36))
    assert set(c.kind) == {kind}
    assert c.repeats is not None
    assert c.begin is not None
    assert c.repeats.tolist() == [1, 4, 1, 4, 1] + [0] * 7
    rows = data.inputs.numpy()[24:]
    assert (rows[:, :9] >= 0).all()
    assert (rows[:, 9:] == -1).all()
    assert len(np.unique(rows, axis=0)) == 12
    assert data.ids[24] == f"canary/{kind}/0"
    assert data.ids[-1] == f"candidate/{kind}/6"
    again, other = (
        insert_texts(before, **{kind: 5}, candidates=7, length=9, seed=s)[0] for s in (3, 4)
    )  # type: ignore[arg-type]
    assert (again.inputs == data.inputs).all()
    assert not (other.inputs == data.inputs).all()
    if kind == "random":
        assert c.begin.tolist() == [1] * 12
        return
    assert c.begin.tolist() == [5] * 12
    beginnings = {tuple(r) for r in before.inputs.numpy()[:, :5].tolist()}
    assert {tuple(r) for r in rows[:, :5].tolist()} <= beginnings
    seen = np.bincount(before.inputs.numpy()[before.inputs.numpy() >= 0].astype(int), minlength=256)
    tails = rows[:, 5:9].astype(int)
    # A quarter of all bytes never occurs here.
    assert (seen[tails] == 0).all()
    assert len(np.unique(tails)) > 20


def test_tokens_of_random_canaries_are_uniform() -> None:
    data, c = insert_texts(
        from_tokens([[0, 1, 2, 3]] * 2, vocabulary=8, context=4),
        random=500,
        candidates=500,
        length=4,
    )
    counts = np.bincount(data.inputs.numpy()[c.index].astype(int).ravel(), minlength=8)
    # All rows differ, of 4,096 there are: uniform up to that.
    assert ((counts - 500) ** 2 / 500).sum() < 24.3  # chi-square of 7 at 0.1 %


def test_every_canary_has_a_coin_of_its_own_in_every_run() -> None:
    data, c = insert_texts(pool(), random=300, candidates=50, length=8)
    plain = half_split(24, models=40, seed=1)
    plan = insert_canaries(plain, c, seed=1)
    assert plan.samples == len(data)
    assert np.array_equal(plan.seeds, plain.seeds)
    assert np.array_equal(plan.member[:, :24], plain.member)
    assert not plan.member[:, 324:].any()
    coins = plan.member[:, 24:324]
    assert (coins[0::2] ^ coins[1::2]).all()
    count = coins[0::2].sum(axis=1)
    # Independent coins: how many a run holds varies as a binomial, and is not fixed at a half.
    assert abs((count - 150) / np.sqrt(75)).max() < 4
    assert 0.4 < count.var() / 75 < 2.2
    share = np.corrcoef(coins[0::2].astype(float))
    assert abs(share[~np.eye(20, dtype=bool)]).max() < 0.25
    assert insert_canaries(plain, c, seed=2).digest != plan.digest
    assert insert_canaries(plain, insert_texts(pool(), random=300, repeats=(2,), candidates=50, length=8)[1], seed=1).digest != plan.digest  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "some random or rare ones, got none"),
        ({"random": -1}, "plan.canaries.random: expected 0 or more, got -1"),
        ({"random": 4, "repeats": ()}, "plan.canaries.repeats"),
        ({"random": 4, "repeats": (0,)}, "plan.canaries.repeats"),
        ({"random": 4, "repeats": (2, 2)}, "plan.canaries.repeats"),
        ({"random": 4, "rare": 1, "repeats": (1, 2)}, "at least one canary of a kind for each"),
        ({"random": 4, "candidates": 0}, "plan.canaries.candidates"),
        ({"random": 4, "length": 1}, "plan.canaries.length: expected 2 to 17"),
        ({"random": 4, "length": 21}, "plan.canaries.length: expected 2 to 17"),
    ],
)
def test_what_cannot_be_inserted_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        insert_texts(pool(), **({"length": 8} | options))


def test_other_pools_and_plans_are_refused() -> None:
    with pytest.raises(InputError, match="expected texts in memory, task 'language'"):
        insert_texts(from_arrays([[0.0], [1.0]], [0, 1]), random=2)
    with pytest.raises(InputError, match="so many tokens that"):
        insert_texts(from_tokens([[0, 1]], vocabulary=2), random=2, candidates=3, length=2)
    data, c = insert_texts(pool(), random=2, candidates=3, length=8)
    with pytest.raises(InputError, match="expected texts of other ids"):
        insert_texts(data, random=2, length=8)
    for plan in (leave_out(24, folds=4), subsets(24, models=6, parts=3)):
        with pytest.raises(InputError, match="expected a plan of pairs of halves"):
            insert_canaries(plan, c)
    with pytest.raises(InputError, match="expected positions 29 to 33"):
        insert_canaries(half_split(29, models=2), c)
    with pytest.raises(InputError, match="a plan that has some"):
        insert_canaries(insert_canaries(half_split(24, models=2), c), c)


TOML = """
[data]
name = "texts.txt"
task = "language"
context = 20
[plan]
models = 4
[plan.canaries]
random = 4
rare = 4
repeats = [1, 3]
candidates = 5
length = 8
[model]
name = "gpt"
options = { width = 16, depth = 1, heads = 2 }
[recipe]
epochs = 1
batch = 1
optimizer = "adamw"
precision = "fp32"
[record]
checkpoints = [0, 1]
[attacks]
names = ["loss"]
main = "loss"
[execution]
executor = "inline"
device = "cpu"
"""


def test_a_run_is_shown_each_as_often_as_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("\n".join(TEXTS))
    Path("a.toml").write_text(TOML)
    audit = prepare(read_config(Path("a.toml")))
    shown: list[np.ndarray] = []
    draw = Feed.draw

    def watched(self: Feed, epoch: int) -> Any:
        found = draw(self, epoch)
        shown.append(np.bincount(found.rows.ravel(), minlength=42))
        return found

    monkeypatch.setattr(Feed, "draw", watched)
    run = seepage.fleet.train_prepared(audit)
    assert audit.plan.canaries is not None
    times = np.ones(42, dtype=int)
    times[24:] = audit.plan.canaries.repeats
    # With one sample a step nothing of an epoch remains.
    assert np.array_equal(np.array(shown), audit.plan.member * times)
    told = run.manifest["plan"]["canaries"]
    assert told["repeats"] == times[24:].tolist()
    assert told["begin"][0] == 1
    # Found again from its file, and no figure is about what was added.
    found = run.data()
    assert found is not None
    assert found.digest == audit.data.digest
    assert np.array_equal(inserted(run), np.arange(42) >= 24)
    left = unjudged(run, [])
    assert np.array_equal(left.rows, np.arange(24))
    assert left.words.startswith("18 of 42 samples left out: 18 are canaries that were added")
    assert of_pool(run).member.shape == (4, 24)
    assert not inserted(of_pool(run)).any()


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ('plan.kind="leave_out"', "expected a plan of pairs of halves"),
        ("plan.canaries.blank=2", "expected added texts or changed samples, got both"),
        ("plan.canaries.length=30", "plan.canaries.length: expected 2 to 17"),
        ("plan.canaries.repeats=[1,2,3,4,5]", "at least one canary of a kind"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("\n".join(TEXTS))
    Path("a.toml").write_text(TOML)
    with pytest.raises(InputError, match=said):
        prepare(read_config(Path("a.toml"), [field]))


def test_options_of_added_texts_need_some(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[plan.canaries]\ncandidates = 5\n")
    with pytest.raises(InputError, match=r"plan\.canaries\.candidates: expected with"):
        prepare(read_config(tmp_path / "a.toml"))
    (tmp_path / "b.toml").write_text("[plan.canaries]\nrandom = 5\n")
    with pytest.raises(InputError, match="expected texts in memory"):
        prepare(read_config(tmp_path / "b.toml"))
