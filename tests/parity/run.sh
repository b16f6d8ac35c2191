#!/bin/sh
# Parity with other packages: makes environments of their own for the peers, then runs the tests
# marked `parity` with the interpreter given (default: that of .venv) and prints the largest differences.
# Every version is pinned by the .txt files beside this script: with one candidate each pip need not go back
# through releases until one fits, such as those of torchvision beside the pinned torch.
#
#   tests/parity/run.sh [python]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
ours="$root/.venv/bin/python"
[ -x "$ours" ] || ours=python
python=${1:-$ours}
peer="$root/.venv-parity"
if [ ! -x "$peer/bin/python" ] || ! "$peer/bin/python" -c "import privacy_guard" 2>/dev/null; then
    "$python" -m venv "$peer"
    "$peer/bin/pip" install --quiet --disable-pip-version-check \
        -c "$root/tests/parity/privacyguard.txt" "privacyguard-platform==0.0.2" "torch==2.13.0"
fi
# PrivacyGuard's ε is no reference (findings/): it is compared with what bounds ε as it should.
epsilon="$root/.venv-parity-epsilon"
if [ ! -x "$epsilon/bin/python" ] || ! "$epsilon/bin/python" -c "import privacy_estimates, riskcal" 2>/dev/null; then
    "$python" -m venv "$epsilon"
    "$epsilon/bin/pip" install --quiet --disable-pip-version-check \
        -c "$root/tests/parity/epsilon.txt" "jax-privacy==2.0.0" \
        "dp-accounting==0.6.0" "riskcal==1.5.1" "privacy-estimates==0.1.0.post1" "numpy==2.4.6"
fi
cd "$root"
SEEPAGE_PARITY_PYTHON="$peer/bin/python" SEEPAGE_PARITY_EPSILON_PYTHON="$epsilon/bin/python" \
    "$python" -m pytest -q -s -m parity tests/parity
