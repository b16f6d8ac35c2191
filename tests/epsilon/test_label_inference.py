"""Label inference: the game's law, its bounds against brute force, what a run shows, and files of games."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special

import seepage
from malformed import called, changed
from seepage.data import reload
from seepage.defenses.label_dp import channel
from seepage.epsilon import (
    FDP,
    LabelGame,
    draw_game,
    fair_accuracy,
    label_game,
    label_inference,
    label_scores,
    natural_game,
    one_run,
    prior_accuracy,
)
from seepage.epsilon.one_run import epsilon_of_runs, joint_epsilon
from seepage.errors import InputError
from seepage.findings.label_inference import label_inference_of_run, read_game, write_game
from tiny_fleet import fleet, table


def uniform(m: int, k: int = 4, seed: int = 0) -> LabelGame:
    return draw_game(np.full((m, k), 1 / k), np.random.default_rng(seed))


def prefers(game: LabelGame, size: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Outputs whose score is `size` for the label that was trained on, or where not right against it."""
    z = np.zeros((len(game), game.classes))
    z[np.arange(len(game)), np.where(right, game.labels, game.surrogates)] = size
    return z


def test_pairs_follow_the_law_and_coins_do_not() -> None:
    p = np.array([0.5, 0.3, 0.2, 0.0])
    m = 40_000
    game = draw_game(np.tile(p, (m, 1)), np.random.default_rng(0))
    wanted = np.outer(p, p) * (1 - np.eye(4))
    seen = np.zeros((4, 4))
    np.add.at(seen, tuple(game.candidates.T), 1 / m)
    both = (seen + seen.T) / 2
    # Five standard errors of a share.
    np.testing.assert_allclose(both, wanted / wanted.sum(), atol=2.5 / math.sqrt(m))
    assert (seen[:, 3] == 0).all()
    for a, b in ((0, 1), (0, 2), (1, 2)):
        at = (np.sort(game.candidates, axis=1) == [a, b]).all(axis=1)
        share = (game.labels[at] == a).mean()
        assert abs(share - 0.5) < 2.5 / math.sqrt(at.sum())
    assert (game.labels != game.surrogates).all()
    np.testing.assert_array_equal(game.prior, p[game.candidates])
    certain = np.tile([1 - 1e-18, 1e-18, 0.0], (50, 1))
    assert set(draw_game(certain, np.random.default_rng(1)).candidates.ravel().tolist()) == {0, 1}


@pytest.mark.parametrize("seed", range(6))
def test_no_guess_about_a_private_label_beats_the_limits(seed: int) -> None:
    """Every guesser there is, by brute force over the channel of label DP."""
    rng = np.random.default_rng(seed)
    k, epsilon = int(rng.integers(2, 7)), float(rng.uniform(0.1, 4))
    prior = rng.dirichlet(np.full(k, 0.7))
    c = channel(torch.tensor(prior)[None], epsilon)[0].numpy()
    for a in range(k):
        for b in range(a):
            assert np.maximum(c[a], c[b]).sum() / 2 <= fair_accuracy(epsilon) + 1e-12
    told = prior @ c
    posterior = prior[:, None] * c / np.where(told > 0, told, 1)
    assert (posterior <= prior_accuracy(epsilon, prior)[:, None] + 1e-12).all()
    response = np.full((k, k), 1 / (math.exp(epsilon) + k - 1))
    np.fill_diagonal(response, math.exp(epsilon) / (math.exp(epsilon) + k - 1))
    np.testing.assert_allclose(response.max(axis=0).sum() / k, prior_accuracy(epsilon, 1 / k))
    assert prior_accuracy(epsilon, 0.5) == pytest.approx(float(fair_accuracy(epsilon)))


def test_the_surest_guesses_are_counted_and_ties_are_wrong_first() -> None:
    game = uniform(8)
    right = np.array([1, 1, 1, 0, 1, 0, 0, 1], dtype=bool)
    size = np.array([9.0, 8, 7, 6, 5, 4, 3, 2])
    found = label_inference(prefers(game, size, right), game, guesses=5)
    assert found.bound == one_run(4, 5, 8)
    assert (found.accuracy.right, found.accuracy.count) == (5, 8)
    equal = label_inference(prefers(game, np.ones(8), right), game, guesses=5)
    assert (equal.bound.correct, equal.bound.guesses) == (2, 5)
    # At 0 there is no preference: no guess for the accuracy, a wrong one for the bound.
    silent = label_inference(prefers(game, np.where(right, size, 0.0), right), game, guesses=8)
    assert (silent.bound.correct, silent.accuracy.count, silent.accuracy.share) == (5, 5, 1.0)
    more = uniform(40)
    several = label_inference(np.eye(4)[more.labels], more, guesses=(9, 40)).bound
    assert several.epsilon == one_run(40, 40, 40, level=0.975).epsilon > 2
    assert several.level == 0.95
    with pytest.raises(InputError, match="guesses: expected counts between 1 and 8"):
        label_inference(prefers(game, size, right), game, guesses=9)


