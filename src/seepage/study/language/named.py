"""Names of the attacks that the study runs on texts: those of the package, and rules on signals of documents."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from seepage.attacks import ATTACKS, Attack, Calibrated, Combined, LiRA, ReferenceRatio, get, usual
from seepage.attacks.texts import EZMIA, WBC, MinKPlusPlus
from seepage.errors import InputError, nearest
from seepage.tokens import DOCUMENT_SIGNALS

__all__ = ["KNOWN", "SIGNALS", "TEXTS", "attack_named", "every_name"]

SIGNALS = tuple(n for n in DOCUMENT_SIGNALS if n not in ("loss", "logp", "loss_shape"))
"""Signals of documents of one number each, beside log p itself, which LiRA reads unasked."""

TEXTS = "combined-texts"
"""Learnt from what attacks on texts say, beside those that compare with other models."""

_RULES: dict[str, Callable[..., Attack]] = {"lira": LiRA, "calibrated": Calibrated}


def _of_texts() -> Attack:
    # Chosen before any result was seen: one of each kind of evidence.
    return Combined((LiRA(), Calibrated(), ReferenceRatio(), MinKPlusPlus(), WBC(), EZMIA()))


KNOWN: dict[str, Callable[[], Attack]] = {
    **{name: partial(get, name) for name in ATTACKS},
    **{f"{name}:{s}": partial(rule, signal=s) for name, rule in _RULES.items() for s in SIGNALS},
    TEXTS: _of_texts,
}
"""Every attack that can be named: "lira", "lira:min_k" (LiRA on that signal), "combined-texts"."""


def attack_named(name: str) -> Attack:
    """The attack of that name with its default options.

    Raises InputError for another name.

    >>> attack_named("lira:min_k").requires
    ('min_k',)
    """
    if name not in KNOWN:
        raise InputError(
            f"attacks: expected names of attacks, got {name!r}; {nearest(name, KNOWN)}"
        )
    return KNOWN[name]()


def every_name() -> tuple[str, ...]:
    """What audits of texts run unasked, what asks kept weights about texts, rules on signals, `TEXTS`."""
    asked = (n for n, kind in ATTACKS.items() if kind.of_texts and kind.on_request)
    return (*(a.name for a in usual(tokens=True)), *asked, *(n for n in KNOWN if n not in ATTACKS))
