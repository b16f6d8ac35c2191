#!/usr/bin/env bash
# SciPy 1.17.1: the exact one-sided signed-rank test gives p = 0 at perfect separation from 54 pairs on. All
# differences positive have probability 2^-n, 5.6e-17 at n = 54, which a double holds easily, but the tail is
# taken as 1 minus the distribution function, which loses whatever is below 1.1e-16. With 53 pairs p is right; the
# other side's p, of minus the same differences by alternative="less", is right at any n.
#
# Who audits models in pairs of shadows reads p = 0 for a sample that every pair recognises, and a correction
# for many tests cannot tell it from a mistake. Fails if p at 54 pairs is above 0, or at 53 not 2^-53.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "scipy==1.17.1" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import scipy
from scipy.stats import wilcoxon

print(f"SciPy {scipy.__version__}: all differences positive, exact, alternative='greater'")
found = {}
for n in (30, 53, 54, 60):
    d = np.arange(1.0, n + 1)
    up = wilcoxon(d, method="exact", alternative="greater").pvalue
    down = wilcoxon(-d, method="exact", alternative="less").pvalue
    found[n] = up, down
    print(f"{n} pairs: p = {up:.3g}, of the mirrored question {down:.3g}, true {2.0**-n:.3g}")
assert found[53][0] == 2.0**-53
assert found[54][0] == found[60][0] == 0.0
assert found[60][1] == 2.0**-60
PYTHON
