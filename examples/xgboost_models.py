"""Models of XGBoost: a fleet of them, and one alone.

    python examples/xgboost_models.py

Sixteen models, each fitted to a random half of scikit-learn's breast cancer data; then one of them as if it
were all that there is. Writes the run folder and two pages of figures into the folder that is named, or the
working directory.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from xgboost import XGBClassifier

import seepage
from seepage.data import from_arrays
from seepage.fleet import EstimatorWarning


def main(out: Path = Path(".")) -> None:
    inputs, labels = load_breast_cancer(return_X_y=True)
    data = from_arrays(inputs.astype(np.float32), labels, name="breast-cancer")
    plan = seepage.half_split(len(data), models=16, seed=0)
    trees = XGBClassifier(n_estimators=100, subsample=0.8, learning_rate=0.3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", EstimatorWarning)
        run = seepage.train(
            data, plan, function=seepage.sklearn.fit(trees), out=out / "xgboost", executor="inline"
        )
    for each in said:
        print("note:", str(each.message).partition(": ")[2])
    scores = seepage.score(run, seepage.attacks.LiRA())
    auc = [seepage.metrics.auc(s, m) for s, m in zip(scores, run.member, strict=True)]
    print(f"LiRA AUC {np.mean(auc):.3f}")
    seepage.write_report(run, out / "xgboost.html")

    m, o = np.flatnonzero(plan.member[0]), np.flatnonzero(~plan.member[0])
    model = trees.fit(inputs[m], labels[m])
    one = seepage.audit(model, (inputs[m], labels[m]), (inputs[o], labels[o]))
    print(one)
    seepage.write_report(one, out / "one-of-xgboost.html")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("."))
