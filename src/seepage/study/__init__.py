"""Studies: fleets or networks that differ in one factor, measured alike, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from seepage.config.reading import read_toml
from seepage.errors import InputError, nearest
from seepage.store.result_files import add_digests
from seepage.study.runner import Study

__all__ = ["add_digests", "read_study"]

KINDS = ("dynamics", "rates", "layers", "curvature", "attacks", "language")


def read_study(
    path: Path, overrides: Sequence[str] = (), places: Mapping[str, str] | None = None
) -> Study:
    """Read and check a study; nothing is trained.

    overrides: "field=value", of every fleet's configuration in a study of dynamics, rates, attacks or language, of
    the file's own fields in the others. places: "runs", "results" and "page" in place of the file's.
    Raises InputError naming the file and the field.
    """
    content = read_toml(path, "a study file")
    kind = content.get("kind", "dynamics")
    if kind not in KINDS:
        raise InputError(
            f"{path}: kind: expected {', '.join(KINDS)}, got {kind!r}; {nearest(str(kind), KINDS)}"
        )
    given = content, str(path), overrides, dict(places or {})
    # Each kind loads what it measures with, when it is asked for.
    if kind == "layers":
        from seepage.study.layers.study import LayersStudy

        return LayersStudy.read(*given)
    if kind == "curvature":
        from seepage.study.curvature.study import CurvatureStudy

        return CurvatureStudy.read(*given)
    if kind == "attacks":
        from seepage.study.attacks.study import AttacksStudy

        return AttacksStudy.read(*given)
    if kind == "language":
        from seepage.study.language.study import LanguageStudy

        return LanguageStudy.read(*given)
    from seepage.study.dynamics.study import DynamicsStudy

    return DynamicsStudy.read(*given)
