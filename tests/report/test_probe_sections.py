"""Curvature and layers in the report: figures by hand, hostile names, absent sections."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from seepage.attacks import LOSS
from seepage.findings import collect
from seepage.findings.probes import curvature_finding, layer_finding
from seepage.report import render
from seepage.report.figures import layer_chain, layer_map

HOSTILE = "<img src=x onerror=alert(1)>"


class Probed:
    """A run with curvature (NaN at epoch 0) and two layers, over another run."""

    def __init__(self, inner: Any, derived: dict[str, Any] | None = None) -> None:
        self._inner = inner
        self.signals = (*inner.signals, "curvature_trace", "layer_k95")
        self.manifest = {**inner.manifest, "chosen": {"layers": [HOSTILE, "head"]}}
        rng = np.random.default_rng(3)
        self.curved = np.exp(rng.normal(size=inner.member.shape) - 2.0 * inner.member)
        self._derived = derived or {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def signal_at(self, name: str, t: int, /) -> NDArray[np.float32]:
        if name == "curvature_trace":
            if t == 0:
                return np.full(self.member.shape, np.nan, dtype=np.float32)
            return (self.curved * t).astype(np.float32)
        if name == "layer_k95":
            return np.tile(np.float32([10.0 - t, 2.0 + t]), (len(self.member), 1))
        return np.asarray(self._inner.signal_at(name, t))

    def derived(self, name: str) -> dict[str, Any] | None:
        return self._derived.get(name)


LOOKED = {
    "layers": [HOSTILE, "head"], "epochs": [16.0], "models": [0, 1], "variant": "audit",
    "indicators": {"k95": [[5.0, 7.0]]}, "attack_auc": [[0.5, 0.75]], "risk": [0.0, 0.5],
    "regions": [["a"], ["head"]], "basis": "advantage of Audit", "resolved": True,
    "agreement": [{"indicator": "k95", "rho": None, "p": None, "layers": 2}],
}  # fmt: skip


@pytest.fixture(scope="module")
def probed(make_run: Any) -> Probed:
    return Probed(make_run(checkpoints=(0.0, 1.0, 4.0), samples=60))


def test_curvature_by_hand(probed: Probed) -> None:
    found = curvature_finding(probed)
    assert found is not None
    assert found.epochs.tolist() == [1.0, 4.0]
    m, c = probed.member, probed.curved
    inside = np.exp(np.mean([np.log(np.median(row[s])) for row, s in zip(c, m, strict=True)]))
    np.testing.assert_allclose(found.inside, [inside, 2 * inside], rtol=1e-5)
    wins = [(row[s][:, None] < row[~s]).mean() for row, s in zip(c, m, strict=True)]
    np.testing.assert_allclose(found.auc, np.mean(wins))
    np.testing.assert_allclose(found.mean, 1.5 * c.mean(axis=0), rtol=1e-5)
    assert found.order[0] == c.mean(axis=0).argmax()
    i = int(found.order[0])
    np.testing.assert_allclose(found.last_in[i], 2 * c[m[:, i], i].mean(), rtol=1e-5)
    np.testing.assert_allclose(found.last_out[i], 2 * c[~m[:, i], i].mean(), rtol=1e-5)


def test_the_mean_is_over_training_time(make_run: Any) -> None:
    """1, 2 and 3 times the curvature at epochs 1, 2 and 10: (1.5·1 + 2.5·8) / 9 times of it."""
    run = Probed(make_run(checkpoints=(0.0, 1.0, 2.0, 10.0), samples=60))
    found = curvature_finding(run)
    assert found is not None
    np.testing.assert_allclose(found.mean, 21.5 / 9 * run.curved.mean(axis=0), rtol=1e-5)


def test_samples_that_were_not_measured_come_last(make_run: Any) -> None:
    run = Probed(make_run(checkpoints=(0.0, 1.0), samples=60))
    run.curved[:, 5] = np.nan
    found = curvature_finding(run)
    assert found is not None
    assert found.measured == 59
    assert found.order[-1] == 5


def test_layers_with_and_without_an_attack(probed: Probed) -> None:
    guess = layer_finding(probed)
    assert guess is not None
    assert not guess.measured
    assert guess.indicators["k95"].tolist() == [[10.0, 2.0], [9.0, 3.0], [8.0, 4.0]]
    assert guess.risk.tolist() == [1.0, 0.0]
    looked = layer_finding(Probed(probed._inner, {"layers": LOOKED}))
    assert looked is not None
    assert looked.measured
    assert looked.risk.tolist() == [0.0, 0.5]
    assert looked.indicators["k95"].shape == (3, 2)  # the recorded series, longer than the look
    other = layer_finding(Probed(probed._inner, {"layers": {**LOOKED, "layers": ["x", "y"]}}))
    assert other is not None
    assert other.layers == ("x", "y")
    assert other.indicators["k95"].tolist() == [[5.0, 7.0]]


def test_the_sections_escape_and_are_absent_without_signals(probed: Probed, run: Any) -> None:
    with_both = Probed(probed._inner, {"layers": LOOKED})
    findings = collect(with_both, attacks=[LOSS()], permutations=1, blind=False)
    text = render(findings, with_both.data())
    assert 'id="curvature"' in text
    assert 'id="layers"' in text
    assert "<img src=x" not in text
    assert text.count("data:image/png") > 12
    assert findings.summary()["layers"]["attack_auc"] == [[0.5, 0.75]]
    hidden = render(findings, None)
    assert "data:image/png" not in hidden
    assert curvature_finding(run) is None
    assert layer_finding(run) is None


def test_darker_is_larger() -> None:
    shades = layer_map(["a", "b"], np.array([0.0, 1.0]), np.array([[1.0, 2.0], [3.0, 5.0]]), False)
    opacity = [float(p.split('"')[0]) for p in shades.split('fill-opacity="')[1:]]
    assert opacity[0] < opacity[2] < opacity[1 + 2]
    assert opacity[0] == pytest.approx(0.06)
    assert opacity[3] == pytest.approx(1.0)
    blocks = layer_chain(["a"] * 7, np.linspace(0, 0.1, 7), True)
    assert blocks.count('class="link"') == 6
    shade = [float(p.split('"')[0]) for p in blocks.split('fill-opacity="')[1:]]
    assert shade == sorted(shade)
    assert shade[-1] < 0.5  # an advantage of 0.1 is not painted as the worst
