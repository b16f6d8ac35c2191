"""One logit z is (0, z): the same signals, scores and figures as two logits, through every door."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

import seepage
from seepage.attacks import LOSS, RMIA, LiRA
from seepage.curvature import ZerothOrder, curvature
from seepage.data import Dataset
from seepage.data.npz import from_arrays
from seepage.errors import InputError
from seepage.findings.collect import collect
from seepage.fleet.rebuild import rebuild
from seepage.models.answers import answering
from seepage.plan import half_split
from seepage.record import Memory, Recorder, Resident
from seepage.signals import SIGNALS
from seepage.signals.tasks import task
from seepage.store import Run


def cancer(task: str = "classification") -> Dataset:
    """Real data of two classes, some of it, standardised by each run's members."""
    x, y = load_breast_cancer(return_X_y=True)
    return from_arrays(x[::3].astype(np.float32), y[::3], task=task)


class Head(nn.Module):
    """A perceptron of one unit that answers z, (z,) or (0, z)."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(30, 8), nn.ReLU(), nn.Linear(8, 1))
        self.form = form

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.body(x)
        return {"column": z, "flat": z[:, 0], "two": nn.functional.pad(z, (1, 0))}[self.form]


def fleet(out: Path, model: object, data: Dataset | None = None, **more: object) -> Run:
    data = cancer() if data is None else data
    return seepage.train(
        data,
        half_split(len(data), models=8, seed=0),
        out=out,
        model=model,
        recipe=seepage.Recipe(epochs=6, batch=16, precision="fp32"),
        **({"executor": "inline", "device": "cpu", "checkpoints": [0, 6]} | more),
    )


def test_figures_are_those_of_two_logits(tmp_path: Path) -> None:
    found = {}
    for form in ("column", "flat", "two"):
        run = fleet(tmp_path / form, partial(Head, form))
        found[form] = run
        assert run.weights(0).keys() == Head(form).state_dict().keys()
    for name in SIGNALS:
        for form in ("column", "flat"):
            np.testing.assert_array_equal(
                found[form].signal_at(name, -1), found["two"].signal_at(name, -1)
            )
    one, two = (collect(found[k], permutations=1, blind=False) for k in ("column", "two"))
    assert [a.name for a in one.attacks] == [a.name for a in two.attacks]
    for a, b in zip(one.attacks, two.attacks, strict=True):
        assert a.auc.mean == pytest.approx(b.auc.mean, abs=1e-6)
    assert one.utility is not None
    assert two.utility is not None
    np.testing.assert_allclose(one.utility.member, two.utility.member, atol=1e-6)


class Units(nn.Module):
    """A perceptron of two units: it answers both, their difference, or one unit that moves so.

    One unit v h with v = (w₁ − w₀)/√2, times √2, is the difference: its gradient is √2 that of the
    product, which √2 makes 2, as the gradients of w₁ and w₀ add up to.
    """

    def __init__(self, form: str) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(30, 8), nn.ReLU()), nn.Linear(8, 2)
        self.form = form
        if form == "scaled":
            w, b = self.head.weight.detach(), self.head.bias.detach()
            self.head = nn.Linear(8, 1)
            self.head.weight = nn.Parameter((w[1:] - w[:1]) / 2**0.5)
            self.head.bias = nn.Parameter((b[1:] - b[:1]) / 2**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.head(self.body(x))
        if self.form == "scaled":
            return z * 2**0.5
        return z if self.form == "both" else z[:, 1:] - z[:, :1]


def test_two_units_are_one_logit_that_is_trained_otherwise(tmp_path: Path) -> None:
    """What one logit leaks less is of its training: nothing is measured otherwise."""
    runs = {k: fleet(tmp_path / k, partial(Units, k)) for k in ("both", "difference", "scaled")}
    both = runs.pop("both")
    assert np.abs(both.signal_at("phi", -1)).max() > 3
    for form, run in runs.items():
        for t in range(2):
            for name in SIGNALS:
                np.testing.assert_allclose(
                    run.signal_at(name, t), both.signal_at(name, t), atol=1e-4, err_msg=form
                )
        for attack in (LOSS(), LiRA(), RMIA()):
            np.testing.assert_allclose(
                seepage.score(run, attack), seepage.score(both, attack), rtol=1e-3, atol=1e-3
            )


def test_a_batch_of_one_sample_is_read_as_any_other() -> None:
    # Poisson sampling draws such batches.
    network = answering(Head("flat"), task("binary"), 2, own=True)
    x = torch.randn(5, 30, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(x[:1]), network(x)[:1])


def test_a_reference_network_of_the_binary_task_has_one_unit(tmp_path: Path) -> None:
    data = cancer("binary")
    run = fleet(tmp_path / "run", "mlp", data, logits=True, model_options={"hidden": (8,)})
    assert run.manifest["data"]["task"] == "binary"
    assert run.weights(0)["head.weight"].shape == (1, 8)
    z = run.signal_at("logits", -1)
    assert z.shape == (8, len(data), 2)
    assert not z[..., 0].any()
    sign = 2.0 * run.labels - 1
    np.testing.assert_allclose(run.signal_at("phi", -1), sign * z[..., 1], rtol=1e-6)
    kept = rebuild(run, data=data)
    again = kept.model(kept.inputs).detach().numpy()
    np.testing.assert_allclose(again, z[0], atol=1e-5)
    rng = np.random.default_rng(0)
    found = curvature(kept.model, kept.inputs[:4], kept.labels[:4], ZerothOrder(), generator=rng)
    assert np.isfinite(found.score).all()


def sigmoid() -> nn.Module:
    return nn.Sequential(nn.Linear(30, 1), nn.Sigmoid())


def test_probabilities_of_one_unit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"outputs that lie in \[0, 1\] whatever the weights"):
        fleet(tmp_path / "run", sigmoid)

    def own(members: np.ndarray, seed: int, recorder: Recorder) -> nn.Module:
        recorder.start(sigmoid(), epochs=1)
        raise AssertionError("it would train now")

    with pytest.raises(InputError, match="return what enters the sigmoid"):
        fleet(tmp_path / "own", "mlp", function=own)


def test_logits_that_happen_to_lie_there_are_logits() -> None:
    network = nn.Linear(30, 1)
    with torch.no_grad():
        network.weight.mul_(1e-3)
        network.bias.fill_(0.5)
    data = cancer().take(np.arange(40))
    recorder = Recorder(Resident.of(data), [0.0], Memory(), scale=data.member_scale(np.arange(40)))
    recorder.start(network)
    assert isinstance(recorder.sink, Memory)
    z = network(recorder.inputs(np.arange(40))).detach().numpy()[:, 0]
    wanted = (2.0 * data.labels.numpy() - 1) * z
    np.testing.assert_allclose(recorder.sink.values[0]["phi"], wanted, rtol=1e-5)


def test_two_units_are_refused_where_one_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one output unit with task = 'binary', got .*, 2\)"):
        fleet(tmp_path / "run", partial(Head, "two"), cancer("binary"))
    with pytest.raises(InputError, match="two classes with task = 'binary', got 3"):
        from_arrays(np.eye(3), [0, 1, 2], task="binary")
    assert not list(tmp_path.iterdir())


def test_one_model_of_one_logit_with_and_without_curvature() -> None:
    data = cancer()
    x = ((data.inputs - data.inputs.mean(0)) / data.inputs.std(0)).numpy()
    y = data.labels.numpy()
    torch.manual_seed(0)
    one = Head("column")
    two = Head("two")
    two.load_state_dict(one.state_dict())
    found = [
        seepage.audit(m, (x[:90], y[:90]), (x[90:], y[90:]), blind=False, curvature=True)
        for m in (one, two)
    ]
    for a, b in zip(found[0].attacks, found[1].attacks, strict=True):
        assert a.name == b.name
        assert a.auc.mean == pytest.approx(b.auc.mean, abs=1e-6)
    assert "curvature" in {a.name for a in found[0].attacks}
