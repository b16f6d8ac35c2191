"""Closed forms through the whole house: plan, run folder, reader, LiRA, plane."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

import seepage
from seepage.attacks import LiRA, PerSample
from seepage.fleet.imported import import_arrays


def _oracles() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "oracles_of_this_suite", Path(__file__).parent / "oracles.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


oracles = _oracles()


def _rates(
    folder: Path, signal: NDArray[np.float64], member: NDArray[np.bool_], fpr: float
) -> NDArray[np.float64]:
    """Per-sample TPR (N,) at each sample's own threshold for `fpr`, by way of a run folder."""
    np.savez(folder / "theirs.npz", member=member, phi=signal[:, None].astype(np.float32))
    import_arrays(folder / "theirs.npz", folder / "run")
    run = seepage.open(folder / "run")
    scores = LiRA(variance=PerSample()).leave_one_out(run.signal_at("phi", 0), run.member)
    decisions = np.empty(member.shape, dtype=np.bool_)
    for i in range(member.shape[1]):
        threshold = np.quantile(scores[~run.member[:, i], i], 1 - fpr)
        decisions[:, i] = scores[:, i] > threshold
    points = seepage.plane.points(decisions, run.member)
    assert np.allclose(points.fpr, fpr, atol=2 / points.n_out.min())
    return np.asarray(points.tpr)


def test_ordinary_least_squares_leaks_by_leverage(tmp_path: Path) -> None:
    """TPR = 2Φ(Φ⁻¹((1 + FPR)/2)/(1 − h)) − 1, sample by sample and on average."""
    rng = np.random.default_rng(0)
    design = rng.normal(size=(60, 20))
    design[:6] *= 2.5  # a few samples of high leverage
    plan = seepage.half_split(60, models=600, seed=3)
    fleet = oracles.ols_leverage(rng, plan.member, design, fpr=0.1)
    tpr = _rates(tmp_path, fleet.signal, plan.member, 0.1)
    # 300 targets a side: the threshold and the rate each have a standard error of about 0.03.
    assert abs(tpr.mean() - fleet.tpr.mean()) < 0.015
    assert np.sqrt(((tpr - fleet.tpr) ** 2).mean()) < 0.08
    assert tpr[:6].mean() == pytest.approx(fleet.tpr[:6].mean(), abs=0.03)
    assert np.corrcoef(tpr, fleet.tpr)[0, 1] > 0.9


def test_class_mean_leaks_by_the_power_law(tmp_path: Path) -> None:
    """TPR = Φ(Φ⁻¹(FPR) + |⟨x, x − m⟩|/(√S‖x‖s)): shot by shot, and the law's own slope."""
    rng = np.random.default_rng(1)
    centre = rng.normal(size=8)
    target = centre + rng.normal(size=(60, 8))
    measured, law = [], []
    for shots in (16, 64, 256):
        fleet = oracles.class_mean(rng, 400, target, centre, shots, spread=0.25, fpr=0.1)
        folder = tmp_path / str(shots)
        folder.mkdir()
        tpr = _rates(folder, fleet.signal, fleet.member, 0.1)
        assert abs(tpr.mean() - fleet.tpr.mean()) < 0.025
        measured.append(np.log(tpr.mean() - 0.1))
        law.append(np.log(fleet.tpr.mean() - 0.1))
    logs = np.log([16, 64, 256])
    slopes = [np.polyfit(logs, y, 1)[0] for y in (measured, law)]
    # Fitted laws cost the attack a little where the shift is small, so it falls a little faster.
    assert slopes[0] == pytest.approx(slopes[1], abs=0.12)


def test_an_imported_folder_refuses_what_does_not_fit(tmp_path: Path) -> None:
    member = seepage.half_split(6, models=4).member
    for name, arrays, message in (
        ("none", {"phi": np.zeros((4, 1, 6))}, "expected an array `member`"),
        ("shape", {"member": member, "phi": np.zeros((3, 1, 6))}, r"phi: expected shape \(4,"),
        ("nan", {"member": member, "phi": np.full((4, 6), np.nan)}, "expected finite values"),
        ("empty", {"member": member}, "expected at least one signal"),
    ):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(seepage.InputError, match=message):
            import_arrays(tmp_path / f"{name}.npz", tmp_path / name)
        assert not (tmp_path / name).exists()
    with pytest.raises(seepage.InputError, match="found no such file"):
        import_arrays(tmp_path / "absent.npz", tmp_path / "x")
