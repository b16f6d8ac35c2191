"""Samples that say nothing of the law of spreads do not change what LiRA says of the others."""

from __future__ import annotations

import numpy as np
import pytest

from seepage.attacks import LiRA, LiRAOfflineOneSided, StudentT
from seepage.metrics import operating_points
from seepage.plan import half_split

N, ODD = 1000, 100


def signals(kind: str, models: int, odd: int = ODD):
    """φ of which the first `odd` samples are of that kind; the others are the same for each kind."""
    rng = np.random.default_rng(3)
    member = half_split(N, models=models, seed=3).member
    phi = 3 * rng.normal(size=N) + rng.normal(size=(models, N)) + 1.5 * member
    match kind:
        case "constant":
            phi[:, :odd] = 5.0
        case "rounding":  # a few units in the last place of float32
            phi[:, :odd] = 5.0 + 5e-7 * rng.integers(0, 3, size=(models, odd))
        case "all but one":
            phi[:, :odd] = 5.0
            phi[rng.integers(0, models, odd), np.arange(odd)] += 1e-3 * rng.normal(size=odd)
        case "nearly constant":
            phi[:, :odd] = 5.0 + 1e-3 * rng.normal(size=(models, odd))
        case "floored":
            phi[:, :odd] -= 40
            phi = np.maximum(phi, -12)
        case "capped":
            phi[:, :odd] += 40
            phi = np.minimum(phi, 12)
        case "partly capped":  # half of the references stand at the cap
            phi[:, :odd] += 12 - np.median(phi[:, :odd], axis=0)
            phi = np.minimum(phi, 12)
    return phi.astype(np.float32), member


KINDS = ["constant", "rounding", "all but one", "nearly constant", "floored", "capped"]


@pytest.mark.parametrize("kind", [*KINDS, "partly capped"])
@pytest.mark.parametrize("models", [8, 16, 32, 64])
def test_the_others_are_as_without_them(kind: str, models: int) -> None:
    """With moments of log s², 5 % of constant samples cost the others a quarter of their TPR."""
    phi, member = signals(kind, models)
    rest = slice(ODD, None)
    for attack in (LiRA(), LiRAOfflineOneSided(), LiRA(variance=StudentT(kappa=None))):
        beside = attack.leave_one_out(phi, member)[:, rest]
        alone = attack.leave_one_out(phi[:, rest], member[:, rest])
        if kind in KINDS and attack.variance.kappa == 0:
            # A floor or a cap widens the range, whose logarithm is the origin of the cells.
            moved = kind in ("floored", "capped")
            np.testing.assert_allclose(
                beside, alone, rtol=0.1 if moved else 1e-9, atol=0.2 if moved else 1e-9
            )
        a, b = (operating_points(s, member[:, rest], [0.01]) for s in (beside, alone))
        assert abs(a.tpr.mean() - b.tpr.mean()) < 0.006
        assert abs(a.auc.mean() - b.auc.mean()) < 0.002


@pytest.mark.parametrize("kind", [*KINDS, "partly capped"])
def test_both_paths_agree_on_them(kind: str) -> None:
    phi, member = signals(kind, 12, odd=400)
    for attack in (LiRA(), LiRAOfflineOneSided()):
        all_at_once = attack.leave_one_out(phi, member)
        for r in (0, 5):
            use = np.arange(12) // 2 != r // 2
            one = attack.score(phi[r], phi[use], member[use])
            np.testing.assert_allclose(all_at_once[r], one, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("models", "samples"), [(6, 60), (8, 200), (6, 1000), (14, 300)])
@pytest.mark.parametrize("spread", [0.3, 2.0, 5.0])
def test_both_paths_agree_with_few_references(models: int, samples: int, spread: float) -> None:
    """Two values of a kind can lie so close that log s² is far below all others."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        member = half_split(samples, models=models, seed=seed).member
        scale = np.exp(spread * rng.normal(size=samples))
        phi = rng.normal(0, 3, size=samples) + scale * rng.normal(size=member.shape) + member
        all_at_once = LiRA().leave_one_out(phi, member)
        use = np.arange(models) >= 2
        one = LiRA().score(phi[1], phi[use], member[use])
        np.testing.assert_allclose(all_at_once[1], one, rtol=1e-8, atol=1e-8)


def test_clean_data_lose_nothing() -> None:
    """Where all samples have one spread, the fit finds it."""
    rng = np.random.default_rng(0)
    member = half_split(4000, models=16, seed=0).member
    phi = rng.normal(size=member.shape) + 1.5 * member
    tpr = operating_points(LiRA().leave_one_out(phi, member), member, [0.01]).tpr.mean()
    known = LiRA(variance=StudentT(alpha=1e9)).leave_one_out(phi, member)
    assert tpr > 0.98 * operating_points(known, member, [0.01]).tpr.mean()


@pytest.mark.parametrize("factor", [1e-6, 1e5])
def test_units_do_not_matter(factor: float) -> None:
    phi, member = signals("partly capped", 16)
    plain = LiRA().leave_one_out(phi.astype(np.float64), member)
    scaled = LiRA().leave_one_out(factor * phi.astype(np.float64), member)
    np.testing.assert_allclose(scaled, plain, rtol=1e-6, atol=1e-8)


def test_a_few_samples_far_from_the_rest_are_still_counted() -> None:
    """Spreads over more than the cells that are kept at first."""
    rng = np.random.default_rng(0)
    member = half_split(600, models=12, seed=0).member
    spread = np.exp(rng.choice([-8.0, 8.0], size=600))
    phi = spread * rng.normal(size=member.shape)
    attack = LiRA()
    use = np.arange(12) >= 2
    one = attack.score(phi[0], phi[use], member[use])
    np.testing.assert_allclose(attack.leave_one_out(phi, member)[0], one, rtol=1e-9, atol=1e-9)
