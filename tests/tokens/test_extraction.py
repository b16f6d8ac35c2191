"""Extraction of texts: exact probabilities against sampling, and shares of members beside non-members."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seepage
from seepage.data import from_tokens
from seepage.errors import InputError
from seepage.findings.extraction import extraction_of_run
from seepage.models import build
from seepage.store import Run
from seepage.tokens import (
    Sampling,
    Split,
    extractable,
    generated_greedily,
    logp_of_suffix,
    queries_needed,
    sampled_logp,
)

TINY: dict[str, Any] = {"width": 16, "depth": 1, "heads": 2}
PIECES, LENGTH = 5, 7
ROWS = [np.random.default_rng(i).integers(PIECES, size=7).tolist() for i in range(7)]
POOL = from_tokens([*ROWS, [0, 1, 2, 3]], vocabulary=PIECES)
DATA = torch.tensor(ROWS, dtype=torch.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return seepage.train(
        POOL,
        seepage.half_split(8, models=4),
        out=tmp_path_factory.mktemp("extraction") / "run",
        model=seepage.Model(name="gpt", options=TINY),
        recipe=seepage.Recipe(epochs=150, batch=4, optimizer="adamw", lr=5e-3, precision="fp32"),
        checkpoints=[0, 150],
        executor="inline",
        keep="final",
    )


def network(run: Run, row: int) -> torch.nn.Module:
    weights = run.weights(row)
    assert weights is not None
    found = build("gpt", (LENGTH,), PIECES, **TINY).eval()
    found.load_state_dict(weights)
    return found


@pytest.mark.parametrize(
    "how", [Sampling(), Sampling(temperature=2.0), Sampling(temperature=1.5, top_k=3)]
)
def test_probabilities_are_those_of_a_plain_loop_that_samples(run: Run, how: Sampling) -> None:
    """10,000 generations of each suffix: as often the text's own as p_z says, within 4 standard errors."""
    split, draws = Split(4, 3), 10_000
    data, model = DATA, network(run, 1)
    rows = np.arange(7)
    if how.plain:
        assert run.offsets is not None
        logp = run.token_signal("token_logp", 1)
        z = logp_of_suffix(logp, run.offsets, rows, split)
    else:
        from seepage.fleet.generating import sampled_tokens

        offsets, logp = sampled_tokens(run, 1, -1, how, rows=rows, data=POOL)
        z = logp_of_suffix(logp, offsets, rows, split)
    draw = torch.Generator().manual_seed(0)
    for i in rows.tolist():
        text = data[i].repeat(draws, 1)
        text[:, 4:] = -1
        with torch.no_grad():
            for j in (4, 5, 6):
                # All generations that agree so far have the same answer; asked for each all the same.
                seen, back = torch.unique(text, dim=0, return_inverse=True)
                answer = model(seen)[back, j - 1].double() / how.temperature
                if how.top_k is not None:
                    order = answer.argsort(dim=1, descending=True)
                    answer.scatter_(1, order[:, how.top_k :], -torch.inf)
                text[:, j] = torch.multinomial(answer.softmax(1), 1, generator=draw)[:, 0].float()
        share = float((text == data[i]).all(1).double().mean())
        p = float(np.exp(z[i]))
        assert abs(share - p) <= 4 * np.sqrt(p * (1 - p) / draws) + 1e-9


def test_greedy_generation_is_what_a_plain_loop_generates(run: Run) -> None:
    data, model, split = DATA, network(run, 0), Split(2, 5)
    assert run.offsets is not None
    told = generated_greedily(run.token_signal("token_first", 0), run.offsets, np.arange(7), split)
    text = data.clone()
    text[:, 2:] = -1
    with torch.no_grad():
        for j in range(2, 7):
            text[:, j] = model(text)[:, j - 1].argmax(1).float()
    same = (text == data).all(1).numpy()
    assert told.tolist() == same.tolist()
    assert 0 < same.sum() < 7


