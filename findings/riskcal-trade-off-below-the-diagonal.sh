#!/usr/bin/env bash
# riskcal 1.5.1 (dp-accounting 0.6.0): get_beta_for_dpsgd on its default grid gives, at a false-positive rate
# of 1e-6, a largest true-positive rate of 8e-14 for 1,000 steps of DP-SGD with noise 1 and rate .01: worse than
# guessing, which reaches 1e-6. δ(ε) of the very privacy-loss distribution it uses allows 9.4e-6, and with a
# coarser grid its own figure is near that. A reader of the curve takes the release for safer than it is.
#
# Seen: TPR 8.03e-14 at FPR 1e-6 (default grid 1e-4), 9.37e-6 from δ(ε), 1.0e-5 on a grid of 1e-2.
# Fails if the default grid no longer lies below the diagonal there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "riskcal==1.5.1" "dp-accounting==0.6.0" "numpy==2.4.6" "scipy==1.17.1"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib import metadata

import numpy as np
from dp_accounting.pld import privacy_loss_distribution
from riskcal.calibration.dpsgd import get_beta_for_dpsgd

noise, rate, steps, fpr = 1.0, 0.01, 1000, 1e-6
default = 1 - float(get_beta_for_dpsgd(noise, rate, steps, alpha=fpr))
coarse = 1 - float(get_beta_for_dpsgd(noise, rate, steps, alpha=fpr, grid_step=1e-2))
loss = privacy_loss_distribution.from_gaussian_mechanism(
    noise, sampling_prob=rate, use_connect_dots=True, value_discretization_interval=1e-4
).self_compose(steps)
epsilon = np.linspace(0, loss.get_epsilon_for_delta(1e-12), 2000)
delta = np.array(loss.get_delta_for_epsilon(epsilon))
allowed = float((np.exp(epsilon) * fpr + delta).min())
print(f"riskcal {metadata.version('riskcal')}, dp-accounting {metadata.version('dp-accounting')}")
print(f"largest TPR at FPR {fpr:g}: default grid {default:.3g}, grid of 1e-2 {coarse:.3g}, by δ(ε) {allowed:.3g}")
assert default < fpr / 1000, "the default grid is no longer below the diagonal"
assert fpr < allowed < 1e-5
assert abs(coarse / allowed - 1) < 0.2
print("as described")
PYTHON
