"""Whom the strongest attacks find, alone and together, as the report's tables show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from seepage.findings import Findings

__all__ = ["together"]

PATTERNS = 12


def together(f: Findings) -> Mapping[str, Any] | None:
    """Rows of the two tables: attacks pair by pair, and the sets of attacks that find somebody."""
    a = f.agreement
    if a is None:
        return None
    g = a.found
    titles = {x.name: x.title for x in f.attacks}
    names = [titles.get(n, n) for n in g.attacks]
    pairs = []
    for k, title in enumerate(names):
        shared = [
            {
                "mean": f"{g.jaccard[k, j]:.2f}",
                "interval": f"{g.low[k, j]:.2f} – {g.high[k, j]:.2f}"
                if np.isfinite(g.low[k, j])
                else "",
                "chance": f"{g.chance[k, j]:.2f}",
            }
            for j in range(k)
            if np.isfinite(g.jaccard[k, j])
        ]
        pairs.append(
            {
                "title": title,
                "found": g.found[k],
                "shared": shared,
                "empty": len(names) - 1 - len(shared),
                "stability": a.stability[k] if a.stability else None,
            }
        )
    most = max(int(g.inside[:PATTERNS].max(initial=0)), 1)
    return {
        "a": a,
        "g": g,
        "names": names,
        "pairs": pairs,
        "alone": (titles.get(a.alone[0], a.alone[0]), a.alone[1]),
        "sets": [
            {
                "dots": p.tolist(),
                "inside": int(i),
                "outside": int(o),
                "share": float(i) / most,
            }
            for p, i, o in zip(g.patterns, g.inside, g.outside, strict=True)
        ][:PATTERNS],
        "more": max(0, len(g.patterns) - PATTERNS),
    }
