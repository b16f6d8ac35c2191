"""Where training starts from: weights that all runs share, frozen parts, parts made anew."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from tests.tiny_fleet import fleet, table
from torch import nn

import seepage
from seepage import defenses
from seepage.config.audit import read_config
from seepage.config.prepare import prepare
from seepage.curvature.estimate import estimator
from seepage.errors import InputError
from seepage.fleet import train_prepared
from seepage.fleet.kept import kept_curvature
from seepage.fleet.rebuild import rebuild
from seepage.plan import half_split


class Net(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        self.head = nn.Linear(8, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z: torch.Tensor = self.head(self.features(x))
        return z


def saved(folder: Path, classes: int = 3, name: str = "w.safetensors", seed: int = 5) -> str:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = Net(classes).state_dict()
    if name.endswith(".pt"):
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, folder / name)
    else:
        safetensors.torch.save_file(state, folder / name)
    return str(folder / name)


def model(**start: Any) -> seepage.Model:
    return seepage.Model(name="net", factory=Net, **start)


SMALL = {"checkpoints": [0, 2], "executor": "inline", "keep": "all"}


def test_all_runs_start_from_the_same_weights(tmp_path: Path) -> None:
    given = saved(tmp_path)
    run = fleet(tmp_path / "run", model=model(weights=given, frozen=["features.*"]), **SMALL)
    state = safetensors.torch.load_file(given)
    for row in range(4):
        start, end = run.weights(row, 0), run.weights(row, -1)
        assert start is not None
        assert end is not None
        for name, value in state.items():
            torch.testing.assert_close(start[name], value, rtol=0, atol=0)
            assert torch.equal(end[name], value) == name.startswith("features")
    key = run.manifest["key"]["model"]
    assert (key["parameters"], key["trainable"], key["frozen"]) == (67, 27, ["features.*"])
    # The same tensors in another kind of file, with a wrapper's prefix, are the same start.
    other = fleet(tmp_path / "pt", model=model(weights=saved(tmp_path, name="w.pt")), **SMALL)
    np.testing.assert_array_equal(other.signal_at("phi", 0), run.signal_at("phi", 0))


def test_other_weights_do_not_go_on(tmp_path: Path) -> None:
    given = saved(tmp_path)
    fleet(tmp_path / "run", model=model(weights=given), **SMALL)
    fleet(tmp_path / "run", model=model(weights=given), **SMALL)
    saved(tmp_path, seed=6)
    with pytest.raises(InputError, match=r"another configuration: model\.start\.fixed|model\.w"):
        fleet(tmp_path / "run", model=model(weights=given), **SMALL)
    with pytest.raises(InputError, match=r"model\.frozen is None there|model\.\w+ is .* there"):
        fleet(tmp_path / "run", model=model(frozen=["features.*"]), **SMALL)
    with pytest.raises(InputError, match="as it was when the fleet began"):
        model(weights=given, expected="0" * 64).make((4,), 3)


def test_a_head_of_another_number_of_classes_is_made_anew(tmp_path: Path) -> None:
    given = saved(tmp_path, classes=10)
    with pytest.raises(
        InputError, match=r"'head\.\w+' of shape \(3.* got \(10.*model\.reset = \[.head"
    ):
        fleet(tmp_path / "run", model=model(weights=given), **SMALL)
    assert not (tmp_path / "run").exists()
    run = fleet(tmp_path / "run", model=model(weights=given, reset=["head.*"]), **SMALL)
    a, b = run.weights(0, 0), run.weights(1, 0)
    assert a is not None
    assert b is not None
    assert torch.equal(a["features.0.weight"], b["features.0.weight"])
    assert not torch.equal(a["head.weight"], b["head.weight"])


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"frozen": ["feature.*"]}, r"model\.frozen: .* got 'feature\.\*', which matches nothing"),
        ({"frozen": ["*"]}, r"expected a part that trains, got patterns that match all"),
        ({"reset": ["head.*"]}, r"model\.reset: expected with model\.weights"),
        ({"weights": "no.pt"}, r"model\.weights: expected a file that can be read at no\.pt"),
    ],
)
def test_what_cannot_be_is_one_line(start: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as told:
        fleet(tmp_path / "run", model=model(**start), **SMALL)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()


class Other(Net):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 3, bias=False)


def untrained(members: Any, seed: int, recorder: Any) -> None: ...


def test_weights_of_another_network(tmp_path: Path) -> None:
    given = saved(tmp_path)
    other = seepage.Model(name="o", factory=Other, weights=given)
    with pytest.raises(InputError, match=r"got 1 missing, the first 'last\.weight'; name the fact"):
        fleet(tmp_path / "run", model=other, **SMALL)
    with pytest.raises(
        InputError, match=r"expected no weights, adapter, frozen or reset parts with untrain"
    ):
        fleet(tmp_path / "run", model=model(weights=given), function=untrained, **SMALL)


def test_probes_of_frozen_parts(tmp_path: Path) -> None:
    given = saved(tmp_path)
    run = fleet(tmp_path / "run", model=model(weights=given, frozen=["features.*"]), **SMALL)
    found = kept_curvature(run, estimator=estimator("exact"), model=Net, data=table())
    assert np.isfinite(found.found.trace).all()
    own = rebuild(run, 1, model=Net, data=table())
    assert len(seepage.layers.probe(own.model, own.inputs[:20]).layers) >= 2


# What is measured first, or is too little in so small a pool.
NEEDING = ("layer-dp-sgd", "chain", "pptp")


@pytest.mark.parametrize("name", [d for d in defenses.DEFENSES if d not in NEEDING])
def test_a_defence_leaves_frozen_parts_alone(name: str, tmp_path: Path) -> None:
    start = model(weights=saved(tmp_path), frozen=["features.*"])
    defended = fleet(
        tmp_path / "run", plan=half_split(48, models=2, seed=1), model=start,
        defense=defenses.make(name), reference=table(24, seed=3), executor="inline",
        checkpoints=[2], keep="final",
    )  # fmt: skip
    assert not defended.failed
    state = safetensors.torch.load_file(str(tmp_path / "w.safetensors"))
    after = defended.weights(0, -1)
    assert after is not None
    for key, value in state.items():
        assert torch.equal(after[key], value) == key.startswith("features"), key


def test_from_a_configuration(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        state = seepage.Model(name="mlp", options={"hidden": (8,)}).make((64,), 10).state_dict()
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    (tmp_path / "a.toml").write_text(
        f"""
