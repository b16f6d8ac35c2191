"""Tests against the real libraries: `make adapters`, in an environment of its own.

Elsewhere they are not even read: what they import is not there.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

LIBRARIES = ("lightning", "transformers", "peft", "xgboost", "lightgbm", "catboost", "art")
if any(importlib.util.find_spec(name) is None for name in LIBRARIES):
    collect_ignore_glob = ["test_*.py"]

# What these libraries say to their own users; a warning of ours stays an error.
THEIRS = (
    "ignore:.*does not have many workers:UserWarning",
    "ignore:.*The number of training batches:UserWarning",
    "ignore:.*Skipping val loop:UserWarning",
    "ignore:.*GPU available:UserWarning",
    "ignore:.*exists and is not empty:UserWarning",
    "ignore:.*pin_memory.*:UserWarning",
    "ignore:::lightning",
    "ignore:::pytorch_lightning",
    "ignore:::transformers",
    "ignore:::accelerate",
    "ignore:::torch.utils.data",
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.adapters)
            for each in THEIRS:
                item.add_marker(pytest.mark.filterwarnings(each))
