from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seepage.attacks import LOSS, LiRA
from seepage.findings import collect
from seepage.report import write_report

pytestmark = pytest.mark.browser

HOSTILE = '</script><img src=x onerror="window.owned=1"><svg onload="window.owned=2">{{7*7}}'


@pytest.fixture(scope="module")
def report(make_run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    run = make_run(samples=150, models=16)
    findings = collect(run, attacks=[LOSS(), LiRA()], permutations=1)
    path = write_report(run, tmp_path_factory.mktemp("r") / "report.html", findings=findings)
    return path, findings


def visit(browser: Any, path: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(path.as_uri())
    WebDriverWait(browser, 30).until(
        lambda b: b.execute_script("return document.getElementById('stage')?.dataset.ready")
    )


def pixels(browser: Any) -> str:
    data = browser.execute_script("return document.getElementById('plane-points').toDataURL()")
    return hashlib.sha256(data.encode()).hexdigest()


def settle(browser: Any) -> None:
    browser.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done));"
    )


def click_sample(browser: Any, findings: Any, i: int) -> None:
    """Click where the plane has drawn a sample at the last checkpoint, found by search."""
    from selenium.webdriver.common.by import By

    box = browser.find_element(By.ID, "plane-find")
    box.clear()
    box.send_keys(str(findings.ids[i]))
    box.submit()


def test_it_opens_from_disk_without_errors_or_requests(browser: Any, report: Any) -> None:
    visit(browser, report[0])
    assert browser.get_log("browser") == []
    asked = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    remote = [u for u in asked if not u.startswith(("file:", "data:", "blob:", "about:"))]
    assert remote == []
    assert [u for u in asked if u.startswith("file:")] == [report[0].as_uri()]
    assert "This training leaks" in browser.title + browser.page_source
    assert len(browser.find_elements("css selector", "svg.chart")) >= 4


