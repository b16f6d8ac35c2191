"""The table of a probe: one row of indicators per layer, with the raw spectra."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import numpy as np

from seepage.array_types import BoolArray, Float64Array
from seepage.errors import InputError, nearest
from seepage.layers.hooks import Layer
from seepage.layers.spectrum import Spectrum
from seepage.short_repr import short_repr

__all__ = ["LayerTable"]


@short_repr
@dataclass(frozen=True, eq=False)
class LayerTable:
    """Indicators per layer, columns (L,) in the order of a forward pass; NaN: not measured.

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
    *reconstructions* of arXiv 2412.00696, whose formulas were not available.
    """

    layers: tuple[Layer, ...]
    d: Float64Array
    n: Float64Array
    k95: Float64Array
    k99: Float64Array
    erank: Float64Array
    participation: Float64Array
    ridge_df: Float64Array
    dof_error: Float64Array
    pooled_d: Float64Array
    pooled_k95: Float64Array
    pooled_k99: Float64Array
    pooled_erank: Float64Array
    pooled_participation: Float64Array
    pooled_ridge_df: Float64Array
    local_pca: Float64Array
    jac_rank_float: Float64Array
    jac_rank_float_std: Float64Array
    jac_rank_1e2: Float64Array
    jac_rank_1e2_std: Float64Array
    jac_participation: Float64Array
    jac_participation_error: Float64Array
    stable_rank: Float64Array
    spectral_norm: Float64Array
    at_least: BoolArray
    sample_bound: BoolArray
    spectra: tuple[Spectrum, ...] = ()
    pooled_spectra: tuple[Spectrum, ...] = ()
    jacobian_spectra: tuple[Float64Array, ...] = ()
    limits: dict[str, Float64Array] = field(default_factory=dict)

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
        """Names of the numeric columns: what has a value in every row and no default."""
        return tuple(
            f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING
        )[1:]

    def __getitem__(self, column: str) -> Float64Array:
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
            "  ".join(
                [line[0].ljust(widths[0])]
                + [cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True)]
            )
            for line in lines
        )
