"""Other tasks in reports and the blind baseline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits

import seepage
from seepage.data import Dataset
from seepage.data.npz import from_arrays
from seepage.errors import InputError
from seepage.findings import Findings
from seepage.findings.collect import collect
from seepage.metrics import blind_baseline
from seepage.plan import half_split
from seepage.report.html import render
from seepage.report.payload import asked_of
from seepage.report.words import how_accurate


def diabetes() -> Dataset:
    x, y = load_diabetes(return_X_y=True)
    return from_arrays(x[:80].astype(np.float32), y[:80], task="regression")


def labelled() -> Dataset:
    x, y = load_digits(return_X_y=True)
    told = np.stack([y[:80] % 2, y[:80] > 4], axis=1)
    return from_arrays(
        x[:80].astype(np.float32), told, task="multi-label", classes=("odd", "large")
    )


def judged(data: Dataset, out: Path) -> tuple[seepage.Run, Findings]:
    run = seepage.train(
        data,
        half_split(len(data), models=6, seed=0),
        out=out,
        executor="inline",
        device="cpu",
        model="mlp",
        model_options={"hidden": (8,)},
        recipe=seepage.Recipe(epochs=2, batch=16, lr=0.02, precision="fp32"),
        checkpoints=[0, 2],
    )
    return run, collect(run, permutations=1)


def _pairs(member: np.ndarray) -> list[tuple[int, int]]:
    n = len(member)
    return [(a, b) for a in range(n) for b in range(a) if (member[a] != member[b]).all()]


def test_a_report_of_regression_shows_errors(tmp_path: Path) -> None:
    run, found = judged(diabetes(), tmp_path / "run")
    u = found.utility
    assert u is not None
    assert u.measure == "rmse"
    r = run.signal_at("residual", -1).astype(np.float64)
    each = [np.sqrt((r[m][run.member[m]] ** 2).mean()) for m in range(6)]
    assert u.member[-1] == pytest.approx(np.mean(each), rel=1e-6)
    pairs = np.array([np.mean([each[a], each[b]]) for a, b in _pairs(run.member)])
    half = 4.302653 * pairs.std(ddof=1) / np.sqrt(3)
    assert u.member_high[-1] == pytest.approx(pairs.mean() + half, rel=1e-6)
    assert u.member_low[-1] == pytest.approx(pairs.mean() - half, rel=1e-6)
    assert "root-mean-square error is" in how_accurate(found, u)
    page = render(found)
    assert "RMSE (units of the target)" in page
    assert "</span>Prediction error</h2>" in page
    assert ">Accuracy<" not in page
    assert "easy: correct" not in page.split("<script>")[0]
    assert 'value="difficulty"' not in page  # coloured by an accuracy that no sample has
    assert "root-mean-square error" in page
    assert "correctly</" not in page
    assert "of non-members correctly" not in page
    assert "curvature is defined on classes" in found.skipped["curvature-lr"]


def test_a_report_of_several_labels_says_all_labels_right(tmp_path: Path) -> None:
    data = labelled()
    _, found = judged(data, tmp_path / "run")
    assert found.utility is not None
    assert found.utility.measure == "label-vectors"
    assert data.targets is not None
    told = asked_of(found, data, np.arange(80))
    for row, text in zip(data.targets.tolist(), told, strict=True):
        assert text == (
            ", ".join(n for n, on in zip(data.classes, row, strict=True) if on) or "none of them"
        )
    assert set(asked_of(found, None, np.arange(80))) == {""}
    page = render(found)
    assert "labels odd, large" not in page
    assert "</span>Accuracy of whole label vectors</h2>" in page
    assert "all labels right of" in page
    assert "Share with all labels right" in page
    assert "of non-members correctly" not in page


def test_a_report_of_soft_labels_shows_their_divergence(tmp_path: Path) -> None:
    x, y = load_digits(return_X_y=True)
    soft = 0.9 * np.eye(10)[y[:80]] + 0.01
    data = from_arrays(x[:80].astype(np.float32), soft, task="soft-labels")
    run, found = judged(data, tmp_path / "run")
    u = found.utility
    assert u is not None
    assert (u.measure, u.share) == ("divergence", False)
    kl = run.signal_at("loss", -1).astype(np.float64)
    assert u.member[-1] == pytest.approx(np.mean([kl[m][run.member[m]].mean() for m in range(6)]))
    assert u.other[-1] == pytest.approx(np.mean([kl[m][~run.member[m]].mean() for m in range(6)]))
    page = render(found)
    assert "</span>Divergence from the targets</h2>" in page
    assert "mean KL(q ‖ p), nats" in page
    assert "By likeliest class" in page
    assert "accuracy, members" not in page
    assert ">Accuracy<" not in page


def test_the_blind_baseline_sees_targets() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 3)), rng.normal(size=300)
    member = y + 0.3 * rng.normal(size=300) > 0
    assert blind_baseline(x, member).estimate.mean < 0.65
    assert blind_baseline(x, member, targets=1e4 + y).estimate.mean > 0.9
    with pytest.raises(InputError, match=r"targets: expected finite numbers"):
        blind_baseline(x, member, targets=y[:-1])
