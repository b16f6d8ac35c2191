"""Odd arrays by the hundred to what takes arrays from callers: refused in one line, or used as given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from malformed import Tally
from seepage import epsilon, metrics, plane
from seepage.attacks import LOSS, RMIA, AttackR, LiRA
from seepage.data import Dataset, from_arrays
from seepage.given_arrays import given_array
from seepage.plan import SubsetPlan, half_split

pytestmark = pytest.mark.slow
EACH = 300
Record = Callable[[str, object], None]
MEMBER = half_split(24, models=8, seed=0).member
PHI = np.random.default_rng(0).normal(size=MEMBER.shape) + MEMBER
TABLE, Y = np.random.default_rng(1).normal(size=(24, 2)), np.arange(24) % 3

Entry = tuple[Callable[..., Any], list[Any]]
READERS: dict[str, list[Entry]] = {
    "given_array": [(lambda a: given_array(a, "a"), [PHI])],
    "metrics of one target": [
        (f, [PHI[0], MEMBER[0]])
        for f in (metrics.auc, metrics.roc, metrics.balanced_accuracy, metrics.auc_interval,
                  lambda s, y: metrics.tpr_at_fpr(s, y, 0.1))
    ],
    "metrics of many targets": [
        (f, [PHI, MEMBER])
        for f in (metrics.row_auc, metrics.average_roc, metrics.operating_points, metrics.pooled_points,
                  metrics.pooled_by_target, metrics.sample_auc, metrics.evidence)
    ],
    "epsilon": [
        (f, [PHI[0], MEMBER[0]])
        for f in (epsilon.multi_run, epsilon.gdp, lambda s, y: epsilon.one_run_from_scores(s, y, 8))
    ],
    "attacks": [
        *((a.leave_one_out, [PHI, MEMBER]) for a in (LiRA(), RMIA(), LOSS(), AttackR())),
        *((a.score, [PHI[0], PHI[2:], MEMBER[2:]]) for a in (LiRA(), RMIA())),
    ],
    "agreement": [
        (metrics.decision_stability, [PHI > 0, MEMBER]),
        (lambda d, y: metrics.agreement({"a": d, "b": d}, y), [PHI > 0, MEMBER]),
        (lambda s, y: metrics.called_members(s, y, 0.1), [PHI, MEMBER]),
        (metrics.precision, [PHI[0] % 1, PHI[0] % 1, PHI[0] % 1]),
        (metrics.clopper_pearson, [np.arange(24), np.full(24, 30)]),
    ],
    "plane": [(plane.points, [PHI > 0, MEMBER])],
    "plans": [(lambda m, s: SubsetPlan(m, s, "own", 0), [MEMBER, np.arange(8, dtype=np.uint64)])],
    "pools": [
        (lambda x, y: from_arrays(x, y), [TABLE, Y]),
        (lambda x, y, i: from_arrays(x, y, ids=i), [TABLE, Y, np.arange(24)]),
        (lambda x, y, g: from_arrays(x, y, groups=g), [TABLE, Y, np.arange(24) // 2]),
    ],
}  # fmt: skip


def odd(values: Any, rng: np.random.Generator) -> Any:
    """Another shape, type or values: what a caller passes by mistake."""
    a = np.array(values)
    at = tuple(int(rng.integers(k)) for k in a.shape)
    kinds: list[Callable[[], Any]] = [
        lambda: None, lambda: "text", lambda: 3, dict, list, lambda: [[1, 2], [3]], lambda: iter([1]),
        lambda: a.astype(object), lambda: a.astype(str), lambda: a.astype(complex), lambda: a + 1j,
        lambda: a.astype("S4"), lambda: a.astype(np.int64).astype("datetime64[s]"), lambda: a[..., None],
        lambda: a[None], lambda: a[:0], lambda: a[..., :0], lambda: a[..., :-1], lambda: a[1:], lambda: a.T,
        lambda: a.reshape(-1), lambda: np.array(5.0), lambda: a.astype(np.float16), lambda: a.astype(np.longdouble),
        lambda: a * np.float64(1e308), lambda: a.astype(np.int64) * 2**62, lambda: a.astype(np.uint8) - np.uint8(1),
        lambda: a.astype(bool), lambda: ~a.astype(bool), lambda: np.zeros_like(a), lambda: np.ones_like(a),
        lambda: a.tolist(), lambda: np.ma.array(a), lambda: np.ma.array(a, mask=np.arange(a.size).reshape(a.shape) == 1),
        lambda: np.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")]), lambda: np.broadcast_to(a.flat[0], a.shape),
        lambda: np.stack([a, a]), lambda: a[::-1], lambda: a + 0.5, lambda: -a.astype(np.float64) - 3,
    ]  # fmt: skip
    which = int(rng.integers(len(kinds) + 8))
    if which < len(kinds):
        with np.errstate(all="ignore"):
            return kinds[which]()
    a = a.astype(np.float64)
    a[at] = [np.nan, np.inf, -np.inf, 2.0, -1.0, 1e308, 0.5, 2.0**53 + 1][which - len(kinds)]
    return a


def plain(found: Any) -> None:
    """What comes out holds numbers, no objects, and nothing where nothing was measured but NaN."""
    values = [found] if not hasattr(found, "__dict__") else vars(found).values()
    for value in values:
        if isinstance(value, np.ndarray):
            assert value.dtype.kind in "biufUSMV"


@pytest.mark.parametrize("name", READERS)
def test_arrays(name: str, tmp_path: Path, record_property: Record) -> None:
    tally = Tally(f"arrays: {name}", tmp_path)
    for call, sound in READERS[name]:
        call(*sound)
    for seed in range(EACH):
        rng = np.random.default_rng([11, seed])
        call, sound = READERS[name][seed % len(READERS[name])]
        given = list(sound)
        which = int(rng.integers(len(given)))
        given[which] = odd(given[which], rng)
        before = [
            g.tobytes() if isinstance(g, np.ndarray) and g.dtype != object else None for g in given
        ]

        def read(call: Any = call, given: list[Any] = given, before: list[Any] = before) -> bool:
            found = call(*given)
            after = [
                g.tobytes() if isinstance(g, np.ndarray) and g.dtype != object else None
                for g in given
            ]
            assert after == before, "the caller's array changed"
            if not isinstance(found, Dataset | SubsetPlan) and name != "given_array":
                plain(found)
            return True

        shown = (
            f"{getattr(call, '__qualname__', call)} argument {which}: {str(given[which])[:60]!r}"
        )
        tally.read(read, (seed, shown), "numbers of the right shape")
    tally.close(record_property)
