"""How the runs of a fleet are spread over this machine or many; it decides no result."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from seepage.config.base import Part

__all__ = ["Execution"]


class Execution(Part):
    """[execution]: how the runs are spread over this machine or many.

    >>> Execution(workers=2).executor
    'local'
    """

    workers: int | None = Field(
        None, ge=1, le=1024, description="Worker processes; by default one per physical core."
    )
    threads: int = Field(1, ge=1, le=256, description="Threads of each worker.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where networks train; by default the GPU when there is one."
    )
    backend: Literal["auto", "process", "fused", "stacked", "graphs", "compiled"] = Field(
        "auto",
        description="How a worker trains: one network after another, so with fused layers in "
        "bfloat16, perceptrons stacked, as CUDA graphs, or compiled; by default the fastest that "
        "trains exactly this.",
    )
    executor: Literal["local", "inline", "ray"] = Field(
        "local", description="Processes on this machine, this very process, or Ray tasks."
    )
    address: str | None = Field(
        None, min_length=1, description="Address of a Ray cluster; by default one is started here."
    )
    compiled: bool = Field(
        False, description="Whether evaluation at checkpoints goes through torch.compile."
    )
    save_every: float = Field(
        30.0, ge=0, description="Seconds between saved states of an unfinished run."
    )
