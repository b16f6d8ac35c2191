"""Runs that differ in one factor, compared at equal numbers of models."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.array_types import BoolArray, Int64Array
from seepage.errors import InputError
from seepage.plan import tuples
from seepage.plane.paths import Trajectories
from seepage.plane.population import Population
from seepage.plane.regions import Grid, Regions
from seepage.plane.resampling import Bootstrap, Estimate

__all__ = ["COMPARED", "Comparison", "compare_paths", "differing", "equal_models", "one_factor"]


COMPARED = (
    "data",
    "plan",
    "key.model",
    "key.recipe",
    "key.defense",
    "key.function",
    "key.reference",
    "key.extra",
    "checkpoints",
    "signals",
    "views",
)
"""Manifest fields that can be a factor; versions, hardware, times and code cannot."""

# What follows from another field of its section, or from the data, and is no factor of its own.
_DERIVED = frozenset(
    [
        *("digest", "models", "samples", "size", "classes", "features", "shape", "parameters"),
        # Of a model or a function: its structure, code and starting values.
        *("structure", "fixed", "drawn", "python"),
    ]
)


def differing(
    manifests: Sequence[Mapping[str, Any]], under: Collection[str] = COMPARED
) -> dict[str, tuple[Any, ...]]:
    """Fields that are not the same in all manifests: dotted path -> value of each (None if absent).

    Pure; nested mappings are walked, lists compared whole. under: dotted paths to look at; a
    leading "key." is left out of the names.

    >>> differing([{"key": {"recipe": {"lr": 0.1}}}, {"key": {"recipe": {"lr": 0.2}}}])
    {'recipe.lr': (0.1, 0.2)}
    """
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(set(under)):
        values: list[Any] = list(manifests)
        for part in path.split("."):
            values = [v.get(part) if isinstance(v, Mapping) else None for v in values]
        _walk(path.removeprefix("key."), values, found)
    return found


def _walk(path: str, values: list[Any], found: dict[str, tuple[Any, ...]]) -> None:
    sections = [v for v in values if isinstance(v, Mapping)]
    if sections and all(v is None or isinstance(v, Mapping) for v in values):
        for key in sorted({str(k) for v in sections for k in v}):
            _walk(f"{path}.{key}", [None if v is None else v.get(key) for v in values], found)
    elif any(v != values[0] for v in values[1:]):
        found[path] = tuple(values)


def one_factor(
    manifests: Sequence[Mapping[str, Any]],
    *,
    under: Collection[str] = COMPARED,
    allow: Collection[str] = (),
) -> str | None:
    """The one factor that the runs differ in, None when they are alike.

    A field is a factor; where a section's `name` or `kind` differs the whole section is one, since
    its other options belong to the name. Data is one factor with everything that follows from it
    (digests, sizes, the plan's digest). The number of models is no factor, because it is made
    equal; nor are the checkpoints of runs of different length. allow: dotted paths or sections that
    may differ as well.
    Raises InputError naming the factors when there are several.

    >>> sgd = {"key": {"recipe": {"optimizer": "sgd", "lr": 0.1}}}
    >>> sam = {"key": {"recipe": {"optimizer": "sam", "lr": 0.1}}}
    >>> one_factor([sgd, sam])
    'recipe.optimizer'
    """
    fields = differing(manifests, under)
    named = {p.rsplit(".", 1)[0] for p in fields if p.rsplit(".", 1)[-1] in ("name", "kind")}
    factors: dict[str, None] = {}
    derived: list[str] = []
    for path in fields:
        if any(path == a or path.startswith(a + ".") for a in allow):
            continue
        section = next((n for n in sorted(named) if path == n or path.startswith(n + ".")), path)
        if section.split(".")[0] == "data":
            section = "data"
        elif path.rsplit(".", 1)[-1] in _DERIVED:
            derived.append(path)
            continue
        factors[section] = None
    if "recipe.epochs" in factors:
        factors.pop("checkpoints", None)
    if not factors and derived:
        # Several signs of one thing, such as another starting point, are that one thing.
        factors = (
            dict.fromkeys(p.split(".")[0] for p in derived) if derived[1:] else {derived[0]: None}
        )
    if len(factors) > 1:
        raise InputError(
            f"runs: expected one factor to differ, got {', '.join(factors)}; compare runs that "
            "differ in one, or allow the others by name"
        )
    return next(iter(factors), None)


def equal_models(members: Mapping[str, BoolArray]) -> dict[str, Int64Array]:
    """Rows that give every run the same number of complete tuples: name -> (R,) ascending.

    The first tuples of each; runs in none are dropped. Population metrics depend on the number
    of models, so runs are compared at the smallest. Pass the rows as `trajectories(models=...)`.
    """
    rows: dict[str, list[Int64Array]] = {}
    for name, member in members.items():
        number = tuples(member)
        rows[name] = [np.flatnonzero(number == i) for i in range(int(number.max(initial=-1)) + 1)]
    fewest = min((len(whole) for whole in rows.values()), default=0)
    if fewest < 1:
        raise InputError(
            "runs: expected complementary pairs or tuples in each, got a run without any; use "
            "half_split"
        )
    return {name: np.sort(np.concatenate(whole[:fewest])) for name, whole in rows.items()}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Compared runs: the factor, and all population metrics of each under the same options.

    factor: what differs, None if nothing; values: the factor's fields by run; models, samples: by
    run; populations: by run, in the order given.
    """

    factor: str | None
    values: dict[str, dict[str, Any]]
    models: int
    samples: dict[str, int]
    populations: dict[str, Population]

    def table(self) -> dict[str, dict[str, Estimate]]:
        """The metrics that are one number each: metric -> run -> estimate."""
        summaries = {name: p.summary() for name, p in self.populations.items()}
        metrics = next(iter(summaries.values()))
        return {m: {name: s[m] for name, s in summaries.items()} for m in metrics}

    def ratio(self, metric: str, run: str, against: str) -> tuple[float, float, float]:
        """Value of a metric in `run` over that in `against`: (ratio, low, high).

        The interval joins the two runs' relative errors, as if they were independent, on the log
        scale (delta method); NaN where a value is not positive.
        """
        a, b = (self.table()[metric][name] for name in (run, against))
        if not (a.value > 0 and b.value > 0):
            return float("nan"), float("nan"), float("nan")
        ratio = float(a.value / b.value)
        # The lower end may be cut at 0; the upper end gives the interval's length.
        first, second = (float((e.high - e.value) / e.value) for e in (a, b))
        spread = float(np.exp(np.hypot(first, second)))
        return ratio, ratio / spread, ratio * spread


def compare_paths(
    paths: Mapping[str, Trajectories],
    manifests: Mapping[str, Mapping[str, Any]],
    *,
    allow: Collection[str] = (),
    regions: Regions | None = None,
    grid: Grid | None = None,
    bootstrap: Bootstrap | None = None,
) -> Comparison:
    """All population metrics of several runs, under the same options.

    paths: of runs brought to equal numbers of models by `equal_models`; manifests: by the same
    names. Refuses runs that differ in more than one factor unless `allow` names the others, runs
    with different numbers of models, and runs scored by different attacks, rules or ways of
    computing rates. Pools of different size are compared as they are: see `samples`.
    """
    names = list(paths)
    if len(names) < 2:
        raise InputError(f"runs: expected at least two to compare, got {len(names)}")
    missing = [n for n in names if n not in manifests]
    if missing:
        raise InputError(f"manifests: expected one per run, {missing[0]} is missing")
    factor = one_factor([manifests[n] for n in names], allow=allow)
    models = {n: paths[n].models for n in names}
    if len(set(models.values())) > 1:
        raise InputError(
            "models: expected the same number in every run, got "
            + ", ".join(f"{n}: {m}" for n, m in models.items())
            + "; take rows from equal_models"
        )
    for key in ("attack", "rule", "rates"):
        ways = {n: paths[n].description.get(key) for n in names}
        if len(set(ways.values())) > 1:
            raise InputError(
                f"{key}: expected the same for every run, got "
                + ", ".join(f"{n}: {w}" for n, w in ways.items())
            )
    fields = differing([manifests[n] for n in names])
    return Comparison(
        factor,
        {n: {path: v[k] for path, v in fields.items()} for k, n in enumerate(names)},
        next(iter(models.values())),
        {n: paths[n].samples for n in names},
        {n: paths[n].population(regions, grid, bootstrap) for n in names},
    )
