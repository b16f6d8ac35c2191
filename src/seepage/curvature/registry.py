"""Estimators by name, for configurations and the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from seepage.curvature.base import Estimator
from seepage.curvature.differences import FiniteDifference, ZerothOrder
from seepage.curvature.gauss_newton import AllClasses, ExactGaussNewton, LogitProbes, TopK
from seepage.curvature.hutchinson import Hutchinson
from seepage.errors import InputError, nearest

__all__ = ["ESTIMATORS", "estimator"]


def _exact(top: int | None = None, probes: int | None = None) -> Estimator:
    if top is not None and probes is not None:
        raise InputError("exact: expected top or probes, got both; choose one")
    if top is not None:
        return ExactGaussNewton(TopK(top))
    return ExactGaussNewton(AllClasses() if probes is None else LogitProbes(probes))


# name -> (what makes it, option -> type)
ESTIMATORS: Mapping[str, tuple[Callable[..., Estimator], Mapping[str, type]]] = {
    "exact": (_exact, {"top": int, "probes": int}),
    "hutchinson": (Hutchinson, {"n": int}),
    "finite-difference": (FiniteDifference, {"h": float, "n": int, "squared": bool}),
    "zeroth-order": (ZerothOrder, {"h": float, "n": int}),
}


def estimator(name: str, options: Mapping[str, Any] | None = None) -> Estimator:
    """The estimator of that name: "exact", "hutchinson", "finite-difference" or "zeroth-order".

    options: `top` or `probes` (exact), `n` (the others), `h` (differences), `squared` (finite
    differences). Raises InputError for what it does not know.

    >>> estimator("zeroth-order", {"n": 5}).passes
    21
    """
    if name not in ESTIMATORS:
        raise InputError(
            f"estimator: expected a known name, got {name!r}; {nearest(name, ESTIMATORS)}"
        )
    make, known = ESTIMATORS[name]
    given: dict[str, Any] = {}
    for option, value in (options or {}).items():
        if option not in known:
            raise InputError(f"{option}: unknown option of {name!r}; {nearest(option, known)}")
        kind = known[option]
        fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
        if not fits or (kind is not bool and isinstance(value, bool)):
            raise InputError(f"{option}: expected {kind.__name__}, got {value!r}")
        given[option] = kind(value)
    return make(**given)
