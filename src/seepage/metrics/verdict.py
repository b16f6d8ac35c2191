"""What evidence says of one claim: it holds, it does not, or nothing follows.

Rules that reward power: a claim holds, or does not, where a whole interval says so; an interval that
says neither leaves it undecided, however near its middle is. That something is *absent*, or tends to
a value, holds where the whole interval lies within a margin stated beforehand, not where it merely
contains the value: a study too small to see anything would always contain it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from seepage.errors import InputError
from seepage.metrics.intervals import clopper_pearson

__all__ = [
    "Outcome",
    "Share",
    "Verdict",
    "above",
    "agreed",
    "by_sign",
    "combined",
    "opposite",
    "within",
]

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


def above(low: float, high: float, bar: float = 0.0, *, matters: float = 0.0) -> Outcome:
    """Of a claim that a figure is above `bar`, from the figure's interval.

    Holds where the interval lies wholly above the bar. Does not hold where it lies wholly below, or
    within bar ± `matters`: an effect of a size that matters is excluded then. Else undecided, as
    where an end is not a number.

    >>> above(0.01, 0.03), above(-0.03, -0.01), above(-0.01, 0.2)
    ('holds', 'does not hold', 'undecided')
    >>> above(-0.002, 0.004, matters=0.01), above(-0.002, 0.02, matters=0.01)
    ('does not hold', 'undecided')
    """
    if low > bar:
        return "holds"
    if high < bar or (low > bar - matters and high < bar + matters):
        return "does not hold"
    return "undecided"


def within(low: float, high: float, value: float, margin: float) -> Outcome:
    """Of a claim that a figure is `value`, from the figure's interval: a test of equivalence.

    Holds where the whole interval lies within value ± margin, does not hold where it lies wholly
    outside, else undecided. margin: the largest difference that would not matter, stated beforehand.

    >>> within(0.494, 0.507, 0.5, 0.02), within(0.53, 0.56, 0.5, 0.02), within(0.3, 0.7, 0.5, 0.02)
    ('holds', 'does not hold', 'undecided')
    """
    if value - margin < low and high < value + margin:
        return "holds"
    if high < value - margin or low > value + margin:
        return "does not hold"
    return "undecided"


@dataclass(frozen=True)
class Share:
    """How many of some cases show a thing, as evidence that most do.

    shown: cases that do; split: cases that do in part, which count against whatever would be
    claimed; of: all cases, taken as independent. low and high: the exact (Clopper-Pearson) 95 %
    interval, low of `shown` alone, high of `shown` and `split` together.

    >>> Share(10, 15).outcome(), Share(15, 15).outcome(), Share(0, 12).outcome()
    ('undecided', 'holds', 'does not hold')
    >>> Share(7, 12, split=3).text()
    '7 of 12, 3 split (.28 to .98)'
    """

    shown: int
    of: int
    split: int = 0

    def __post_init__(self) -> None:
        if min(self.shown, self.split) < 0 or self.shown + self.split > self.of:
            raise InputError(
                f"shown, split: expected counts of at most {self.of} together, got {self.shown} and "
                f"{self.split}; count every case once"
            )

    @property
    def low(self) -> float:
        return float(clopper_pearson(self.shown, self.of)[0])

    @property
    def high(self) -> float:
        return float(clopper_pearson(self.shown + self.split, self.of)[1])

    def outcome(self, bar: float = 0.5) -> Outcome:
        """Of the claim that the share is more than `bar`: 10 of 15 is no evidence for two thirds."""
        return above(self.low, self.high, bar)

    def text(self) -> str:
        """Count and interval, as a table shows them."""
        part = f", {self.split} split" if self.split else ""
        low, high = (f"{v:.2f}".replace("0.", ".", 1) for v in (self.low, self.high))
        return f"{self.shown} of {self.of}{part} ({low} to {high})"


def opposite(outcome: Outcome) -> Outcome:
    """Of the claim that denies one.

    >>> opposite("holds"), opposite("does not hold"), opposite("undecided")
    ('does not hold', 'holds', 'undecided')
    """
    if outcome == "holds":
        return "does not hold"
    return "holds" if outcome == "does not hold" else outcome


def combined(outcomes: Iterable[Outcome]) -> Outcome:
    """Of a claim with several parts: one that fails decides it, all must hold for it to hold.

    >>> combined(["holds", "holds"]), combined(["holds", "undecided"]), combined([])
    ('holds', 'undecided', 'undecided')
    """
    every = list(outcomes)
    if "does not hold" in every:
        return "does not hold"
    return "holds" if every and all(o == "holds" for o in every) else "undecided"


def agreed(outcomes: Iterable[Outcome]) -> Outcome:
    """Of one claim read in several ways: what all readings say, else undecided.

    >>> agreed(["holds", "holds"]), agreed(["holds", "undecided"]), agreed([])
    ('holds', 'undecided', 'undecided')
    """
    every = set(outcomes)
    return every.pop() if len(every) == 1 else "undecided"
