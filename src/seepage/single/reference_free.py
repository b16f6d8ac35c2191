"""Attacks on one model that need no other: pure maps from signals and membership to a score.

Higher = more likely a member. Each names what it needs and why it could not be run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.attacks import LOSS, AttackP, CurvatureThreshold, Entropy, Gap, ModifiedEntropy
from seepage.errors import InputError
from seepage.metrics import Unit, Within
from seepage.metrics.unit import Subjects
from seepage.short_repr import short_repr
from seepage.single.input_curvature import CURVATURE
from seepage.single.outputs import Observed
from seepage.single.quantile import cross_fitted_quantile

__all__ = ["ON_REQUEST", "TITLES", "Scored", "population_score", "reference_free_scores"]

TITLES = {
    "loss": LOSS.title,
    "entropy": Entropy.title,
    "mentr": ModifiedEntropy.title,
    "attack-p": AttackP.title,
    "quantile": "Quantile regression",
    "gap": Gap.title,
    "curvature": CurvatureThreshold.title,
}
"""The attacks without references by name, in the order in which tables show them.

Those of `seepage.attacks` by these names, but attack-p, which is `population_score` of the loss,
and quantile, which is `cross_fitted_quantile` of φ (a reconstruction of Bertran et al., arXiv
2307.03694). curvature: of a network and on request.
"""

_PLAIN = (LOSS(), Entropy(), ModifiedEntropy(), Gap(), CurvatureThreshold())

ON_REQUEST = "is measured of networks with curvature=True (--curvature)"


@short_repr
@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of one model's samples, each (N,), by attack; `skipped`: name -> why not.

    within: of subjects' records, for attacks that give log-ratios: the correlation of what these
    read, over the references.
    """

    scores: Mapping[str, Float64Array]
    skipped: Mapping[str, str]
    within: Mapping[str, Within] = field(default_factory=dict)


def population_score(loss: Float64Array, member: BoolArray) -> Float64Array:
    """Attack P, every sample judged by non-members that are not itself: (N,), (N,) -> (N,).

    score(x) = −log p(x), p the conformal p-value of −loss among the others: of all n of them for a
    member, (1 + #{as low a loss}) / (n + 1), and of the n − 1 remaining ones for an other; an other
    with exactly a member's loss has the member's p, which is the larger. "score ≥ −log α" has an
    expected false-positive rate of at most α. It orders samples as the loss does, ties among them,
    so that its AUC is that of LOSS by construction; what it adds is the threshold.

    >>> s = population_score(np.array([0.1, 2.0, 1.0, 3.0]), np.array([True, True, False, False]))
    >>> np.exp(-s).round(3).tolist()
    [0.333, 0.667, 0.5, 1.0]
    """
    calibration = np.sort(loss[~member])
    as_low = np.searchsorted(calibration, loss, "right").astype(np.float64)
    n = len(calibration)
    of_all = member | np.isin(loss, loss[member])
    p = np.where(of_all, (1 + as_low) / (n + 1), as_low / n)
    # Members of different loss may have one p: a part in 10⁹, on the safe side, keeps their order.
    order = np.unique(loss, return_inverse=True)[1] / len(loss)
    return np.asarray(-np.log(p) - 1e-9 * order, dtype=np.float64)


def reference_free_scores(
    observed: Observed,
    member: BoolArray,
    features: Float64Array | None,
    unit: Unit,
    *,
    quantile: float = 0.5,
    seed: int = 0,
) -> Scored:
    """Every attack of `TITLES` that the signals allow; a sample's score, before subjects are summed.

    features (N, D): as of `quantile_features`.
    """
    signals, lacking = observed.signals, observed.lacking
    scores: dict[str, Float64Array] = {}
    skipped: dict[str, str] = {}

    def lacks(attack: str, signal: str) -> bool:
        if signal not in signals:
            skipped[attack] = lacking.get(signal, f"needs {signal}, which was not given")
        return signal in signals

    nobody = np.zeros((1, len(member)))
    for plain in _PLAIN:
        if lacks(plain.name, plain.requires[0]):
            values = signals[plain.requires[0]]
            alone = plain.score(values, nobody, nobody.astype(np.bool_))
            scores[plain.name] = np.asarray(alone, dtype=np.float64)
    if not lacks("attack-p", "loss"):
        pass
    elif isinstance(unit, Subjects):
        skipped["attack-p"] = "judges samples one by one; of subjects read the p-values below"
    else:
        scores["attack-p"] = population_score(signals["loss"], member)
    confidence = signals.get("phi")
    if confidence is None and "loss" in signals:
        confidence = -signals["loss"]
    if confidence is None:
        skipped["quantile"] = "needs phi or the loss, which were not given"
    elif features is None:
        skipped["quantile"] = "needs inputs as numbers, or labels, which were not given"
    else:
        owner: Int64Array | None = unit.codes if isinstance(unit, Subjects) else None
        try:
            scores["quantile"] = cross_fitted_quantile(
                confidence, member, features, owner=owner, quantile=quantile, seed=seed
            )
        except InputError as error:
            skipped["quantile"] = str(error)
    if CURVATURE not in signals:
        skipped["curvature"] = lacking.get(CURVATURE, ON_REQUEST)
    ordered = {name: scores[name] for name in TITLES if name in scores}
    return Scored(ordered, {name: skipped[name] for name in TITLES if name in skipped})
