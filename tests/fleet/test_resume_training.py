"""A run that is interrupted in the middle, plain or defended, goes on and ends in the same bits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage.defenses import DEFENSES, make
from seepage.defenses.base import Context, Defense
from seepage.fleet.saved import SavedRun, Unfit, Unsaveable, flatten, restore
from seepage.plan import half_split
from seepage.store.evidence import read_records
from seepage.store.storage import Storage
from tiny_fleet import contents, table

EPOCHS = 3
QUICK: dict[str, dict[str, Any]] = {
    "early-stopping": {"patience": 1},
    "memguard": {"detector_steps": 4, "search_steps": 2},
    "selena": {"models": 3, "out": 1},
    "cwrf": {"steps": 2},
    "dp-sgd": {"max_norm": 1.0, "noise": 0.5},
    "layer-dp-sgd": {"max_norm": 1.0, "noise": 0.5, "risk": {"0": 0.7}},
    "label-dp": {"stages": 3},
    "pptp": {"regions": ("4",)},
    "chain": {"parts": ({"name": "early-stopping", "patience": 1}, "hamp")},
}
"""Options that some defences need, or that make them quick; a new defence needs no entry."""
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, QUICK.get(name, {})) for name in DEFENSES},
    "pptp-measured": ("pptp", {"tau": 0.1}),
    "pptp-adversarial": ("pptp", {"regions": ("4",), "base": "adversarial"}),
    "pptp-routed-crl": ("pptp", {"regions": ("4",), "base": "crl", "variant": "routed"}),
    "pptp-routed-dp": (
        "pptp", {"regions": ("4",), "base": {"name": "dp-sgd"}, "variant": "routed"},
    ),
    "pptp-alternating": (
        "pptp", {"regions": ("0",), "base": "mixup-mmd", "variant": "alternating"},
    ),
    "chain-of-losses": ("chain", {"parts": ("crl", "early-stopping", "memguard")}),
    "chain-of-gradients": ("chain", {"parts": ("dp-sgd", "label-smoothing")}),
}  # fmt: skip


class NeverTwice:
    """Each attempt is interrupted right after it saved, between stages or within one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.saves = 0
        save = SavedRun.save

        def interrupted(run: SavedRun, *given: Any) -> None:
            save(run, *given)
            self.saves += 1
            raise KeyboardInterrupt

        monkeypatch.setattr(SavedRun, "save", interrupted)

    def until_done(self, train: Callable[[], seepage.store.Run], most: int = 60) -> int:
        """Attempts that it took; one that saved the same epoch twice would not end."""
        for attempt in range(1, most):
            try:
                train()
            except KeyboardInterrupt:
                continue
            assert attempt == self.saves + 1
            return attempt
        raise AssertionError(f"not done after {most} attempts")


