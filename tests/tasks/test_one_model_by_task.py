"""One model of every task: the same figures through every door, and reasons for what is not defined."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.linear_model import Ridge
from torch import nn

import seepage
from seepage import cli
from seepage.data import Dataset
from seepage.data.npz import from_arrays
from seepage.errors import InputError
from seepage.metrics import auc
from seepage.signals.tasks import divergence, joint_loss, joint_phi
from seepage.single import Recorded, RecordedReferences, SingleAudit, TrainedReferences

N = 240
MEMBER = np.arange(N) < N // 2


def drawn(task: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, and targets that follow from them with noise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 4)).astype(np.float32)
    z = x[:, :3] + rng.normal(size=(N, 3))
    if task == "regression":
        return x, z[:, 0]
    if task == "multi-label":
        return x, (z > 0).astype(np.int64)
    if task == "binary":
        return x, (z[:, 0] > 0).astype(np.int64)
    return x, torch.from_numpy(z).softmax(1).numpy()


def sides(x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
    return (x[MEMBER], y[MEMBER]), (x[~MEMBER], y[~MEMBER])


def network(task: str) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Linear(4, {"regression": 1, "binary": 1}.get(task, 3))
    return net.eval()


def answers(task: str) -> np.ndarray:
    """Outputs that know the members a little: right by more than those of others."""
    y = drawn(task)[1]
    rng = np.random.default_rng(1)
    pull = 0.4 * MEMBER
    if task == "regression":
        return np.asarray(y - (1 - pull) * rng.normal(size=N))
    if task == "binary":
        return np.asarray((2 * y - 1) * (rng.normal(size=N) + 2 * pull))
    if task == "multi-label":
        return np.asarray((2 * y - 1) * (rng.normal(size=(N, 3)) + 2 * pull[:, None]))
    return np.asarray(np.log(y) + (1 - pull[:, None]) * rng.normal(size=(N, 3)))


@cache
def recorded(task: str, **more: Any) -> SingleAudit:
    z = answers(task)
    y = drawn(task)[1]
    return seepage.audit(
        Recorded(z[MEMBER], z[~MEMBER]), y[MEMBER], y[~MEMBER], task=task, blind=False, **more
    )


def test_each_task_runs_what_it_defines_and_says_why_not() -> None:
    ran = {
        "regression": {"loss", "attack-p", "quantile"},
        "multi-label": {"loss", "entropy", "attack-p", "quantile", "gap"},
        "soft-labels": {"loss", "entropy", "attack-p", "quantile"},
        "binary": {"loss", "entropy", "mentr", "attack-p", "quantile", "gap"},
    }
    for task, names in ran.items():
        one = recorded(task)
        assert {a.name for a in one.attacks} == names, task
        assert one.said == "leaks", task
        assert one.task == one.summary()["task"] == task
    regression = recorded("regression")
    assert "no probabilities of classes" in regression.skipped["mentr"]
    assert "not right or wrong" in regression.skipped["gap"]
    assert "one law of the noise" in regression.skipped["entropy"]
    assert regression.skipped["curvature"].endswith("on classes, not regression")
    assert "class that is right" in recorded("soft-labels").skipped["gap"]
    assert "one class per sample" in recorded("multi-label").skipped["mentr"]


def test_scores_are_those_of_the_task() -> None:
    y, z = drawn("regression")[1], answers("regression")
    one = recorded("regression")
    r = y - z
    sigma = np.sqrt((r[~MEMBER] ** 2).mean())
    density = -0.5 * (r / sigma) ** 2 - np.log(sigma * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(one.attack("loss").scores, density, rtol=1e-12)
    assert one.attack("loss").auc.mean == pytest.approx(auc(-np.abs(r), MEMBER))
    assert one.accuracy is not None
    assert one.accuracy[0].mean == pytest.approx(np.sqrt((r[MEMBER] ** 2).mean()))
    assert (one.measure, one.accuracy[0].low < one.accuracy[0].mean) == ("rmse", True)
    fixed = recorded("regression", noise=2.0)
    assert fixed.attack("loss").scores[0] == pytest.approx(
        -(r[0] ** 2) / 8 - np.log(2 * np.sqrt(2 * np.pi))
    )
    y, z = (
        torch.from_numpy(np.asarray(v)) for v in (drawn("multi-label")[1], answers("multi-label"))
    )
    scores = recorded("multi-label").attack("loss").scores
    np.testing.assert_allclose(scores, -joint_loss(z, y).numpy(), rtol=1e-12)
    p = torch.sigmoid(z)
    entropy = torch.distributions.Bernoulli(p).entropy().sum(1).numpy()
    np.testing.assert_allclose(
        recorded("multi-label").attack("entropy").scores, -entropy, rtol=1e-9
    )
    y, z = (torch.from_numpy(v) for v in (drawn("soft-labels")[1], answers("soft-labels")))
    scores = recorded("soft-labels").attack("loss").scores
    np.testing.assert_allclose(scores, -divergence(z, y).numpy(), rtol=1e-12)


@pytest.mark.parametrize("task", ["binary", "multi-label", "regression", "soft-labels"])
def test_the_same_network_through_every_door(task: str) -> None:
    x, y = drawn(task)
    net = network(task)
    with torch.no_grad():
        z = net(torch.from_numpy(x)).numpy()
    p = expit(z) if task != "soft-labels" else torch.from_numpy(z).softmax(1).numpy()
    p = z if task == "regression" else p

    def asked(model: Any, members: Any = None, others: Any = None, **more: Any) -> SingleAudit:
        both = sides(x, y) if members is None else (members, others)
        return seepage.audit(model, *both, blind=False, **({"task": task} | more))

    data: Dataset = from_arrays(x, y, task=task)
    halves = data.take(np.flatnonzero(MEMBER)), data.take(np.flatnonzero(~MEMBER))
    end: nn.Module = nn.Softmax(dim=1) if task == "soft-labels" else nn.Sigmoid()
    found = [
        asked(net),
        asked(Recorded(z[MEMBER], z[~MEMBER])),
        asked(lambda batch: p[[int(np.flatnonzero((x == row).all(1))[0]) for row in batch]]),
        asked(net, *halves, task=None),
    ]
    if task != "regression":
        found += [
            asked(nn.Sequential(net, end)),
            asked(Recorded(p[MEMBER], p[~MEMBER], logits=False)),
        ]
        assert any("taken as probabilities" in note for note in found[4].notes)
    for other in found[1:]:
        assert [a.name for a in other.attacks] == [a.name for a in found[0].attacks]
        np.testing.assert_allclose(
            other.attack("loss").scores, found[0].attack("loss").scores, rtol=1e-4, atol=1e-4
        )


def test_logits_between_0_and_1_stay_logits() -> None:
    x, y = drawn("binary")
    net = nn.Linear(4, 1)
    with torch.no_grad():
        net.weight.mul_(1e-3)
        net.bias.fill_(0.5)
    one = seepage.audit(net, *sides(x, y), task="binary", blind=False)
    assert not any("probabilities" in note for note in one.notes)


def test_estimators_of_scikit_learn_and_references() -> None:
    x, y = drawn("regression")

    def train(inputs: Any, targets: Any, seed: int) -> Any:
        return ExtraTreesRegressor(10, min_samples_leaf=2, random_state=seed).fit(inputs, targets)

    model = train(x[MEMBER], y[MEMBER], 0)
    references = TrainedReferences(train, seconds=60, most=8)
    one = seepage.audit(model, *sides(x, y), references=references, blind=False)
    assert (one.task, one.said) == ("regression", "leaks")  # as the estimator says of itself
    assert {"lira", "rmia", "attack-r", "calibrated", "base"} <= {a.name for a in one.attacks}
    assert "density" in one.skipped["rmia-offline"]
    assert one.skipped["shadow-classifier"].startswith("needs phi: regression has no φ")
    assert one.skipped["curvature-lr"].endswith("on classes, not regression")
    # Recorded references say the same, each with the noise of what it was not trained on.
    plan = seepage.half_split(N, models=8, seed=0)
    predictions = np.stack(
        [
            train(x[row], y[row], int(s) % (1 << 31)).predict(x)
            for row, s in zip(plan.member, plan.seeds, strict=True)
        ]
    )
    held = RecordedReferences(plan.member, predictions=predictions)
    again = seepage.audit(model, *sides(x, y), references=held, blind=False)
    for name in ("lira", "rmia"):
        # References that are trained here are kept in single precision.
        np.testing.assert_allclose(
            again.attack(name).scores, one.attack(name).scores, rtol=1e-4, atol=1e-5
        )
    x, y = drawn("multi-label")
    forest = ExtraTreesClassifier(10, min_samples_leaf=2, random_state=0).fit(x[MEMBER], y[MEMBER])
    labelled = seepage.audit(forest, *sides(x, y), task="multi-label", blind=False)
    p = np.stack([c[:, 1] for c in forest.predict_proba(x)], axis=1)
    assert p.shape == (N, 3)
    own = np.where(y == 1, p, 1 - p).prod(1)
    fine = ((p > 0) & (p < 1)).all(1)
    phi = (np.log(own) - np.log(1 - own))[fine]
    z = torch.from_numpy(np.log(p[fine]) - np.log(1 - p[fine]))
    np.testing.assert_allclose(joint_phi(z, torch.from_numpy(y[fine])), phi, rtol=1e-9)
    np.testing.assert_allclose(labelled.attack("loss").scores[fine], np.log(own[fine]), rtol=1e-9)


def test_recorded_residuals_say_what_predictions_say() -> None:
    y, z = drawn("regression")[1], answers("regression")
    r = y - z
    one = seepage.audit(
        Recorded({"residual": r[MEMBER]}, {"residual": r[~MEMBER]}), None, None, task="regression"
    )
    np.testing.assert_allclose(
        one.attack("loss").scores, recorded("regression").attack("loss").scores
    )
    assert "inputs as numbers" in one.skipped["quantile"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: recorded("regresion"), "did you mean 'regression'"),
        (lambda: recorded("regression", noise=-1.0), "deviation above 0"),
        (lambda: recorded("binary", noise=1.0), "with the task regression"),
        (
            lambda: seepage.audit(network("regression"), *sides(*drawn("regression"))),
            "name the task, regression",
        ),
        (
            lambda: seepage.audit(network("multi-label"), *sides(*drawn("multi-label"))),
            "name the task, multi-label",
        ),
        (
            lambda: seepage.audit(
                Recorded({"phi": np.ones(3)}, {"phi": np.ones(3)}), None, None, task="regression"
            ),
            "a density is no probability",
        ),
        (
            lambda: seepage.audit(nn.Linear(4, 2), *sides(*drawn("binary")), task="binary"),
            "one logit",
        ),
        (
            lambda: seepage.audit(
                nn.Linear(4, 2), *sides(*drawn("multi-label")), task="multi-label"
            ),
            "each of the 3 labels",
        ),
        (
            lambda: seepage.audit(nn.Linear(4, 2), *sides(*drawn("regression")), task="regression"),
            "one number per sample",
        ),
        (
            lambda: seepage.audit(
                nn.Linear(4, 1), *sides(*drawn("regression")), task="regression", logits=True
            ),
            "leave it out",
        ),
        (
            lambda: seepage.audit(
                nn.Linear(4, 3), *sides(*drawn("multi-label")), task="soft-labels"
            ),
            "sum to 1",
        ),
        (
            lambda: seepage.audit(
                ExtraTreesClassifier(2).fit(*sides(*drawn("binary"))[0]),
                *sides(*drawn("regression")),
                task="regression",
            ),
            "expected a regressor",
        ),
    ],
)
def test_what_is_not_of_the_task_is_refused_in_one_line(call: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        call()
    assert "\n" not in str(error.value)


CODE = """
from torch import nn
from sklearn.linear_model import Ridge

