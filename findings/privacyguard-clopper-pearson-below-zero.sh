#!/usr/bin/env bash
# privacyguard-platform 0.0.2: the "empirical epsilon with Clopper-Pearson CI" of MIAResults is negative on
# most noise, though no ε is: np.max(np.log(r), 0) takes the 0 for an axis, where the larger of the two was
# meant. An average over audits, or a comparison with 0, then says something else than was meant.
#
# Seen: 200 audits of 100 + 100 scores of one law at δ = 0: negative in 188, down to -0.037.
# Fails if fewer than 100 are negative.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "privacyguard-platform==0.0.2" "torch==2.13.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings
from importlib import metadata

import torch
from privacy_guard.analysis.mia.mia_results import MIAResults

warnings.simplefilter("ignore")
found = []
for seed in range(200):
    generator = torch.Generator().manual_seed(seed)
    members, others = torch.randn(100, generator=generator), torch.randn(100, generator=generator)
    found.append(float(MIAResults(members, others).compute_acc_auc_ci_epsilon(0.0)[2]))
print(f"privacyguard-platform {metadata.version('privacyguard-platform')}: 200 audits of noise")
negative = sum(e < 0 for e in found)
print(f"negative in {negative}, smallest {min(found):.4f}, largest {max(found):.3f}")
assert negative >= 100, "an epsilon is no longer negative on noise"
print("as described")
PYTHON
