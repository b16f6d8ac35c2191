"""Cards get the figures of the stored results, and the page says which rules those followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from seepage.comparison import ComparisonConfig
from seepage.comparison.results import PoolResults, read_pool
from seepage.errors import InputError
from seepage.report.compare_defences import markdown
from seepage.report.defence_cards import with_measured

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config() -> ComparisonConfig:
    return ComparisonConfig.from_toml(ROOT / "studies" / "defences.toml")


@pytest.fixture(scope="module")
def pools(config: ComparisonConfig) -> list[PoolResults]:
    return [
        read_pool(
            ROOT / config.results / name,
            config.attacks[0],
            config.fprs,
            canaries=config.planted(name),
        )
        for name in config.pools
    ]


def test_the_cards_of_the_repository_follow_from_its_results(config, pools) -> None:
    page = (ROOT / config.cards).read_text()
    assert with_measured(page, pools) == page


def test_a_card_says_what_all_seeds_say(pools) -> None:
    """At one seed dmp's loss of accuracy could not be told from none; at three it can."""
    marks = "<!-- measured: dmp -->\nold\n<!-- end of measured -->\n"
    said = with_measured(f"before\n{marks}after\n", pools)
    assert said.startswith(
        "before\n<!-- measured: dmp -->\n- fashion-mnist, `dmp`, 3 seeds: accuracy lower ("
    )
    assert "old" not in said
    assert said.endswith("<!-- end of measured -->\nafter\n")
    row = next(r for r in pools[0].rows if r.label == "dmp")
    gap = row.against(pools[0].undefended, "accuracy_out")
    assert gap.high < 0
    assert f"({gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}])" in said
    with pytest.raises(InputError, match="cards: expected results of 'nothing'"):
        with_measured(marks.replace("dmp", "nothing"), pools)


def test_shorter_trainings_are_not_the_defence_s_own_figures(pools) -> None:
    said = with_measured("<!-- measured: relaxloss -->\n<!-- end of measured -->", pools)
    assert "alpha=0.3`" in said
    assert "7 epochs" not in said


def test_old_results_say_by_which_rules_they_were_judged(pools) -> None:
    text = markdown(pools, "study.toml")
    assert "All results here were stored by version 0.1" in text
    # 12,800 non-members in the pool, 1,280 canaries: 13/12801 and 2/1281.
    assert "(null 0.001, FPR 0.00094)" in text
    assert "(null 0.0016, FPR 0.00078)" in text
    assert "| memguard ‡ |" in text
    assert "trained before MemGuard was as released: 50 search steps" in text
