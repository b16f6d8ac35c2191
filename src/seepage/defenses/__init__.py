"""Training that leaks less: one rule and its hook per defence."""

from seepage.defenses.base import Context, Defense, Fit, Samples, Undefended, forward

__all__ = ["Context", "Defense", "Fit", "Samples", "Undefended", "forward"]
