"""A training function is tried before its fleet: does it obey its members and its seed?"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage.data import from_arrays
from seepage.errors import InputError
from seepage.fleet import function_check
from seepage.fleet.local import FleetError, run_apart
from seepage.fleet.rehearsal import FunctionWarning
from seepage.plan import half_split

N, BATCH = 60, 2
RNG = np.random.default_rng(0)
LABELS = np.arange(N) % 3
INPUTS = (RNG.normal(size=(N, 6)) + LABELS[:, None]).astype(np.float32)
X, Y = torch.from_numpy(INPUTS), torch.from_numpy(LABELS)

Rows = Callable[[np.ndarray], np.ndarray]


def loop(
    rows: Rows = lambda members: members,
    *,
    seeded: Callable[[int], Any] = lambda seed: torch.manual_seed(seed % 2**63),
    order: Callable[[int], list[int]] | None = None,
    change: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
) -> Callable[..., nn.Module]:
    """A plain loop in which one thing is wrong at a time."""

    def train(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
        seeded(seed)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        recorder.start(model, epochs=2)
        used = rows(members)
        for _ in range(2):
            shuffled = torch.randperm(len(used)).tolist() if order is None else order(len(used))
            for at in range(0, len(used), BATCH):
                batch = used[shuffled[at : at + BATCH]]
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(change(X[batch])), Y[batch]).backward()
                optimizer.step()
            recorder.epoch_end()
        return model

    return train


def train(out: Path, function: Any, **options: Any) -> dict[str, Any]:
    """What the manifest keeps of the check."""
    given = {"executor": "inline", "device": "cpu", "checkpoints": [0, 2], **options}
    plan = half_split(N, models=4, seed=0)
    run = seepage.train(from_arrays(INPUTS, LABELS), plan, function=function, out=out, **given)
    told: dict[str, Any] = run.manifest["provenance"]["function_check"]
    return told


def test_an_honest_loop(tmp_path: Path) -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    told = train(tmp_path / "run", loop())
    assert told.pop("seconds") > 0
    assert told == {
        "checked": True, "members": "obeyed", "by": "two members replaced", "shown": 30, "unseen": 0,
        "repeats": 0.0, "seed": True, "calls": 4, "until": "the end of an epoch",
    }  # fmt: skip
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert random.getstate() == states[2]
    # Nothing of it is a part of what was trained, and a folder that is there is not tried again.
    off = train(tmp_path / "off", seepage.Function(function=loop(), check=False))
    assert off == {"checked": False, "why": "switched off"}
    one, other = (seepage.open(tmp_path / name) for name in ("run", "off"))
    np.testing.assert_array_equal(one.signal("phi"), other.signal("phi"))
    assert one.manifest["key"] == other.manifest["key"]
    assert train(tmp_path / "off", loop())["checked"] is False


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda m: np.arange(len(m)), "alone, got a network that was shown 13 other samples"),
        (
            lambda m: np.append(m, np.setdiff1d(np.arange(N), m)[0]),
            r"shown 1 other samples .*, such",
        ),
    ],
    ids=["first rows of the data", "one more"],
)
def test_other_samples_are_seen_in_the_inputs(rows: Rows, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as told:
        train(tmp_path / "run", loop(rows))
    assert "train.check = false" in str(told.value)
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_answers_without_a_gradient_back_are_no_training(tmp_path: Path) -> None:
    def careless(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
        torch.manual_seed(seed % 2**63)
        model = nn.Linear(6, 3)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        recorder.start(model, epochs=2)
        for _ in range(2):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(X[members]), Y[members]).backward()
            optimizer.step()
            model(X)  # in training mode, gradients on: looked at, not trained on
            recorder.epoch_end()
        return model

    told = train(tmp_path / "run", careless)
    assert (told["shown"], told["unseen"], told["members"]) == (30, 0, "obeyed")


def test_members_that_are_ignored_are_refused_without_comparing_inputs(tmp_path: Path) -> None:
    def moved(x: torch.Tensor) -> torch.Tensor:
        return x + 0.01 * torch.randn_like(x)

    with pytest.raises(
        InputError, match="on the members that it is given, got the same weights with all members"
    ):
        train(tmp_path / "run", loop(lambda m: np.arange(len(m)), change=moved))
    told = train(tmp_path / "fine", loop(change=moved))
    assert "shown" not in told
    assert told["members"] == "obeyed"


def test_members_that_are_held_out_are_told(tmp_path: Path) -> None:
    def most(members: np.ndarray) -> np.ndarray:
        return members[10:]

    with pytest.warns(FunctionWarning, match="10 of 30 members were not shown to the network"):
        told = train(tmp_path / "run", loop(most))
    assert (told["shown"], told["unseen"]) == (20, 10)
    page = seepage.write_report(
        seepage.open(tmp_path / "run"), tmp_path / "r.html", permutations=1, blind=False
    ).read_text()
    assert "Notes of the run" in page
    assert "10 of 30 members were not shown" in page
    # A last batch that is not full and dropped is no such thing.
    assert train(tmp_path / "drop", loop(lambda m: m[:-1]))["unseen"] == 1


def test_what_no_seed_decides_is_told(tmp_path: Path) -> None:
    def unseeded(n: int) -> list[int]:
        return random.sample(range(n), n)

    with pytest.warns(
        FunctionWarning, match=r"resume is not bit for bit and its checkpoints are of"
    ):
        told = train(tmp_path / "run", loop(order=unseeded))
    # Every other stream alike, its members can still be told.
    assert told["members"] == "obeyed"
    assert told["repeats"] > 1e-3

    stream = np.random.default_rng(7)
    with (
        pytest.warns(FunctionWarning, match="resume is not bit for bit"),
        pytest.warns(FunctionWarning, match="whether it obeys its members could not be seen"),
    ):
        told = train(
            tmp_path / "other",
            loop(seeded=lambda seed: torch.manual_seed(int(stream.integers(2**31)))),
        )
    assert told["members"] == "unknown"


def test_a_seed_that_is_not_used_is_told(tmp_path: Path) -> None:
    with pytest.warns(FunctionWarning, match="another seed gave the same weights: runs differ by"):
        told = train(tmp_path / "run", loop(seeded=lambda seed: torch.manual_seed(3)))
    assert told["seed"] is False


# The network learns hardly anything, and says so.
@pytest.mark.filterwarnings("default::seepage.fleet.ContradictionWarning")
def test_a_network_that_is_not_the_one_trained(tmp_path: Path) -> None:
    def copied(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
        recorder.start(nn.Linear(6, 3), epochs=2)
        recorder.epoch_end()
        recorder.epoch_end()
        return nn.Linear(6, 3)

    with pytest.warns(FunctionWarning, match=r"passed to recorder\.start has the same weights at"):
        assert "members" in train(tmp_path / "run", copied)


def test_long_epochs_are_cut_at_the_same_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(
        function_check, "time", SimpleNamespace(monotonic=lambda: float(next(clock)))
    )
    # One second for each time that the clock is read: the first call may take twelve.
    told = train(tmp_path / "run", seepage.Function(function=loop(), check_seconds=60))
    assert re.fullmatch(r"batch ([2-9]|1[0-4])", told["until"]), told
    assert told["by"] == "all members replaced"
    assert (told["members"], told["repeats"]) == ("obeyed", 0)
    assert told["calls"] == 4
    assert told["seconds"] < 80
    assert "shown" not in told
    # Where not even two calls fit, it is said.
    told = train(tmp_path / "none", seepage.Function(function=loop(), check_seconds=3))
    assert told["calls"] == 1
    assert "more than 3 s allow for two" in told["why"]


def test_a_function_that_answers(tmp_path: Path) -> None:
    def fit(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> None:
        means = np.stack([INPUTS[members[LABELS[members] == k]].mean(0) for k in range(3)])
        far = ((INPUTS[:, None] - means) ** 2).sum(2)
        p = np.exp(-0.1 * far)
        recorder.answers(p / p.sum(1, keepdims=True), epoch=1)

    fit.network = False  # type: ignore[attr-defined]
    told = train(tmp_path / "run", fit, checkpoints="log")
    assert (told["members"], told["seed"], told["until"]) == ("obeyed", False, "an answer")

    def all_of_it(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> None:
        fit(np.arange(N), seed, recorder)

    all_of_it.network = False  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"expected .*all_of_it to train on the members"):
        train(tmp_path / "other", all_of_it, checkpoints="log")


def test_members_of_no_run_may_be_refused_by_the_function(tmp_path: Path) -> None:
    known = {tuple(m.tolist()) for m in map(np.flatnonzero, half_split(N, models=4, seed=0).member)}

    def strict(members: np.ndarray) -> np.ndarray:
        if tuple(members.tolist()) not in known:
            raise KeyError("no such split")
        return members

    with pytest.raises(InputError, match=r"raised KeyError: 'no such split' where .* train\.check"):
        train(tmp_path / "run", loop(strict))
    own = seepage.Function(function=loop(strict), check=False)
    assert train(tmp_path / "run", own)["checked"] is False


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Forked as workers are: nothing that the function does is left in this process."""
    seen: list[int] = []

    def counted(members: np.ndarray) -> np.ndarray:
        seen.append(len(members))
        return members

    told = train(tmp_path / "run", loop(counted), executor="local", workers=1)
    assert (told["members"], told["calls"]) == ("obeyed", 4)
    assert not seen
    with pytest.raises(InputError, match="alone, got a network that was shown"):
        train(tmp_path / "other", loop(lambda m: np.arange(N)), executor="local", workers=1)


