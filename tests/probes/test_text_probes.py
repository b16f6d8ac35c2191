"""What language models answer to changed texts, where the answer is known."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage.attacks import (
    ATTACKS,
    Attack,
    LiRA,
    Merlin,
    Neighbourhood,
    NeighbourhoodCalibrated,
    NeighbourhoodLR,
    ReCaLL,
    ReCaLLCalibrated,
    ReCaLLLR,
)
from seepage.data import from_texts, from_tokens
from seepage.errors import InputError
from seepage.metrics import auc
from seepage.plan import half_split, permute_membership
from seepage.probes import Asked, text_answers
from seepage.probes.neighbours import Neighbours, PairLaw, neighbour_logp, neighbours
from seepage.probes.prefixes import Prefixes, WithPrefixes, draw_prefixes, prefix_logp
from seepage.scoring import lacks

F = np.ndarray
V = 5


class Chain(nn.Module):
    """log p of the next token from a table (V, V) of the last one."""

    def __init__(self, table: F) -> None:
        super().__init__()
        self.table = torch.from_numpy(table).float()
        self.asked: list[F] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked.append(x.numpy().copy())
        return self.table[x.long().clamp_min(0)]


def chain(seed: int = 0, pieces: int = V) -> Chain:
    p = np.random.default_rng(seed).dirichlet(np.full(pieces, 0.5), pieces)
    return Chain(np.log(p + 1e-3)).eval()


def texts(n: int = 30, seed: int = 0, most: int = 9, pieces: int = V) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    words = [rng.integers(0, pieces, rng.integers(2, most + 1)).tolist() for _ in range(n)]
    return from_tokens(words, vocabulary=pieces).inputs


def words(row: torch.Tensor) -> list[int]:
    return [int(v) for v in row if v >= 0]


def mean_logp(model: Chain, text: list[int]) -> float:
    z = model.table.double().log_softmax(1).numpy()
    return float(np.mean([z[a, b] for a, b in itertools.pairwise(text)]))


def law_by_hand(rows: list[list[int]], left: int, right: int) -> F:
    """Of a token between two others, counted one by one."""
    every = [t for row in rows for t in row]
    q = [every.count(v) / len(every) for v in range(V)]
    pairs = [p for row in rows for p in itertools.pairwise(row)]

    def then(a: int, b: int) -> float:
        follows = sum(x == a for x, _ in pairs)
        return float((pairs.count((a, b)) + q[b]) / (follows + 1))

    p = np.array([then(left, v) * (then(v, right) if right >= 0 else 1.0) for v in range(V)])
    return p / p.sum()


def test_a_token_is_drawn_by_the_law_of_pairs() -> None:
    x = texts()
    rows = [words(r) for r in x]
    law = PairLaw.of(x.long().numpy())
    for left, right in [(0, 1), (3, 3), (2, -1)]:
        found = law.between(np.array([left]), np.array([right]))[0]
        np.testing.assert_allclose(found, law_by_hand(rows, left, right), rtol=1e-12)


def test_the_gap_is_what_replacing_one_token_changes_in_the_mean() -> None:
    """By enumeration of all places and tokens under a model whose log p is a table."""
    model, x = chain(), texts()
    rows = [words(r) for r in x]
    own, near = neighbour_logp(model, x, 3000, 0.01, generator=np.random.default_rng(1))
    for i in (0, 7, 19):
        text = rows[i]
        want, square = 0.0, 0.0
        for at in range(1, len(text)):
            p = law_by_hand(rows, text[at - 1], text[at + 1] if at + 1 < len(text) else -1)
            p[text[at]] = 0
            for v, share in enumerate(p / p.sum()):
                changed = mean_logp(model, [*text[:at], v, *text[at + 1 :]])
                want += share * changed / (len(text) - 1)
                square += share * changed**2 / (len(text) - 1)
        assert own[i] == pytest.approx(mean_logp(model, text), rel=1e-6)
        assert abs(near[i].mean() - want) < 4.5 * ((square - want**2) / 3000) ** 0.5


def test_neighbours_differ_at_as_many_places_as_were_asked_for() -> None:
    x = texts(most=40).long().numpy()
    law, text = PairLaw.of(x), x[3][x[3] >= 0]
    for share in (0.01, 0.3, 1.0):
        made = neighbours(text, law, 20, share, generator=np.random.default_rng(0))
        assert set((made != text).sum(axis=1)) == {max(1, round(share * (len(text) - 1)))}
        assert (made[:, 0] == text[0]).all()
        assert set(np.unique(made)) <= set(range(V))


def test_every_network_is_asked_about_the_same_neighbours_and_no_membership_is_read() -> None:
    x, y = texts(), torch.zeros(30, dtype=torch.long)
    members = np.random.default_rng(0).random(30) < 0.5
    one, other = chain(1), chain(2)
    a = Neighbours(copies=4).measure(Asked(one, x, y, (0, 0), member=members))
    b = Neighbours(copies=4).measure(Asked(other, x, y, (0, 9), member=~members))
    assert (a["neighbour_gap"] != b["neighbour_gap"]).any()
    for left, right in zip(one.asked, other.asked, strict=True):
        np.testing.assert_array_equal(left, right)
    Neighbours(copies=4, seed=1).measure(Asked(other, x, y))
    assert (other.asked[-1] != one.asked[-1]).any()


def test_neither_batches_nor_the_caller_s_texts_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x, model = texts(), chain()
    before = x.clone()
    whole = neighbour_logp(model, x, 6, generator=np.random.default_rng(0))
    for size in (4 * 9 * V * 3, 4 * 9 * V * 30):
        monkeypatch.setattr(text_answers, "_LOGITS", size)
        parts = neighbour_logp(model, x, 6, generator=np.random.default_rng(0))
        for a, b in zip(whole, parts, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    assert torch.equal(x, before)


def trained(x: torch.Tensor, member: F) -> Chain:
    """The chain that its members' pairs of tokens make, one more occurrence of each beside."""
    counts = np.full((V, V), 1.0)
    for text in x[torch.from_numpy(member)]:
        for a, b in itertools.pairwise(words(text)):
            counts[a, b] += 1
    return Chain(np.log(counts / counts.sum(axis=1, keepdims=True))).eval()


