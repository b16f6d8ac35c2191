"""Low-rank adapters as an option of the network."""

from __future__ import annotations

from pydantic import Field

from seepage.config.base import Part

__all__ = ["LowRank"]


class LowRank(Part):
    """[model.adapter]: low-rank matrices train beside the layers of a network that is frozen.

    >>> LowRank(rank=4).alpha
    16.0
    """

    rank: int = Field(8, ge=1, le=4096, description="Rank r of the matrices A (r, in), B (out, r).")
    alpha: float = Field(
        16.0,
        gt=0,
        allow_inf_nan=False,
        description="Scale: what is added to a layer's weights is α/r · BA.",
    )
    targets: tuple[str, ...] = Field(
        ("*",),
        min_length=1,
        description="Patterns of linear and convolution layers that get an adapter; all by default.",
    )
