"""The curvature study: its file, its units, its verdicts, its page."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from typer.testing import CliRunner

from seepage.cli import app
from seepage.errors import InputError
from seepage.metrics import auc
from seepage.plan import half_split
from seepage.store.result_files import write_result
from seepage.study import read_study
from seepage.study.curvature.claims import FAILS, HOLDS, NOT_RUN, OPEN, half_width, judge
from seepage.study.curvature.page import curvature_page
from seepage.study.curvature.private import noise_for
from seepage.study.curvature.scoring import ATTACKS, difference, equal_error, rows_of
from seepage.study.curvature.settings import CurvatureSettings, TableSettings
from seepage.study.curvature.study import CurvatureStudy

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.mark.parametrize("name", ["curvature", "curvature-smoke"])
def test_studies_of_the_repository_are_valid(name: str) -> None:
    named = read_study(STUDIES / f"{name}.toml").names
    for start in ("table-cifar10", "size-random-m", "size-lowest-m", "size-matched-m",
                  "dp-eps-none", "estimators-", "mislabel-cifar10-1"):  # fmt: skip
        assert any(n.startswith(start) for n in named)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sizes.table=cifar100", r"sizes.table: expected one of cifar10"),
        ("sizes.sizes=[20, 500]", r"expected less than the pool of 120"),
        ("tables.cifar10.models=7", r"tables.cifar10.models"),
        ("tables.cifar10.recipe.lr=-1", r"lr"),
        ("private.epsilons=[0]", r"budgets above 0"),
        ("tables.cifar10.colour=1", r"colour"),
    ],
)
def test_a_bad_field_is_named(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_study(STUDIES / "curvature-smoke.toml", [override])


def test_difference_is_that_of_areas_with_the_spread_of_a_bootstrap() -> None:
    rng = np.random.default_rng(0)
    member = np.arange(600) < 200
    base = rng.normal(size=600) + member
    a, b = base + 0.5 * rng.normal(size=600), base + rng.normal(size=600)
    mean, error = difference(a, b, member)
    assert mean == pytest.approx(auc(a, member) - auc(b, member), abs=1e-12)
    draws = []
    for _ in range(500):
        rows = np.concatenate([rng.integers(0, 200, 200), rng.integers(200, 600, 400)])
        draws.append(auc(a[rows], member[rows]) - auc(b[rows], member[rows]))
    assert error == pytest.approx(np.std(draws), rel=0.15)


def test_equal_error_is_balanced_accuracy_at_equal_errors() -> None:
    scores = np.array([0.0, 1, 2, 3, 4, 5])
    member = np.array([False, False, True, False, True, True])
    assert equal_error(scores, member) == pytest.approx(2 / 3)


def test_released_lira_is_the_released_formula_on_the_largest_probability() -> None:
    rng = np.random.default_rng(1)
    member = half_split(12, models=8, seed=0).member
    phi = rng.normal(2, 1, size=(8, 12, 2)) + member[..., None]
    scores = rows_given(phi, member)
    r, i = 3, 5
    others = [k for k in range(8) if k // 2 != r // 2]
    ratio = []
    for group in (member[others, i], ~member[others, i]):
        v = phi[others, i][group]
        mu, spread = v.mean(0), v.var(0) + 1e-22
        z = (phi[r, i] - mu) / spread
        ratio.append((np.exp(-z * z / 2) / (np.sqrt(2 * np.pi) * spread)).sum())
    assert scores[r, i] == pytest.approx(ratio[0] / (ratio[1] + 1e-22), rel=1e-6)


def rows_given(phi: np.ndarray, member: np.ndarray) -> np.ndarray:
    entry = ATTACKS["lira-released"]
    return entry.attack.leave_one_out(entry.given({"phi_max": phi}), member)


def test_every_attack_of_the_table_reads_what_is_measured() -> None:
    rng = np.random.default_rng(2)
    member = half_split(40, models=8, seed=0).member
    gap = 1.5 * member[..., None]
    phi = rng.normal(size=(8, 40, 2)) + gap
    curved = np.exp(rng.normal(size=(8, 40, 2)) - gap)
    loss = np.logaddexp(0, -phi)
    measured = {"phi": phi, "phi_max": np.abs(phi), "loss": loss, "mentr": loss,
                "curvature_zo": curved, "curvature_zo32": curved,
                "curvature_frobenius": curved}  # fmt: skip
    rows = rows_of(measured, member, list(ATTACKS))
    # Higher means member for all of them; the largest probability knows less here.
    assert all(r["mean"] > 0.6 for k, r in rows.items() if k not in ("lira-max", "lira-released"))
    assert rows["nll"]["auc"] != rows["nll-published"]["auc"]


def study() -> CurvatureSettings:
    return CurvatureSettings(
        tables={"cifar10": TableSettings(data={"name": "cifar10", "limit": 1000})},
        sizes={"table": "cifar10", "sizes": [100, 200, 400, 800]},
        matched={"data": {"name": "cifar10"}, "sizes": [100, 200, 400]},
        private={"data": {"name": "cifar10"}, "epsilons": [1, 4, 16]},
    )  # fmt: skip


def table(better: str) -> dict[str, object]:
    rng = np.random.default_rng(0)
    twin = [1, 0, 3, 2, 5, 4, 7, 6]

    def row(key: str) -> dict[str, object]:
        level = 0.7 if key == better else 0.6
        values = (level + 0.001 * rng.normal(size=8)).tolist()
        return {"auc": values, "balanced": values, "tpr at 0.01": values, "tpr at 0.001": values,
                "mean": level, "low": level - 0.01, "high": level + 0.01}  # fmt: skip

    settings = TableSettings(data={"name": "cifar10", "limit": 1000}).model_dump(mode="json")
    return {
        "settings": settings, "models": 8, "samples": 1000, "views": 2, "accuracy": [1.0, 0.6],
        "attacks": {k: row(k) for k in ATTACKS}, "twin": twin,
        "c1": {"p": [1e-9] * 8, "gap": [0.5] * 8}, "zeroth_order_against_exact": 0.9,
        "float32_against_exact": 0.8,
        "zero_probes": {"curvature_zo": 0.0, "curvature_zo32": 0.1},
    }  # fmt: skip


def of(verdicts: list, claim: str, says: str = "") -> list[str]:
    return [v.outcome for v in verdicts if v.claim == claim and says in v.says]


def test_orders_hold_fail_or_stay_open_by_their_intervals() -> None:
    found = judge({"table-cifar10": table("nll-published")}, study())
    assert of(found, "C1") == [HOLDS]
    assert of(found, "C2", "Curv NLL, as published above every") == [HOLDS]
    assert of(found, "C3", "1 % FPR of Curv NLL, as published above every")[-1] == HOLDS
    assert of(found, "C3", "0.01 %") == [OPEN]
    # The rest differ by noise alone; the released order of C8 is then not decided either way.
    assert of(found, "C8", "LiRA as released")[0] in (OPEN, HOLDS, FAILS)
    lira = judge({"table-cifar10": table("lira")}, study())
    assert of(lira, "C2", "LiRA, true label") == [FAILS] * 3
    assert of(lira, "C8", "LiRA, true label") == [HOLDS] * 3
    assert of(lira, "ours", "with confidence above LiRA")[0] == FAILS


def test_an_order_is_decided_against_all_opponents_or_none() -> None:
    # Two opponents level with the best: no chosen one of them is beaten, none is behind.
    level = table("nll-published")
    level["attacks"]["attack-r"] = level["attacks"]["nll-published"]
    found = judge({"table-cifar10": level}, study())
    # The same scores differ by nothing, which is known exactly and excludes what matters.
    assert of(found, "C2", "Curv NLL, as published above every") == [FAILS]
    rng = np.random.default_rng(0)
    wide = table("nll-published")
    for row in wide["attacks"].values():
        for figure in ("auc", "balanced"):
            row[figure] = (np.array(row[figure]) + 0.3 * rng.normal(size=8)).tolist()
    assert of(judge({"table-cifar10": wide}, study()), "C2", "as published above every") == [OPEN]


def test_rates_stand_beside_what_noise_reads_or_are_not_shown() -> None:
    few = table("lira") | {"samples": 500}
    found = [v for v in judge({"table-cifar10": few}, study()) if "0.1 %" in v.says]
    assert {v.outcome for v in found} == {OPEN}
    assert {v.why for v in found} == {"cannot be resolved with 250 non-members a target"}
    text = page_of({"table-cifar10": few})
    assert "| *noise* | 0.5000 | – | – | 1.20 % |" in text
    assert "TPR at 0.1 % FPR cannot be resolved with 250 non-members." in text
    assert "| TPR at 0.1 % |" not in text
    enough = page_of({"table-cifar10": table("lira") | {"samples": 2000}})
    assert "| *noise* | 0.5000 | – | – | 1.10 % | 0.20 % |" in enough
    assert "at most 1 pass at 0.1 % (a realised FPR of 0.10 %)" in enough


def test_noise_reads_what_the_page_says_it_does() -> None:
    """By the rule of the stored results: as many non-members pass as the rate allows."""
    rng = np.random.default_rng(1)
    for others, k in ((250, 2), (1000, 10)):
        scores = rng.normal(size=(600, 2 * others))
        above = np.sort(scores[:, others:], axis=1)[:, others - 1 - k]
        read = (scores[:, :others] > above[:, None]).mean(axis=1)
        error = float(np.std(read)) / math.sqrt(len(read))
        assert float(np.mean(read)) == pytest.approx((k + 1) / (others + 1), abs=4 * error)


def test_what_was_not_run_is_undecided() -> None:
    assert {v.outcome for v in judge({}, study())} == {NOT_RUN}


def size(
    auc_nll: float, gap: float, accuracy: float, *, judged: int = 4000, targets: int = 2
) -> dict[str, object]:
    keys = ("nll-published", "nll", "lr-published", "lr", "lira", "lira-released", "loss")
    pairs = [f"{a} - {b}" for a in ("nll-published", "nll")
             for b in ("loss", "lira-released", "lira")]  # fmt: skip
    target = {
        "attacks": {k: {"auc": auc_nll, "balanced": 0.5, "tpr at 0.01": 0.0} for k in keys},
        "differences": {p: [gap, 0.01] for p in pairs}, "accuracy": [1.0, accuracy],
        "members": judged, "others": judged,
    }  # fmt: skip
    return {"targets": [target] * targets, "size": 0}


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ([-0.1, 0.0, 0.1, 0.2], HOLDS),
        ([-0.1, -0.1, -0.1, 0.0], OPEN),
        ([-0.1, -0.1, -0.1, -0.1], FAILS),
        ([0.1, 0.1, 0.1, 0.1], OPEN),
        ([0.0, 0.0, 0.0, 0.0], OPEN),
        ([-0.1, 0.1, -0.1, 0.1], OPEN),
        ([0.1, 0.1, 0.1, -0.1], FAILS),
    ],
)
def test_a_crossing_is_below_first_and_above_after(gaps: list[float], expected: str) -> None:
    results = {
        f"size-random-m{m}": size(0.9 - m / 1e4, g, m / 1e3)
        for m, g in zip((100, 200, 400, 800), gaps, strict=True)
    }
    found = judge(results, study())
    assert of(found, "C4") == [expected] * 6
    assert of(found, "C5")[0] == HOLDS
    assert of(found, "C6") == [NOT_RUN] * 2


def test_no_difference_that_matters_at_the_largest_size_is_no_crossing() -> None:
    results = {
        f"size-random-m{m}": size(0.9 - m / 1e4, g, m / 1e3, targets=40)
        for m, g in zip((100, 200, 400, 800), (-0.1, -0.1, -0.1, 0.0), strict=True)
    }
    assert of(judge(results, study()), "C4") == [FAILS] * 6


def test_one_target_a_size_borrows_its_spread_or_decides_nothing() -> None:
    sizes = zip((100, 200, 400, 800), (-0.1, 0.0, 0.1, 0.2), strict=True)
    results = {f"size-random-m{m}": size(0.9 - m / 1e4, g, m / 1e3, targets=1) for m, g in sizes}
    assert of(judge(results, study()), "C4") == [OPEN] * 6
    assert of(judge(results, study()), "C5")[0] == OPEN
    # Targets of the table differ by 0.001 or so; the order of crossing is then decided.
    lent = judge(results | {"table-cifar10": table("lira")}, study())
    assert of(lent, "C4") == [HOLDS] * 6
    assert of(lent, "C5")[0] == HOLDS


@pytest.mark.parametrize(
    ("slope", "judged", "expected"), [(1, 4000, HOLDS), (-1, 4000, FAILS), (1, 60, OPEN)]
)
def test_least_curved_first_rises_or_does_not(slope: int, judged: int, expected: str) -> None:
    # Four sizes in order have ρ = 1 whatever their errors, which 60 samples a side leave too large.
    results = {
        f"size-lowest-m{m}": size(0.7 + slope * m / 1e4, 0.0, 0.5, judged=judged)
        for m in (100, 200, 400, 800)
    }
    found = [v for v in judge(results, study()) if v.claim == "C6"]
    assert [v.outcome for v in found] == [expected] * 2
    assert "over 4 sizes (exact p 0.083)" in found[0].why


def test_an_order_of_sizes_in_noise_is_not_decided() -> None:
    rng = np.random.default_rng(7)
    fleet = table("lira")
    old, new = [], []
    for _ in range(60):
        # Targets of one AUC at every size, each with the error of 200 members and 200 others.
        aucs = 0.9 + 0.015 * rng.normal(size=5)
        results = {
            f"size-lowest-m{m}": size(float(a), 0.0, 0.5, judged=200, targets=1)
            for m, a in zip((100, 200, 400, 800), aucs, strict=False)
        }
        new += of(judge(results | {"table-cifar10": fleet}, study()), "C6")
        rho = spearmanr(range(4), aucs[:4])[0]
        old.append(rho >= 0.9 or rho < 0.5)
    assert np.mean(old) > 0.7
    assert np.mean([o != OPEN for o in new]) <= 0.05


def test_a_size_at_the_ceiling_is_not_counted() -> None:
    results = {f"size-lowest-m{m}": size(0.999, 0.0, 0.5) for m in (100, 200, 400, 800)}
    assert of(judge(results, study()), "C6") == [NOT_RUN] * 2


def test_error_of_an_auc_is_no_less_than_that_of_samples_and_of_targets() -> None:
    one = size(0.9, 0.0, 0.5, judged=100, targets=1)
    assert math.isnan(half_width(one, "nll"))
    rng = np.random.default_rng(0)
    fleet = table("lira")
    spread = float(np.std(fleet["attacks"]["nll"]["auc"], ddof=1))
    assert half_width(one, "nll", fleet) == pytest.approx(
        math.hypot(1.96 * math.sqrt(0.09 / 100), 3.182 * spread), rel=1e-3
    )
    # The bound over samples holds for laws that DeLong's normal ones are not: few far members.
    member = np.arange(200) < 100
    draws = []
    for _ in range(400):
        s = rng.normal(size=200)
        s[:100] += np.where(rng.random(100) < 0.8, 9.0, 0.0)
        draws.append(auc(s, member))
    a = float(np.mean(draws))
    assert np.std(draws) <= math.sqrt(a * (1 - a) / 100)


def private(levels: dict[str, float], noise: float = 1e-4) -> list:
    def unit(level: float) -> dict[str, object]:
        values = level + noise * np.repeat([0.0, 1.0, -1.0, 0.5], 2)
        return {"attacks": {k: {"auc": values.tolist()} for k in ATTACKS},
                "twin": [1, 0, 3, 2, 5, 4, 7, 6]}  # fmt: skip

    return judge({f"dp-eps-{e}": unit(v) for e, v in levels.items()}, study())


def test_privacy_is_judged_by_growth_chance_and_saturation() -> None:
    found = private({"1": 0.5, "4": 0.52, "16": 0.56, "inf": 0.6, "none": 0.8})
    assert of(found, "C7", "grows") == [HOLDS] * 4
    assert of(found, "C7", "tends") == [HOLDS] * 4
    assert of(found, "C7", "saturates") == [FAILS] * 4
    flat = private({"1": 0.5, "4": 0.6, "16": 0.6, "none": 0.8})
    assert of(flat, "C7", "saturates") == [HOLDS] * 4
    # The same noise enters every budget here, so that a step of nothing is known to be nothing.
    assert of(flat, "C7", "grows") == [OPEN] * 4
    falls = private({"1": 0.6, "4": 0.55, "16": 0.6, "none": 0.8})
    assert of(falls, "C7", "grows") == [FAILS] * 4
    assert of(falls, "C7", "tends") == [FAILS] * 4
    assert of(private({"4": 0.5}), "C7") == [NOT_RUN]


def test_chance_needs_an_interval_within_its_margin_and_an_attack_that_works() -> None:
    levels = {"1": 0.505, "4": 0.52, "16": 0.56, "none": 0.8}
    assert of(private(levels), "C7", "tends") == [HOLDS] * 4
    # An interval that merely contains a half is what too few models give.
    assert of(private(levels, noise=0.03), "C7", "tends") == [OPEN] * 4
    # An attack that finds nothing without privacy either says nothing about privacy.
    dead = private({"1": 0.5, "4": 0.5, "16": 0.5, "none": 0.5})
    assert of(dead, "C7", "tends") == [OPEN] * 4
    assert of(dead, "C7", "saturates") == [OPEN] * 4


def page_of(results: dict[str, object]) -> str:
    names = CurvatureStudy(study()).names
    return curvature_page(results, study(), names, "study.toml")


def test_page_says_what_was_not_run() -> None:
    text = page_of({"table-cifar10": table("lira")})
    assert "Not run: `size-random-m100`" in text
    assert "## Attacks: cifar10" in text
    assert "| LiRA, true label | 0.7000 |" in text
    assert "Were the loss smooth" not in text
    crossed = table("lira") | {"against_smooth": {"right": 4.4, "wrong": 56.0, "loss": 0.64}}
    told = page_of({"table-cifar10": crossed})
    assert "4.4 times that norm where the label is predicted and 56 times" in told


def test_noise_reaches_its_budget() -> None:
    pytest.importorskip("opacus")
    from seepage.defenses import epsilon

    noise = noise_for(4.0, 0.2, 200, 1e-5)
    assert 3.9 < epsilon(noise, 0.2, 200, 1e-5) <= 4.0


def run(tmp_path: Path, *more: str) -> str:
    file = tmp_path / "study.toml"
    file.write_text(
        'kind = "curvature"\nprobes = 2\n'
        f'runs = "{tmp_path}/runs"\nresults = "{tmp_path}/results"\npage = "{tmp_path}/page.md"\n'
        '[tables.digits]\ndata = { name = "digits", limit = 60 }\nmodels = 6\nscored = 40\n'
        'model = { name = "mlp", options = { hidden = [16] } }\n'
        "recipe = { epochs = 2, batch = 15 }\n"
        '[sizes]\ntable = "digits"\nsizes = [20, 30]\nscored = 24\nevery = 1\n'
        '[matched]\ndata = { name = "digits" }\nrecipe = { epochs = 2, batch = 15 }\n'
        'model = { name = "mlp", options = { hidden = [16] } }\nsizes = [20, 25]\nmodels = 6\n'
        '[estimators]\ntables = ["digits"]\nmodels = 6\nsamples = 30\nprobes = [5]\n'
        '[mislabel.digits]\ndata = { name = "digits", limit = 60 }\n'
        'model = { name = "cnn-1", options = { width = 4, hidden = 8 } }\n'
        "recipe = { epochs = 2, batch = 15 }\nrates = [0.2]\nseeds = 1\n"
        '[fleet]\ndevice = "cpu"\nworkers = 1\n'
    )
    done = CliRunner().invoke(app, ["study", str(file), *more])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_unit_is_computed_once_and_the_page_is_written_from_it(tmp_path: Path) -> None:
    run(tmp_path, "--fleet", "table-*")
    result = tmp_path / "results/table-digits.json"
    stored = json.loads(result.read_text())
    assert len(stored["attacks"]["lira"]["auc"]) == 6
    assert (stored["pool"], stored["samples"]) == (60, 40)
    write_result(result, stored | {"accuracy": [0.123, 0.456]})
    marked = result.read_text()
    run(tmp_path, "--fleet", "table-*")
    assert result.read_text() == marked
    assert not (tmp_path / "page.md").exists()
    run(tmp_path, "--only", "page")
    assert "accuracy 0.123 on members" in (tmp_path / "page.md").read_text()
    assert "yes" in run(tmp_path, "--dry-run")


@pytest.mark.slow
def test_every_unit_runs_from_a_file(tmp_path: Path) -> None:
    run(tmp_path)
    there = {p.stem for p in (tmp_path / "results").glob("*.json")}
    assert {"table-digits", "size-random-m20", "size-lowest-m30", "size-matched-m20",
            "estimators-digits", "mislabel-digits-20"} <= there  # fmt: skip
    page = (tmp_path / "page.md").read_text()
    for title in ("## Attacks", "least curved first", "## Estimators", "## Finding mislabelled"):
        assert title in page


def test_unknown_units_and_parts_are_refused(tmp_path: Path) -> None:
    smoke = str(STUDIES / "curvature-smoke.toml")
    for arguments, message in (
        (["--fleet", "tabel-cifar10"], "did you mean 'table-cifar10'?"),
        (["--only", "train"], "--only: expected page"),
        (["--only", "page", "--results", str(tmp_path)], "expected results of the study"),
    ):
        done = CliRunner().invoke(app, ["study", smoke, *arguments])
        assert isinstance(done.exception, InputError)
        assert message in str(done.exception)