def test_members_of_chains_are_told_and_shuffled_ones_are_not() -> None:
    x = texts(n=40, seed=3, most=14)
    member = half_split(40, models=16, seed=0).member
    asked = (Asked(trained(x, m), x, torch.zeros(40, dtype=torch.long)) for m in member)
    gap = np.stack([Neighbours(copies=10).measure(a)["neighbour_gap"] for a in asked])
    shuffled = permute_membership(member, np.random.default_rng(0))
    for attack in (NeighbourhoodCalibrated(), NeighbourhoodLR(), LiRA(signal="neighbour_gap")):
        scores = attack.leave_one_out(gap, member)
        assert np.mean([auc(s, m) for s, m in zip(scores, member, strict=True)]) > 0.6, attack.name
        scores = attack.leave_one_out(gap, shuffled)
        null = np.mean([auc(s, m) for s, m in zip(scores, shuffled, strict=True)])
        assert abs(null - 0.5) < 0.06, attack.name


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"copies": 0}, "copies: expected at least 1, got 0"),
        ({"share": 0.0}, "share: expected a share of the tokens above 0"),
        ({"share": 1.5}, "at most 1, got 1.5"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
    ],
)
def test_options_of_neighbours_are_checked(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Neighbours(**given)


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (torch.zeros(3, 1, 2, 2), "expected rows of token numbers"),
        (torch.tensor([[0.5, 1.0]]), "expected whole token numbers"),
        (torch.tensor([[1.0, 2.0], [1.0, -1.0]]), "texts of at least two tokens"),
        (torch.tensor([[1.0, 2.0, -1.0, 3.0]]), "−1 behind them alone"),
        (torch.tensor([[1.0, 1.0, 1.0]]), "at least two different tokens, got one"),
        (torch.tensor([[1.0, 7.0, 1.0]]), "expected a forward pass on inputs of shape"),
    ],
)
def test_what_is_no_text_is_refused(x: torch.Tensor, told: str) -> None:
    with pytest.raises(InputError, match=told):
        neighbour_logp(chain(), x, 2, generator=np.random.default_rng(0))


def test_a_network_that_is_no_language_model_is_refused() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(InputError, match="expected a forward pass on inputs of shape"):
        neighbour_logp(nn.Linear(4, 3).eval(), texts(), 2, generator=generator)
    flat = nn.Sequential(nn.Linear(9, 3)).eval()
    with pytest.raises(InputError, match="answer every token of every document"):
        neighbour_logp(flat, texts(), 2, generator=generator)
    broken = chain()
    broken.table[2] = torch.nan
    with pytest.raises(InputError, match="expected finite logits, got NaN"):
        neighbour_logp(broken, texts(), 2, generator=generator)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, seepage.Dataset]:
    """Six fine-tunes of a tiny transformer on half of 40 texts each, weights kept."""
    rng = np.random.default_rng(0)
    made = ["".join(rng.choice(list("abcd "), rng.integers(2, 13))) for _ in range(40)]
    data = from_texts(made, context=12)
    out = tmp_path_factory.mktemp("texts") / "run"
    seepage.train(
        data,
        half_split(40, models=6, seed=0),
        out=out,
        model=seepage.Model(name="gpt", options={"width": 16, "depth": 1, "heads": 2}),
        recipe=seepage.Recipe(epochs=20, batch=8, optimizer="adamw", lr=1e-2, precision="fp32"),
        checkpoints=[0, 20],
        executor="inline",
        keep="final",
    )
    return out, data


