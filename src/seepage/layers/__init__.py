"""Where a network keeps its training data: degrees of freedom, Jacobian rank and an attack per layer."""

from seepage.layers.derivative import Jacobian
from seepage.layers.probe import DegreesOfFreedom, LocalPCA, probe
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
from seepage.layers.watch import Layer, choose_layers, layer_outputs

__all__ = [
    "DegreesOfFreedom",
    "Jacobian",
    "Layer",
    "LayerTable",
    "LocalPCA",
    "Spectrum",
    "choose_layers",
    "effective_rank",
    "k_tau",
    "layer_outputs",
    "numerical_rank",
    "participation_ratio",
    "probe",
    "ridge_df",
    "spectrum",
]
