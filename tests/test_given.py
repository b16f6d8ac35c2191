"""What callers and users pass: arrays with masks or imaginary parts, and paths that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seepage import epsilon, layers, metrics, plan, plane
from seepage.attacks import LiRA
from seepage.data import from_arrays
from seepage.epsilon.trade_off import dp_region
from seepage.errors import InputError
from seepage.given_arrays import given_array
from seepage.layers import singular_values
from seepage.layers.change import change_values, phases
from seepage.layers.features import feature_norms
from seepage.layers.risk import rank_agreement
from seepage.layers.spectrum import effective_rank, k_tau
from seepage.layers.spectrum import spectrum as spectrum_of
from seepage.local_paths import local_path
from seepage.metrics import exposure, naming
from seepage.plan import SubsetPlan, half_split
from seepage.plane import difficulty, dynamics, early, rates, shrinkage
from seepage.plane.calibration import fpr_spread

MEMBER = half_split(12, models=8, seed=0).member
PHI = np.random.default_rng(0).normal(size=MEMBER.shape)
RNG = np.random.default_rng(1)
FPR, TPR, EPOCHS = RNG.random((5, 12)), RNG.random((5, 12)), np.arange(5.0)
P, LONG, HALF = RNG.random(20), RNG.normal(size=400), np.arange(400) < 200
STATES = np.zeros((5, 12), dtype=np.int64)
TABLE = np.arange(24.0).reshape(12, 2)
Y = np.arange(12) % 2

TAKES: dict[str, Callable[[Any], Any]] = {
    "inputs": lambda spoil: from_arrays(spoil(TABLE), Y),
    "labels": lambda spoil: from_arrays(TABLE, spoil(Y)),
    "ids": lambda spoil: from_arrays(TABLE, Y, ids=spoil(np.arange(12))),
    "groups": lambda spoil: from_arrays(TABLE, Y, groups=spoil(np.arange(12))),
    "signal": lambda spoil: LiRA().leave_one_out(spoil(PHI), MEMBER),
    "member": lambda spoil: LiRA().leave_one_out(PHI, spoil(MEMBER)),
    "target": lambda spoil: LiRA().score(spoil(PHI[0]), PHI[2:], MEMBER[2:]),
    "scores": lambda spoil: metrics.auc(spoil(PHI[0]), MEMBER[0]),
    "scores of rows": lambda spoil: metrics.operating_points(spoil(PHI), MEMBER, [0.1]),
    "scores with an interval": lambda spoil: metrics.evidence(spoil(PHI), MEMBER),
    "plan": lambda spoil: SubsetPlan(spoil(MEMBER), np.zeros(8, np.uint64), "own", 0),
    "decisions": lambda spoil: plane.points(spoil(PHI > 0), MEMBER),
    "judged": lambda spoil: plan.judged(spoil(MEMBER)),
    "tuples": lambda spoil: plan.tuples(spoil(MEMBER)),
    "partitions": lambda spoil: plan.partitions(spoil(MEMBER)),
    "permuted": lambda spoil: plan.permute_membership(spoil(MEMBER), np.random.default_rng(0)),
    "offline": lambda spoil: plan.refuse_offline(spoil(MEMBER), "plan"),
    "share": lambda spoil: plan.pool_share(spoil(MEMBER)),
    "fixed target": lambda spoil: plan.fixed_target(spoil(MEMBER[0]), models=8),
    "subjects": lambda spoil: half_split(12, models=4, groups=spoil(np.arange(12) // 2)),
    "canaries": lambda spoil: plan.plant_canaries(
        half_split(12, models=4), spoil(Y), 2, mislabelled=2
    ),
    "pooled": lambda spoil: metrics.pooled_points(spoil(PHI), MEMBER, [0.1]),
    "rates": lambda spoil: metrics.operating_points(PHI, MEMBER, spoil(np.array([0.1, 0.2]))),
    "sample AUC": lambda spoil: metrics.sample_auc(spoil(PHI), MEMBER),
    "interval": lambda spoil: metrics.auc_interval(spoil(LONG), HALF),
    "joint rates": lambda spoil: metrics.joint_rates(spoil(LONG), HALF, [0.1]),
    "over targets": lambda spoil: metrics.over_targets(spoil(PHI[:, 0]), MEMBER),
    "adjusted": lambda spoil: exposure.benjamini_hochberg(spoil(P)),
    "cut": lambda spoil: exposure.cut_off(spoil(P), 0.05),
    "least": lambda spoil: exposure.smallest(spoil(MEMBER)),
    "conformal": lambda spoil: naming.conformal_p(spoil(P), P),
    "calibration": lambda spoil: naming.conformal_p(P, spoil(P)),
    "named": lambda spoil: naming.name_members(spoil(P), P),
    "advantage": lambda spoil: rates.advantage(spoil(FPR), TPR),
    "epsilon": lambda spoil: rates.epsilon(FPR, spoil(TPR), 4, 4),
    "two sides": lambda spoil: rates.epsilon_two_sided(spoil(FPR), TPR, 4, 4),
    "mean AUC": lambda spoil: rates.mean_auc(spoil(PHI), MEMBER),
    "spread of rates": lambda spoil: fpr_spread(spoil(FPR[0]), np.full(12, 4)),
    "shrunk": lambda spoil: shrinkage.empirical_bayes(spoil(P + 1), 5),
    "centre": lambda spoil: dynamics.centre(spoil(FPR), TPR),
    "displacement": lambda spoil: dynamics.displacement(spoil(FPR)),
    "speed": lambda spoil: dynamics.speed(spoil(FPR), TPR, EPOCHS),
    "signed speed": lambda spoil: dynamics.signed_speed(FPR, spoil(TPR), EPOCHS),
    "epochs": lambda spoil: dynamics.speed(FPR, TPR, spoil(EPOCHS)),
    "states": lambda spoil: dynamics.transitions(spoil(STATES), 3),
    "entropy": lambda spoil: dynamics.entropy(spoil(STATES), 3),
    "counts": lambda spoil: dynamics.rows_to_one(spoil(np.ones((3, 3)))),
    "arrivals": lambda spoil: dynamics.arrivals(spoil(np.ones((3, 3)))),
    "learned": lambda spoil: difficulty.epoch_learned(spoil((FPR > 0.5) * 1.0), EPOCHS),
    "time mean": lambda spoil: difficulty.time_mean(spoil(FPR), EPOCHS),
    "by epoch": lambda spoil: difficulty.by_epoch(spoil(FPR), EPOCHS),
    "range of loss": lambda spoil: difficulty.loss_iqr(spoil(FPR), EPOCHS),
    "forgotten": lambda spoil: difficulty.forgetting_events(spoil((FPR > 0.5) * 1.0)),
    "consistency": lambda spoil: difficulty.consistency((PHI > 0) * 1.0, spoil(MEMBER)),
    "spearman": lambda spoil: difficulty.spearman(spoil(P), P, rng=np.random.default_rng(0)),
    "halves": lambda spoil: difficulty.split_models(spoil(MEMBER), 0.5, np.random.default_rng(0)),
    "predictor": lambda spoil: early.evaluate_predictor(spoil(P), P > 0.5),
    "recall": lambda spoil: early.expected_recall(spoil(FPR), FPR[0] > 0.5),
    "variances": lambda spoil: effective_rank(spoil(P)),
    "share of variance": lambda spoil: k_tau(spoil(P), 0.9),
    "outputs": lambda spoil: spectrum_of(spoil(PHI)),
    "jacobian": lambda spoil: singular_values.singular_values(spoil(PHI)),
    "gram": lambda spoil: singular_values.moments(spoil(PHI.T @ PHI)),
    "norms": lambda spoil: feature_norms(spoil(PHI)),
    "series": lambda spoil: change_values(spoil(FPR)),
    "phases": lambda spoil: phases(FPR, spoil(EPOCHS)),
    "agreement": lambda spoil: rank_agreement(spoil(FPR), TPR),
    "features": lambda spoil: layers.attack_layers(
        {"a": spoil(PHI.T.repeat(4, 0))}, np.arange(48) < 24
    ),
    "bound": lambda spoil: epsilon.multi_run(spoil(LONG), HALF),
    "region": lambda spoil: dp_region(1.0, 1e-5, spoil(P)),
    "curve": lambda spoil: epsilon.TradeOff(spoil(np.sort(P)), np.sort(P)[::-1], "curve"),
    "rates of a curve": lambda spoil: epsilon.TradeOff.gaussian(1.0).tpr(spoil(P)),
    "points of a curve": lambda spoil: epsilon.bayes_error(spoil(P), P, 0.5),
    "pair": lambda spoil: epsilon.gaussian_pair(
        spoil(LONG), HALF, np.random.default_rng(0), draws=1
    ),
}


def _masked(values: Any) -> Any:
    mask = np.zeros(values.shape, dtype=bool)
    mask.flat[1] = True
    return np.ma.array(values, mask=mask)


@pytest.mark.parametrize("what", TAKES)
def test_masks_and_imaginary_parts_are_not_dropped(what: str) -> None:
    TAKES[what](lambda values: values)
    TAKES[what](lambda values: np.ma.array(values))  # masks nothing
    with pytest.raises(InputError, match=r"expected values everywhere, got a mask over 1 of \d+"):
        TAKES[what](_masked)
    with pytest.raises(InputError, match="expected real numbers, got complex128"):
        TAKES[what](lambda values: values + 0j)


def test_a_plain_array_is_handed_on_as_it_is() -> None:
    assert given_array(PHI, "x") is PHI


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "expected the name of a file or folder, got ''"),
        ("s3://bucket/run", "expected a local file or folder, got the address 's3://bucket/run'"),
        (Path("s3://bucket/run"), "got the address 's3:/bucket/run'"),
        ("a\0b", "got a zero byte in"),
        ("\udcff.csv", "expected a name in UTF-8"),
        ("a/" + "x" * 256, "expected names of at most 255 bytes, got one of 256"),
        ("é" * 128, "expected names of at most 255 bytes, got one of 256"),
        ("a/" * 2100, "in a path of 4200"),
    ],
)
def test_paths_that_are_none(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^out: .*{message}") as raised:
        local_path(given, "out")
    str(raised.value).encode()  # can be printed


@pytest.mark.parametrize("given", ["runs/a", "/tmp", ".", "a:b:c", "[/x]", "x" * 255, "ü"])
def test_paths_that_are_odd_alone(given: str) -> None:
    assert local_path(given, "out") == Path(given)