def test_kept_models_are_asked(folder: tuple[Path, seepage.Dataset]) -> None:
    out, data = folder
    run = seepage.open(out)
    scores = seepage.score(run, Neighbourhood(), data=data)
    assert scores.shape == run.member.shape
    assert (scores[run.member].mean() - scores[~run.member].mean()) > 0
    more = seepage.score(
        run, LiRA(signal="neighbour_gap"), data=data, probes=[Neighbours(copies=3, seed=2)]
    )
    assert np.isfinite(more).all()
    assert "it is measured on classes, and this run is of the task language" in str(
        lacks(run, Merlin())
    )


def test_runs_of_other_tasks_have_no_neighbours(tmp_path: Path) -> None:
    from tiny_fleet import fleet

    run = fleet(tmp_path / "run", keep="final")
    assert "it is measured on language models" in str(
        lacks(run, Neighbourhood(), model=lambda: nn.Linear(4, 3))
    )


class Cache(nn.Module):
    """p of the next token by how often it stood in the row so far, one occurrence of each beside."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = nn.functional.one_hot(x.long().clamp_min(0), V) * (x >= 0)[..., None]
        return (1.0 + one.cumsum(1)).log()


class Memory(nn.Module):
    """Knows how some texts go on where a row begins as they do; elsewhere all tokens are alike."""

    def __init__(self, known: torch.Tensor) -> None:
        super().__init__()
        self.known = known.long()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.zeros(*x.shape, V)
        for text in self.known:
            for t in range(len(text) - 1):
                if text[t + 1] >= 0:
                    z[(x[:, : t + 1].long() == text[: t + 1]).all(1), t, text[t + 1]] = 4.0
        return z


def ratios(model: nn.Module, x: torch.Tensor, member: F, seed: int = 0, **options: Any) -> F:
    asked = Asked(model.eval(), x, torch.zeros(len(x), dtype=torch.long), (seed,), member=member)
    return np.asarray(WithPrefixes(**options).measure(asked)["prefix_ratio"])


def halves(n: int, seed: int = 0) -> F:
    return np.random.default_rng(seed).permutation(n) < n // 2


def test_what_ignores_its_prefix_has_a_ratio_of_exactly_one() -> None:
    x = texts(n=40, most=12)
    for model in (chain(), Chain(np.tile(np.log([0.5, 0.2, 0.1, 0.1, 0.1]), (V, 1))).eval()):
        assert set(ratios(model, x, halves(40)).tolist()) == {1.0}


def test_the_ratio_is_that_of_plain_loops() -> None:
    x, member = texts(n=40, most=12), halves(40)
    rows = x.long().numpy()
    given = draw_prefixes(rows, ~member, 3, 4, generator=np.random.default_rng(5))
    own, after = prefix_logp(Cache().eval(), x, given)

    def by_hand(text: list[int], before: list[int]) -> float:
        found = []
        for t in range(1, len(text)):
            seen = [*before, *text[:t]]
            found.append(np.log((seen.count(text[t]) + 1) / (len(seen) + V)))
        return float(np.mean(found))

    for i in range(40):
        text = words(x[i])[:8]  # 12 tokens less the four that stand before
        assert own[i] == pytest.approx(by_hand(text, []), rel=1e-6)
        want = [by_hand(text, given.tokens[k].tolist()) for k in given.chosen[i]]
        np.testing.assert_allclose(after[i], want, rtol=1e-6)
    found = ratios(Cache(), x, member, seed=5, prefixes=3, share=4 / 12)
    np.testing.assert_allclose(found, after.mean(axis=1) / own, rtol=1e-6)


def test_what_stands_before_is_of_no_member_and_of_another_subject() -> None:
    x, member = texts(n=60, most=9).long().numpy(), np.repeat(halves(30, 1), 2)
    x[:, 0] = np.arange(60) + V  # tells the texts apart
    owner = np.repeat(np.arange(30), 2)
    for seed in range(20):
        found = draw_prefixes(x, ~member, 4, 3, owner=owner, generator=np.random.default_rng(seed))
        of = [{int(v) - V for v in row if v >= V} for row in found.tokens]
        assert all(of)
        assert not member[list(set.union(*of))].any()
        subjects = [set(owner[list(texts)].tolist()) for texts in of]
        assert sum(map(len, subjects)) == len(set.union(*subjects))
        for i, row in enumerate(found.chosen):
            assert len(set(row.tolist())) == 4
            assert not any(owner[i] in subjects[k] for k in row)


def test_the_draw_tells_nothing_of_who_is_a_member(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that likes what it read before and was trained on nothing, asked under many memberships."""
    x = texts(n=16, most=12, seed=4)

    def mean_auc() -> float:
        return float(
            np.mean([auc(ratios(Cache(), x, m, s, prefixes=2, share=0.5), m) for s, m in drawn])
        )

    drawn = [(s, halves(16, 100 + s)) for s in range(250)]
    assert abs(mean_auc() - 0.5) < 0.025

    def careless(*given: Any, **options: Any) -> Prefixes:
        found = draw_prefixes(*given, **options)
        first = np.arange(found.chosen.shape[1])
        return Prefixes(found.tokens, np.tile(first, (len(found.chosen), 1)))

    # With texts before themselves the same model tells who is none.
    monkeypatch.setattr("seepage.probes.prefixes.draw_prefixes", careless)
    assert mean_auc() > 0.54


