"""The units of a study by name, in the order in which they are most worth their time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from seepage.study.curvature.mislabel import mislabel_unit
from seepage.study.curvature.private import budgets, private_unit
from seepage.study.curvature.settings import CurvatureStudy
from seepage.study.curvature.sizes import matched_unit, size_unit
from seepage.study.curvature.table import estimators_unit, table_unit
from seepage.study.curvature.workshop import Workshop

__all__ = ["Unit", "units"]

Unit = Callable[[Workshop], dict[str, Any]]


def units(study: CurvatureStudy) -> dict[str, Unit]:
    """Every unit: its name, which is that of its result, and what computes it.

    >>> from seepage.study.curvature.settings import TableSettings
    >>> list(units(CurvatureStudy(tables={"digits": TableSettings()})))
    ['table-digits']
    """
    out: dict[str, Unit] = {f"table-{n}": partial(table_unit, name=n) for n in study.tables}
    if study.sizes:
        for order in ("random", "lowest"):
            for m in study.sizes.sizes:
                out[f"size-{order}-m{m}"] = partial(size_unit, order=order, size=m)
    for m in study.matched.sizes if study.matched else ():
        out[f"size-matched-m{m}"] = partial(matched_unit, size=m)
    if study.private:
        for name in budgets(study.private):
            out[f"dp-eps-{name}"] = partial(private_unit, name=name)
    for n in study.estimators.tables if study.estimators else ():
        out[f"estimators-{n}"] = partial(estimators_unit, name=n)
    for n, given in study.mislabel.items():
        for rate in given.rates:
            out[f"mislabel-{n}-{100 * rate:g}"] = partial(mislabel_unit, name=n, rate=rate)
    return out
