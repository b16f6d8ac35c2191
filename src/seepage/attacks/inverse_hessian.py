"""An attack of one who knows all members but one: does the optimum lie where it would with the sample?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from seepage.array_types import Float64Array, FloatArray
from seepage.attacks.base import Access
from seepage.attacks.measured import Alone

__all__ = ["IHA"]


@final
@dataclass(frozen=True, eq=False)
class IHA(Alone):
    """score(x) = share of candidates c with q_c < q_x, q = −(‖H⁻¹g‖²/n + 2⟨H⁻¹∇L₀, H⁻¹g⟩), g = ∇_θ ℓ; 0 to 1.

    Higher = more likely a member. q is n times how much nearer, by Newton's step, the weights are to the optimum of the other members
    with x than to that without: the log-likelihood ratio up to a factor, if training ends in a normal law of equal spread in all directions around its optimum.
    Candidates are x and every sample that was not trained on, each asked with the same knowledge, the
    members other than x. Of m samples that are no members exactly k reach 1 − (k − ½)/m: the false-positive rate is that of the
    threshold. **The attacker knows every member but the one in question**, the adversary of differential privacy,
    whom no released model faces so; it bounds what others could do. Read it as that, beside attacks whose
    adversary is real. Needs no references, and at least one sample that is no member. For small networks, up to 3,000 parameters
    (`seepage.probes.inverse_hessian`). Assumes weights near an optimum; elsewhere Newton's step means
    little. The natural rule is score ≥ ½.

    On a network that saw none of the pool its AUC is ½ in the mean; q itself, whose others are for a
    member the sum without it, reads above by some log n/√n where gradients lie in few directions. Scores of one
    network hang together, by whom the attacker knows: their AUC varies somewhat more than membership that is permuted
    afterwards shows (docs/null-measured.md).

    Source: Suri et al., arXiv 2406.11544. *Reconstruction* from notes on its released code: that adds the
    loss with a positive sign, and factors of the learning rate and of momentum, to which we hold
    neither; H here is over the pool, and ∇L₀ a mean over the other members, so that neither tells
    the membership of x; and that compares q between samples.

    >>> IHA().score(np.array([0.7, 0.2]), np.zeros((1, 2)), np.zeros((1, 2), bool)).tolist()
    [0.7, 0.2]
    """

    name: ClassVar[str] = "iha"
    title: ClassVar[str] = "Inverse Hessian"
    reference: ClassVar[str] = "Suri et al., arXiv 2406.11544"
    reconstruction: ClassVar[bool] = True
    access: ClassVar[Access] = "weights"
    requires: ClassVar[tuple[str, ...]] = ("inverse_hessian",)
    first_view: ClassVar[bool] = True
    queries: ClassVar[int] = 2
    threshold: ClassVar[float | None] = 0.5
    caveat: ClassVar[str] = (
        "its attacker knows every other member, as that of differential privacy does and that of a released model "
        "does not; it bounds the other attacks and is no sign of a leak by itself"
    )

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return signals["inverse_hessian"].astype(np.float64)