def test_what_does_not_matter() -> None:
    """The order of canaries and of candidates, the normaliser of the logits; and arrays stay as they were."""
    rng = np.random.default_rng(3)
    game = uniform(200, seed=4)
    z = rng.normal(size=(200, 4)) + 1.5 * np.eye(4)[game.labels]
    kept = z.copy()
    found = label_inference(z, game, delta=1e-6)
    assert found.bound.epsilon > 0.3
    assert (
        label_inference(special.log_softmax(z, axis=1), game, delta=1e-6).accuracy == found.accuracy
    )
    turn = rng.random(200) < 0.5
    turned = LabelGame(
        game.positions,
        np.where(turn[:, None], game.candidates[:, ::-1], game.candidates),
        game.first ^ turn, game.prior, 200, 4,
    )  # fmt: skip
    assert label_inference(z, turned, delta=1e-6) == found
    order = rng.permutation(200)
    moved = LabelGame(
        np.arange(200), game.candidates[order], game.first[order], game.prior[order], 200, 4
    )
    assert label_inference(z[order], moved, delta=1e-6) == found
    assert (z == kept).all()
    tighter = label_inference(z, game, delta=1e-5, analysis=FDP()).bound
    assert tighter.mu is not None
    shape = 5 * rng.normal(size=(200, 4))
    drowned = label_inference(z + shape, game).accuracy.share
    assert label_inference(z + shape, game, reference=shape).accuracy == found.accuracy
    assert drowned < found.accuracy.share
    with pytest.raises(InputError, match="outputs: expected logits of the game's canaries"):
        label_scores(z[:9], game)
    with pytest.raises(InputError, match="expected finite logits, got others for 200 of 200"):
        label_scores(np.full((200, 4), -np.inf), game)


def test_a_blind_guesser_stands_beside_the_bound() -> None:
    p = np.array([0.7, 0.1, 0.1, 0.1])
    game = draw_game(np.tile(p, (3000, 1)), np.random.default_rng(5))
    # A model that saw no label prefers what is plausible, as the blind guesser does.
    found = label_inference(np.log(p) * np.ones((3000, 1)), game)
    assert found.bound.epsilon < 0.1
    assert found.blind.is_chance()
    assert found.holds
    assert found.blind == found.accuracy
    assert 1000 < found.blind.count < 3000
    foreseen = label_inference(np.zeros((3000, 4)), game, blind=np.eye(4)[game.labels])
    assert not foreseen.holds
    assert "an estimate, no bound" in str(foreseen)
    with pytest.raises(InputError, match="game: expected fair coins, got 60 of 60"):
        label_inference(np.zeros((60, 4)), replace(uniform(60), first=np.ones(60, dtype=bool)))


def test_natural_labels_give_an_estimate() -> None:
    rng = np.random.default_rng(6)
    shape = rng.integers(0, 5, 2000)
    known = natural_game(shape, np.full((2000, 5), 0.2), rng)
    np.testing.assert_array_equal(known.labels, shape[known.positions])
    assert len(known) == pytest.approx(1600, abs=100)
    found = label_inference(np.eye(5)[known.labels], known)
    assert not found.holds
    # Labels that follow the law: the pair does not tell which is the true one.
    p = np.array([0.6, 0.2, 0.1, 0.05, 0.05])
    drawn = natural_game(rng.choice(5, 2000, p=p), np.tile(p, (2000, 1)), rng)
    blind = label_inference(np.zeros((len(drawn), 5)), drawn).blind
    assert blind.is_chance()
    assert blind.count > 700


def test_only_canaries_change_and_the_data_are_found_again() -> None:
    data = seepage.load("digits", limit=120)
    made, game = label_game(data, canaries=50, seed=3)
    rest = np.setdiff1d(np.arange(120), game.positions)
    assert (made.labels[rest] == data.labels[rest]).all()
    np.testing.assert_array_equal(made.labels.numpy()[game.positions], game.labels)
    again = reload(made.source, made.digest)
    assert again is not None
    other = label_game(data, canaries=game.positions, seed=4)[1]
    assert (other.positions == game.positions).all()
    assert (other.labels != game.labels).any()
    law = np.zeros(10)
    law[[2, 7]] = 0.5
    assert set(label_game(data, canaries=game.positions, law=law)[1].labels.tolist()) == {2, 7}
    each = np.full((120, 10), 0.0)
    each[np.arange(120), np.arange(120) % 10] = each[np.arange(120), (np.arange(120) + 1) % 10] = (
        0.5
    )
    by_row = label_game(data, canaries=[4, 33], law=each)[1]
    assert np.sort(by_row.candidates, axis=1).tolist() == [[4, 5], [3, 4]]
    for wrong, said in (
        ({"canaries": 121}, "canaries: expected 1 to 120"),
        ({"canaries": [3, 500]}, "canaries: expected positions in 0..119"),
        ({"canaries": 5, "law": np.full(10, 0.2)}, "law: expected rows of probabilities that sum"),
        ({"canaries": 5, "law": np.eye(10)[0]}, "law: expected at least two labels"),
        ({"canaries": 5, "law": np.full(9, 1 / 9)}, r"law: expected P\(y\) of shape \(10,\)"),
    ):
        with pytest.raises(InputError, match=said):
            label_game(data, **wrong)