def test_a_process_that_dies_hangs_or_fails() -> None:
    import os
    import time

    assert run_apart(lambda: 3, travels=False, threads=1, seconds=60) == 3
    assert run_apart(lambda: time.sleep(60), travels=False, threads=1, seconds=0.2) is None
    assert run_apart(lambda: os._exit(1), travels=False, threads=1, seconds=60) is None
    with pytest.raises(FleetError, match="ZeroDivisionError"):
        run_apart(lambda: 1 / 0, travels=False, threads=1, seconds=60)


def test_a_loop_that_numbers_classes_by_itself(tmp_path: Path) -> None:
    """Names are sorted by the pool; a loop that trains on numbers of its own is told which they are."""
    own = np.arange(240) % 3
    x = (RNG.normal(size=(240, 3)) + 4 * np.eye(3)[own]).astype(np.float32)
    data = from_arrays(x, np.array(["top", "mid", "all"])[own])

    def training(y: np.ndarray) -> Callable[..., nn.Module]:
        def fit(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
            torch.manual_seed(seed % 2**63)
            model = nn.Linear(3, 3)
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            recorder.start(model, epochs=2)
            for _ in range(2):
                for _ in range(20):
                    optimizer.zero_grad()
                    loss = nn.functional.cross_entropy(
                        model(torch.from_numpy(x[members])), torch.from_numpy(y[members])
                    )
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                recorder.epoch_end()
            return model

        return fit

    plan = half_split(240, models=2, seed=0)
    given = {"executor": "inline", "device": "cpu"}
    wanted = r"labels: .*label → column 0 → 2, 2 → 0 would make members right"
    with pytest.raises(InputError, match=rf"function: .*fit: {wanted}.*train\.check = false"):
        seepage.train(data, plan, function=training(own), out=tmp_path / "run", **given)
    assert not list(tmp_path.iterdir())
    # Switched off, or too early there, the answers of the first run tell at its end.
    off = seepage.Function(function=training(own), check=False)
    with pytest.raises(InputError, match=rf"model, at epoch 2: {wanted}.*numbers of the data"):
        seepage.train(data, plan, function=off, out=tmp_path / "off", **given)
    run = seepage.train(
        data, plan, function=training(data.labels.numpy()), out=tmp_path / "r", **given
    )
    assert run.records[0]["accuracy"][-1][0] > 0.9
