"""Times ART's black-box membership attack on the arrays of an .npz file; needs ART, not seepage.

    python peer_art.py arrays.npz seconds.json

The file holds logits (2, N, K) of a shadow model and a target, member (2, N) and labels (N,). The
attack is ART's own logistic regression on predictions and labels, fitted on the shadow's answers
and asked about the target's: what one target costs there with a single shadow model.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import numpy as np
import torch
from art.attacks.inference.membership_inference import MembershipInferenceBlackBox
from art.estimators.classification import PyTorchClassifier


def seconds(logits: np.ndarray, member: np.ndarray, labels: np.ndarray) -> float:
    """Seconds of fitting and inferring for one target."""
    model = torch.nn.Linear(1, logits.shape[-1])
    loss = torch.nn.CrossEntropyLoss()
    classifier = PyTorchClassifier(model, loss, input_shape=(1,), nb_classes=logits.shape[-1])
    began = time.perf_counter()
    attack = MembershipInferenceBlackBox(classifier, attack_model_type="lr")
    inside, outside = member[0], ~member[0]
    attack.fit(
        x=None,
        y=labels[inside],
        test_x=None,
        test_y=labels[outside],
        pred=logits[0][inside],
        test_pred=logits[0][outside],
    )
    attack.infer(None, labels, pred=logits[1], probabilities=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    given = np.load(sys.argv[1])
    arrays = given["logits"], given["member"], given["labels"]
    seconds(*arrays)
    times = {"shadow-classifier": statistics.median(seconds(*arrays) for _ in range(3))}
    with open(sys.argv[2], "w") as out:
        json.dump(times, out)
