"""What another tool recorded or trained, of every task: what a fleet records is what is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.special import expit, log_expit
from torch import nn

import seepage
from seepage.data.npz import from_arrays
from seepage.errors import InputError
from seepage.findings.collect import collect
from seepage.fleet.imported import ImportedWarning
from seepage.signals.tasks import divergence, gaussian_loss, joint_loss, joint_phi
from seepage.single import from_logits

# Outputs are random: they know no label.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*answers. members are right in:seepage.fleet.ContradictionWarning"
)

R, T, N = 6, 2, 40
MEMBER = seepage.half_split(N, models=R, seed=0).member
RNG = np.random.default_rng(0)
LABELS: dict[str, Any] = {
    "regression": 3 * RNG.normal(size=N) + 50,
    "multi-label": RNG.integers(0, 2, (N, 3)),
    "soft-labels": RNG.dirichlet(np.ones(3), N),
    "binary": RNG.integers(0, 2, N),
}
Z = RNG.normal(size=(R, T, N, 3)) * (1 + MEMBER[:, None, :, None])


def take(arrays: dict[str, Any], out: Path, **more: Any) -> seepage.Run:
    return seepage.import_run({"member": MEMBER, **arrays}, out, **more)


def test_predictions_of_a_regression(tmp_path: Path) -> None:
    y = LABELS["regression"]
    answer = y - Z[..., 0]
    given = {"predictions": answer, "labels": y}
    run = take(given, tmp_path / "a", task="regression")
    assert set(run.signals) == {"residual", "loss"}
    assert run.manifest["data"]["task"] == "regression"
    np.testing.assert_allclose(run.signal_at("residual", 1), Z[:, 1, :, 0], atol=1e-5)
    for r in (0, R - 1):
        own = Z[r, 1, ~MEMBER[r], 0]
        sigma = float(np.sqrt((own**2).mean()))
        wanted = gaussian_loss(torch.from_numpy(Z[r, 1, :, 0]), sigma).numpy()
        np.testing.assert_allclose(run.signal_at("loss", 1)[r], wanted, rtol=1e-5)
        assert run.records[r]["rmse"][1][1] == pytest.approx(sigma, rel=1e-5)
    found = collect(run, permutations=1)
    assert found.utility is not None
    assert found.utility.measure == "rmse"
    assert "regression has no φ" in found.skipped["shadow-classifier"]
    fixed = take({"residual": Z[..., 0]}, tmp_path / "b", task="regression", noise=2.0)
    wanted = gaussian_loss(torch.from_numpy(Z[0, 0, :, 0]), 2.0).numpy()
    np.testing.assert_allclose(fixed.signal_at("loss", 0)[0], wanted, rtol=1e-6)
    np.savez(tmp_path / "s.npz", member=MEMBER, task="regression", **given)
    assert seepage.import_run(tmp_path / "s.npz", tmp_path / "c").manifest["data"]["task"] == (
        "regression"
    )


def test_outputs_of_label_vectors_and_distributions(tmp_path: Path) -> None:
    z = torch.from_numpy(Z[2, 1])
    y = torch.from_numpy(LABELS["multi-label"])
    for name, outputs in (("logits", Z), ("probabilities", expit(Z))):
        given = {name: outputs, "labels": y.numpy(), "classes": np.array(["a", "b", "c"])}
        run = take(given, tmp_path / name, task="multi-label")
        assert run.classes == ("a", "b", "c")
        np.testing.assert_allclose(run.signal_at("loss", 1)[2], joint_loss(z, y), rtol=1e-5)
        np.testing.assert_allclose(run.signal_at("phi", 1)[2], joint_phi(z, y), rtol=1e-4)
        right = ((Z[2, 1] > 0) == y.numpy()).all(1)
        np.testing.assert_array_equal(run.signal_at("correct", 1)[2], right)
    q = torch.from_numpy(LABELS["soft-labels"])
    p = torch.from_numpy(Z).softmax(-1).numpy()
    for name, outputs in (("logits", Z), ("probabilities", p)):
        given = {name: outputs, "labels": q.numpy()}
        run = take(given, tmp_path / f"soft-{name}", task="soft-labels")
        assert set(run.signals) - {"logits"} == {"loss", "entropy"}
        np.testing.assert_allclose(
            run.signal_at("loss", 1)[2], divergence(z, q), rtol=1e-4, atol=1e-6
        )


def test_one_logit(tmp_path: Path) -> None:
    y = LABELS["binary"]
    for name, outputs in (("logits", Z[..., :1]), ("probabilities", expit(Z[..., :1]))):
        run = take({name: outputs, "labels": y}, tmp_path / name, task="binary")
        wanted = from_logits(Z[3, 1, :, 0], y).signals
        for signal in ("phi", "loss", "mentr", "correct"):
            np.testing.assert_allclose(
                run.signal_at(signal, 1)[3], wanted[signal], rtol=1e-4, atol=1e-6
            )


@pytest.mark.parametrize(
    ("arrays", "task", "said"),
    [
        ({"phi": Z[..., 0]}, "regression", "a density is no probability"),
        ({"mentr": Z[..., 0]}, "multi-label", "one class per sample"),
        ({"phi": Z[..., 0]}, "soft-labels", "class that is right"),
        ({"predictions": Z[..., 0]}, "regression", "expected `labels`"),
        ({"logits": Z, "labels": LABELS["regression"]}, "regression", "as predictions"),
        ({"logits": Z[..., :2], "labels": LABELS["multi-label"]}, "multi-label", "each of 3"),
        ({"logits": expit(Z), "labels": LABELS["multi-label"]}, "multi-label", "save them as"),
        ({"probabilities": Z, "labels": LABELS["multi-label"]}, "multi-label", r"in \[0, 1\]"),
        ({"logits": Z, "labels": Z[0, 0]}, "multi-label", "labels of 0 or 1"),
        ({"logits": Z, "labels": LABELS["soft-labels"]}, None, "name the task"),
        ({"loss": Z[..., 0], "labels": LABELS["regression"]}, None, "name the task"),
        ({"loss": Z[..., 0]}, "regresion", "did you mean 'regression'"),
        ({"loss": Z[..., 0], "task": np.array("binary")}, "regression", "as its arrays say"),
    ],
)
def test_what_a_task_does_not_define_is_refused(
    arrays: dict[str, Any], task: str | None, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said) as error:
        take(arrays, tmp_path / "run", task=task)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_noise_and_cross_entropy_are_of_their_tasks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="with the task regression"):
        take({"loss": Z[..., 0]}, tmp_path / "run", noise=1.0)
    with pytest.raises(InputError, match="has no φ"):
        take({"loss": Z[..., 0]}, tmp_path / "run", task="regression", cross_entropy=True)
    # Of a label vector φ follows from the loss: it is one answer among 2^L.
    loss = -log_expit(Z[..., 0])
    run = take({"loss": loss}, tmp_path / "run", task="multi-label", cross_entropy=True)
    np.testing.assert_allclose(run.signal_at("phi", 0), Z[:, 0, :, 0], rtol=1e-3, atol=1e-4)


def test_a_table_of_predictions(tmp_path: Path) -> None:
    y = LABELS["regression"]
    rows = [
        f"{r},{i},{int(MEMBER[r, i])},{y[i]:.17g},{y[i] - Z[r, 0, i, 0]:.17g}"
        for r in range(R)
        for i in range(N)
    ]
    path = tmp_path / "t.csv"
    path.write_text("model,sample,member,label,predictions\n" + "\n".join(rows) + "\n")
    run = seepage.import_run(path, tmp_path / "run", task="regression")
    np.testing.assert_allclose(run.signal_at("residual", 0), Z[:, 0, :, 0], atol=1e-5)


@pytest.mark.filterwarnings("default::seepage.fleet.imported.ImportedWarning")
# The networks are not trained, and say so.
@pytest.mark.filterwarnings("default::seepage.fleet.ContradictionWarning")
@pytest.mark.parametrize("task", ["regression", "multi-label", "soft-labels", "binary"])
def test_checkpoints_with_a_factory(task: str, tmp_path: Path) -> None:
    x = RNG.normal(size=(N, 4)).astype(np.float32)
    data = from_arrays(x, LABELS[task], task=task)
    units = {"regression": 1, "binary": 1}.get(task, 3)

    def make() -> nn.Module:
        return nn.Linear(4, units)

    folder = tmp_path / "checkpoints"
    folder.mkdir()
    nets = []
    for r in range(R):
        torch.manual_seed(r)
        nets.append(make())
        # As a wrapper leaves it.
        weights = {f"module.{k}": v for k, v in nets[-1].state_dict().items()}
        save_file(weights, folder / f"net-{r}.safetensors")
    kwargs: dict[str, Any] = {"model": make, "data": data, "members": MEMBER}
    if task == "regression":
        with pytest.warns(ImportedWarning, match="the target's units"):
            run = seepage.import_run(folder, tmp_path / "run", **kwargs)
    else:
        run = seepage.import_run(folder, tmp_path / "run", task=task, **kwargs)
    with torch.no_grad():
        z = nets[2](torch.from_numpy(x)).double()
    if task == "regression":
        wanted = LABELS[task] - z[:, 0].numpy()
        np.testing.assert_allclose(run.signal_at("residual", -1)[2], wanted, rtol=1e-5)
        told = run.records[2]["facts"]["noise"]["1"]
        assert told == pytest.approx(np.sqrt((wanted[~MEMBER[2]] ** 2).mean()), rel=1e-5)
    elif task == "binary":
        wanted = ((2 * LABELS[task] - 1) * z[:, 0].numpy()).astype(np.float32)
        np.testing.assert_allclose(run.signal_at("phi", -1)[2], wanted, rtol=1e-4, atol=1e-6)
    else:
        rule = joint_loss if task == "multi-label" else divergence
        wanted = rule(z, torch.from_numpy(LABELS[task])).numpy()
        np.testing.assert_allclose(run.signal_at("loss", -1)[2], wanted, rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match="expected that of the data"):
        seepage.import_run(folder, tmp_path / "other", task="classification", **kwargs)
