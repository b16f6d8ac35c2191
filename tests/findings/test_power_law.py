"""The power law of stored runs: heads that are class means, at four sizes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import seepage
from seepage.cli import main
from seepage.errors import InputError
from seepage.findings.power_law import power_law_of_runs
from seepage.plan import half_split, subsets

SHOTS = (16, 32, 64, 128)
LIRA = seepage.attacks.LiRA(variance=seepage.attacks.Pooled())


def _heads(
    out: Path, shots: int, models: int = 32, classes: int = 2, parts: int = 2
) -> seepage.Run:
    """⟨x, mean of its class⟩ of models that train on S samples of each of two classes, as φ."""
    rng = np.random.default_rng(shots)
    labels = np.repeat(np.arange(classes), parts * shots)
    x = rng.normal(size=(len(labels), 16))
    plan = half_split if parts == 2 else subsets
    more = {} if parts == 2 else {"parts": parts}
    member = plan(len(x), models=models, seed=0, **more).member
    phi = np.empty(member.shape)
    for k in range(classes):
        at = labels == k
        phi[:, at] = (member[:, at] @ x[at] / member[:, at].sum(axis=1, keepdims=True)) @ x[at].T
    phi /= np.linalg.norm(x, axis=1)
    return seepage.import_arrays(
        {"member": member, "phi": phi[:, None], "labels": labels},
        out / f"{shots}-{parts}-{models}-{classes}",
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[seepage.Run]:
    place = tmp_path_factory.mktemp("heads")
    return [_heads(place, s) for s in SHOTS]


def test_the_slope_of_class_means(runs: list[seepage.Run]) -> None:
    found = power_law_of_runs(runs[::-1], LIRA, fpr=0.4)
    assert [p.shots for p in found.runs] == pytest.approx(SHOTS, rel=0.02)
    assert found.law.slopes.low < -0.5 < found.law.slopes.high
    assert found.law.slopes.high < -0.3
    assert found.law.share == pytest.approx(0.5)
    first = found.runs[0]
    assert first.advantage == first.rate.tpr.mean - first.rate.null


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (lambda place: [], "three or more that differ in examples per class, got 2"),
        (lambda place: [_heads(place, 64, classes=3)], "expected the same classes and task in all, got 2 classes, 3"),
        (lambda place: [_heads(place, 64, models=33, parts=3)], "got 0.33 to 0.50"),
    ],
)  # fmt: skip
def test_runs_of_different_kinds_are_no_law(
    runs: list[seepage.Run],
    other: Callable[[Path], list[seepage.Run]],
    told: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match=re.escape(told)) as caught:
        power_law_of_runs([*runs[:2], *other(tmp_path)], LIRA)
    assert "\n" not in str(caught.value)


def test_the_command(
    runs: list[seepage.Run], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["-a", "lira", "--fpr", "0.4", "--advantage", "0.05"]
    monkeypatch.setattr("sys.argv", ["seepage", "power-law", *(r.path for r in runs), *words])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main()
    told = " ".join(capsys.readouterr().out.split())
    assert not ended.value.code, told
    slope = re.search(r"slope (-0\.\d+) \[", told)
    assert slope
    assert -0.8 < float(slope[1]) < -0.3
    assert re.search(
        r"TPR − FPR of 0\.05: [\d,]+ examples per class \[.*an extrapolation, 16 to 128 were seen",
        told,
    )
    assert "50 % of which a model trains on" in told
