"""Names of the reference networks, known without making one."""

from __future__ import annotations

import re

__all__ = ["NAMES", "RESNET", "WRN", "known"]

NAMES = (
    "mlp", "cnn", "cnn-1", "cnn-2", "cnn-3", "cnn-4", "wrn-16-1", "wrn-16-2", "wrn-28-2", "resnet9",
    "resnet18", "vgg11", "gpt",
)  # fmt: skip
WRN = r"wrn-(\d{1,4})-(\d{1,3})"
RESNET = r"resnet18-w(\d{1,4})"


def known(name: str) -> bool:
    """Whether a name is that of a reference network.

    >>> known("wrn-40-4"), known("mine.models:net")
    (True, False)
    """
    return name in NAMES or any(re.fullmatch(family, name) for family in (WRN, RESNET))
