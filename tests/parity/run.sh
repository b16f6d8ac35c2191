#!/bin/sh
# Parity with PrivacyGuard: makes an environment of its own for the peer, then runs the tests
# marked `parity` with the interpreter given (default: that of .venv) and prints the largest differences.
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
        "privacyguard-platform==0.0.2" "torch==2.13.0"
fi
cd "$root"
SEEPAGE_PARITY_PYTHON="$peer/bin/python" "$python" -m pytest -q -s -m parity tests/parity
