"""What holds of every attack whatever the data: on noise, under swaps, and along what it claims."""

from __future__ import annotations

import numpy as np
import pytest

from attack_rows import ROWS, TABLE
from noise_grid import GRID, reads_on_noise
from oracles import leaking_signals, null_signals, read_by
from seepage import attacks
from seepage.attacks import ATTACKS, Attack
from seepage.metrics import operating_points
from seepage.plan import half_split, partitions, subsets

B = np.ndarray


@pytest.mark.parametrize("number", range(len(ATTACKS)), ids=list(ATTACKS))
def test_noise_reads_half(number: int) -> None:
    """Over 300,000 decisions, each attack on one size and plan of the grid; `slow` has them all."""
    attack = TABLE[list(ATTACKS)[number]][0]
    for models, plan in GRID[number % 12 :] + GRID:
        found = reads_on_noise(attack, models, plan, 300_000)
        if found is not None:
            assert abs(found - 0.5) < 0.005, (models, plan, found)
            return


@pytest.mark.slow
@pytest.mark.parametrize(("models", "plan"), GRID)
@pytest.mark.parametrize("attack", ROWS)
def test_noise_reads_half_everywhere(attack: Attack, models: int, plan: str) -> None:
    found = reads_on_noise(attack, models, plan, 1_000_000)
    few = plan == "tuples" and models < 12
    assert found is not None or (few and max(attack.min_in, attack.min_out) > 1)
    if found is not None:
        assert abs(found - 0.5) < 0.005, found


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("attack", ROWS)
def test_a_target_s_tuple_is_not_read(attack: Attack, parts: int) -> None:
    """Exchangeable: whoever of a tuple was trained on a sample, each of its scores is the same."""
    member = subsets(48, models=4 * parts, parts=parts, seed=1).member
    signals = read_by(attack, leaking_signals(np.random.default_rng(3), member))
    moved = member.copy()
    moved[:parts] = np.roll(member[:parts], 1, axis=0)
    assert (partitions(member) == partitions(moved)).all()
    a, b = (attack.leave_one_out(signals, m)[:parts] for m in (member, moved))
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("attack", ROWS)
def test_swapping_labels_turns_the_area_round(attack: Attack) -> None:
    """AUC becomes 1 − AUC; the log-ratio of likelihoods changes its sign with IN and OUT."""
    member = half_split(60, models=12, seed=0).member
    signals = read_by(attack, leaking_signals(np.random.default_rng(0), member))
    scores = attack.leave_one_out(signals, member)
    area, other = (operating_points(scores, m, ()).auc for m in (member, ~member))
    np.testing.assert_allclose(area, 1 - other, atol=1e-12)
    if attack.log_ratio:
        np.testing.assert_allclose(
            attack.leave_one_out(signals, ~member), -scores, rtol=1e-9, atol=1e-9
        )


# Attacks of which docs/attacks.md says that a surer answer never lowers the score.
RISING = (
    "loss", "gap", "entropy", "mentr", "attack-p", "attack-s", "attack-r", "calibrated",
    "lira-offline-one-sided", "rmia", "rmia-offline", "rmia-tuned", "base", "base-offline",
    "curvature", "curvature-calibrated", "curvature-attack-r", "curvature-mast",
)  # fmt: skip
SURER = [
    *(p for p in ROWS if p.values[0].name in RISING),
    pytest.param(attacks.PrivacyRiskScore(rule=attacks.Isotonic()), id="risk-score-isotonic"),
]


@pytest.mark.parametrize("attack", SURER)
def test_a_surer_answer_never_lowers_the_score(attack: Attack) -> None:
    member = half_split(40, models=12, seed=0).member
    rng = np.random.default_rng(0)
    signals = read_by(attack, leaking_signals(rng, member))
    target = {k: v[0].copy() for k, v in signals.items()}
    references = {k: v[2:] for k, v in signals.items()}
    moved = []
    for phi in np.linspace(-6, 12, 19):
        surer = {
            "phi": phi,
            "loss": np.logaddexp(0, -phi),
            "mentr": 1.5 * np.logaddexp(0, -phi),
            "entropy": np.logaddexp(0, -phi),
            "correct": float(phi > 0),
            "curvature_zo": np.exp(-phi),
            "reference_ratio": phi,
        }
        for k in target.keys() & surer.keys():
            target[k][7] = surer[k]
        moved.append(attack.score(target, references, member[2:])[7])
    assert (np.diff(moved) >= -1e-12).all()
    # Of so small a population no sample need stand below a ratio of 2.
    assert moved[-1] > moved[0] or getattr(attack, "gamma", 1.0) > 1


@pytest.mark.parametrize("name", [n for n, kind in ATTACKS.items() if kind.fitted])
def test_fitted_rules_pass_a_permutation_test(name: str) -> None:
    """On noise the true membership ranks anywhere among redrawn ones; on a leak it is the first."""
    attack = TABLE[name][0]
    rng = np.random.default_rng(0)
    models = max(6, attack.models)

    def rank(shift: float, draws: int = 5) -> int:
        member = half_split(80, models=models, seed=int(rng.integers(1 << 30))).member
        signals = read_by(attack, leaking_signals(rng, member, shift=shift))

        def area(m: B) -> float:
            scores = attack.leave_one_out(signals, m)
            return float(operating_points(scores, m, ()).auc.mean())

        def redrawn() -> B:
            pairs = member.reshape(-1, 2, 80)
            turned = rng.random((models // 2, 1, 80)) < 0.5
            return np.where(turned, pairs, ~pairs).reshape(models, 80)

        return int(sum(area(redrawn()) >= area(member) for _ in range(draws)))

    ranks = [rank(0.0) for _ in range(6)]
    # Uniform on 0 to 5: the mean of 6 has the standard deviation 0.7.
    assert 0.5 < np.mean(ranks) < 4.5
    assert rank(2.0) == 0


def test_the_risk_score_of_answers_it_was_fitted_to_is_no_figure() -> None:
    """In-sample it finds members in noise; fitted to the references it does not."""
    member = half_split(600, models=16, seed=0).member
    signals = null_signals(np.random.default_rng(0), member)
    signals["labels"] = np.broadcast_to((np.arange(600) % 20.0)[:, None], (16, 600, 1))
    attack = attacks.PrivacyRiskScore()
    read = {k: signals[k] for k in attack.requires}
    own, others = (
        operating_points(scores, member, ()).auc.mean()
        for scores in (
            attack.run_all(read, member, np.eye(16, dtype=bool)),
            attack.leave_one_out(read, member),
        )
    )
    assert own > 0.6
    assert abs(others - 0.5) < 0.015
