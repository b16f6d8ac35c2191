"""Regression, several labels and soft labels: signals, refusals, and fleets on small real data."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LinearRegression

import seepage
import seepage.sklearn
from seepage.attacks import LiRA, bind
from seepage.data import Dataset
from seepage.data.npz import from_arrays
from seepage.errors import InputError
from seepage.findings.collect import collect
from seepage.plan import half_split
from seepage.signals import loss, phi
from seepage.signals.tasks import divergence, gaussian_loss, joint_entropy, joint_loss, joint_phi
from seepage.store import Run


def diabetes() -> Dataset:
    x, y = load_diabetes(return_X_y=True, scaled=False)
    return from_arrays(x[:200].astype(np.float32), y[:200], task="regression")


def digits(task: str) -> Dataset:
    x, y = load_digits(return_X_y=True)
    x, y = x[:200].astype(np.float32), y[:200]
    if task == "multi-label":
        told = np.stack([y % 2, y > 4, np.isin(y, (2, 3, 5, 7))], axis=1)
        return from_arrays(x, told, task=task, classes=("odd", "large", "prime"))
    soft = 0.9 * np.eye(10)[y] + 0.01
    if task == "soft-labels":
        return from_arrays(x, soft, task=task)
    return from_arrays(x, y, targets=soft)


def fleet(out: Path, data: Dataset, **more: object) -> Run:
    given = {
        "model": "mlp",
        "model_options": {"hidden": (16,)},
        "recipe": seepage.Recipe(epochs=4, batch=32, lr=0.02, precision="fp32"),
        "checkpoints": [0, 4],
    }
    if "function" in more:
        given = {}
    plan = half_split(len(data), models=8, seed=0)
    return seepage.train(data, plan, out=out, executor="inline", device="cpu", **(given | more))


def test_the_law_of_a_label_vector() -> None:
    rng = torch.Generator().manual_seed(0)
    z = 3 * torch.randn(50, 3, generator=rng, dtype=torch.float64)
    y = torch.randint(2, (50, 3), generator=rng).float()
    p = torch.sigmoid((2 * y - 1) * z).prod(1)
    torch.testing.assert_close(joint_loss(z, y), -p.log())
    torch.testing.assert_close(joint_phi(z, y), p.log() - (1 - p).log(), rtol=1e-9, atol=1e-9)
    # As a classifier of 2^L classes would say, and finite where the loss itself is 0 in float64.
    one = torch.tensor([[2.5]], dtype=torch.float64)
    for label in (0, 1):
        two = torch.tensor([[0.0, 2.5]], dtype=torch.float64)
        wanted = float(phi(two, torch.tensor([label])))
        assert float(joint_phi(one, torch.tensor([[float(label)]]))) == pytest.approx(wanted)
    certain = joint_phi(torch.tensor([[900.0, 900.0]]), torch.ones(1, 2))
    assert float(certain) == pytest.approx(900 - math.log(2), rel=1e-12)


def test_divergence_of_a_hard_label_is_cross_entropy() -> None:
    z = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    y = torch.arange(20) % 4
    torch.testing.assert_close(divergence(z, torch.eye(4)[y]), loss(z, y))
    q = z.double().softmax(1)
    assert float(divergence(z, q).max()) < 1e-12


def test_regression_records_residuals_and_their_likelihood(tmp_path: Path) -> None:
    data = diabetes()
    run = fleet(tmp_path / "run", data)
    assert set(run.signals) == {"residual", "loss"}
    assert run.manifest["data"]["task"] == "regression"
    r = run.signal_at("residual", -1).astype(np.float64)
    spread = data.targets.numpy().std()
    assert np.sqrt((r**2).mean()) < spread
    # Before training it answers near the members' mean, in the target's units.
    assert np.sqrt((run.signal_at("residual", 0) ** 2).mean()) < 1.5 * spread
    for row in range(2):
        outside = ~run.member[row]
        sigma = float(np.sqrt((r[row, outside] ** 2).mean()))
        assert run.records[row]["facts"]["noise"]["4"] == pytest.approx(sigma, rel=1e-5)
        wanted = gaussian_loss(torch.from_numpy(r[row]), sigma).numpy()
        np.testing.assert_allclose(run.signal_at("loss", -1)[row], wanted, rtol=1e-5)
        assert run.records[row]["rmse"][-1][1] == pytest.approx(sigma, rel=1e-5)
    found = collect(run, permutations=1, blind=False)
    assert {"loss", "lira", "rmia", "attack-r"} <= {a.name for a in found.attacks}
    assert bind(LiRA(), run).requires == ("residual",)
    assert "regression has no φ" in found.skipped["lira-offline-one-sided"]
    assert "density" in found.skipped["rmia-offline"]


def test_noise_that_is_given(tmp_path: Path) -> None:
    run = fleet(tmp_path / "run", diabetes(), noise=50.0)
    r = torch.from_numpy(run.signal_at("residual", -1))
    np.testing.assert_allclose(run.signal_at("loss", -1), gaussian_loss(r, 50.0), rtol=1e-5)
    with pytest.raises(InputError, match=r"record.noise: expected with the task regression alone"):
        fleet(tmp_path / "other", digits("multi-label"), noise=1.0)


def test_a_regressor_of_scikit_learn(tmp_path: Path) -> None:
    data = diabetes()
    run = fleet(tmp_path / "run", data, function=seepage.sklearn.fit(LinearRegression()))
    x, y = data.inputs.double().numpy(), data.targets.double().numpy()
    inside = run.member[0]
    wanted = y - LinearRegression().fit(x[inside], y[inside]).predict(x)
    np.testing.assert_allclose(run.signal_at("residual", -1)[0], wanted, rtol=1e-4, atol=1e-3)
    function = seepage.sklearn.fit(LinearRegression())
    with pytest.raises(InputError, match="expected a classifier for the task soft-labels"):
        fleet(tmp_path / "other", digits("soft-labels"), function=function)


def test_several_labels(tmp_path: Path) -> None:
    data = digits("multi-label")
    run = fleet(tmp_path / "run", data, logits=True)
    assert set(run.signals) == {"loss", "phi", "correct", "entropy", "logits"}
    z = torch.from_numpy(run.signal_at("logits", -1)[0])
    np.testing.assert_allclose(run.signal_at("phi", -1)[0], joint_phi(z, data.targets), rtol=1e-5)
    np.testing.assert_allclose(run.signal_at("entropy", -1)[0], joint_entropy(z), rtol=1e-5)
    right = ((z > 0) == (data.targets > 0)).all(1).numpy()
    np.testing.assert_array_equal(run.signal_at("correct", -1)[0], right)
    found = collect(run, permutations=1, blind=False)
    assert {"lira", "entropy"} <= {a.name for a in found.attacks}
    assert "one class per sample" in found.skipped["mentr"]


def test_soft_labels_with_and_without_hard_ones(tmp_path: Path) -> None:
    soft = digits("soft-labels")
    run = fleet(tmp_path / "soft", soft, logits=True)
    assert set(run.signals) == {"loss", "entropy", "logits"}
    z = torch.from_numpy(run.signal_at("logits", -1)[0])
    np.testing.assert_allclose(
        run.signal_at("loss", -1)[0], divergence(z, soft.targets), rtol=1e-4, atol=1e-6
    )
    both = fleet(tmp_path / "both", digits("classification"), logits=True)
    z = torch.from_numpy(both.signal_at("logits", -1)[0])
    y = torch.from_numpy(both.labels)
    np.testing.assert_allclose(both.signal_at("phi", -1)[0], phi(z, y), rtol=1e-5)
    np.testing.assert_allclose(
        both.signal_at("loss", -1)[0], divergence(z, soft.targets), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("task", "signal", "why"),
    [
        ("regression", "phi", "a density is no probability"),
        ("multi-label", "mentr", "one class per sample"),
        ("soft-labels", "phi", "give hard labels"),
    ],
)
def test_signals_that_a_task_refuses(task: str, signal: str, why: str, tmp_path: Path) -> None:
    data = diabetes() if task == "regression" else digits(task)
    with pytest.raises(InputError, match=why):
        fleet(tmp_path / "run", data, signals=(signal,))
    with pytest.raises(InputError, match=f"expected the task classification.*got {task}"):
        fleet(tmp_path / "run", data, defense=seepage.defenses.make("label-smoothing"))
    with pytest.raises(InputError, match=f"expected the task classification.*got {task}"):
        fleet(tmp_path / "run", data, layers=True)
    assert not list(tmp_path.iterdir())


def test_tables_of_targets(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "x,a,b,y\n" + "".join(f"{i},{i % 2},{i % 3 == 0:d},{i / 7}\n" for i in range(20))
    )
    data = seepage.load(path, label="y", task="regression", drop=["a", "b"])
    assert data.classes == ("y",)
    np.testing.assert_allclose(data.targets.numpy(), np.arange(20) / 7, rtol=1e-6)
    several = seepage.load(path, label=["a", "b"], task="multi-label", drop=["y"])
    assert several.classes == ("a", "b")
    assert several.targets.shape == (20, 2)
    assert seepage.data.reload(several.source, several.digest) is not None
    with pytest.raises(InputError, match="labels of 0 or 1"):
        seepage.load(path, label=["a", "y"], task="multi-label", drop=["b"])
