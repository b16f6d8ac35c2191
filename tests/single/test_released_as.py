"""One model as it is released: judged as the model itself, and the worst of its variants."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import seepage
from seepage.errors import InputError
from seepage.findings.variant_result import read_variants
from seepage.metrics import auc
from seepage.models.released import BF16, Int8
from seepage.single import Recorded, RecordedReferences, TrainedReferences

N = 120
RNG = np.random.default_rng(3)
X = RNG.normal(size=(2 * N, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 2 * N)
MEMBER = np.arange(2 * N) < N
SIDES = (X[:N], Y[:N]), (X[N:], Y[N:])


def fitted(rows: Any, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
        optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
        for _ in range(60):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(
                net(torch.from_numpy(X[rows])), torch.from_numpy(Y[rows])
            )
            loss.backward()
            optimizer.step()
    return net.eval()


NET = fitted(MEMBER, 0)


def answers(network: nn.Module) -> Any:
    with torch.no_grad():
        return network(torch.from_numpy(X)).numpy()


def probabilities(x: Any) -> Any:
    with torch.no_grad():
        return NET(torch.from_numpy(np.asarray(x))).double().softmax(1).numpy()


def test_each_is_judged_as_the_model_itself_and_the_worst_decides() -> None:
    names = ["bf16", "top-1", "label-only", "temperature-1"]
    one = seepage.audit(NET, *SIDES, release=names, blind=False)
    assert one.release is not None
    found = {v.name: v for v in one.release.found}
    assert [v.name for v in one.release.found] == ["as-trained", *names]
    assert [v.judged for v in one.release.found] == [False, True, True, True, True]
    # What changes nothing reads what the model reads; a changed model what it reads alone.
    for name, other in (("as-trained", one), ("temperature-1", one), ("bf16", None)):
        other = other or seepage.audit(BF16().of(NET), *SIDES, blind=False)
        for a in other.attacks:
            told = found[name].attacks[a.name]
            assert told[0].mean == pytest.approx(a.auc.mean, abs=1e-9)
            assert told[1].low == pytest.approx(a.auc_wide.low, abs=1e-9)
    # The label tells right from wrong, and nothing else.
    right = (answers(NET).argmax(1) == Y).astype(float)
    assert found["label-only"].attacks["loss"][0].mean == pytest.approx(auc(right, MEMBER))
    assert "mentr" in found["label-only"].skipped
    worst, figure = one.release.worst
    assert figure.compared == sum(len(found[n].attacks) for n in names)
    assert figure.estimate.mean == max(a[0].mean for n in names for a in found[n].attacks.values())
    # Chosen among more, it pays more than the variant alone.
    assert figure.estimate.low < worst.strongest.estimate.low
    assert one.released_said == "leaks"
    told = one.summary()["as_released"]
    assert told["verdict"] == "leaks"
    assert read_variants("x", told).worst[0].name == worst.name


def test_outputs_of_functions_estimators_and_records() -> None:
    z = answers(NET)
    of_logits = seepage.audit(
        Recorded(z[:N], z[N:]), Y[:N], Y[N:], release="top-1", blind=False
    ).release
    of_answers = seepage.audit(probabilities, *SIDES, release="top-1", blind=False).release
    assert of_logits is not None
    assert of_answers is not None
    for a, b in zip(of_logits.found, of_answers.found, strict=True):
        for name in ("loss", "entropy", "mentr"):
            assert a.attacks[name][0].mean == pytest.approx(b.attacks[name][0].mean, abs=2e-4)
    linear = LogisticRegression().fit(X[:N], Y[:N])
    assert seepage.audit(linear, *SIDES, release=["rounded-1"], blind=False).release is not None
    right = (z.argmax(1) == Y).astype(float)
    signals = [{"loss": np.abs(z[s, 0]), "correct": right[s]} for s in (MEMBER, ~MEMBER)]
    told = seepage.audit(Recorded(*signals), None, None, release="label-only", blind=False).release
    assert told is not None
    assert told.worst[1].estimate.mean == pytest.approx(auc(right, MEMBER))


def test_references_are_released_alike() -> None:
    plan = seepage.half_split(2 * N, models=4, seed=0)
    pairs = [(fitted(row, 7 + k), row) for k, row in enumerate(plan.member)]
    one = seepage.audit(NET, *SIDES, references=pairs, release=["bf16", "top-1"], blind=False)
    changed = [(BF16().of(net), row) for net, row in pairs]
    alone = seepage.audit(BF16().of(NET), *SIDES, references=changed, blind=False)
    held = np.stack([answers(net) for net, _ in pairs])
    recorded = RecordedReferences(plan.member, logits=held)
    z = answers(NET)
    given = seepage.audit(
        Recorded(z[:N], z[N:]), Y[:N], Y[N:], references=recorded, release="top-1", blind=False
    )
    assert one.release is not None
    assert given.release is not None
    for name, other in (("bf16", {a.name: a.auc for a in alone.attacks}),
                        ("top-1", {a: e[0] for a, e in given.release.found[1].attacks.items()})):  # fmt: skip
        mine = next(v for v in one.release.found if v.name == name)
        for attack in ("rmia", "calibrated", "attack-r"):
            assert mine.attacks[attack][0].mean == pytest.approx(other[attack].mean, abs=1e-6)
    with pytest.raises(InputError, match="of references too, expected those as networks"):
        seepage.audit(NET, *SIDES, references=recorded, release="bf16")


REFUSED: list[tuple[Any, str, str]] = [
    (probabilities, "int8", "int8 changes weights, expected a torch.nn.Module, got function"),
    (Recorded(np.zeros((N, 3)), np.zeros((N, 3))), "bf16", "got recorded outputs"),
    (NET, "tpo-1", "release: expected one of as-trained"),
    (Recorded({"loss": np.ones(N)}, {"loss": np.ones(N)}), "top-1", "is of whole rows of logits"),
    (Recorded({"loss": np.ones(N)}, {"loss": np.ones(N)}), "label-only", "or `correct` for label"),
]


@pytest.mark.parametrize(("model", "name", "match"), REFUSED, ids=[m for *_, m in REFUSED])
def test_what_cannot_be_released_so_is_refused_before_it_is_asked(
    model: Any, name: str, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("seepage.single.observing.answers_of", never)
    with pytest.raises(InputError, match=match):
        seepage.audit(model, *SIDES, release=name)


def test_eight_bits_answer_a_sample_whatever_is_asked_beside_it() -> None:
    made = Int8().of(NET)
    x = torch.from_numpy(X)
    with torch.no_grad():
        whole = made(x)
        alone = torch.cat([made(row[None]) for row in x[:20]])
    # Kernels of other batch sizes round differently; a scale of the whole batch would move the third digit.
    torch.testing.assert_close(whole[:20], alone, rtol=1e-5, atol=1e-5)
    assert (whole - NET(x)).abs().max() > 1e-3


def test_of_one_row_they_are_torchs_own() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.ao.quantization import quantize_dynamic

        old: nn.Module = quantize_dynamic(NET, {nn.Linear}, dtype=torch.qint8)
        rows = [old(row[None]) for row in torch.from_numpy(X[:20])]
    with torch.no_grad():
        made = Int8().of(NET)(torch.from_numpy(X[:20]))
    torch.testing.assert_close(made, torch.cat(rows), rtol=1e-4, atol=1e-4)


def test_a_single_logit_and_its_release() -> None:
    z = answers(NET)[:, 0]
    y = (z > 0).astype(np.int64)
    one = seepage.audit(Recorded(z[:N], z[N:]), y[:N], y[N:], release="top-1", blind=False)
    assert one.release is not None
    # Of two classes the largest probability is all there is.
    as_is, top = one.release.found
    assert top.attacks["loss"][0].mean == pytest.approx(as_is.attacks["loss"][0].mean)


RELEASED_OF_TASKS: list[tuple[str, Any, Any, str, str]] = [
    # task, targets, outputs, variants that it defines, one that it does not
    ("multi-label", np.stack([Y > 0, Y > 1], 1).astype(float), X[:, :2], "label-only", "top-1"),
    ("regression", X[:, 0].astype(float) + Y, X[:, 0], "as-trained", "rounded-2"),
    ("soft-labels", np.full((2 * N, 3), 1 / 3) + np.eye(3)[Y] / 9 - 1 / 27, X[:, :3], "top-1", "label-only"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "y", "z", "name", "undefined"), RELEASED_OF_TASKS)
def test_a_task_is_released_as_it_defines_and_refuses_the_rest(
    task: str, y: Any, z: Any, name: str, undefined: str
) -> None:
    sides = y[:N], y[N:]
    with pytest.raises(InputError, match=f"the task {task} defines, got {undefined}; name one of"):
        seepage.audit(Recorded(z[:N], z[N:]), *sides, task=task, release=undefined)
    wanted = [name, *(["temperature-1"] if task != "regression" else [])]
    one = seepage.audit(Recorded(z[:N], z[N:]), *sides, task=task, release=wanted, blind=False)
    assert one.release is not None
    found = {v.name: v for v in one.release.found}
    for attack in one.attacks:
        for same in {"as-trained", *wanted} - {"top-1", "label-only"}:
            told = found[same].attacks[attack.name][0].mean
            assert told == pytest.approx(attack.auc.mean, abs=1e-9)
    if task == "multi-label":
        right = ((z > 0) == (y > 0.5)).all(1).astype(float)
        assert found[name].attacks["loss"][0].mean == pytest.approx(auc(right, MEMBER))
    if task == "soft-labels":
        top = torch.from_numpy(z).double()
        shown = torch.where(top == top.amax(1, keepdim=True), top, torch.nan)
        rest = (top.exp().sum(1) - shown.nan_to_num(-torch.inf).exp().sum(1)) / 2
        log_p = torch.where(shown.isnan(), rest.log()[:, None], shown).log_softmax(1).numpy()
        cross = -(y * log_p).sum(1) + (y * np.log(y)).sum(1)
        assert found[name].attacks["loss"][0].mean == pytest.approx(auc(-cross, MEMBER))


def test_weights_of_a_regression_and_references_that_are_released_alike() -> None:
    y = X[:, 0].astype(float) + RNG.normal(size=2 * N)
    net = nn.Linear(6, 1)
    sides = (X[:N], y[:N]), (X[N:], y[N:])
    row = np.arange(2 * N) % 2 == 0
    pairs = [(nn.Linear(6, 1), row), (nn.Linear(6, 1), ~row)]
    asked: dict[str, Any] = {"task": "regression", "blind": False}
    one = seepage.audit(net, *sides, references=pairs, release=["bf16"], **asked)
    changed = [(BF16().of(n), m) for n, m in pairs]
    alone = seepage.audit(BF16().of(net), *sides, references=changed, **asked)
    assert one.release is not None
    for a in alone.attacks:
        told = one.release.found[1].attacks[a.name][0].mean
        assert told == pytest.approx(a.auc.mean, abs=1e-9)
    assert read_variants("x", one.summary()["as_released"]).worst[0].name == "bf16"
    made = TrainedReferences(model="mlp")
    with pytest.raises(InputError, match="got ones that are trained here; train them, pass pairs"):
        seepage.audit(net, *sides, references=made, release="bf16", **asked)
