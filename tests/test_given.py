"""What callers and users pass: arrays with masks or imaginary parts, and paths that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seepage import metrics, plane
from seepage.attacks import LiRA
from seepage.data import from_arrays
from seepage.errors import InputError
from seepage.given_arrays import given_array
from seepage.local_paths import local_path
from seepage.plan import SubsetPlan, half_split

MEMBER = half_split(12, models=8, seed=0).member
PHI = np.random.default_rng(0).normal(size=MEMBER.shape)
TABLE = np.arange(24.0).reshape(12, 2)
Y = np.arange(12) % 2

TAKES: dict[str, Callable[[Any], Any]] = {
    "inputs": lambda spoil: from_arrays(spoil(TABLE), Y),
    "labels": lambda spoil: from_arrays(TABLE, spoil(Y)),
    "ids": lambda spoil: from_arrays(TABLE, Y, ids=spoil(np.arange(12))),
    "groups": lambda spoil: from_arrays(TABLE, Y, groups=spoil(np.arange(12))),
    "signal": lambda spoil: LiRA().leave_one_out(spoil(PHI), MEMBER),
    "member": lambda spoil: LiRA().leave_one_out(PHI, spoil(MEMBER)),
    "target": lambda spoil: LiRA().score(spoil(PHI[0]), PHI[2:], MEMBER[2:]),
    "scores": lambda spoil: metrics.auc(spoil(PHI[0]), MEMBER[0]),
    "scores of rows": lambda spoil: metrics.operating_points(spoil(PHI), MEMBER, [0.1]),
    "scores with an interval": lambda spoil: metrics.evidence(spoil(PHI), MEMBER),
    "plan": lambda spoil: SubsetPlan(spoil(MEMBER), np.zeros(8, np.uint64), "own", 0),
    "decisions": lambda spoil: plane.points(spoil(PHI > 0), MEMBER),
}


def _masked(values: Any) -> Any:
    mask = np.zeros(values.shape, dtype=bool)
    mask.flat[1] = True
    return np.ma.array(values, mask=mask)


@pytest.mark.parametrize("what", TAKES)
def test_masks_and_imaginary_parts_are_not_dropped(what: str) -> None:
    TAKES[what](lambda values: values)
    TAKES[what](lambda values: np.ma.array(values))  # masks nothing
    with pytest.raises(InputError, match=r"expected values everywhere, got a mask over 1 of \d+"):
        TAKES[what](_masked)
    with pytest.raises(InputError, match="expected real numbers, got complex128"):
        TAKES[what](lambda values: values + 0j)


def test_a_plain_array_is_handed_on_as_it_is() -> None:
    assert given_array(PHI, "x") is PHI


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "expected the name of a file or folder, got ''"),
        ("s3://bucket/run", "expected a local file or folder, got the address 's3://bucket/run'"),
        (Path("s3://bucket/run"), "got the address 's3:/bucket/run'"),
        ("a\0b", "got a zero byte in"),
        ("\udcff.csv", "expected a name in UTF-8"),
        ("a/" + "x" * 256, "expected names of at most 255 bytes, got one of 256"),
        ("é" * 128, "expected names of at most 255 bytes, got one of 256"),
        ("a/" * 2100, "in a path of 4200"),
    ],
)
def test_paths_that_are_none(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^out: .*{message}") as raised:
        local_path(given, "out")
    str(raised.value).encode()  # can be printed


@pytest.mark.parametrize("given", ["runs/a", "/tmp", ".", "a:b:c", "[/x]", "x" * 255, "ü"])
def test_paths_that_are_odd_alone(given: str) -> None:
    assert local_path(given, "out") == Path(given)
