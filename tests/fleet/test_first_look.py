"""A network that cannot be measured is refused before there is a folder, or by its Recorder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.fleet.rebuild import rebuild
from seepage.plan import half_split
from seepage.record import Recorder
from tiny_fleet import contents, fleet, table


class Answering(nn.Module):
    """A perceptron, and what is made of its logits."""

    def __init__(self, then: Callable[[torch.Tensor], Any] = lambda z: z, outputs: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs))
        self.then = then

    def forward(self, x: torch.Tensor) -> Any:
        return self.then(self.body(x))


def own_loop(
    then: Callable[[torch.Tensor], Any], outputs: int = 3
) -> Callable[[np.ndarray, int, Recorder], nn.Module]:
    """A training function whose network is first seen in a worker."""
    data = table()

    def train(members: np.ndarray, seed: int, recorder: Recorder) -> nn.Module:
        torch.manual_seed(seed % 2**63)
        network = Answering(then, outputs)
        recorder.start(network)
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        for _ in range(2):
            optimizer.zero_grad()
            logits = network.body(data.inputs[members])
            nn.functional.cross_entropy(logits, data.labels[members]).backward()
            optimizer.step()
            recorder.epoch_end()
        return network

    return train


REFUSED = [
    (lambda z: z[:, :1], r"shape \(\d+, 1\), one output unit"),
    (lambda z: z[:, :2], r"each of the 3 classes"),
    (lambda z: (z, z), "got a tuple"),
    (lambda z: {"logits": z}, r"\['logits'\] does"),
    (lambda z: z.softmax(1), "got probabilities"),
    (lambda z: z.missing, "AttributeError"),
]
NAMES = ["one unit", "too few", "tuple", "dict", "probabilities", "raises"]


@pytest.mark.parametrize(("then", "message"), REFUSED, ids=NAMES)
def test_the_built_in_loop_refuses_before_a_folder_is_made(
    then: Callable[[torch.Tensor], Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        fleet(tmp_path / "run", model=lambda: Answering(then))
    assert not list(tmp_path.iterdir())


def test_a_network_for_inputs_of_another_width(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"inputs of shape \(32, 4\).*cannot be multiplied"):
        fleet(tmp_path / "run", model=lambda: nn.Linear(5, 3))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("then", "message"), REFUSED, ids=NAMES)
@pytest.mark.parametrize("times", [[0, 2], [2]], ids=["from the start", "at the end"])
def test_a_training_function_is_told_in_one_line(
    then: Callable[[torch.Tensor], Any], message: str, times: list[float], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as told:
        fleet(tmp_path / "run", function=own_loop(then), checkpoints=times)
    assert "\n" not in str(told.value)


def test_the_recorder_looks_before_training_where_no_checkpoint_does(tmp_path: Path) -> None:
    def train(members: np.ndarray, seed: int, recorder: Recorder) -> nn.Module:
        recorder.start(Answering(lambda z: (z,)))
        raise AssertionError("it would train now")

    with pytest.raises(InputError, match="got a tuple"):
        fleet(tmp_path / "run", function=train, checkpoints=[1, 2])


def test_a_recorder_that_looks_once_more_changes_no_bit(tmp_path: Path) -> None:
    """BatchNorm that counts, dropout, and no checkpoint at initialisation."""

    def network() -> nn.Module:
        return nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)
        )

    fleet(tmp_path / "early", model=network, checkpoints=[0, 2])
    fleet(tmp_path / "late", model=network, checkpoints=[2])
    early, late = (seepage.open(tmp_path / k).signal_at("phi", -1) for k in ("early", "late"))
    np.testing.assert_array_equal(early, late)


def test_more_outputs_than_classes_are_kept_whole(tmp_path: Path) -> None:
    run = fleet(
        tmp_path / "run",
        model=lambda: Answering(outputs=5),
        logits=True,
        signals=("phi", "correct"),
    )
    z = torch.from_numpy(run.signal_at("logits", -1)).double()
    assert z.shape == (4, 48, 5)
    own = z.softmax(2).gather(2, torch.from_numpy(run.labels)[None, :, None].expand(4, -1, 1))[
        ..., 0
    ]
    wanted = (own.log() - (1 - own).log()).numpy()
    np.testing.assert_allclose(run.signal_at("phi", -1), wanted, rtol=1e-5)


def test_a_training_function_cannot_keep_logits_of_other_classes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"logits: expected shape \(48, 3\) .* got \(48, 5\)"):
        fleet(tmp_path / "run", function=own_loop(lambda z: z, 5), logits=True)


def test_a_defence_needs_the_classes_alone(tmp_path: Path) -> None:
    from seepage import defenses

    with pytest.raises(InputError, match="each of the 3 classes, got 5; defences"):
        fleet(
            tmp_path / "run",
            model=lambda: Answering(outputs=5),
            defense=defenses.make("label-smoothing"),
        )
    assert not list(tmp_path.iterdir())


def test_images_are_looked_at_as_they_are_fed(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(5)
    images = Dataset(
        torch.randint(0, 256, (24, 2, 6, 5), generator=g, dtype=torch.uint8),
        torch.arange(24) % 3,
        np.arange(24).astype(np.str_),
        ("a", "b", "c"),
        "made",
        "image",
    )
    seen = []

    def network() -> nn.Module:
        body = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(48, 3))
        body.register_forward_pre_hook(lambda m, x: seen.append(x[0]))
        return body

    fleet(tmp_path / "run", data=images, plan=half_split(24, models=4, seed=0), model=network)
    first = seen[0]
    assert first.shape == (24, 2, 6, 5)
    assert first.is_contiguous(memory_format=torch.channels_last)
    scale, shift = images.member_scale(half_split(24, models=4, seed=0).members(0))
    wanted = images.inputs.float() * torch.from_numpy(scale)[:, None, None]
    torch.testing.assert_close(first, wanted + torch.from_numpy(shift)[:, None, None])


def test_a_network_that_cannot_run_in_half_precision(tmp_path: Path) -> None:
    """Left to choose, the fleet is trained in float32; asked for bf16, it is told in one line."""

    def single(z: torch.Tensor) -> torch.Tensor:
        if z.dtype != torch.float32:
            raise RuntimeError("'kernel' not implemented for 'BFloat16'")
        return z

    def network() -> nn.Module:
        return Answering(single)

    run = fleet(tmp_path / "auto", model=network, recipe=seepage.Recipe(epochs=1, batch=8),
                checkpoints=[0, 1])  # fmt: skip
    assert run.manifest["chosen"]["precision"] == "fp32"
    with pytest.raises(InputError, match=r"on inputs of shape \(32, 4\).*'BFloat16'"):
        fleet(
            tmp_path / "asked",
            model=network,
            recipe=seepage.Recipe(epochs=1, batch=8, precision="bf16"),
            checkpoints=[0, 1],
        )
    assert not (tmp_path / "asked").exists()


def test_a_folder_is_not_begun_twice_by_a_refusal(trained: Path, tmp_path: Path) -> None:
    """What lies there stays as it is when a network that cannot be measured is named."""
    before = contents(trained)
    with pytest.raises(InputError, match="got probabilities"):
        fleet(trained, model=lambda: Answering(lambda z: z.softmax(1)))
    assert contents(trained) == before


def test_a_rebuilt_network_is_asked_for_logits(tmp_path: Path) -> None:
    """Weights fit another network too: one that returns probabilities is not measured."""
    data = table()
    run = fleet(tmp_path / "run", data=data, model=Answering, keep="final")
    assert rebuild(run, model=Answering, data=data).epoch == 2
    for then, message in REFUSED:
        with pytest.raises(InputError, match=message):
            rebuild(run, model=lambda t=then: Answering(t), data=data)
