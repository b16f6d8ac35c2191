"""What was measured of each defence, written into the cards of a page of defences.

Changes are against the undefended fleet, over the pairs of runs that both have, all seeds joined.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from seepage.comparison.results import PoolResults, Row
from seepage.errors import InputError
from seepage.findings.defences import change
from seepage.metrics import Estimate
from seepage.report.defence_words import rules_before

__all__ = ["with_measured"]

_MARKS = re.compile(r"(<!-- measured: ([\w-]+) -->\n).*?(<!-- end of measured -->)", re.DOTALL)


def with_measured(page: str, pools: Sequence[PoolResults]) -> str:
    """The page with the figures of every defence between the marks of its card.

    A card's marks are `<!-- measured: NAME -->` and `<!-- end of measured -->`; what stands between
    them is replaced. Raises InputError for marks of a defence that no result is of.
    """

    def measured(found: re.Match[str]) -> str:
        lines = list(_lines(found[2], pools))
        if not lines:
            raise InputError(
                f"cards: expected results of {found[2]!r}, found none; train it or take its marks away"
            )
        return found[1] + "\n".join(lines) + "\n" + found[3]

    return _MARKS.sub(measured, page)


def _lines(name: str, pools: Sequence[PoolResults]) -> Iterator[str]:
    for p in pools:
        whole = p.undefended.setting["epochs"]
        for row in p.rows:
            if row.defense["name"] == name and row.setting["epochs"] == whole:
                yield _line(p, row)


def _line(p: PoolResults, row: Row) -> str:
    c = change(p, row, p.undefended)
    seeds = f"{len(row.seeds)} seed{'' if len(row.seeds) == 1 else 's'}"
    said = f"accuracy {_word(c.accuracy)} ({_signed(c.accuracy)}), AUC {_word(c.auc)} ({_signed(c.auc)})"
    return f"- {p.pool}, `{row.label}`, {seeds}: {said}{rules_before(row)}."


def _word(e: Estimate) -> str:
    """Where the interval of a difference lies.

    >>> _word(Estimate(0.2, 0.1, 0.3, 0.95, 8)), _word(Estimate(0.2, -0.1, 0.5, 0.95, 8))
    ('higher', 'not distinguishable')
    """
    return "higher" if e.low > 0 else "lower" if e.high < 0 else "not distinguishable"


def _signed(e: Estimate) -> str:
    return f"{e.mean:+.3f} [{e.low:+.3f}, {e.high:+.3f}]"
