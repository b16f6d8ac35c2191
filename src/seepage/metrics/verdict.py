"""What evidence says of one claim: it holds, it does not, or nothing follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Outcome", "Verdict", "by_sign", "combined"]

Outcome = Literal["holds", "does not hold", "undecided", "not run"]


@dataclass(frozen=True)
class Verdict:
    """A claim where it was tested, what followed, and the figures that decided it.

    claim: its id, such as "D3"; outcome; says: the claim in words; where: the pool, fleet or series
    it was tested on; why: the deciding figures in one line; published: the figure of the source;
    figures: rows of (what, figure with interval, null or remark); by_attack: the same claim tested
    by other attacks, by their names.
    """

    claim: str
    outcome: Outcome
    says: str = ""
    where: str = ""
    why: str = ""
    published: str = ""
    figures: tuple[tuple[str, str, str], ...] = ()
    by_attack: Mapping[str, Verdict] = field(default_factory=dict)


def by_sign(sign: int) -> Outcome:
    """Of a claim that a figure is positive: its sign where it is decided, 0 where it is not.

    >>> by_sign(1), by_sign(-1), by_sign(0)
    ('holds', 'does not hold', 'undecided')
    """
    return "holds" if sign > 0 else "does not hold" if sign < 0 else "undecided"


def combined(outcomes: Iterable[Outcome]) -> Outcome:
    """Of a claim with several parts: one that fails decides it, all must hold for it to hold.

    >>> combined(["holds", "holds"]), combined(["holds", "undecided"]), combined([])
    ('holds', 'undecided', 'undecided')
    """
    every = list(outcomes)
    if "does not hold" in every:
        return "does not hold"
    return "holds" if every and all(o == "holds" for o in every) else "undecided"
