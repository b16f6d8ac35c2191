"""A fleet of random forests, and what their answers tell of who trained them.

    python examples/forest.py

Sixteen forests, each fitted to a random half of scikit-learn's breast cancer data; then boosted trees
after 5, 20 and 80 rounds. Writes the run folders and a page of figures into the folder that is named,
or the working directory.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

import seepage
from seepage.data import from_arrays
from seepage.fleet import EstimatorWarning


def train(name: str, function: object, models: int, out: Path) -> seepage.Run:
    inputs, labels = load_breast_cancer(return_X_y=True)
    data = from_arrays(inputs.astype(np.float32), labels, name="breast-cancer")
    plan = seepage.half_split(len(data), models=models, seed=0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", EstimatorWarning)
        run = seepage.train(data, plan, function=function, out=out / name, executor="inline")
    for each in said:
        print("note:", str(each.message).partition(": ")[2])
    return run


def main(out: Path = Path(".")) -> None:
    forest = seepage.sklearn.fit(RandomForestClassifier(30))
    boosted = seepage.sklearn.fit(GradientBoostingClassifier(n_estimators=80), stages=[5, 20, 80])
    for name, function, models in (("forest", forest, 16), ("boosted", boosted, 8)):
        run = train(name, function, models, out)
        for t, checkpoint in enumerate(run.checkpoints):
            scores = seepage.score(run, seepage.attacks.LiRA(), checkpoint=t)
            auc = [seepage.metrics.auc(s, m) for s, m in zip(scores, run.member, strict=True)]
            print(f"{name}, round {checkpoint:g}: LiRA AUC {np.mean(auc):.3f}")
    seepage.write_report(seepage.open(out / "forest"), out / "forest.html")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("."))
