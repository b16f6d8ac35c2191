"""How the risk falls with the number of examples per class: a power law, and the number that is needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from seepage.array_types import Float64Array, FloatArray
from seepage.errors import InputError

__all__ = ["PowerLaw", "Range", "power_law"]

# Slopes that the search starts from, the one that fits best.
_SLOPES = np.linspace(-2.0, 1.0, 31)
# Above it the points do not tell a slope from an intercept.
_FLAT = 1e12


@dataclass(frozen=True)
class Range:
    """A value with an interval at a level; `high` is infinite where nothing bounds it from above."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PowerLaw:
    """log A = intercept + slope · log S, fitted to `points` advantages A at S examples per class.

    covariance: of (intercept, slope), as a tuple of rows. scatter: χ per degree of freedom, by which
    the covariance is widened where the points lie further from the law than their own errors say
    (above 1). shots: smallest and largest S seen. share: the part of its pool that a model trained
    on, 0 where members are drawn from a population.
    """

    intercept: float
    slope: float
    covariance: tuple[tuple[float, float], tuple[float, float]]
    scatter: float
    points: int
    shots: tuple[float, float]
    share: float
    level: float

    @property
    def _width(self) -> float:
        return float(scipy.stats.t.ppf((1 + self.level) / 2, self.points - 2))

    def _range(self, value: float, error: float) -> Range:
        half = self._width * error
        return Range(value, value - half, value + half)

    @property
    def slopes(self) -> Range:
        """The slope with its interval; theory says −½ for heads on fixed features."""
        return self._range(self.slope, float(np.sqrt(self.covariance[1][1])))

    @property
    def intercepts(self) -> Range:
        """The intercept with its interval, of an attacker who knows the pool."""
        return self._range(self.intercept, float(np.sqrt(self.covariance[0][0])))

    @property
    def intercept_of_population(self) -> float:
        """The intercept for members drawn from a population: plus ½ log(1 − share).

        Members drawn without replacement from a pool vary less by that factor than fresh draws, so
        that one sample stands out more: of half splits by ½ log 2. It is right where sampling of the
        data, not the noise of training, hides a sample, and holds for small advantages.
        """
        return self.intercept + 0.5 * float(np.log1p(-self.share))

    def advantage(self, shots: float) -> Range:
        """TPR − FPR that the law says at S = `shots`, with the interval of the line there.

        >>> law = power_law([16, 64, 256], [0.2, 0.1, 0.05], [0.01, 0.01, 0.01])
        >>> round(law.advantage(64).value, 3)
        0.1
        """
        x = np.log(_positive(shots, "shots", "a number of examples per class"))
        at = np.array([1.0, x])
        error = float(np.sqrt(at @ np.array(self.covariance) @ at))
        found = self._range(self.intercept + self.slope * x, error)
        return Range(*(float(np.exp(v)) for v in (found.value, found.low, found.high)))

    def needed(self, advantage: float) -> Range:
        """Examples per class at which TPR − FPR falls to `advantage`, with an interval (Fieller).

        The interval has every S at which the line's own interval holds `advantage`; its upper end is
        infinite where the slope may be 0. Beyond `shots` it is an extrapolation.

        >>> law = power_law([16, 64, 256], [0.2, 0.1, 0.05], [0.01, 0.01, 0.01])
        >>> round(law.needed(0.025).value)
        1024
        """
        y = float(np.log(_positive(advantage, "advantage", "TPR − FPR")))
        if self.slope >= 0:
            return Range(float("inf"), float("nan"), float("inf"))
        value = float(np.exp(min((y - self.intercept) / self.slope, 700.0)))
        (v00, v01), (_, v11) = self.covariance
        t2 = self._width**2
        gap = self.intercept - y
        a, b, c = self.slope**2 - t2 * v11, self.slope * gap - t2 * v01, gap**2 - t2 * v00
        root = b * b - a * c
        if a <= 0:  # the slope may be 0: from some S on nothing is excluded
            ends = [] if root < 0 else sorted(((-b + s * np.sqrt(root)) / a) for s in (1, -1))
            below = [e for e in ends if e <= np.log(value)]
            return Range(value, float(np.exp(max(below))) if below else 0.0, float("inf"))
        low, high = ((-b + s * np.sqrt(max(root, 0.0))) / a for s in (-1, 1))
        return Range(value, float(np.exp(low)), float(np.exp(min(high, 700.0))))


def _positive(value: float, name: str, what: str) -> float:
    if not 0 < value < np.inf:
        raise InputError(f"{name}: expected {what} above 0, got {value}; correct it")
    return float(value)


