"""Imitation: networks that were trained to answer as the target does, without the sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from seepage.array_types import BoolArray, FloatArray
from seepage.attacks.base import Attack

__all__ = ["Imitation"]


@final
@dataclass(frozen=True, eq=False)
class Imitation(Attack):
    """score(x) = (μ_out − φ)² − (μ_in − φ)², 0 where μ_in < μ_out; higher = member.

    φ is the target's on view 0; μ_in its mean over references that were trained on x; μ_out the mean
    over imitators of *this target* that were not (`seepage.probes.imitation.Imitation`, five for
    each target, trained when the attack is named and "imitation_phi" was not recorded). They share the
    target's habits and not the sample, so that fewer are needed than of models of any other kind: OUT
    references are not read. Up to a factor it is the log-ratio of two normal laws of one variance.

    Needs 1 IN reference, kept weights, and the training of five networks for each target: dear for
    a fleet, where every model is a target, and cheap for one. Source: Du et al., arXiv 2509.06796, whose
    text was not read. *Reconstruction* by its public code, in the adaptive form; the code has ten
    imitators, and another recipe for them.

    >>> target = {"phi": np.array([3.0, 1.0]), "imitation_phi": np.array([1.0, 1.0])}
    >>> references = {"phi": np.array([[3.0, 3.0]]), "imitation_phi": np.zeros((1, 2))}
    >>> Imitation().score(target, references, np.ones((1, 2), bool)).tolist()
    [4.0, -4.0]
    """

    name: ClassVar[str] = "imitation"
    title: ClassVar[str] = "Imitation"
    reference: ClassVar[str] = "Du et al., arXiv 2509.06796"
    reconstruction: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("phi", "imitation_phi")
    first_view: ClassVar[bool] = True
    min_in: ClassVar[int] = 1
    aligns: ClassVar[bool] = True
    on_request: ClassVar[bool] = True

    @property
    def by_sample(self) -> bool:
        return True

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        phi = np.asarray(target["phi"][:, 0], dtype=np.float64)
        out = np.asarray(target["imitation_phi"][:, 0], dtype=np.float64)
        others = np.asarray(references["phi"][..., 0], dtype=np.float64)
        inside = np.where(member, others, 0.0).sum(axis=0) / member.sum(axis=0)
        score = (out - phi) ** 2 - (inside - phi) ** 2
        return np.where(inside < out, 0.0, score)
