"""Every way to ask a model gives the same report; what goes wrong is said in one line."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage.errors import CorruptStore, InputError
from seepage.single import Recorded, Service, SingleAudit
from seepage.single.asking import answers_of

Side = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def sides() -> tuple[Side, Side]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 5)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=160) > 0).astype(np.int64) + (x[:, 1] > 1)
    return (x[:80], y[:80]), (x[80:], y[80:])


@pytest.fixture(scope="module")
def net(sides: tuple[Side, Side]) -> nn.Module:
    """Overfitted, so that there is something to find; in training mode but for its dropout."""
    torch.manual_seed(0)
    (x, y), _ = sides
    made = nn.Sequential(nn.Linear(5, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 3))
    made[2].eval()
    step = torch.optim.Adam(made.parameters(), lr=0.02)
    for _ in range(60):
        step.zero_grad()
        nn.functional.cross_entropy(made(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        step.step()
    return made


def _logits(net: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(net.eval()(torch.from_numpy(x)).numpy())


def _numbers(one: SingleAudit) -> dict[str, Any]:
    keep = ("verdict", "accuracy", "blind_baseline", "strongest", "attacks", "naming", "samples")
    return {k: one.summary()[k] for k in keep}


def test_the_same_weights_through_every_door(net: nn.Module, sides: tuple[Side, Side]) -> None:
    members, others = sides
    z = [_logits(net, x) for x, _ in sides]
    p = [torch.from_numpy(v).double().softmax(1).numpy() for v in z]

    def service(x: np.ndarray) -> np.ndarray:
        return torch.from_numpy(_logits(net, x)).double().softmax(1).numpy()

    class Estimator:
        classes_ = np.arange(3)

        def predict_proba(self, x: np.ndarray) -> np.ndarray:
            return service(x)

    by_door = {
        "network": seepage.audit(net, members, others),
        "tensors": seepage.audit(
            net, *(tuple(torch.from_numpy(v) for v in side) for side in sides)
        ),
        "recorded logits": seepage.audit(Recorded(*z), members, others),
        "recorded probabilities": seepage.audit(Recorded(*p, logits=False), members, others),
        "function": seepage.audit(service, members, others),
        "logits by a function": seepage.audit(
            lambda x: _logits(net, x), members, others, logits=True
        ),
        "estimator": seepage.audit(Estimator(), members, others),
    }
    first = by_door["network"]
    assert first.said == "leaks"
    for door, found in by_door.items():
        np.testing.assert_allclose(
            found.attack("loss").scores, first.attack("loss").scores, atol=1e-5, err_msg=door
        )
        assert _close(_numbers(found), _numbers(first)), door


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_close(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(_close(u, v) for u, v in zip(a, b, strict=True))
    return a == b or (isinstance(a, float) and abs(a - b) < 1e-9)


def test_modes_come_back_and_weights_stay(net: nn.Module, sides: tuple[Side, Side]) -> None:
    net.train()
    net[2].eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    one = seepage.audit(net, *sides)
    assert [m.training for m in net.modules()] == [True, True, True, False, True]
    assert all(bool((v == before[k]).all()) for k, v in net.state_dict().items())
    assert any("training mode" in note for note in one.notes)
    net.eval()
    assert not any("training mode" in note for note in seepage.audit(net, *sides).notes)


def test_a_network_that_ends_in_softmax_is_noticed(
    net: nn.Module, sides: tuple[Side, Side]
) -> None:
    soft = nn.Sequential(net, nn.Softmax(dim=1))
    one = seepage.audit(soft, *sides)
    assert any("taken as probabilities" in note for note in one.notes)
    plain = seepage.audit(net, *sides).attack("loss").auc.mean
    assert abs(one.attack("loss").auc.mean - plain) < 1e-3


def test_outputs_that_change_are_refused_or_flagged(sides: tuple[Side, Side]) -> None:
    rng = np.random.default_rng(0)

    def noisy(x: np.ndarray) -> np.ndarray:
        p = rng.uniform(0.1, 1.0, size=(len(x), 3))
        return p / p.sum(axis=1, keepdims=True)

    with pytest.raises(InputError, match="accept_changes"):
        seepage.audit(noisy, *sides)
    one = seepage.audit(noisy, *sides, accept_changes=True)
    assert any("one answer per sample" in note for note in one.notes)

    class Dropping(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(x[:, :3], 0.5, training=True)

    with pytest.raises(InputError, match="expected the same outputs twice"):
        seepage.audit(Dropping(), *sides)


class Flaky:
    """A service that fails, is late or answers wrongly at chosen calls, counted from 0."""

    def __init__(self, **at: Any) -> None:
        self.calls = self.asked = 0
        self.at = at

    def __call__(self, x: np.ndarray) -> np.ndarray:
        call, self.calls = self.calls, self.calls + 1
        self.asked += len(x)
        p = np.exp(x[:, :3].astype(np.float64))
        p /= p.sum(axis=1, keepdims=True)
        if call in self.at.get("fails", ()):
            raise ConnectionError("503")
        if call in self.at.get("late", ()):
            time.sleep(30.0)
        if call in self.at.get("short", ()):
            return p[:-1]
        if call in self.at.get("nan", ()):
            p[0, 0] = np.nan
        return p


QUICK = Service(batch=50, wait=0.0, retries=2)


def test_errors_are_repeated_with_a_bound(sides: tuple[Side, Side]) -> None:
    model = Flaky(fails=(1, 2))
    one = seepage.audit(model, *sides, service=QUICK)
    # 4 batches, 2 repetitions, and the first few samples a second time.
    assert model.calls == 7
    assert one.queries == 160 + 8
    with pytest.raises(InputError, match=r"ConnectionError: 503 at each of 3 calls"):
        seepage.audit(Flaky(fails=range(9)), *sides, service=QUICK)


def test_late_answers_are_repeated(sides: tuple[Side, Side]) -> None:
    patient = Service(batch=80, wait=0.0, retries=1, timeout=0.5)
    assert seepage.audit(Flaky(late=(0,)), *sides, service=patient).queries == 168
    endless = Service(batch=80, wait=0.0, timeout=1e308)
    assert seepage.audit(Flaky(), *sides, service=endless).queries == 168
    with pytest.raises(InputError, match=r"no answer within 0\.2 s at each of 1 calls"):
        seepage.audit(
            Flaky(late=range(9)), *sides, service=Service(retries=0, timeout=0.2, wait=0.0)
        )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"short": (1,)}, "50 rows, one per sample, got 49"),
        ({"nan": (1,)}, "NaN or infinity for 1"),
    ],
)
def test_wrong_answers_are_refused(
    sides: tuple[Side, Side], wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        seepage.audit(Flaky(**wrong), *sides, service=QUICK)


def test_an_interrupted_service_goes_on_where_it_ended(
    sides: tuple[Side, Side], tmp_path: Path
) -> None:
    kept = Service(batch=50, wait=0.0, retries=0, cache=tmp_path / "answers")
    with pytest.raises(InputError, match="answers so far are in"):
        seepage.audit(Flaky(fails=(2,)), *sides, service=kept)
    again = Flaky()
    one = seepage.audit(again, *sides, service=kept)
    # 100 answers were kept, of which 8 are compared with what it answers now.
    assert again.asked == one.queries == 60 + 8
    assert one.cached == 100
    whole = seepage.audit(Flaky(), *sides)
    assert _numbers(one) == _numbers(whole)
    third = Flaky()
    seepage.audit(third, *sides, service=kept)
    assert third.asked == 8


def test_a_cache_is_checked(sides: tuple[Side, Side], tmp_path: Path) -> None:
    path = tmp_path / "answers"
    kept = Service(batch=40, cache=path)
    first = seepage.audit(Flaky(), *sides, service=kept)
    raw = path.read_bytes()
    # A process that was killed while it wrote.
    path.write_bytes(raw[:-10])
    torn = seepage.audit(Flaky(), *sides, service=kept)
    assert torn.cached == 159
    assert _numbers(torn) == _numbers(first)
    lines = raw.split(b"\n")
    lines[3] = lines[3].replace(b"0.", b"1.", 1)
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(CorruptStore, match="line 4 is not what was written"):
        seepage.audit(Flaky(), *sides, service=kept)
    path.write_bytes(raw)
    with pytest.raises(InputError, match="expected answers of this model"):
        seepage.audit(lambda x: np.full((len(x), 3), 1 / 3), *sides, service=kept)
    path.write_text("notes of mine\n")
    with pytest.raises(InputError, match="expected a file of answers"):
        seepage.audit(Flaky(), *sides, service=kept)
    assert path.read_text() == "notes of mine\n"
    with pytest.raises(InputError, match="got a folder"):
        seepage.audit(Flaky(), *sides, service=Service(cache=tmp_path))


def test_a_network_says_what_it_was_given(sides: tuple[Side, Side]) -> None:
    with pytest.raises(InputError, match=r"Linear raised RuntimeError.*prepared alike"):
        seepage.audit(nn.Linear(7, 3), *sides)
    with pytest.raises(InputError, match=r"labels: expected 0 to 1"):
        seepage.audit(nn.Linear(5, 2), *sides)
    with pytest.raises(InputError, match="got list"):
        seepage.audit([1, 2], *sides)


def test_texts_reach_a_service_as_they_are() -> None:
    texts = [f"record {i} " + "x" * (i % 7) for i in range(120)]
    labels = np.arange(120) % 2

    def model(batch: list[str]) -> np.ndarray:
        assert all(isinstance(t, str) for t in batch)
        p = np.array([0.5 + 0.04 * len(t.split()[-1]) for t in batch])
        return np.stack([1 - p, p], axis=1)

    one = seepage.audit(model, (texts[:60], labels[:60]), (texts[60:], labels[60:]))
    assert "bag of words" in one.blind.each
    found = answers_of(model, texts, 120)
    assert found.values.shape == (120, 2)
