"""Training the runs of a plan: recipe, loop, workers, resume."""

from seepage.config.recipe import Recipe
from seepage.fleet.local import FleetError, Watcher
from seepage.fleet.spec import TrainFunction
from seepage.fleet.start import Silent, train, train_prepared

__all__ = ["FleetError", "Recipe", "Silent", "TrainFunction", "Watcher", "train", "train_prepared"]
