"""Curvature of the loss with respect to the input: estimators, signal, theory."""

from seepage.curvature import theory
from seepage.curvature.differences import FiniteDifference, Independent, Shared, ZerothOrder
from seepage.curvature.estimate import curvature
from seepage.curvature.exact import AllClasses, ExactGaussNewton, LogitProbes, TopK
from seepage.curvature.hutchinson import Hutchinson
from seepage.curvature.kinks import piecewise_linear
from seepage.curvature.result import Curvature, CurvatureWarning
from seepage.curvature.running import RunningMean, running_mean
from seepage.curvature.signal import CurvatureSignal

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
