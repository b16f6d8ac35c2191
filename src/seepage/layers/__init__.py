"""Where a network leaks its training data: indicators and an attack for every layer."""

from __future__ import annotations

from seepage.layers.attack import (
    AttackTable,
    Audit,
    Logistic,
    ShadowTransfer,
    SmallMLP,
    attack_layers,
)
from seepage.layers.change import change_values, phases
from seepage.layers.choose import choose_layers
from seepage.layers.features import feature_norms, gather_outputs, gradient_norms, layer_outputs
from seepage.layers.jacobian import Jacobian
from seepage.layers.probe import DegreesOfFreedom, LocalPCA, probe
from seepage.layers.reconstruction import reconstruction_error
from seepage.layers.rewinding import reestimate_normalisation, retrain_blocks, rewind_blocks
from seepage.layers.risk import RiskMeasurement, RiskTable, measure_risk, rank_agreement, risk_table
from seepage.layers.signal import LayerSignal
from seepage.layers.spectrum import (
    effective_rank,
    k_tau,
    participation_ratio,
    ridge_df,
    spectrum,
)
from seepage.layers.table import LayerTable

__all__ = [
    "AttackTable",
    "Audit",
    "DegreesOfFreedom",
    "Jacobian",
    "LayerSignal",
    "LayerTable",
    "LocalPCA",
    "Logistic",
    "RiskMeasurement",
    "RiskTable",
    "ShadowTransfer",
    "SmallMLP",
    "attack_layers",
    "change_values",
    "choose_layers",
    "effective_rank",
    "feature_norms",
    "gather_outputs",
    "gradient_norms",
    "k_tau",
    "layer_outputs",
    "measure_risk",
    "participation_ratio",
    "phases",
    "probe",
    "rank_agreement",
    "reconstruction_error",
    "reestimate_normalisation",
    "retrain_blocks",
    "rewind_blocks",
    "ridge_df",
    "risk_table",
    "spectrum",
]
