"""`peer.py` runs in the peer's environment and is no test."""

from __future__ import annotations

collect_ignore = ["peer.py"]
