"""How much of what a file holds is taken into memory."""

from __future__ import annotations

import psutil

__all__ = ["most_bytes"]


def most_bytes() -> int:
    """How much of one file is read at most: what is made of it needs a few times as much memory."""
    return int(psutil.virtual_memory().available) // 4
