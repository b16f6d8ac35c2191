"""Datasets: inputs, labels and ids, resident as tensors, and readers for the formats users have."""

from seepage.data.dataset import Dataset
from seepage.data.loading import NAMES, load, reload
from seepage.data.npz import from_arrays
from seepage.data.pickled import unpickle_arrays
from seepage.data.reading import data_root
from seepage.data.transform import apply_canaries, pool, relabel, subset

__all__ = [
    "NAMES",
    "Dataset",
    "apply_canaries",
    "data_root",
    "from_arrays",
    "load",
    "pool",
    "relabel",
    "reload",
    "subset",
    "unpickle_arrays",
]