def network(norm: bool) -> nn.Module:
    middle = nn.BatchNorm1d(8) if norm else nn.Identity()
    return nn.Sequential(nn.Linear(4, 8), middle, nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def fleet(out: Path, **options: Any) -> seepage.store.Run:
    given: dict[str, Any] = {
        "model": lambda: network(True),
        "recipe": seepage.Recipe(epochs=EPOCHS, batch=8, lr=0.1, precision="fp32"),
        "checkpoints": [0, 0.5, 1, 2.5, EPOCHS],
        "signals": ("phi", "correct"),
        "device": "cpu",
        "executor": "inline",
        "keep": "all",
        "save_every": 0.0,
    }
    data = given.pop("data", table(40))
    return seepage.train(
        data, half_split(len(data), models=2, seed=1), out=out, **(given | options)
    )


def outcome(out: Path) -> tuple[dict[str, bytes], dict[int, dict[str, Any]]]:
    """Signals and weights to the bit, and what the records say but for the clock and the folder."""
    records = read_records(Storage(out))
    for record in records.values():
        assert record["status"] == "done"
        del record["seconds"], record["looking"], record["manifest"]
    assert not list(out.glob("state/*"))
    return contents(out, "signals", "weights"), records


def defended(name: str) -> dict[str, Any]:
    kind, options = CASES[name]
    defense = make(kind, **options)
    given: dict[str, Any] = {"defense": defense}
    if defense.has("reference"):
        given["reference"] = table(24, seed=5)
    if defense.has("clips"):
        pytest.importorskip("opacus", reason="the opacus extra is not installed")
        given["model"] = lambda: network(False)
    return given


@pytest.mark.parametrize("name", CASES)
def test_a_defended_run_goes_on_where_it_was(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = defended(name)
    fleet(tmp_path / "whole", save_every=1e9, **options)
    interruptions = NeverTwice(monkeypatch)
    attempts = interruptions.until_done(lambda: fleet(tmp_path / "parts", **options))
    # An epoch before the last one is saved in each of the two runs, unless the first was the last.
    assert attempts > 2
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


class Everything(Defense):
    """Stages that build networks, stop early, draw between them and answer with their state."""

    name, source = "everything", "a test"

    def train(self, context: Context, fit: Any) -> nn.Module:
        teacher = fit(self, record=False)
        context.facts["drawn"] = [float(torch.rand(())), self.sum_of(teacher)]
        context.facts["modes"] = [m.training for m in teacher.modules()]
        network = fit(self, model=context.model)
        context.facts["built"] = self.sum_of(context.build())
        return network

    @staticmethod
    def sum_of(network: nn.Module) -> float:
        return sum(float(p.detach().double().sum()) for p in network.parameters())

    def start(self, context: Context) -> Any:
        return {"helper": context.build(), "moved": 0.0}

    def epoch_end(self, context: Context) -> None:
        with torch.no_grad():
            context.state["helper"][0].weight.add_(torch.rand(8, 4, generator=context.generator))
        context.state["moved"] = self.sum_of(context.state["helper"])
        context.model[1].eval()
        context.stop = context.epoch == 1

    def outputs(self, logits: torch.Tensor, context: Context) -> torch.Tensor:
        drawn = torch.rand(logits.shape, generator=context.observer)
        return logits + context.state["moved"] * drawn


def test_whatever_a_defence_does_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the epoch in which it stopped, when checkpoints remain to be looked at."""
    fleet(tmp_path / "whole", defense=Everything())
    interruptions = NeverTwice(monkeypatch)
    # Two stages of two epochs in each of two runs, all saved: the recipe's third never comes.
    attempts = interruptions.until_done(lambda: fleet(tmp_path / "parts", defense=Everything()))
    assert attempts == 2 * 4 + 1
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


PLAIN: dict[str, dict[str, Any]] = {
    "momentum": {},
    "adam": {"optimizer": "adam", "lr": 0.01},
    "sharpness-aware": {"optimizer": "sam", "flip": True, "crop": 1},
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_run_goes_on_where_it_was(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = seepage.Recipe(
        **{"epochs": EPOCHS, "batch": 16, "lr": 0.05, "precision": "fp32"} | PLAIN[name]
    )
    data = seepage.load("digits", limit=64)

    def train(out: Path, every: float = 0.0) -> seepage.store.Run:
        return seepage.train(
            data, half_split(64, models=2, seed=1), model="cnn-1", out=out, recipe=recipe,
            checkpoints=[0, 0.5, 1, EPOCHS], device="cpu", backend="process", executor="inline",
            keep="all", save_every=every,
        )  # fmt: skip

    train(tmp_path / "whole", 1e9)
    interruptions = NeverTwice(monkeypatch)
    # Two runs, saved after every epoch but the last.
    assert interruptions.until_done(lambda: train(tmp_path / "parts")) == 2 * (EPOCHS - 1) + 1
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def spoil(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 4
    path.write_bytes(raw)


@pytest.mark.parametrize("damage", ["state", "finished stage", "absent stage", "misfit"])
def test_a_state_that_cannot_be_used_is_passed_over(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run starts again and ends in the same bits."""
    options = defended("dmp")
    fleet(tmp_path / "whole", **options)
    out = tmp_path / "parts"
    with monkeypatch.context() as patch:
        # Two epochs of the teacher, its last, one epoch of the student.
        interruptions = NeverTwice(patch)
        while interruptions.saves < EPOCHS + 1:
            with pytest.raises(KeyboardInterrupt):
                fleet(out, **options)
    state, stage = out / "state" / "00000.safetensors", out / "state" / "00000-stage-0.safetensors"
    if damage == "absent stage":
        stage.unlink()
    elif damage == "misfit":
        stage.rename(state)
    else:
        spoil(state if damage == "state" else stage)
    fleet(out, **options)
    assert outcome(out) == outcome(tmp_path / "whole")


def test_a_state_of_another_structure_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Growing(Defense):
        name, source = "growing", "a test"

        def start(self, context: Context) -> Any:
            # The environment is nothing that the key of a run can follow.
            width = int(os.environ.get("WIDTH_OF_TEST", "2"))
            return {"seen": torch.zeros(2, requires_grad=True), "net": nn.Linear(width, 1)}

    fleet(tmp_path / "whole", defense=Growing())
    with monkeypatch.context() as patch:
        NeverTwice(patch)
        with pytest.raises(KeyboardInterrupt):
            fleet(tmp_path / "parts", defense=Growing())
    monkeypatch.setenv("WIDTH_OF_TEST", "3")
    fleet(tmp_path / "parts", defense=Growing())
    assert outcome(tmp_path / "parts") == outcome(tmp_path / "whole")


def test_a_run_whose_state_cannot_be_written_is_trained_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Holding(Defense):
        name, source = "holding", "a test"

        def start(self, context: Context) -> Any:
            return [object()]

    fleet(tmp_path / "run", defense=Holding())
    assert outcome(tmp_path / "run")[1].keys() == {0, 1}


def test_a_run_that_diverges_says_at_which_step_and_leaves_no_state(tmp_path: Path) -> None:
    class Diverging(Defense):
        name, source = "diverging", "a test"

        def loss(self, logits: Any, targets: Any, labels: Any, context: Context) -> torch.Tensor:
            loss = super().loss(logits, targets, labels, context)
            return loss * (float("nan") if context.step == 4 else 1.0)

    fleet(tmp_path / "run", defense=Diverging())
    records = read_records(Storage(tmp_path / "run"))
    assert {r["why"] for r in records.values()} == {"loss not finite at step 4"}
    assert not list((tmp_path / "run").glob("state/*"))


def test_whatever_a_state_holds_comes_back_into_its_place() -> None:
    def state(seed: int) -> dict[Any, Any]:
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        weight = torch.randn(3, requires_grad=True)
        optimizer = torch.optim.Adam([weight], lr=0.1 + seed)
        weight.square().sum().backward()
        optimizer.step()
        generator = torch.Generator().manual_seed(seed)
        turned = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
        return {
            "pair": (weight, optimizer), "net": nn.BatchNorm1d(3), "rng": rng, "torch": generator,
            "old": np.random.Generator(np.random.MT19937(seed)), "set": frozenset({"a", str(seed)}),
            "array": rng.integers(0, 9, (2, 3)).astype(np.uint32), "scalar": np.float32(seed) / 3,
            "shape": torch.Size([seed, 2]), 7: [None, float("inf"), True, -0.0], "deep": [{}, [[]]],
            "turned": turned, "empty": torch.zeros(0, dtype=torch.bool), "half": turned.bfloat16(),
        }  # fmt: skip

    saved, target = state(1), state(2)
    places = [target["pair"][0], target["pair"][1], target["net"], target["rng"], target[7]]
    saved["made later"] = saved["turned"] * 2
    tensors, tree = flatten(saved)
    got = restore(target, {k: v.clone() for k, v in tensors.items()}, tree)
    assert got is target
    assert [got["pair"][0], got["pair"][1], got["net"], got["rng"], got[7]] == places
    assert flatten(got)[1] == tree
    for key, value in flatten(got)[0].items():
        assert torch.equal(value, tensors[key])
        assert value.dtype == tensors[key].dtype
    assert got["made later"].stride() == saved["made later"].stride()
    assert got["scalar"].dtype == np.float32
    assert isinstance(got["shape"], torch.Size)
    assert got["rng"].random() == saved["rng"].random()
    assert got["old"].random() == saved["old"].random()
    assert torch.equal(
        torch.rand(2, generator=got["torch"]), torch.rand(2, generator=saved["torch"])
    )


@pytest.mark.parametrize(
    ("target", "saved"),
    [
        (None, nn.Linear(1, 1)),
        (nn.Linear(2, 1), nn.Linear(1, 1)),
        (None, torch.Generator()),
        ("text", np.random.default_rng(0)),
    ],
)
def test_what_no_longer_fits_is_said(target: Any, saved: Any) -> None:
    tensors, tree = flatten(saved)
    with pytest.raises(Unfit):
        restore(target, tensors, tree)


@pytest.mark.parametrize("value", [object(), [lambda: None], {"a": np.array([None])}])
def test_what_cannot_be_written_is_said(value: Any) -> None:
    with pytest.raises(Unsaveable):
        flatten(value)
