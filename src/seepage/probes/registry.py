"""Which probe gives which signal: one row per probe, with its default options."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seepage.curvature.estimate import ESTIMATORS, estimator
from seepage.probes.base import Probe
from seepage.probes.boundary import BoundaryDistance
from seepage.probes.copies import Augmented, NoisyLoss
from seepage.probes.distance import AdversarialDistance
from seepage.probes.imitation import Imitation
from seepage.probes.input_curvature import InputCurvature
from seepage.probes.input_quantile import InputQuantile
from seepage.probes.inverse_hessian import InverseHessian
from seepage.probes.leverage import Leverage
from seepage.probes.neighbours import Neighbours
from seepage.probes.parameter_gradients import GradientNorm, LayerGradients
from seepage.probes.prefixes import WithPrefixes
from seepage.probes.steps import CheckpointStep

__all__ = ["PROBES", "probe_of", "probes_of"]

PROBES: tuple[Probe, ...] = (
    *(InputCurvature(estimator(kind)) for kind in ESTIMATORS),
    GradientNorm(),
    LayerGradients(),
    NoisyLoss(),
    Augmented(),
    AdversarialDistance(),
    BoundaryDistance(),
    Imitation(),
    CheckpointStep(),
    Leverage(),
    InverseHessian(),
    InputQuantile(),
    Neighbours(),
    WithPrefixes(),
)
"""Every probe of the package; of two that give the same signal the first one is taken."""


def probe_of(signal: str, chosen: Sequence[Probe] = ()) -> Probe | None:
    """The probe that measures a signal, or None. chosen: probes that stand before those of the table.

    >>> probe_of("curvature_trace").queries, probe_of("phi")
    (1, None)
    >>> probe_of("imitation_phi", [Imitation(models=10)]).models
    10
    """
    return next((p for p in (*chosen, *PROBES) if signal in p.signals), None)


def probes_of(signals: Iterable[str], chosen: Sequence[Probe] = ()) -> tuple[Probe, ...]:
    """The probes that measure these signals, each once, in the order of the table; chosen ones first."""
    found = [probe_of(s, chosen) for s in set(signals)]
    return tuple(p for p in (*chosen, *PROBES) if any(f is p for f in found))
