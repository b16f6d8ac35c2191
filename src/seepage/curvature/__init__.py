"""Curvature of the loss with respect to the input: estimators, signal, theory."""

from seepage.curvature import theory
from seepage.curvature.base import Curvature, CurvatureWarning
from seepage.curvature.derivatives import (
    AllClasses,
    ExactGaussNewton,
    Hutchinson,
    LogitProbes,
    TopK,
)
from seepage.curvature.differences import FiniteDifference, Independent, Shared, ZerothOrder
from seepage.curvature.estimate import curvature
from seepage.curvature.signal import CurvatureSignal, RunningMean, running_mean
from seepage.curvature.smoothness import piecewise_linear

__all__ = [
    "AllClasses",
    "Curvature",
    "CurvatureSignal",
    "CurvatureWarning",
    "ExactGaussNewton",
    "FiniteDifference",
    "Hutchinson",
    "Independent",
    "LogitProbes",
    "RunningMean",
    "Shared",
    "TopK",
    "ZerothOrder",
    "curvature",
    "piecewise_linear",
    "running_mean",
    "theory",
]