def power_law(
    shots: FloatArray | list[float],
    advantage: FloatArray | list[float],
    error: FloatArray | list[float],
    *,
    share: float = 0.0,
    level: float = 0.95,
) -> PowerLaw:
    """Fit log(TPR − FPR) = β₀ + β₁ log S to the advantages of runs that differ in S.

    shots (P,): examples of a class that a model trained on. advantage (P,): TPR − FPR at one FPR, the
    same in all runs. error (P,): its standard errors. share: the part of its pool that each model
    trained on (half splits ½), for `intercept_of_population`; 0 for members drawn afresh.

    Least squares weighted by the errors, in the advantage itself, so that runs in which noise hides
    the leak (an advantage about 0, or below) count for what they are instead of being left out. The
    errors are widened by the scatter about the law where it is larger, and intervals use Student's t
    with P − 2 degrees of freedom. It fails where S is so small that TPR nears 1, and where recipes
    differ in more than S.

    Raises InputError for fewer than three points, for points at fewer than two S, and for values or errors that are none.

    Source: Tobaben et al., arXiv 2402.06674 (theory: slope −½ for the heads of fixed features). A
    *reconstruction* from its abstract: there, the law has a term for the number of classes too.

    >>> law = power_law([16, 64, 256, 1024], [0.41, 0.2, 0.1, 0.05], [0.02] * 4, share=0.5)
    >>> round(law.slope, 2), law.slopes.low < -0.5 < law.slopes.high
    (-0.51, True)
    >>> round(law.intercepts.value - law.intercept_of_population, 3)
    0.347
    """
    s, a, e = (np.asarray(v, dtype=np.float64) for v in (shots, advantage, error))
    _checked(s, a, e, share, level)
    x = np.log(s)
    centre = float(np.average(x, weights=1 / e**2))

    def law(at: Float64Array) -> Float64Array:
        return np.asarray(np.exp(np.clip(at[0] + at[1] * (x - centre), -700, 700)))

    def slopes(at: Float64Array) -> Float64Array:
        here = law(at) / e
        return np.stack([here, here * (x - centre)], axis=1)

    fitted = scipy.optimize.least_squares(
        lambda at: (law(at) - a) / e, _start(x - centre, a, e), jac=slopes, xtol=1e-12, ftol=1e-12
    )
    found = fitted.x
    curvature = fitted.jac.T @ fitted.jac
    if not np.linalg.cond(curvature) < _FLAT:
        raise _hidden(a)
    covariance = np.linalg.inv(curvature)
    scatter = float(np.sqrt((fitted.fun**2).sum() / (len(a) - 2)))
    covariance = covariance * max(1.0, scatter) ** 2
    # From the centre of the points back to S = 1.
    back = np.array([[1.0, -centre], [0.0, 1.0]])
    intercept, slope = back @ found
    covariance = back @ covariance @ back.T
    (v00, v01), (v10, v11) = covariance.tolist()
    return PowerLaw(
        float(intercept),
        float(slope),
        ((v00, v01), (v10, v11)),
        scatter,
        len(a),
        (float(s.min()), float(s.max())),
        float(share),
        float(level),
    )


def _start(z: Float64Array, a: Float64Array, e: Float64Array) -> Float64Array:
    """(log of the level, slope) on a grid of slopes, at each of which the level is linear."""
    shapes = np.exp(_SLOPES[:, None] * z)
    level = (shapes * a / e**2).sum(axis=1) / (shapes**2 / e**2).sum(axis=1)
    lost = (((a - level[:, None] * shapes) / e) ** 2).sum(axis=1)
    lost[level <= 0] = np.inf
    k = int(lost.argmin())
    if not np.isfinite(lost[k]):
        raise _hidden(a)
    return np.array([np.log(level[k]), _SLOPES[k]])


def _hidden(a: Float64Array) -> InputError:
    shown = ", ".join(f"{v:.3g}" for v in a)
    return InputError(
        f"advantage: expected some that are above 0, got {shown}; take a larger FPR, or more models"
    )


def _checked(s: Float64Array, a: Float64Array, e: Float64Array, share: float, level: float) -> None:
    if s.ndim != 1 or not s.shape == a.shape == e.shape or len(s) < 3:
        raise InputError(
            f"shots: expected three points or more, with an advantage and an error each, got shapes "
            f"{s.shape}, {a.shape} and {e.shape}; add runs that differ in examples per class"
        )
    if len(np.unique(s)) < 2:
        raise InputError(
            f"shots: expected runs that differ in examples per class, got {s[0]:g} in all {len(s)}"
        )
    if not (np.isfinite(s).all() and (s > 0).all()):
        raise InputError(f"shots: expected numbers above 0, got {s.tolist()}; correct them")
    if not np.isfinite(a).all():
        raise InputError(f"advantage: expected finite numbers, got {a.tolist()}; correct them")
    if not (np.isfinite(e).all() and (e > 0).all()):
        raise InputError(
            f"error: expected standard errors above 0, got {e.tolist()}; runs of four independent "
            "models or more have them"
        )
    if not 0 <= share < 1:
        raise InputError(f"share: expected the part of the pool, from 0 to below 1, got {share}")
    if not 0.5 < level < 1:
        raise InputError(f"level: expected a number between 0.5 and 1, got {level}; use 0.95")
