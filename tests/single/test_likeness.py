"""A network, and its references, that are asked about other inputs than they were trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import seepage
from seepage.cli import app
from seepage.errors import CheckFailed, InputError
from seepage.models.preparations import BetterPrepared
from seepage.single import TrainedReferences
from seepage.single.fitting import Doubt
from seepage.single.likeness import rather_exchanged
from seepage.single.outputs import Observed

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 240)
X = (RNG.normal(size=(240, 6)) + np.eye(6)[Y]).astype(np.float32)


def fitted(inputs: np.ndarray, labels: np.ndarray, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
    x, y = torch.tensor(inputs), torch.tensor(labels)
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return net.eval()


NET = fitted(X[:120], Y[:120])


@pytest.mark.parametrize(("factor", "said"), [(1, ""), (10, "divided by 10"), (0.1, "times 10")])
def test_another_scale_has_no_verdict(factor: float, said: str) -> None:
    x = X * np.float32(factor)
    one = seepage.audit(NET, (x[:120], Y[:120]), (x[120:], Y[120:]), blind=False)
    notes = [n for n in one.notes if n.startswith("inputs: ")]
    assert len(notes) == (said != "")
    assert all(said in n for n in notes)
    assert (one.said == "refused") == (said != "")


def test_exchanged_sides_are_no_inputs_that_are_prepared_otherwise() -> None:
    """Of others a network answers some with a large loss, which other preparations make less."""
    y = np.arange(200) % 2
    right = {True: (np.arange(100) % 5 > 0), False: np.ones(100, bool)}

    def told(first: bool, so: float) -> tuple[Doubt, ...]:
        correct = np.concatenate([right[first], right[not first]]).astype(np.float64)
        better = BetterPrepared("so", (0.8, so), (0.8, so), 100, 9, sure=True)
        observed = Observed({"correct": correct}, {}, answers=y, classes=2)
        return rather_exchanged(better, observed, np.arange(200) < 100)

    assert "members are right in 80.0% and others in 100.0%" in told(True, 0.82)[0].note
    assert told(True, 1.0) == ()  # as many would be right
    assert told(False, 0.82) == ()


@pytest.mark.parametrize("factor", [1, 100])
def test_a_loss_that_no_training_leaves_is_doubted(factor: int, tmp_path: Path) -> None:
    """As many are right, so that it is no refusal; headline, file and gate say it."""
    rng = np.random.default_rng(6)
    x = np.float32(factor) * rng.normal(size=(400, 1)).astype(np.float32)
    y = ((x[:, 0] > 0) != (rng.random(400) < 0.2)).astype(np.int64)
    net = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.0], [1.4]]))
    one = seepage.audit(net.eval(), (x[:200], y[:200]), (x[200:], y[200:]), blind=False)
    told = "But members would be answered better on inputs that are prepared otherwise: see the first note"
    assert one.said == "not shown"
    assert (told in one.headline) == (factor > 1)
    assert one.notes[:1] == () or one.notes[0].startswith("inputs: members are right in")
    path = str(one.write_json(tmp_path / "one.json"))
    assert len(json.loads(Path(path).read_text())["doubts"]) == (factor > 1)
    gate = CliRunner().invoke(app, ["check", path, "--max-auc", "1"])
    assert ("inputs: members are right in" in " ".join(gate.stderr.split())) == (factor > 1)


def test_a_network_that_is_wrong_on_both_scales_is_asked_on_no_other() -> None:
    """Smaller logits alone have a smaller loss; members must be right more often too."""
    order = np.random.default_rng(3).permutation(120)
    x = X * np.float32(10)
    one = seepage.audit(NET, (x[:120], Y[order]), (x[120:], Y[120:]), blind=False)
    assert not [n for n in one.notes if n.startswith("inputs: ")]


@pytest.mark.parametrize("how", ["", "standardised per column", "as log(1 + x)"])
def test_an_estimator_that_saw_inputs_prepared_otherwise_has_no_verdict(how: str) -> None:
    from sklearn.ensemble import RandomForestClassifier

    x = np.exp(2 * X + 1).astype(np.float64)
    prepared = {
        "": x,
        "standardised per column": (x - x.mean(axis=0)) / x.std(axis=0),
        "as log(1 + x)": np.log1p(x),
    }[how]
    forest = RandomForestClassifier(10, random_state=0).fit(prepared[:120], Y[:120])
    one = seepage.audit(forest, (x[:120], Y[:120]), (x[120:], Y[120:]), blind=False)
    assert how in one.prepared
    assert (one.said == "refused") == bool(one.prepared) == (how != "")


BRIGHT = RNG.uniform(40, 215, (400, 3, 1, 1))
PIXELS = (BRIGHT + RNG.uniform(-40, 40, (400, 3, 6, 6))).astype(np.uint8)
MEAN = np.array([0.51, 0.5, 0.49], np.float32)[:, None, None]


def _standardised(x: np.ndarray) -> np.ndarray:
    return ((x / 255 - MEAN) / 0.2).astype(np.float32)


class Colours(nn.Module):
    """How many of two channels are brighter than those of the training on average: standardised ones."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(8.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = torch.sigmoid(self.scale * x.flatten(2).mean(2)[:, :2]).sum(1, keepdim=True)
        logits: torch.Tensor = -self.scale * (bright - torch.arange(3.0)).square()
        return logits


COLOURS = (_standardised(PIXELS).mean((2, 3))[:, :2] > 0).sum(axis=1)


