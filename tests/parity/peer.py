"""Runs PrivacyGuard on the arrays of an .npz file; needs its environment, not ours.

python peer.py arrays.npz scores.npz
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from privacy_guard.analysis.mia.aggregate_analysis_input import AggregationType
from privacy_guard.attacks.lira_attack import LiraAttack
from privacy_guard.attacks.rmia_attack import RmiaAttack


def lira(phi, member, target):
    """Online, own variance of each side, means: scores (N,) of one target."""
    use = np.arange(len(phi)) // 2 != target // 2
    x, k = phi[use].astype(np.float64), member[use]
    inside, outside = np.where(k, x, np.nan), np.where(k, np.nan, x)
    frame = pd.DataFrame(
        {
            "user_id": np.arange(phi.shape[1]),
            "score_orig": phi[target].astype(np.float64),
            "score_mean_in": np.nanmean(inside, axis=0),
            "score_std_in": np.nanstd(inside, axis=0),
            "score_mean_out": np.nanmean(outside, axis=0),
            "score_std_out": np.nanstd(outside, axis=0),
        }
    )
    return run(LiraAttack, frame, member[target], online_attack=True)


def rmia(loss, member, target, population):
    """Online, all references, the population as given: scores (N,) of one target."""
    use = np.arange(len(loss)) // 2 != target // 2
    p = np.exp(-loss.astype(np.float64))
    columns = {"user_id": np.arange(loss.shape[1]), "score_orig": p[target]}
    for number, r in enumerate(np.flatnonzero(use)):
        columns[f"score_ref_{number}"] = p[r]
        columns[f"member_ref_{number}"] = member[r]
    frame = pd.DataFrame(columns)
    more = {"df_population": frame.iloc[population], "online": True}
    # It asks for a number of references and takes all when that is as many as there are.
    return run(RmiaAttack, frame, member[target], num_reference_models=int(use.sum()), **more)


def run(attack, frame, member, **options):
    """Split into members and others as the package wants, and put the scores back in order."""
    result = attack(
        df_train_merge=frame[member].copy(),
        df_test_merge=frame[~member].copy(),
        row_aggregation=AggregationType.NONE,
        **options,
    )
    result.run_attack()
    scores = pd.concat([result.df_train_merge, result.df_test_merge]).set_index("user_id").score
    return scores.sort_index().to_numpy()


if __name__ == "__main__":
    given = np.load(sys.argv[1])
    targets = range(len(given["phi"]))
    np.savez(
        sys.argv[2],
        lira=np.stack([lira(given["phi"], given["member"], t) for t in targets]),
        rmia=np.stack(
            [rmia(given["loss"], given["member"], t, given["population"]) for t in targets]
        ),
    )
