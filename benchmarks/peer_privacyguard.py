"""Times PrivacyGuard on the arrays of an .npz file; needs its environment, not ours.

    python peer_privacyguard.py arrays.npz seconds.json

phi, loss and member are (R, N): R − 2 reference models score one target, as in `tests/parity/peer.py`,
whose functions are what is timed (tables of references, attack, scores put in order).
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "parity"))
import peer


def seconds(call: Callable[[], Any], repeats: int = 3) -> float:
    """Median seconds of a call."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


if __name__ == "__main__":
    given = np.load(sys.argv[1])
    phi, loss, member = given["phi"], given["loss"], given["member"]
    everyone = np.arange(phi.shape[1])
    times = {
        "lira": seconds(lambda: peer.lira(phi, member, 0)),
        "rmia": seconds(lambda: peer.rmia(loss, member, 0, everyone)),
    }
    with open(sys.argv[2], "w") as out:
        json.dump(times, out)
