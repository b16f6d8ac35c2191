#!/usr/bin/env bash
# adversarial-robustness-toolbox 1.20.1: HopSkipJump gives other distances at every call though NumPy's seed
# is set before each. Its directions come from NumPy's global stream, and the point it starts from, where none is
# passed (`x_adv_init`), from a `RandomState()` of its own that nobody can seed. A membership score that is such a
# distance does not repeat; with starts of one's own and the seed it does, to the bit.
#
# Seen on ten digits of a logistic regression: all ten distances differ between two calls, by up to .6 to .9 of about 2.7;
# none with the same starts. Fails if two calls without starts agree, or two with the same starts do not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "adversarial-robustness-toolbox==1.20.1" "scikit-learn==1.9.1" "numpy==2.4.6" "scipy==1.17.1" packaging setuptools
"$folder/venv/bin/python" - <<'PYTHON'
import art
import numpy as np
from art.attacks.evasion import HopSkipJump
from art.estimators.classification import SklearnClassifier
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

x, y = load_digits(return_X_y=True)
x = (x / 16).astype(np.float32)
model = LogisticRegression(max_iter=500).fit(x[:1000], y[:1000])
asked = x[1000:1010]
# For each, a digit that is answered otherwise.
answers = model.predict(x)
starts = np.stack([x[np.flatnonzero(answers != a)[0]] for a in model.predict(asked)])


def distances(start=None):
    np.random.seed(0)
    attack = HopSkipJump(
        SklearnClassifier(model, clip_values=(0, 1)),
        max_iter=2, max_eval=50, init_eval=5, verbose=False,
    )
    found = attack.generate(asked, x_adv_init=start)
    return np.linalg.norm(found - asked, axis=1)


own, given = [(distances(s), distances(s)) for s in (None, starts)]
print(f"adversarial-robustness-toolbox {art.__version__}, NumPy's seed set before each call")
for name, (one, other) in (("its own starts", own), ("starts passed", given)):
    gap = np.abs(one - other)
    print(f"{name}: {(gap > 0).sum()} of 10 differ, by up to {gap.max():.3f} of about {one.mean():.2f}")
assert (own[0] != own[1]).sum() >= 8
assert (given[0] == given[1]).all()
PYTHON
