"""Probes of a network: numbers per sample that are measured on weights, or asked of a network.

A probe knows nothing of runs: it takes one network and the pool, and gives named signals, which an
attack reads by name as it reads those that were recorded.
"""

from seepage.probes.base import Asked as Asked
from seepage.probes.base import Probe as Probe
from seepage.probes.gradients import GradientProbe as GradientProbe