def test_a_game_is_kept_with_its_digest_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    game = uniform(30)
    write_game(game, tmp_path / "game.json")
    again = read_game(tmp_path / "game.json")
    assert again.content() == game.content()
    text = (tmp_path / "game.json").read_text()
    (tmp_path / "other.json").write_text(text.replace("true", "false", 1))
    with pytest.raises(InputError, match="changed since"):
        read_game(tmp_path / "other.json")
    with pytest.raises(InputError, match="found none"):
        read_game(tmp_path / "absent.json")
    rng, refused = np.random.default_rng(0), 0
    for _ in range(400):
        content, _ = changed(json.loads(text), rng)
        with suppress(InputError):
            LabelGame.from_content(content if isinstance(content, dict) else {})
            refused -= 1
        refused += 1
    assert refused > 200


def fake(game: LabelGame, member: np.ndarray, strength: float) -> Any:
    """Models that prefer the labels they were trained on, as far as a run shows."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, game.classes, game.samples)
    labels[game.positions] = game.labels
    z = rng.normal(size=(len(member), game.samples, game.classes))
    z += strength * member[:, :, None] * np.eye(game.classes)[labels]
    return SimpleNamespace(
        path="run", labels=labels, member=member, classes=tuple("abcd"), signals=("logits",),
        models=np.arange(len(member)), checkpoints=np.array([1.0]), manifest={}, data=lambda: None,
        records={r: {"facts": {"label_epsilon": 0.5}} for r in range(len(member))},
        signal_at=lambda name, t: z.astype(np.float32),
    )  # fmt: skip


def test_models_of_a_run_are_judged_by_their_own_canaries() -> None:
    game = draw_game(
        np.full((300, 4), 0.25), np.random.default_rng(8), positions=np.arange(300) * 2, samples=600
    )
    member = seepage.half_split(600, models=4, seed=0).member
    run = fake(game, member, 4.0)
    found = label_inference_of_run(run, game)
    z = run.signal_at("logits", -1)
    alone = []
    for r in range(4):
        at = member[r, game.positions]
        own = z[r][game.positions[at]]
        alone.append(label_inference(own, game.take(at), level=0.975).bound.epsilon)
    assert found.epsilon == joint_epsilon(alone) > 1
    assert found.outside is not None
    assert found.outside.is_chance()
    assert found.accuracy.share > 0.9
    assert found.holds
    assert found.refutes_the_defence
    # Half of the error for each of several models would make a level of 0 one of ½.
    for level in (0.0, -0.5, 1.0):
        with pytest.raises(InputError, match="level: expected a number between 0 and 1"):
            label_inference_of_run(run, game, level=level)
        with pytest.raises(InputError, match="level: expected a number between 0 and 1"):
            epsilon_of_runs(z[..., 0], member, level=level)
    one = label_inference_of_run(run, game, target=2)
    assert one.epsilon >= alone[2]
    run.labels = run.labels.copy()
    run.labels[game.positions[0]] = (run.labels[game.positions[0]] + 1) % 4
    with pytest.raises(InputError, match="got others for 1 of 300"):
        label_inference_of_run(run, game)


def test_a_run_from_recorded_logits_from_kept_networks_and_by_the_command(tmp_path: Path) -> None:
    data, game = label_game(table(n=80), canaries=40, seed=0)
    options = {"data": data, "checkpoints": [2], "executor": "inline"}
    plan = seepage.half_split(80, models=2, seed=1)
    run = fleet(tmp_path / "run", plan=plan, logits=True, keep="final", **options)
    recorded = label_inference_of_run(run, game, data=data)
    assert recorded.fitted
    assert recorded.promised is None
    assert not recorded.refutes_the_defence
    kept = fleet(tmp_path / "kept", plan=plan, keep="final", **options)
    from_weights = label_inference_of_run(
        kept, game, data=data, model=lambda: torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
        ),
    )  # fmt: skip
    assert from_weights == recorded
    write_game(game, tmp_path / "game.json")
    status, said = called(["epsilon", "labels", "run", "--game", "game.json"], tmp_path)
    assert (status, said.strip()) in ((0, ""), (None, "")), said
    bare = fleet(tmp_path / "bare", plan=plan, keep="none", **options)
    with pytest.raises(InputError, match=r"logits: .* were not kept"):
        label_inference_of_run(bare, game, data=data)
