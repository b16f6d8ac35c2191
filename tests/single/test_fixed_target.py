"""One target and 16 references, trained by a function or a recipe: figures by hand, gate, report."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from torch import nn

import seepage
from seepage.cli import main
from seepage.data import from_arrays
from seepage.signals import SIGNALS
from seepage.single import Recorded, RecordedReferences, TrainedReferences

N = 200
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 5)).astype(np.float32)
Y = RNG.integers(0, 2, N)
MINE = np.arange(N) < N // 2


RECIPE = seepage.Recipe(epochs=15, batch=50, lr=0.02, optimizer="adam", precision="fp32")


HERE = seepage.Execution(executor="inline", device="cpu")


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 2))


def fitted(inputs: np.ndarray, labels: np.ndarray, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        net = network()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    x, y = torch.from_numpy(inputs), torch.from_numpy(labels)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net


def by_ranks(scores: np.ndarray) -> float:
    """The AUC of a member above an other, ties for half."""
    ranks, n = rankdata(scores), MINE.sum()
    return float((ranks[MINE].sum() - n * (n + 1) / 2) / (n * (N - n)))


def looped(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
    torch.manual_seed(seed % 2**63)
    net = network()
    recorder.start(net, epochs=1)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    x, y = torch.from_numpy(X[members]), torch.from_numpy(Y[members])
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    recorder.epoch_end()
    return net


@pytest.mark.parametrize(
    "how", [{"function": looped, "checkpoints": [1.0]}, {"model": network, "recipe": RECIPE}]
)
def test_a_fleet_of_one_target_and_16_references(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    how: dict[str, Any],
) -> None:
    folder = tmp_path / "run"
    run = seepage.train(
        from_arrays(X, Y), seepage.fixed_target(MINE, models=16, seed=0), out=folder,
        executor="inline", device="cpu", **how,
    )  # fmt: skip
    phi = run.signal_at("phi", -1).astype(np.float64)
    assert phi.shape == (17, N)
    lira = seepage.attacks.LiRA()
    scores = lira.score({"phi": phi[0]}, {"phi": phi[1:]}, run.member[1:])
    own = by_ranks(scores)
    # As an audit of the one model from the same arrays.
    one = seepage.audit(
        Recorded({"phi": phi[0, MINE]}, {"phi": phi[0, ~MINE]}),
        None, None, references=RecordedReferences(run.member[1:], signals={"phi": phi[1:]}),
    )  # fmt: skip
    assert one.attack("lira").auc.mean == pytest.approx(own, abs=1e-12)

    def command(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    status, out = command("attack", str(folder), "-a", "lira")
    assert status == 0
    assert "the fixed target alone, 16 shadows" in out
    assert f"{own:.4f}" in out
    for limit, expected in ((0.51, 1), (1.0, 0)):
        status, out = command("check", str(folder), "--max-auc", str(limit), "-a", "lira")
        assert status == expected
        assert f"lira: AUC {own:.4f}" in out or f"AUC {own:.4f}" in out
        assert "judged: the fixed target, run 0, by 16 shadows" in out
    report = tmp_path / "r.html"
    seepage.write_report(run, report, permutations=1, blind=False)
    told = json.loads(report.with_suffix(".json").read_text())
    (found,) = (a for a in told["attacks"] if a["name"] == "lira")
    assert found["auc"]["mean"] == pytest.approx(own, abs=1e-12)
    assert told["judged"]


def test_references_that_a_function_trains(tmp_path: Path) -> None:
    """By hand: the same function on the same halves, and the scores of the attack alone."""
    model = fitted(X[MINE], Y[MINE], 1)
    made = TrainedReferences(fitted, seconds=1e6, most=16, seed=3, execution=HERE)
    one = seepage.audit(model, (X[MINE], Y[MINE]), (X[~MINE], Y[~MINE]), references=made)
    plan = seepage.half_split(N, models=16, seed=3)
    nets = [fitted(X[m], Y[m], int(s) % (1 << 31)) for m, s in zip(plan.member, plan.seeds)]  # noqa: B905
    phi = np.stack([_phi(net) for net in (model, *nets)]).astype(np.float32)
    scores = seepage.attacks.LiRA().score({"phi": phi[0]}, {"phi": phi[1:]}, plan.member)
    assert one.attack("lira").auc.mean == pytest.approx(by_ranks(scores), abs=1e-12)
    page = seepage.write_report(one, tmp_path / "one.html").read_text()
    assert "16 references" in page
    assert "<code>seepage audit audit.toml</code>" in page
    assert "`" not in page.split("<main>")[1]


def test_references_that_a_recipe_trains(tmp_path: Path) -> None:
    """By hand: from the arrays of their folder, and one of them trained again by the engine alone."""
    model = fitted(X[MINE], Y[MINE], 1)
    folder = tmp_path / "references"
    made = TrainedReferences(
        model=network, recipe=RECIPE, seconds=None, most=16, folder=folder, execution=HERE
    )
    one = seepage.audit(model, (X[MINE], Y[MINE]), (X[~MINE], Y[~MINE]), references=made)
    assert one.references == 16
    run = seepage.open(folder)
    phi = np.concatenate([_phi(model)[None].astype(np.float32), run.signal_at("phi", -1)])
    scores = seepage.attacks.LiRA().score({"phi": phi[0]}, {"phi": phi[1:]}, run.member)
    assert one.attack("lira").auc.mean == pytest.approx(by_ranks(scores), abs=1e-12)
    assert (run.member == seepage.half_split(N, models=16, seed=0).member).all()
    # Inputs are those that the target is asked about: nothing is standardised.
    assert run.manifest["signals"].keys() == set(SIGNALS)
    plain = from_arrays(X, Y)
    raw = replace(plain, numeric=np.zeros(5, dtype=np.bool_))
    again = seepage.train(
        raw, seepage.half_split(N, models=2, seed=0), out=tmp_path / "again", model=network,
        recipe=RECIPE, backend="process", executor="inline", device="cpu", checkpoints=[15.0],
    )  # fmt: skip
    np.testing.assert_array_equal(again.signal_at("phi", -1), phi[1:3])


def _phi(net: nn.Module) -> np.ndarray:
    with torch.no_grad():
        z = net(torch.from_numpy(X)).double().numpy()
    gap = z[np.arange(N), Y] - z[np.arange(N), 1 - Y]
    return np.asarray(gap)