def test_shares_are_counts_of_texts(run: Run) -> None:
    """Against loops over models and texts; members are extracted, of the others what chance gives."""
    f = extraction_of_run(run, split=Split(4, 3), queries=(1, 20), probability=0.9)
    assert f.texts == 7
    assert f.queries == (None, 1, 20)
    member = run.member[:, :7]
    assert run.offsets is not None
    for i, t in enumerate((0, 1)):
        p = np.array(
            [
                [
                    np.exp(run.token_signal("token_logp", r, t)[6 * d + 3 : 6 * d + 6].sum())
                    for d in range(7)
                ]
                for r in range(4)
            ]
        )
        for q, n in ((1, 1), (2, 20)):
            hit = 1 - (1 - p) ** n >= 0.9
            for side, told in ((member, f.members), (~member, f.others)):
                each = [hit[r][side[r]].mean() for r in range(4)]
                assert told[i, q, 0] == pytest.approx(np.mean(each))
    assert f.members[1, 2, 0] > 0.8 > 0.3 > f.others[1, 2, 0]
    assert f.members[0].max() < 0.3
    needed = np.array(
        [np.median(np.ceil(np.log(0.1) / np.log1p(-p[member[:, d], d]))) for d in range(7)]
    )
    assert f.held == pytest.approx(needed)
    near = needed <= 20
    assert near.any()
    best = f.most(2)
    ratio = np.where(near, f.held / f.out, np.inf)
    assert ratio[best].tolist() == sorted(ratio.tolist())[:2]
    gap = f.members[1, 2, 0] - f.others[1, 2, 0]
    assert f.excess[1, 2, 0] == pytest.approx(gap)
    assert f.excess[1, 2, 1] <= gap <= f.excess[1, 2, 2]
    assert f.summary()["queries"] == ["greedy", 1, 20]


def test_other_samplings_need_kept_weights(run: Run, tmp_path: Path) -> None:
    plain = extraction_of_run(run, split=Split(4, 3))
    again = extraction_of_run(run, split=Split(4, 3), sampling=Sampling(top_k=PIECES), data=POOL)
    # Weights of the last checkpoint alone were kept; all tokens are the k likeliest.
    assert again.checkpoints.tolist() == [150]
    assert again.members[0] == pytest.approx(plain.members[1])
    assert again.held == pytest.approx(plain.held, rel=0.01)
    cold = extraction_of_run(
        run, split=Split(4, 3), sampling=Sampling(0.2), queries=(1,), data=POOL
    )
    assert cold.members[0, 1, 0] >= plain.members[1, 1, 0]
    bare = seepage.train(
        POOL,
        seepage.half_split(8, models=2),
        out=tmp_path / "bare",
        model=seepage.Model(name="gpt", options=TINY),
        recipe=seepage.Recipe(epochs=1, batch=4, precision="fp32"),
        executor="inline",
        keep="none",
    )
    with pytest.raises(InputError, match="expected kept weights of every model"):
        extraction_of_run(bare, split=Split(4, 3), sampling=Sampling(top_k=2))
    with pytest.raises(InputError, match="expected texts of at least 100 tokens, got at most 7"):
        extraction_of_run(bare)
    with pytest.raises(InputError, match="queries: expected numbers"):
        extraction_of_run(bare, split=Split(4, 3), queries=())


def test_queries_and_extraction_are_two_sides_of_one_rule() -> None:
    rng = np.random.default_rng(0)
    z = -rng.exponential(4, size=500)
    for p in (0.1, 0.5, 0.99):
        n = queries_needed(z, p)
        for i in range(0, 500, 7):
            assert extractable(z[i], int(n[i]), p)
            assert n[i] == 1 or not extractable(z[i], int(n[i]) - 1, p)
    # Exactly p, and where log p is too small for 1 − p_z to differ from 1.
    assert extractable(np.log(0.5), 1, 0.5)
    assert queries_needed(np.log(1e-18), 0.5) == pytest.approx(np.log(2) * 1e18, rel=1e-9)


def test_ties_at_the_last_place_stay_in() -> None:
    z = torch.tensor([[1.0, 0.0, 0.0, -1.0]]).repeat(4, 1)
    p = sampled_logp(z, torch.arange(4), Sampling(top_k=2)).exp()
    assert float(p.sum()) == pytest.approx(1.0)
    assert float(p[1]) == float(p[2]) > float(p[3]) == 0


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: Split(0, 3), "prefix: expected a whole number of at least 1, got 0"),
        (lambda: Split(3, 0), "suffix: expected"),
        (lambda: Sampling(0.0), "temperature: expected"),
        (lambda: Sampling(float("nan")), "temperature: expected"),
        (lambda: Sampling(top_k=0), "top_k: expected"),
        (lambda: extractable([-1.0], 0), "queries: expected at least 1"),
        (lambda: extractable([-1.0], 1, 1.0), "probability: expected"),
        (lambda: queries_needed([0.1]), "logp_z: expected"),
        (
            lambda: logp_of_suffix(np.zeros(3), np.array([0, 3]), np.array([0]), Split(3, 2)),
            "rows: expected texts of at least 5 tokens",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(act: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        act()
