"""The study of input loss curvature: units that each write one small result, claims, a page."""

from __future__ import annotations

from seepage.study.curvature.claims import judge
from seepage.study.curvature.page import curvature_page
from seepage.study.curvature.settings import CurvatureStudy
from seepage.study.curvature.units import units
from seepage.study.curvature.workshop import Workshop

__all__ = ["CurvatureStudy", "Workshop", "curvature_page", "judge", "units"]