def make():
    return nn.Linear(4, 1)

def fit(inputs, targets, seed):
    return Ridge(1e-3).fit(inputs, targets)
"""


def test_the_command_line_takes_a_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(CODE)
    x, y = drawn("regression")
    model = Ridge(1e-3).fit(x[MEMBER], y[MEMBER])
    for name, at in (("m", MEMBER), ("o", ~MEMBER)):
        np.savez(tmp_path / f"{name}.npz", x=x[at], y=y[at])
        np.savez(tmp_path / f"p{name}.npz", predictions=model.predict(x[at]), y=y[at])
    files = ["--members", "m.npz", "--others", "o.npz", "--task", "regression"]

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["seepage", "audit", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out = capsys.readouterr()
        return int(ended.value.code or 0), out.out, out.err

    code, text, _ = run("net.py:make", *files, "--noise", "2", "--json", "-o", "one.html")
    out = json.loads(text)
    assert (code, out["task"], out["measure"]) == (0, "regression", "rmse")
    assert "Root-mean-square error" in (tmp_path / "one.html").read_text()
    held = ["--members", "pm.npz", "--others", "po.npz", "--task", "regression", "--json"]
    code, text, _ = run(*held)
    assert (code, json.loads(text)["asked"]) == (0, "recorded outputs")
    code, _, said = run("net.py:make", *files[:4])
    assert (code, "--task" in said) == (2, True)
