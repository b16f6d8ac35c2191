"""A training function of the user's own: inputs as it gives them, its epochs, its accuracy, its key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage.data import from_arrays
from seepage.errors import InputError
from seepage.fleet.rebuild import rebuild
from seepage.fleet.start import AccuracyWarning
from seepage.plan import half_split

# Three epochs on inputs around 20 teach these networks nothing.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*answers. members are right in:seepage.fleet.ContradictionWarning"
)

N, EPOCHS = 60, 3
RNG = np.random.default_rng(0)
LABELS = np.arange(N) % 3
# Far from standardised: a loop that feeds them as they are must be looked at as they are.
INPUTS = (RNG.normal(size=(N, 6)) + 2 * LABELS[:, None] + 20).astype(np.float32)
SIZES = {"keep": "all", "executor": "inline", "device": "cpu", "backend": "process"}

Loop = Callable[[np.ndarray, int, seepage.Recorder], nn.Module]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))


def loop(prepare: Any = None, told: Any = None, **start: Any) -> Loop:
    """Five lines of plain PyTorch with what is varied here."""
    x, y = torch.from_numpy(INPUTS), torch.from_numpy(LABELS)
    x = x if prepare is None else prepare(x)

    def train(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
        torch.manual_seed(seed % 2**63)
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 1e-3)
        recorder.start(model, **start)
        for _ in range(EPOCHS):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[members]), y[members]).backward()
            optimizer.step()
            recorder.epoch_end(accuracy=None if told is None else told(model, members))
        return model

    return train


def train(out: Path, function: Any, **options: Any) -> seepage.Run:
    return seepage.train(
        from_arrays(INPUTS, LABELS),
        half_split(N, models=4, seed=0),
        function=function,
        out=out,
        **{**SIZES, **options},
    )


def by_hand(run: seepage.Run, inputs: np.ndarray) -> np.ndarray[Any, Any]:
    """phi of the kept final networks at these inputs, in float64."""
    found = []
    for row in range(len(run.models)):
        model = network()
        weights = run.weights(row)
        assert weights is not None
        model.load_state_dict(weights)
        with torch.no_grad():
            p = model(torch.from_numpy(inputs)).double().softmax(1).numpy()[np.arange(N), LABELS]
        found.append(np.log(p) - np.log1p(-p))
    return np.stack(found)


def test_inputs_are_evaluated_as_the_loop_gives_them(tmp_path: Path) -> None:
    run = train(tmp_path / "run", loop(epochs=EPOCHS))
    np.testing.assert_allclose(run.signal_at("phi", -1), by_hand(run, INPUTS), atol=1e-5)
    # And probed as they were given.
    own = rebuild(run, 1, model=network, data=from_arrays(INPUTS, LABELS))
    np.testing.assert_array_equal(own.inputs.numpy(), INPUTS)
    with pytest.raises(InputError, match=r"trained by a function of your own .*; pass the factory"):
        rebuild(run, 1, data=from_arrays(INPUTS, LABELS))


def test_what_the_loop_does_to_inputs_is_told_at_its_start(tmp_path: Path) -> None:
    def halved(x: torch.Tensor) -> torch.Tensor:
        return (x - 20) / 2

    run = train(tmp_path / "run", loop(halved, epochs=EPOCHS, preprocess=halved))
    np.testing.assert_allclose(run.signal_at("phi", -1), by_hand(run, (INPUTS - 20) / 2), atol=1e-5)
    with pytest.raises(InputError, match="a loop of your own that prepared its inputs itself"):
        rebuild(run, model=network, data=from_arrays(INPUTS, LABELS))


def test_a_loop_that_standardises_by_its_members(tmp_path: Path) -> None:
    data = from_arrays(INPUTS, LABELS)

    def train_function(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
        scale, shift = data.member_scale(members)
        return loop(lambda x: x * torch.from_numpy(scale) + torch.from_numpy(shift), epochs=EPOCHS)(
            members, seed, recorder
        )

    asked = seepage.Function(function=train_function, standardise=True)
    run = train(tmp_path / "run", asked)
    own = rebuild(run, 2, model=network, data=data)
    members = np.flatnonzero(run.member[2])
    scale, shift = data.member_scale(members)
    np.testing.assert_allclose(own.inputs.numpy(), INPUTS * scale + shift, rtol=1e-6)
    # Without the word the Recorder would answer for another network than was trained.
    with pytest.raises(
        InputError, match="expected a loop that gives its network what the Recorder"
    ):
        train(tmp_path / "other", train_function)


def test_other_shapes_are_refused_and_the_check_can_be_left_out(tmp_path: Path) -> None:
    class Sliced(nn.Sequential):
        """Takes six columns or the first five of them."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x[:, :5])

    def train_function(
        members: np.ndarray, seed: int, recorder: seepage.Recorder, **start: Any
    ) -> nn.Module:
        model = Sliced(nn.Linear(5, 3))
        recorder.start(model, epochs=1, **start)
        model(torch.from_numpy(INPUTS[members][:, :5])).square().sum().backward()
        torch.optim.SGD(model.parameters(), 1e-6).step()
        recorder.epoch_end()
        return model

    with pytest.raises(
        InputError, match=r"samples of shape \(6,\), as the Recorder does, got \(5,\)"
    ):
        train(tmp_path / "run", train_function)

    def unchecked(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
        return train_function(members, seed, recorder, check_inputs=False)

    assert len(train(tmp_path / "other", unchecked).models) == 4


def test_epochs_are_learned_from_the_loop(tmp_path: Path) -> None:
    run = train(tmp_path / "run", loop(epochs=EPOCHS))
    assert run.checkpoints.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert train(tmp_path / "every", loop(epochs=EPOCHS), checkpoints="every").checkpoints[-1] == 3
    with pytest.raises(InputError, match=r"how many epochs .* trains, it does not say; call"):
        train(tmp_path / "silent", loop())
    assert not (tmp_path / "silent").exists()
    with pytest.raises(InputError, match=r"whole number of at least 1 in recorder\.start, got 0"):
        train(tmp_path / "none", loop(epochs=0))
    # A list or a recipe says it as well.
    assert len(train(tmp_path / "list", loop(), checkpoints=[0, EPOCHS]).checkpoints) == 2
    recipe = seepage.Recipe(epochs=EPOCHS)
    assert train(tmp_path / "recipe", loop(), recipe=recipe).checkpoints[-1] == EPOCHS


def test_the_manifest_names_no_recipe_that_was_not_used(tmp_path: Path) -> None:
    run = train(tmp_path / "run", loop(epochs=EPOCHS))
    key = run.manifest["key"]
    assert key["recipe"] is None
    assert key["model"] is None
    assert key["function"]["name"].endswith("loop.<locals>.train")
    page = seepage.write_report(run, tmp_path / "r.html", permutations=1, blind=False).read_text()
    assert "key.function.name" in page
    assert "key.recipe" not in page


def test_the_accuracy_of_the_loop_stands_beside(tmp_path: Path) -> None:
    def right(model: nn.Module, members: np.ndarray) -> float:
        with torch.no_grad():
            answers = model(torch.from_numpy(INPUTS[members])).argmax(1).numpy()
        return float((answers == LABELS[members]).mean())

    run = train(tmp_path / "run", loop(told=right, epochs=EPOCHS))
    for row in run.models.tolist():
        record = run.records[row]
        assert record["facts"]["own_accuracy"][-1] == pytest.approx(record["accuracy"][-1][0])
    with pytest.warns(
        AccuracyWarning, match=r"run 0 answers .* your loop says 0\.990: a mean over the epoch, or"
    ):
        train(tmp_path / "other", loop(told=lambda *_: 0.99, epochs=EPOCHS))
    # A mean over the epoch lags behind; in per cent it is no share, and is compared as one.
    train(tmp_path / "late", loop(told=lambda m, who: right(m, who) - 0.2, epochs=EPOCHS))
    with pytest.warns(
        AccuracyWarning, match=r"where a share from 0 to 1 is expected \(accuracy"
    ) as said:
        train(tmp_path / "percent", loop(told=lambda m, who: 100 * right(m, who), epochs=EPOCHS))
    assert "prepare inputs alike" not in str(said[0].message)


def test_the_recorder_gives_batches_as_it_evaluates_them(tmp_path: Path) -> None:
    def train_function(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
        torch.manual_seed(seed % 2**63)
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 1e-3)
        recorder.start(model, epochs=EPOCHS)
        for _ in range(EPOCHS):
            loss = nn.functional.cross_entropy(
                model(recorder.inputs(members)), torch.from_numpy(LABELS[members])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.epoch_end()
        return model

    a, b = train(tmp_path / "a", train_function), train(tmp_path / "b", loop(epochs=EPOCHS))
    np.testing.assert_array_equal(a.signal("phi"), b.signal("phi"))