def test_members_lose_more_by_a_prefix_than_others() -> None:
    x, member = texts(n=40, most=12, seed=2), halves(40)
    found = ratios(Memory(x[torch.from_numpy(member)]), x, member)
    long = np.array([len(words(r)) > 4 for r in x])
    assert (found[member] > 1).all()
    assert auc(found[long], member[long]) > 0.95


def test_members_of_a_fleet_are_told_by_prefixes_and_shuffled_ones_are_not() -> None:
    x = texts(n=40, most=12, seed=2)
    member = half_split(40, models=16, seed=0).member
    ratio = np.stack(
        [
            ratios(Memory(x[torch.from_numpy(m)]), x, m, seed=r, prefixes=2)
            for r, m in enumerate(member)
        ]
    )
    rng = np.random.default_rng(0)
    shuffled = [permute_membership(member, rng) for _ in range(16)]

    def mean_auc(attack: Attack, truth: F) -> float:
        scores = attack.leave_one_out(ratio, truth)
        return float(np.mean([auc(s, m) for s, m in zip(scores, truth, strict=True)]))

    for attack in (ReCaLL(), ReCaLLCalibrated(), ReCaLLLR(), LiRA(signal="prefix_ratio")):
        assert mean_auc(attack, member) > 0.8, attack.name
        assert abs(np.mean([mean_auc(attack, m) for m in shuffled]) - 0.5) < 0.04, attack.name


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"prefixes": 0}, "prefixes: expected at least 1, got 0"),
        ({"share": 0.0}, "share: expected a share of the length between 0 and 1, got 0.0"),
        ({"share": 0.95}, "beginnings that leave two of 12 tokens, got 11 tokens"),
        ({"prefixes": 30}, r"are no members and make 31 beginnings of 3 tokens, got 20 texts"),
    ],
)
def test_options_of_prefixes_are_checked(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        ratios(Cache(), texts(n=40, most=12), halves(40), **options)


def test_prefixes_need_to_know_who_is_no_member() -> None:
    x = texts()
    with pytest.raises(InputError, match="expected what the network was trained on"):
        WithPrefixes().measure(Asked(chain(), x, torch.zeros(30, dtype=torch.long)))


def test_kept_models_are_asked_after_prefixes(folder: tuple[Path, seepage.Dataset]) -> None:
    out, data = folder
    run = seepage.open(out)
    few = WithPrefixes(prefixes=2)
    for attack in (ReCaLL(), ReCaLLLR(), LiRA(signal="prefix_ratio")):
        scores = seepage.score(run, attack, data=data, probes=[few])
        assert scores.shape == run.member.shape
        assert np.isfinite(scores).all()


def test_the_attacks_say_the_probes_queries() -> None:
    for name, probe in (("neighbourhood", Neighbours()), ("recall", WithPrefixes())):
        for suffix in ("", "-calibrated", "-lr"):
            kind = ATTACKS[name + suffix]
            assert (kind.queries, kind.access, kind.of_texts) == (probe.queries, "scores", True)
            assert kind.requires == probe.signals
