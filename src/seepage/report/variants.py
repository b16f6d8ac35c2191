"""The section on what ships: the models as trained and as released, and the worst of these."""

from __future__ import annotations

from typing import Any

from seepage.findings.variant_result import Variants
from seepage.report.words import interval, number

__all__ = ["variants_values", "variants_words"]


def variants_values(x: Variants) -> dict[str, Any]:
    """What `sections/variants.html.j2` reads."""
    worst, _ = x.worst
    return {
        "x": x,
        "single": False,
        "words": variants_words(x),
        "worst": worst.name,
        "skipped": [
            {
                "why": why,
                "names": ", ".join(names),
                "on": "any variant" if len(on) == len(x.found) else ", ".join(on),
            }
            for why, names, on in x.skipped
        ],
    }


def variants_words(x: Variants) -> str:
    """The verdict on the release, in sentences."""
    worst, figure = x.worst
    e = figure.estimate
    judged = [v for v in x.found if v.judged]
    told = f"AUC {number(e.mean)}" + (f" ({interval(e)})" if interval(e) else "")
    text = f"Of {len(judged)} released variants the worst" if len(judged) > 1 else "The variant"
    text += f" is {worst.name}: {told} by {figure.attack}"
    if figure.compared > 1:
        text += (
            f", strongest of {figure.compared} pairs of an attack and a variant, with an "
            "interval that pays for the choice"
        )
    return (
        text
        + {
            "leaks": ". As released the models leak.",
            "not shown": ". That the models leak as released is not shown.",
            "no interval": ". Too few runs for an interval.",
        }[x.said]
    )
