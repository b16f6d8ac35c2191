"""Limits from a file: strict, and what is given on the command line wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from seepage.config.limits import Limits, TprLimit, overridden, read_limits
from seepage.errors import InputError


def test_a_file_says_what_python_says(tmp_path: Path) -> None:
    at = tmp_path / "limits.toml"
    at.write_text(
        '[limits]\nmax_auc = 0.6\nmax_tpr = ["0.01@0.001", "0.1@0.01"]\n'
        "max_eps = 2\ndelta = 1e-6\nmax_exposed = 5\n"
    )
    rates = (TprLimit(tpr=0.01, fpr=0.001), TprLimit(tpr=0.1, fpr=0.01))
    expected = Limits(max_auc=0.6, max_tpr=rates, max_eps=2.0, delta=1e-6, max_exposed=5)
    assert read_limits(at) == expected
    at.write_text("[limits]\nmax_exposed = 1.0\n")
    assert isinstance(read_limits(at).max_exposed, float)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits]\nmax_acu = 0.6", "limits: max_acu: unknown field; did you mean 'max_auc'?"),
        ("[limits]\nmax_auc = 0.6\n[limit]", "limit: unknown field"),
        ("limits = 0.6", "expected a table [limits]"),
        ("[limits]", "expected a limit in [limits], got none"),
        ("[limits]\ndelta = 0.1", "expected a limit in [limits], got none"),
        ("[limits]\nmax_auc = true", "max_auc: expected a number"),
        ("[limits]\nmax_auc = nan", "max_auc: expected a value in 0..1"),
        ("[limits]\nmax_tpr = 0.1", "max_tpr: expected 'LIMIT@FPR'"),
        ("[limits]\nmax_tpr = '0.1@2'", "max_tpr: expected a value in 0..1"),
        ("[limits]\nmax_tpr = ['1@0.1', '0.2@0.1']", "expected one limit for each"),
        ("[limits]\nmax_eps = inf", "max_eps: expected a finite number"),
        ("[limits]\ndelta = 1", "delta: expected a number in [0, 1)"),
        ("[limits]\nmax_exposed = -1", "max_exposed: expected a count of at least 0"),
        ("[limits]\nmax_exposed = 1.5", "max_exposed: expected a value in 0..1"),
        ("[limits", "expected TOML"),
    ],
)
def test_what_is_no_limit_is_refused(tmp_path: Path, text: str, said: str) -> None:
    at = tmp_path / "limits.toml"
    at.write_text(text)
    with pytest.raises(InputError) as refused:
        read_limits(at)
    assert said in str(refused.value)
    assert str(at) in str(refused.value)


def test_what_is_given_wins_at_the_same_rate_alone() -> None:
    file = Limits(max_auc=0.6, max_tpr=["0.01@0.001", "0.1@0.01"], delta=1e-6, max_eps=1.0)
    given = Limits(max_tpr="0.02@0.001", max_eps=0.0)
    both, told = overridden(file, given)
    assert both == Limits(max_auc=0.6, max_tpr=["0.1@0.01", "0.02@0.001"], delta=1e-6, max_eps=0.0)
    assert told == ("max_eps 0.0 instead of 1.0", "max_tpr 0.02@0.001 instead of 0.01@0.001")
    assert overridden(Limits(max_exposed=0), Limits(max_exposed=1))[0].max_exposed == 1
