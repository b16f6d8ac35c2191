"""Runs four packages on the numbers of an .npz file; needs their environment, not ours.

python peer_epsilon.py given.npz answers.json
"""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np
from dp_accounting.pld import privacy_loss_distribution
from jax_privacy import auditing
from privacy_estimates import AttackResults, compute_eps_lo
from riskcal.analysis import get_advantage_from_gdp, get_beta_from_gdp
from riskcal.calibration.dpsgd import get_advantage_for_dpsgd, get_beta_for_dpsgd

warnings.simplefilter("ignore")
DELTA = 1e-5


def mended_mu(auditor):
    """μ of `epsilon_from_gdp` without the absolute value that makes 2.0.0 read more on noise."""
    real, auditing.np = auditing.np, Signed(auditing.np)
    try:
        return auditor.epsilon_from_gdp(0.05, DELTA)
    except ValueError:
        return 0.0
    finally:
        auditing.np = real


class Signed:
    """numpy, but for `abs`, which leaves the sign."""

    def __init__(self, real):
        self.real = real

    def __getattr__(self, name):
        return (lambda v: v) if name == "abs" else getattr(self.real, name)


def audited(inside, outside):
    """jax-privacy's figures of one set of scores."""
    auditor = auditing.CanaryScoreAuditor(inside, outside)
    fixed = auditing.Explicit(0.5)
    return {
        "clopper-pearson": auditor.epsilon_clopper_pearson(
            0.05, DELTA, one_sided=False, threshold_strategy=fixed
        ),
        "one-run": auditor.epsilon_one_run(0.05, DELTA, threshold_strategy=fixed),
        "f-dp": auditor.epsilon_one_run_fdp(0.05, DELTA, threshold_strategy=fixed),
        "gdp": mended_mu(auditor),
    }


def credible(tp, members, fp, others):
    """privacy-estimates' figures of one confusion matrix."""
    count = AttackResults(TP=int(tp), FN=int(members - tp), FP=int(fp), TN=int(others - fp))
    names = {"beta": "beta", "jeffreys": "jeffreys", "joint beta": "joint-beta"}
    return {k: compute_eps_lo(count, DELTA, 0.05, v) for k, v in names.items()}


def accounted(noise, rate, steps, fpr):
    """δ(ε) by dp-accounting, rates and advantage by riskcal."""
    steps = int(steps)
    loss = privacy_loss_distribution.from_gaussian_mechanism(
        noise, sampling_prob=rate, use_connect_dots=True, value_discretization_interval=1e-4
    ).self_compose(steps)
    epsilon = [0.0, 0.5, 1.0, 2.0]
    return {
        "delta": [float(loss.get_delta_for_epsilon(e)) for e in epsilon],
        "tpr": (1 - get_beta_for_dpsgd(noise, rate, steps, fpr, grid_step=1e-3)).tolist(),
        "advantage": float(get_advantage_for_dpsgd(noise, rate, steps)),
    }


if __name__ == "__main__":
    given = np.load(sys.argv[1])
    fpr = given["fpr"]
    answers = {
        "audits": [
            audited(given[f"in_{k}"], given[f"out_{k}"]) for k in range(int(given["audits"]))
        ],
        "credible": [credible(*row) for row in given["tables"]],
        "accounted": [accounted(*row, fpr) for row in given["private"]],
        "gaussian": {
            "tpr": (1 - get_beta_from_gdp(1.0, fpr)).tolist(),
            "advantage": float(get_advantage_from_gdp(1.0)),
        },
    }
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        json.dump(answers, f)