def test_the_slider_moves_the_points(browser: Any, report: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    visit(browser, report[0])
    end = pixels(browser)
    slider = browser.find_element(By.ID, "plane-time")
    assert browser.find_element(By.ID, "plane-now").text == "epoch 16"
    slider.send_keys(Keys.HOME)
    settle(browser)
    assert browser.find_element(By.ID, "plane-now").text == "initialisation"
    start = pixels(browser)
    assert start != end
    slider.send_keys(Keys.END)
    settle(browser)
    assert pixels(browser) == end
    browser.find_element(By.ID, "plane-noise").click()
    settle(browser)
    assert pixels(browser) not in (start, end)


def test_play_runs_to_the_end(browser: Any, report: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    visit(browser, report[0])
    play = browser.find_element(By.ID, "plane-play")
    play.click()
    WebDriverWait(browser, 5).until(
        lambda b: 0 < float(b.find_element(By.ID, "stage").get_attribute("data-time")) < 4
    )
    assert play.get_attribute("aria-pressed") == "true"
    WebDriverWait(browser, 20).until(
        lambda b: float(b.find_element(By.ID, "stage").get_attribute("data-time")) == 5.0
    )
    assert play.get_attribute("aria-pressed") == "false"


def test_a_click_on_a_point_shows_its_path(browser: Any, report: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    _, findings = report
    visit(browser, report[0])
    stage = browser.find_element(By.ID, "stage")
    details = browser.find_element(By.ID, "plane-details")
    assert "empty" in details.get_attribute("class")
    marks = browser.find_element(By.ID, "plane-marks")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", marks)
    before = browser.execute_script("return arguments[0].toDataURL()", marks)
    # The upper left corner of the unit square: that is where the planted samples lie.
    size = marks.size
    picked = ""
    # Points of equal rates are spread around their place: some of the corner is empty.
    for right, down in np.ndindex(5, 5):
        ActionChains(browser).move_to_element_with_offset(
            marks,
            round((-0.375 + 0.01 * right) * size["width"]),
            round((-0.44 + 0.01 * down) * size["height"]),
        ).click().perform()
        settle(browser)
        picked = stage.get_attribute("data-picked")
        if picked:
            break
    assert picked in findings.ids
    i = int(np.flatnonzero(findings.ids == picked)[0])
    assert browser.find_element(By.ID, "sample-id").text == picked
    assert browser.find_element(By.ID, "sample-class").text == findings.classes[findings.labels[i]]
    rows = browser.find_elements(By.CSS_SELECTOR, "#sample-path tr")
    assert len(rows) == len(findings.checkpoints)
    p = findings.paths
    for t, row in enumerate(rows):
        cells = [c.text for c in row.find_elements(By.CSS_SELECTOR, "th, td")]
        assert cells[1] == f"{p.tp[t, i]}/{p.n_in[i]}"
        assert cells[2] == f"{p.fp[t, i]}/{p.n_out[i]}"
        null = f"{p.null_tp[t, i]}/{p.n_in[i]}, {p.null_fp[t, i]}/{p.n_out[i]}"
        assert cells[3] == null
    assert browser.execute_script("return arguments[0].toDataURL()", marks) != before
    assert browser.find_element(By.ID, "sample-picture").is_displayed()
    assert findings.paths.advantage()[-1, i] > 0.5


def test_search_cards_and_keys_pick_samples(browser: Any, report: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    _, findings = report
    visit(browser, report[0])
    stage = browser.find_element(By.ID, "stage")
    click_sample(browser, findings, 77)
    assert stage.get_attribute("data-picked") == findings.ids[77]
    box = browser.find_element(By.ID, "plane-find")
    box.clear()
    box.send_keys("no such sample")
    box.submit()
    assert browser.find_element(By.ID, "plane-found").text == "No sample has this id."
    first, second = findings.exposure.order[:2]
    card = browser.find_element(By.CSS_SELECTOR, f'.card a[data-sample="{second}"]')
    browser.execute_script("arguments[0].click()", card)
    assert stage.get_attribute("data-picked") == findings.ids[second]
    browser.execute_script("arguments[0].focus()", stage)
    stage.send_keys(Keys.ARROW_UP)
    assert stage.get_attribute("data-picked") == findings.ids[first]
    stage.send_keys(Keys.ARROW_LEFT)
    settle(browser)
    assert browser.find_element(By.ID, "plane-now").text == "epoch 8"


def test_captions_stay_whole_where_tables_scroll(browser: Any, report: Any) -> None:
    inside = """
        document.querySelectorAll("details").forEach((d) => { d.open = true; });
        document.getElementById("plane-details").classList.remove("empty");
        return [...document.querySelectorAll(".scroll caption")].flatMap((c) => {
          const s = c.closest(".scroll");
          return [0, 60, 9999].map((at) => {
            s.scrollLeft = at;
            const a = s.getBoundingClientRect(), b = c.getBoundingClientRect();
            return b.left >= a.left - 1 && b.right <= a.right + 1 && b.width > 100;
          });
        });"""
    try:
        for width in (390, 820, 1280):
            browser.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
            )
            visit(browser, report[0])
            found = browser.execute_script(inside)
            assert len(found) >= 9
            assert all(found), width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_density_view(browser: Any, report: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    visit(browser, report[0])
    before = pixels(browser)
    Select(browser.find_element(By.ID, "plane-view")).select_by_value("density")
    settle(browser)
    assert pixels(browser) != before


@pytest.mark.parametrize("kind", ["image", "table"])
def test_hostile_names_do_nothing(
    browser: Any, make_run: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    from selenium.webdriver.common.by import By

    run = make_run(
        samples=40, kind=kind, ids=np.array([f"{HOSTILE}{i}" for i in range(40)]),
        classes=(HOSTILE, HOSTILE + "b"), name=HOSTILE, failed={3: HOSTILE},
        checkpoints=(0.0, 1.0, 2.0),
    )  # fmt: skip
    path = write_report(run, tmp_path / "h.html", attacks=[LiRA()], permutations=1)
    visit(browser, path)
    card = browser.find_element(By.CSS_SELECTOR, ".card a[data-sample]")
    browser.execute_script("arguments[0].click()", card)
    settle(browser)
    assert browser.find_element(By.ID, "sample-id").text.startswith("</script><img")
    assert browser.execute_script("return window.owned === undefined")
    assert browser.find_elements(By.CSS_SELECTOR, "img[src='x'], svg[onload]") == []
    assert browser.get_log("browser") == []


def test_the_policy_stops_a_script_that_got_in(browser: Any, report: Any, tmp_path: Path) -> None:
    text = report[0].read_text().replace("</main>", "<script>window.owned = 1</script></main>", 1)
    path = tmp_path / "tampered.html"
    path.write_text(text)
    visit(browser, path)
    assert browser.execute_script("return window.owned === undefined")
    assert any("Content Security Policy" in e["message"] for e in browser.get_log("browser"))
