"""Where a network keeps its training data: degrees of freedom, Jacobians and an attack per layer."""

from __future__ import annotations

from seepage.layers.assess import Assessment, assess
from seepage.layers.attack import (
    AttackTable,
    Audit,
    Logistic,
    ShadowTransfer,
    SmallMLP,
    attack_layers,
    feature_norms,
)
from seepage.layers.change import CHANGES, Phases, change_values, phases
from seepage.layers.choose import choose_layers
from seepage.layers.derivative import Jacobian
from seepage.layers.gradients import gradient_norms
from seepage.layers.outputs import gather_outputs, layer_outputs
from seepage.layers.probe import DegreesOfFreedom, LocalPCA, probe
from seepage.layers.reconstruction import reconstruction_error
from seepage.layers.rewinding import (
    BlockTable,
    reestimate,
    retrain_blocks,
    rewind_blocks,
    with_block,
)
from seepage.layers.risk import Agreement, RiskTable, agreement, risk_table
from seepage.layers.signal import LayerSignal
from seepage.layers.spectrum import (
    Spectrum,
    effective_rank,
    k_tau,
    numerical_rank,
    participation_ratio,
    ridge_df,
    spectrum,
)
from seepage.layers.table import LayerTable
from seepage.layers.watch import Inputs, Layer

__all__ = [
    "CHANGES",
    "Agreement",
    "Assessment",
    "AttackTable",
    "Audit",
    "BlockTable",
    "DegreesOfFreedom",
    "Inputs",
    "Jacobian",
    "Layer",
    "LayerSignal",
    "LayerTable",
    "LocalPCA",
    "Logistic",
    "Phases",
    "RiskTable",
    "ShadowTransfer",
    "SmallMLP",
    "Spectrum",
    "agreement",
    "assess",
    "attack_layers",
    "change_values",
    "choose_layers",
    "effective_rank",
    "feature_norms",
    "gather_outputs",
    "gradient_norms",
    "k_tau",
    "layer_outputs",
    "numerical_rank",
    "participation_ratio",
    "phases",
    "probe",
    "reconstruction_error",
    "reestimate",
    "retrain_blocks",
    "rewind_blocks",
    "ridge_df",
    "risk_table",
    "spectrum",
    "with_block",
]
