"""The compiled kernels: plain C, no headers of torch or NumPy; an install without a compiler does without."""

from __future__ import annotations

import sys
from glob import glob

from setuptools import Extension, setup

SOURCE = "src/seepage/native/source"
# No contraction and no fastmath: NaN, infinities and the order of sums are kept, so that every
# machine gets the same bits.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]

setup(
    ext_modules=[
        Extension(
            "seepage.native._kernels",
            sorted(glob(f"{SOURCE}/*.c")),
            depends=sorted(glob(f"{SOURCE}/*.h")),
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=[] if sys.platform == "win32" else FLAGS,
            py_limited_api=True,
            optional=True,
        )
    ]
)
