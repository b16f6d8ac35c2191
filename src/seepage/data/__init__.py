"""Datasets: inputs, labels and ids, resident as tensors, and readers for the formats users have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seepage.faces import lazily

if TYPE_CHECKING:
    from seepage.data.copies import CopiesWarning, count_copies, drop_copies, group_copies
    from seepage.data.dataset import Dataset
    from seepage.data.free_memory import most_bytes
    from seepage.data.loading import NAMES, load, reload
    from seepage.data.npz import from_arrays
    from seepage.data.other_libraries import from_hugging_face, from_torch
    from seepage.data.pickled import unpickle_arrays
    from seepage.data.reading import data_root
    from seepage.data.repeats import copy_numbers, one_of_each, repeat
    from seepage.data.row_file import RowFile
    from seepage.data.text_canaries import insert_texts
    from seepage.data.texts import from_texts, from_tokens
    from seepage.data.transform import apply_canaries, pool, relabel, subset
else:
    __getattr__, __dir__ = lazily(__name__)

__all__ = [
    "NAMES",
    "CopiesWarning",
    "Dataset",
    "RowFile",
    "apply_canaries",
    "copy_numbers",
    "count_copies",
    "data_root",
    "drop_copies",
    "from_arrays",
    "from_hugging_face",
    "from_texts",
    "from_tokens",
    "from_torch",
    "group_copies",
    "insert_texts",
    "load",
    "most_bytes",
    "one_of_each",
    "pool",
    "relabel",
    "reload",
    "repeat",
    "subset",
    "unpickle_arrays",
]
