"""The lowest versions that are declared are those that `make lowest` installs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEVER_INSTALLED = {"ray", "s3", "lightning", "transformers", "peft", "boundary"}
"""Extras that neither the suite nor `make lowest` needs; their tests are skipped."""


def declared() -> dict[str, str]:
    """Name and lowest version of what the package and its tests require."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = content["project"]["optional-dependencies"]
    asked = [*content["project"]["dependencies"], *content["dependency-groups"]["test"]]
    asked += [one for name, many in extras.items() if name not in NEVER_INSTALLED for one in many]
    found: dict[str, str] = {}
    for text in asked:
        name, _, version = text.partition(">=")
        assert re.fullmatch(r"[\d.]+", version), f"{text}: expected a lowest version"
        assert found.setdefault(name, version) == version, f"{name}: two lowest versions"
    return found


def test_what_is_declared_lowest_is_what_is_tested_lowest() -> None:
    lines = (ROOT / "constraints-lowest.txt").read_text().partition("# Beside")[0].splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pinned == declared()


def test_what_is_pinned_is_not_below_it() -> None:
    """`make test` installs no version that the package does not allow."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(x.lower().split("==") for x in lines if x and not x.startswith("#"))
    for name, lowest in declared().items():
        held = [int(n) for n in re.findall(r"\d+", pinned[name].partition("+")[0])]
        assert held >= [int(n) for n in lowest.split(".")], name
