"""What a run says of itself that its figures must be read with: sentences for a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seepage.fleet.estimators import notes_of

__all__ = ["function_check", "import_doubts", "run_notes"]


def run_notes(run: Any) -> tuple[str, ...]:
    """Doubts and notes of an import, of a training function's check and of estimators, in this order."""
    provenance = run.manifest.get("provenance", {})
    notes = [*import_doubts(run), *(str(note) for note in provenance.get("notes", ()))]
    if "function_check" in provenance:
        notes.append(function_check(provenance["function_check"]))
    if hasattr(run, "records"):
        notes += notes_of(run)
    return tuple(dict.fromkeys(notes))


def import_doubts(run: Any) -> tuple[str, ...]:
    """What an import of checkpoints doubted of inputs and classes."""
    held = run.derived("import") if hasattr(run, "derived") else None
    return tuple(str(text) for text in (held or {}).get("doubts", ()))


def function_check(told: Mapping[str, Any]) -> str:
    """What was seen of a training function, from a manifest's `provenance.function_check`.

    >>> function_check({"checked": False, "why": "switched off"})
    'training function: not checked (switched off)'
    """
    if not told["checked"]:
        return f"training function: not checked ({told['why']})"
    parts = [f"members {told['members']}" + (f" ({told['by']})" if "by" in told else "")]
    repeats = told.get("repeats")
    if repeats is not None:
        parts.append(
            "repeats bit for bit"
            if repeats == 0
            else f"two calls apart by {repeats:.2g} of what training moves"
        )
    if "seed" in told:
        parts.append("another seed gives other weights" if told["seed"] else "its seed is not used")
    text = f"training function: {', '.join(parts)}; {told['calls']} calls to {told['until']}, "
    text += f"{told['seconds']:.1f} s"
    for more in (*([told["why"]] if "why" in told else []), *told.get("warned", ())):
        text += f". {more[0].upper()}{more[1:]}"
    return text
