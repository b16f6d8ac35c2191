"""The array types that signatures name; shapes and units are in the docstrings.

Without a width a type takes any: `FloatArray` is float16 to float64, `IntArray` any integer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["AnyArray", "BoolArray", "Float64Array", "FloatArray", "Int64Array", "IntArray"]

AnyArray = NDArray[Any]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.floating]
Float64Array = NDArray[np.float64]
IntArray = NDArray[np.integer]
Int64Array = NDArray[np.int64]
