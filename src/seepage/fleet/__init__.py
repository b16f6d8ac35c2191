"""Training the runs of a plan: recipe, loop, workers, resume."""

from seepage.fleet.local import FleetError, Watcher
from seepage.fleet.recipe import Recipe
from seepage.fleet.spec import ModelRef, TrainFunction
from seepage.fleet.start import Silent, train

__all__ = ["FleetError", "ModelRef", "Recipe", "Silent", "TrainFunction", "Watcher", "train"]
