"""Layer indicators as a signal that a Recorder measures at its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn

from seepage.array_types import AnyArray
from seepage.errors import InputError, nearest
from seepage.layers.jacobian import Jacobian
from seepage.layers.probe import DegreesOfFreedom, Indicator, probe
from seepage.layers.table import LayerTable

__all__ = ["LayerSignal"]

_COLUMNS = (
    *("k95", "k99", "erank", "participation", "ridge_df", "pooled_k95"),
    *("jac_rank_float", "jac_rank_1e2", "jac_participation", "stable_rank", "spectral_norm"),
)


class LayerSignal:
    """The probe as an extra signal: arrays "layer_<column>" of shape (L,), one value per layer.

    samples: size of the probe set, drawn once from all inputs by `seed` alone, so that it is the
    same in every run and at every checkpoint (with another set each time, the series would show
    differences between sets). columns: of `LayerTable`. spectrum: also keep so many leading
    variances of every layer as "layer_spectrum" (L, spectrum), NaN beyond the last, from which
    other definitions of DoF follow. `layers` are the rows' names, known after the first `measure`;
    later models must have the same.

    The minimum of DoF comes within an epoch or two: record initialisation and fractions of the
    first epochs. The model, its gradients and random streams are not changed; `generator` is not
    used, random directions come from `seed` too.

    >>> signal = LayerSignal(samples=64, indicators=[DegreesOfFreedom()], columns=("k95", "erank"))
    >>> net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    >>> out = signal.measure(net, torch.randn(99, 3), torch.zeros(99), torch.Generator())
    >>> signal.names, signal.layers, out["layer_k95"].shape
    (('layer_k95', 'layer_erank'), ('1', '2'), (2,))
    """

    axis: Literal["layer"] = "layer"

    def __init__(
        self,
        layers: str | Sequence[str] | None = None,
        *,
        samples: int = 2000,
        indicators: Sequence[Indicator] = (DegreesOfFreedom(), Jacobian(images=4)),
        columns: Sequence[str] = _COLUMNS,
        spectrum: int = 0,
        seed: int = 0,
        batch: int = 256,
    ) -> None:
        known = LayerTable.columns()
        for c in columns:
            if c not in known:
                raise InputError(f"columns: got {c!r}; {nearest(c, known)}")
        if samples < 2 or spectrum < 0 or not columns:
            raise InputError(
                "LayerSignal: expected at least 2 samples, one column and a spectrum of at least "
                f"0, got {samples}, {len(columns)}, {spectrum}"
            )
        self.chosen = layers
        self.samples = samples
        self.indicators = tuple(indicators)
        self.columns = tuple(columns)
        self.spectrum = spectrum
        self.seed = seed
        self.batch = batch
        self._layers: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        """Every option: a run folder's identity holds it."""
        return (
            f"LayerSignal(layers={self.chosen!r}, samples={self.samples}, "
            f"indicators={self.indicators!r}, columns={self.columns!r}, "
            f"spectrum={self.spectrum}, seed={self.seed}, batch={self.batch})"
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays that `measure` returns."""
        extra = ("layer_spectrum",) if self.spectrum else ()
        return tuple(f"layer_{c}" for c in self.columns) + extra

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the rows (L,); InputError before the first `measure`."""
        if self._layers is None:
            raise InputError("layers: known only after the first measurement")
        return self._layers

    def wanted(self, checkpoint: float) -> bool:
        """Every checkpoint: the minimum of the degrees of freedom may lie anywhere."""
        return True

    def measure(
        self,
        model: nn.Module,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> dict[str, AnyArray]:
        """Indicators of the model now: name -> float32 (L,). labels and generator are not read."""
        del labels, generator
        rng = np.random.default_rng(self.seed)
        size = min(self.samples, len(inputs))
        rows = np.sort(rng.choice(len(inputs), size, replace=False))
        table = probe(
            model,
            inputs[torch.from_numpy(rows).to(inputs.device)],
            self.chosen,
            indicators=self.indicators,
            batch=self.batch,
            generator=torch.Generator().manual_seed(self.seed),
        )
        if self._layers is not None and table.layer != self._layers:
            raise InputError(
                f"layers: expected the same layers at every checkpoint, got {table.layer} after "
                f"{self._layers}; name the layers to measure"
            )
        self._layers = table.layer
        out: dict[str, AnyArray] = {f"layer_{c}": table[c].astype(np.float32) for c in self.columns}
        if self.spectrum:
            kept = np.full((len(table), self.spectrum), np.nan, dtype=np.float32)
            for i, s in enumerate(table.spectra):
                k = min(self.spectrum, s.variances.size)
                kept[i, :k] = s.variances[:k]
            out["layer_spectrum"] = kept
        return out
