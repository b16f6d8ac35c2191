"""One trained model, and what its answers tell of who was in its training data.

    python examples/one_model.py

A forest on scikit-learn's breast cancer data, audited alone; then beside forests that are trained on
random halves, as many as ten seconds allow; then by patient, with groups that are made up: two samples
each. Writes one-model.html.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import ExtraTreesClassifier

import seepage
from seepage.single import SingleAudit, TrainedReferences


def train(inputs: np.ndarray, labels: np.ndarray, seed: int) -> ExtraTreesClassifier:
    """What the audited model was trained by, and what trains its references."""
    return ExtraTreesClassifier(50, min_samples_leaf=2, random_state=seed).fit(inputs, labels)


def main(seconds: float = 10.0) -> tuple[SingleAudit, SingleAudit, SingleAudit]:
    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    inside, outside = order[:284], order[284:568]
    members, others = (x[inside], y[inside]), (x[outside], y[outside])
    model = train(*members, seed=1)

    alone = seepage.audit(model, members, others)
    print(alone, "\n")

    references = TrainedReferences(train, seconds=seconds, most=16)
    beside = seepage.audit(model, members, others, references=references)
    print(beside, "\n")
    seepage.write_report(beside, "one-model.html")

    whose = [f"patient {i // 2}" for i in range(568)]
    groups = whose[:284], whose[284:]
    people = seepage.audit(model, members, others, groups=groups)
    print(people, "\n")
    for text in people.limits:
        print("-", text)
    return alone, beside, people


if __name__ == "__main__":
    main()
