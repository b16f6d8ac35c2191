"""The table a probe gives: one row per layer, raw spectra beside it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seepage.errors import InputError, nearest
from seepage.layers.spectrum import Spectrum
from seepage.layers.watch import Layer

__all__ = ["LayerTable"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LayerTable:
    """Indicators per layer, columns of shape (L,) in the order of a forward pass; NaN: not asked.

    | column | meaning |
    |---|---|
    | d, n | outputs of the layer, probe samples |
    | k95, k99, erank, participation, ridge_df | DoF of the flattened outputs (see `spectrum`) |
    | pooled_… | the same of the outputs averaged over positions, of width pooled_d |
    | dof_error | half the width of the interval of k95, relative to k95; 0 where exact |
    | local_pca | directions of the output under small noise on one input, mean over samples |
    | jac_rank_float, jac_rank_1e2 | mean rank of the Jacobian over samples; `_std` across them |
    | jac_participation | mean participation ratio of the Jacobian; `_error` its standard error |
    | stable_rank, spectral_norm | ‖J‖_F²/σ_1² and σ_1, means over samples |
    | at_least | the two Jacobian ranks are lower bounds from a sketch |
    | sample_bound | the samples limit k95 or k99, not the layer: raise n |

    `spectra`, `pooled_spectra`: `Spectrum` per layer; `jacobian_spectra`: singular values (m, r)
    per layer, lower bounds where `at_least`. All definitions of DoF and rank here are
    *reconstructions* of arXiv 2412.00696, whose formulas were not at hand.
    """

    layers: tuple[Layer, ...]
    d: FloatArray
    n: FloatArray
    k95: FloatArray
    k99: FloatArray
    erank: FloatArray
    participation: FloatArray
    ridge_df: FloatArray
    dof_error: FloatArray
    pooled_d: FloatArray
    pooled_k95: FloatArray
    pooled_k99: FloatArray
    pooled_erank: FloatArray
    pooled_participation: FloatArray
    pooled_ridge_df: FloatArray
    local_pca: FloatArray
    jac_rank_float: FloatArray
    jac_rank_float_std: FloatArray
    jac_rank_1e2: FloatArray
    jac_rank_1e2_std: FloatArray
    jac_participation: FloatArray
    jac_participation_error: FloatArray
    stable_rank: FloatArray
    spectral_norm: FloatArray
    at_least: NDArray[np.bool_]
    sample_bound: NDArray[np.bool_]
    spectra: tuple[Spectrum, ...] = ()
    pooled_spectra: tuple[Spectrum, ...] = ()
    jacobian_spectra: tuple[FloatArray, ...] = ()
    limits: dict[str, FloatArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def layer(self) -> tuple[str, ...]:
        """Names of the rows."""
        return tuple(entry.name for entry in self.layers)

    @property
    def regions(self) -> tuple[tuple[str, ...], ...]:
        """Modules that hold each row's weights."""
        return tuple(entry.regions for entry in self.layers)

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Names of the numeric columns."""
        return tuple(f.name for f in fields(cls) if f.type in ("FloatArray", "NDArray[np.bool_]"))

    def __getitem__(self, column: str) -> FloatArray:
        """A column as float64 (L,)."""
        if column not in self.columns():
            raise InputError(
                f"column: expected an indicator, got {column!r}; {nearest(column, self.columns())}"
            )
        return np.asarray(getattr(self, column), dtype=np.float64)

    def measured(self) -> tuple[str, ...]:
        """Numeric columns with at least one value."""
        return tuple(c for c in self.columns() if np.isfinite(self[c]).any())

    def to_rows(self) -> list[dict[str, Any]]:
        """One mapping per layer: name, regions and every measured column, as plain numbers."""
        names = self.measured()
        rows: list[dict[str, Any]] = []
        for i, entry in enumerate(self.layers):
            row: dict[str, Any] = {"layer": entry.name, "regions": list(entry.regions)}
            for c in names:
                value = getattr(self, c)[i]
                if isinstance(value, np.bool_):
                    row[c] = bool(value)
                else:
                    whole = np.isfinite(value) and float(value).is_integer()
                    row[c] = int(value) if whole else float(value)
            rows.append(row)
        return rows

    def __str__(self) -> str:
        shown = [
            c
            for c in (
                *("d", "n", "k95", "k99", "erank", "participation", "ridge_df", "local_pca"),
                *("jac_rank_float", "jac_rank_1e2", "jac_participation", "stable_rank"),
                "spectral_norm",
            )
            if c in self.measured()
        ]
        lines = [["layer", *shown]]
        for i, entry in enumerate(self.layers):
            cells = [entry.name]
            for c in shown:
                value = float(getattr(self, c)[i])
                text = f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
                bound = c.startswith("jac_rank") and self.at_least[i]
                bound |= c in ("k95", "k99") and self.sample_bound[i]
                cells.append(f"≥{text}" if bound else text)
            lines.append(cells)
        widths = [max(len(line[c]) for line in lines) for c in range(len(lines[0]))]
        return "\n".join(
            "  ".join([line[0].ljust(widths[0])]
                      + [cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True)])
            for line in lines
        )  # fmt: skip
