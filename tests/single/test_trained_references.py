"""References that are trained for one target: resumed bit for bit, in time, refused by their key."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage.attacks import RMIA, LiRA
from seepage.errors import InputError
from seepage.fleet import Budget
from seepage.single import TrainedReferences, trained
from seepage.store.verify import verify
from tiny_fleet import contents

N = 60
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, N)
X = (RNG.normal(size=(N, 4)) + Y[:, None]).astype(np.float32)
SIDES = ((X[: N // 2], Y[: N // 2]), (X[N // 2 :], Y[N // 2 :]))
TWO = seepage.Execution(workers=2, device="cpu", save_every=0)
RECIPE = seepage.Recipe(epochs=6, batch=10, lr=0.05)


def factory() -> Callable[[], nn.Module]:
    """One that no other interpreter can import: workers are forked, which takes no time."""
    return lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))


network = factory()


def target() -> nn.Module:
    torch.manual_seed(0)
    return network()


def learner(before: Callable[[int], object] = lambda seed: None) -> Any:
    """(inputs, labels, seed) -> a model; NumPy's own stream is used too, and no other interpreter
    can import it, so that workers are forked."""

    def fit(inputs: np.ndarray, labels: np.ndarray, seed: int) -> Callable[[Any], Any]:
        before(seed)
        centres = np.stack([inputs[labels == k].mean(axis=0) for k in (0, 1)])
        centres += 0.1 * np.random.normal(size=centres.shape)  # noqa: NPY002

        def model(x: np.ndarray) -> np.ndarray:
            away = ((x[:, None] - centres[None]) ** 2).sum(axis=2)
            p = np.exp(-away.astype(np.float64))
            return p / p.sum(axis=1, keepdims=True)

        return model

    return fit


def audited(references: TrainedReferences, sides: Any = SIDES, **options: Any) -> Any:
    chosen = {"blind": False, "attacks": [LiRA(), RMIA()], **options}
    return seepage.audit(target(), *sides, references=references, **chosen)


def interrupts(after: Callable[[str, int], bool]) -> Callable[[str, int, int], None]:
    def progress(what: str, done: int, total: int) -> None:
        if what.startswith("training references") and after(what, done):
            raise KeyboardInterrupt

    return progress


WAYS = {"function": {"train": learner()}, "recipe": {"model": network, "recipe": RECIPE}}


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupted_call_goes_on_in_the_same_bits(tmp_path: Path, way: str) -> None:
    how = {**WAYS[way], "seconds": None, "most": 6, "execution": TWO}
    once = audited(TrainedReferences(**how, folder=tmp_path / "once"))
    cut = TrainedReferences(**how, folder=tmp_path / "cut")
    # Of a recipe within a run, whose epochs so far are kept.
    stop = interrupts(lambda what, done: done >= 2 and (way == "function" or "epochs" in what))
    with pytest.raises(KeyboardInterrupt):
        audited(cut, progress=stop)
    there = verify(tmp_path / "cut")
    assert 1 < len(there.done) < 6
    assert not there.damage
    again = audited(cut)
    held = [contents(tmp_path / name, "signals", "plan", "data") for name in ("once", "cut")]
    assert held[0] == held[1]
    assert verify(tmp_path / "cut").whole
    assert verify(tmp_path / "cut").planned == 6
    assert [a.auc for a in again.attacks] == [a.auc for a in once.attacks]
    assert any("6 models on random halves" in note for note in once.notes)
    # More of them are added to those that are there, whose own are the same.
    more = audited(TrainedReferences(**{**how, "most": 8}, folder=tmp_path / "cut"))
    assert more.references == 8
    assert any("; 2 were trained now" in note for note in more.notes)
    assert held[0].items() <= contents(tmp_path / "cut", "signals", "plan", "data").items()
    # Fewer are the first of them.
    assert audited(cut).attack("rmia").auc == once.attack("rmia").auc


def test_what_runs_when_the_time_is_over_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Short(Budget):
        """Over as soon as a pair has ended and a third run is asked for."""

        def allows(self, row: int) -> bool:
            begins = super().allows(row)
            if row >= 2 and self.ended >= 2:
                self.ends = self.clock()
            return begins

    plan = seepage.half_split(N, models=64, seed=0)
    slow = {int(s) % (1 << 31) for s in plan.seeds[2:]}
    ready = tmp_path / "ready"

    def waits(seed: int) -> None:
        if seed in slow and not ready.exists():
            time.sleep(600)

    one = TrainedReferences(learner(waits), seconds=500, most=4, folder=tmp_path / "r", execution=TWO)  # fmt: skip
    with monkeypatch.context() as short:
        short.setattr(trained, "Budget", Short)
        found = audited(one)
    assert found.references == 2
    assert any("within 500 s; more time allows more, up to 4" in note for note in found.notes)
    assert verify(tmp_path / "r").whole
    # What the others lack is named.
    assert "needs at least 2 IN and 2 OUT" in found.skipped["lira"]
    ready.touch()
    assert audited(one).references == 4


def test_a_budget_that_holds_no_pair_is_refused(tmp_path: Path) -> None:
    late = TrainedReferences(learner(lambda seed: time.sleep(600)), seconds=0.2, folder=tmp_path / "r")  # fmt: skip
    with pytest.raises(InputError, match=r"holds a pair of them, got none .* 0\.2 s; allow more"):
        audited(late)


def test_other_data_models_and_recipes_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    how: dict[str, Any] = {"seconds": None, "most": 2, "execution": TWO, "folder": folder}
    audited(TrainedReferences(model=network, recipe=RECIPE, **how))
    before = contents(folder)

    def wide() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 17), nn.ReLU(), nn.Linear(17, 2))

    shifted = tuple((x + 1, y) for x, y in SIDES)
    for other, sides, field in (
        ({"model": network, "recipe": RECIPE.changed(lr=0.1)}, SIDES, r"recipe\.lr is 0\.05 there"),
        ({"model": wide, "recipe": RECIPE}, SIDES, "model"),
        ({"model": network, "recipe": RECIPE}, shifted, "data is"),
        ({"train": learner()}, SIDES, "another configuration"),
        ({"model": network, "recipe": RECIPE, "seed": 1}, SIDES, "plan is"),
    ):
        with pytest.raises(InputError, match=field):
            audited(TrainedReferences(**other, **how), sides)
    assert contents(folder) == before
    # Another state of the target is no other configuration: its references are the same.
    again = seepage.audit(
        network(), *SIDES, references=TrainedReferences(model=network, recipe=RECIPE, **how)
    )
    assert any("; 0 were trained now" in note for note in again.notes)


# They are made to know nothing, and say so.
@pytest.mark.filterwarnings("default::seepage.fleet.ContradictionWarning")
def test_what_is_wrong_with_a_training_is_said_in_a_line(tmp_path: Path) -> None:
    def fails(inputs: Any, labels: Any, seed: int) -> None:
        raise ValueError("no\nnot today")

    def ignores(inputs: Any, labels: Any, seed: int) -> Any:
        return target()

    def diverges(inputs: Any, labels: Any, seed: int) -> Any:
        return lambda x: np.full((len(x), 2), np.nan)

    for train, said in (
        (fails, "train raised ValueError: no not today"),
        (ignores, "same answers from both halves of every pair"),
        (diverges, "NaN or infinity"),
    ):
        with pytest.raises(InputError, match=said) as error:
            audited(TrainedReferences(train, most=2, execution=TWO))
        assert "\n" not in str(error.value)
    lost = seepage.Recipe(epochs=2, batch=10, lr=1e12)
    with pytest.raises(InputError, match="a pair whose training converges, got: loss not finite"):
        audited(TrainedReferences(model=network, recipe=lost, most=2, execution=TWO))
    texts = [f"text {i}" for i in range(N)]
    with pytest.raises(InputError, match=r"images \(N, C, H, W\) or a table"):
        seepage.audit(
            lambda batch: np.full((len(batch), 2), 0.5),
            (texts[:30], Y[:30]), (texts[30:], Y[30:]),
            references=TrainedReferences(model=network, recipe=RECIPE),
        )  # fmt: skip
    for wrong in (
        {},
        {"train": learner(), "model": network},
        {"train": learner(), "recipe": RECIPE},
        {"train": learner(), "seconds": 0},
        {"train": learner(), "seconds": float("nan")},
        {"train": learner(), "most": 1},
        {"train": "file.py:fit"},
    ):
        with pytest.raises(InputError, match="references: expected"):
            TrainedReferences(**wrong)


# They are made to know nothing, and say so.
@pytest.mark.filterwarnings("default::seepage.fleet.ContradictionWarning")
def test_curvature_of_references_that_are_trained() -> None:
    def fit(inputs: Any, labels: Any, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return network()

    for how in ({"train": fit}, {"model": network, "recipe": RECIPE}):
        one = audited(TrainedReferences(**how, most=2, execution=TWO), curvature=True, attacks=None)
        assert "curvature-calibrated" in {a.name for a in one.attacks}


def test_a_training_function_of_a_fleet_trains_references(tmp_path: Path) -> None:
    def train(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
        torch.manual_seed(seed % 2**63)
        net = network()
        recorder.start(net, epochs=1)
        step = torch.optim.SGD(net.parameters(), 0.1)
        for rows in np.array_split(members, 3):
            step.zero_grad()
            labels = torch.from_numpy(Y[rows])
            nn.functional.cross_entropy(net(recorder.inputs(rows)), labels).backward()
            step.step()
        recorder.epoch_end()
        return net

    one = audited(TrainedReferences(train, most=4, folder=tmp_path / "r", execution=TWO))
    assert one.references == 4
    run = seepage.open(tmp_path / "r")
    assert run.manifest["provenance"]["function_check"]["members"] == "obeyed"


def test_exact_copies_lie_on_one_side(tmp_path: Path) -> None:
    twice = (np.concatenate([SIDES[0][0], X[:3]]), np.concatenate([SIDES[0][1], Y[:3]]))
    audited(
        TrainedReferences(learner(), most=2, folder=tmp_path / "r", execution=TWO),
        (twice, SIDES[1]),
    )
    member = seepage.open(tmp_path / "r").member
    assert (member[:, :3] == member[:, 30:33]).all()


def test_a_killed_worker_costs_its_run_only(tmp_path: Path) -> None:
    flag = tmp_path / "died"

    def dies(seed: int) -> None:
        if not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    one = audited(TrainedReferences(learner(dies), most=2, execution=TWO))
    assert flag.exists()
    assert one.references == 2


def test_the_summary_says_how_many_there_were(tmp_path: Path) -> None:
    one = audited(TrainedReferences(learner(), most=4, execution=TWO))
    told = json.loads(one.write_json(tmp_path / "one.json").read_text())
    assert told["references"] == 4
    assert any("4 models on random halves" in note for note in told["notes"])