def test_standardised_pictures_are_not_judged_as_fractions(tmp_path: Path) -> None:
    sides = [(_standardised(PIXELS[h]), COLOURS[h]) for h in (slice(200), slice(200, None))]
    fair = seepage.audit(Colours(), *sides, blind=False)
    assert (fair.prepared, fair.said) == ("", "not shown")
    for given in (PIXELS, PIXELS.astype(np.float32) / 255):
        sides = [(given[h], COLOURS[h]) for h in (slice(200), slice(200, None))]
        one = seepage.audit(Colours(), *sides, blind=False, release=["label-only"])
        assert "standardised per channel" in one.prepared
        assert (one.said, one.released_said) == ("refused", "refused")
        assert one.headline.startswith("No verdict: inputs seem to be prepared otherwise")
        told = [100 * e.mean for e in (one.accuracy or ())][:1]
        assert f"right in {told[0]:.1f}% as given" in one.notes[0]
        assert one.notes[0] in str(one)
        assert one.accuracy_said in str(one)
        assert f"accuracy {told[0] / 100:.3g} and" in repr(one)
    path = str(one.write_json(tmp_path / "one.json"))
    failed = CliRunner().invoke(app, ["check", path, "--max-auc", "1"])
    assert isinstance(failed.exception, CheckFailed)
    assert "no limit holds: No verdict: inputs seem to be prepared" in str(failed.exception)
    known = CliRunner().invoke(app, ["check", path, "--max-auc", "1", "--learnt-nothing"])
    assert isinstance(known.exception, CheckFailed)


def test_statistics_of_few_batches_are_no_excuse(tmp_path: Path) -> None:
    """Of a network whose BatchNorm is not settled the reason may be either, and the gate stays shut."""
    net = nn.Sequential(Colours(), nn.BatchNorm1d(3, affine=False))
    net[1](torch.rand(8, 3) - 0.5)  # one batch
    net.eval()
    for given, said in ((_standardised(PIXELS), "not shown"), (PIXELS, "refused")):
        one = seepage.audit(
            net, *[(given[h], COLOURS[h]) for h in (slice(200), slice(200, None))], blind=False
        )
        assert one.said == said
    assert "BatchNorm saw too few batches" in one.headline
    assert "let more batches pass in training mode" in one.notes[0]
    path = str(one.write_json(tmp_path / "one.json"))
    assert isinstance(
        CliRunner().invoke(app, ["check", path, "--max-auc", "1"]).exception, CheckFailed
    )


def test_a_model_that_may_have_learnt_nothing_keeps_its_way_out(tmp_path: Path) -> None:
    """At chance as given, and better on other inputs by what a few weights happen to say."""

    class Half(Colours):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            own = (x.flatten(1)[:, :1] * 1000 % 1) < 0.7
            return torch.where(own, super().forward(x), torch.tensor([[0.0, 0.0, 1.0]]))

    x = PIXELS.astype(np.float32) / 255
    sides = [(x[h], COLOURS[h]) for h in (slice(200), slice(200, None))]
    one = seepage.audit(Half(), *sides, blind=False)
    assert (one.said, one.unlearnt) == ("refused", True)
    path = str(one.write_json(tmp_path / "one.json"))
    words = ["check", path, "--max-auc", "1"]
    assert isinstance(CliRunner().invoke(app, words).exception, CheckFailed)
    accepted = CliRunner().invoke(app, [*words, "--learnt-nothing"])
    assert (accepted.exit_code, "holds" in accepted.stdout) == (0, True)
    assert "No verdict: inputs seem" in accepted.stderr


def test_a_service_is_asked_no_more_and_tokens_are_none() -> None:
    asked = [0]

    def service(x: np.ndarray) -> np.ndarray:
        asked[0] += len(x)
        with torch.no_grad():
            return Colours()(torch.tensor(x)).softmax(1).numpy()

    x = PIXELS.astype(np.float32) / 255
    sides = [(x[h], COLOURS[h]) for h in (slice(200), slice(200, None))]
    one = seepage.audit(service, *sides, blind=False)
    assert asked[0] == one.queries == 408
    assert one.prepared == ""

    class Tokens(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.dtype == torch.int64
            asked[0] += len(x)
            return nn.functional.one_hot(x[:, 0] % 3, 3).float() + x[:, :1] / 99

    asked[0] = 0
    tokens = np.arange(400)[:, None] * np.array([7, 3, 1])
    sides = [(tokens[h], COLOURS[h]) for h in (slice(200), slice(200, None))]
    seepage.audit(Tokens(), *sides, blind=False)
    assert asked[0] == 408


def test_labels_of_another_numbering_are_named_and_not_mistaken_for_inputs() -> None:
    sides = [(_standardised(PIXELS[h]), 2 - COLOURS[h]) for h in (slice(200), slice(200, None))]
    with pytest.raises(InputError, match=r"labels: .*label → column 0 → 2, 2 → 0 would make"):
        seepage.audit(Colours(), *sides, blind=False)


@pytest.mark.parametrize("factor", [1, 0.001])
def test_references_that_are_trained_otherwise_are_noted(factor: float) -> None:
    def train(inputs: np.ndarray, labels: np.ndarray, seed: int) -> nn.Module:
        return fitted(inputs * np.float32(factor), labels, seed)

    references = TrainedReferences(train, seconds=20, most=4)
    sides = ((X[:120], Y[:120]), (X[120:], Y[120:]))
    one = seepage.audit(NET, *sides, references=references, blind=False)
    assert any("of what they were trained on, the model on" in n for n in one.notes) == (factor < 1)
