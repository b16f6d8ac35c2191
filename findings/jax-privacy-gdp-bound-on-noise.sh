#!/usr/bin/env bash
# jax-privacy 2.0.0: CanaryScoreAuditor.epsilon_from_gdp, "a lower bound", says ε far above 0 where
# canaries and held-out scores come from one law, so that the true ε is 0. It takes the absolute value
# of Φ⁻¹(1 − FPR⁺) − Φ⁻¹(FNR⁺). Both rates are *upper* ends; where their sum exceeds 1 the difference is
# negative because nothing is known, and its size grows with ignorance: fewer canaries, more ε.
# Pull request 270 of its repository mends it; the release that the index offers is 2.0.0.
#
# Seen: 20 audits of 100 + 100 scores at 95 %: ε between 2.0 and 12.9, 8.4 on average; epsilon_clopper_pearson
# of the same scores: 0 in all.
# Fails if fewer than 19 of the 20 lie above 1, or if Clopper-Pearson is above 0 in more than 3.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "jax-privacy==2.0.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib import metadata

import numpy as np
from jax_privacy import auditing

gdp, exact = [], []
for seed in range(20):
    rng = np.random.default_rng(seed)
    auditor = auditing.CanaryScoreAuditor(rng.normal(size=100), rng.normal(size=100))
    gdp.append(auditor.epsilon_from_gdp(0.05, 1e-5))
    exact.append(auditor.epsilon_clopper_pearson(0.05, 1e-5))
print(f"jax-privacy {metadata.version('jax-privacy')}, 20 audits of noise, true epsilon 0")
print(f"epsilon_from_gdp: smallest {min(gdp):.2f}, mean {np.mean(gdp):.2f}, largest {max(gdp):.2f}")
print(f"epsilon_clopper_pearson: above 0 in {sum(e > 0 for e in exact)}")
assert sum(e > 1 for e in gdp) >= 19, "the bound on noise is no longer large"
assert sum(e > 0 for e in exact) <= 3
print("as described")
PYTHON