out = "{tmp_path / "run"}"
data = {{ name = "digits", limit = 80 }}
plan = {{ models = 6 }}
recipe = {{ epochs = 1, batch = 16 }}
record = {{ checkpoints = [0, 1], keep = "all" }}
execution = {{ executor = "inline" }}
attacks = {{ names = ["loss"], main = "loss" }}
[model]
options = {{ hidden = [8] }}
weights = "{tmp_path / "w.safetensors"}"
frozen = ["{next(iter(state))}"]
"""
    )
    run = train_prepared(prepare(read_config(tmp_path / "a.toml")))
    start = run.weights(3, 0)
    assert start is not None
    assert all(torch.equal(start[k], v) for k, v in state.items())
    assert run.manifest["chosen"]["backend"] == "process"


def test_adapters_need_weights_and_peft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rank = seepage.LowRank(rank=2)
    bare = seepage.Model(name="mlp", options={"hidden": (8,)}, adapter=rank)
    with pytest.raises(InputError, match=r"model\.adapter: expected with model\.weights for 'mlp'"):
        fleet(tmp_path / "run", model=bare, **SMALL)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"expected peft to be installed.*'seepage\[peft\]'"):
        fleet(tmp_path / "run", model=model(weights=saved(tmp_path), adapter=rank), **SMALL)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ("rank = 0", r"model\.adapter\.rank: .*greater than or equal to 1, got 0"),
        ("ranks = 4", r"model\.adapter\.ranks: unknown field; did you mean 'rank'"),
        ("targets = []", r"model\.adapter\.targets: .*at least 1 item"),
        ("alpha = inf", r"model\.adapter\.alpha: .*finite"),
    ],
)
def test_an_adapter_in_a_configuration(tmp_path: Path, table: str, match: str) -> None:
    (tmp_path / "a.toml").write_text("[model.adapter]\nrank = 4\n")
    read = read_config(tmp_path / "a.toml", ["model.adapter.alpha=8"]).model
    assert read.adapter == seepage.LowRank(rank=4, alpha=8)
    (tmp_path / "a.toml").write_text(f"[model.adapter]\n{table}\n")
    with pytest.raises(InputError, match=match):
        read_config(tmp_path / "a.toml")
