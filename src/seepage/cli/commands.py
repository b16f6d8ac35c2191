"""The commands of the command line, in the order of `seepage --help`."""

from __future__ import annotations

# Importing a module registers its commands.
# isort: off
from seepage.cli import audit as audit
from seepage.cli import attack as attack
from seepage.cli import dynamics as dynamics
from seepage.cli import early as early
from seepage.cli import curvature as curvature
from seepage.cli import layers as layers
from seepage.cli import defend as defend
from seepage.cli import study as study
from seepage.cli import cost as cost
from seepage.cli import folders as folders
from seepage.cli import config as config
