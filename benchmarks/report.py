"""Size and speed of the report at 60,000 samples × 12 checkpoints of synthetic signals.

    python -m benchmarks.report [--samples 60000] [--models 32] [--out benchmarks/results/report.json]

Needs chromium and chromedriver for the figures of the browser; without them they are null.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seepage.data import Dataset
from seepage.findings import collect
from seepage.plan import half_split
from seepage.report import write_report

CHECKPOINTS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 40.0)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1280,900",
)  # fmt: skip


class Synthetic:
    """A finished run of Gaussians in which a tenth of the samples leaks, ever more."""

    def __init__(self, samples: int, models: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.path, self.seed = "synthetic", seed
        self.checkpoints = np.array(CHECKPOINTS)
        self.classes = tuple(f"class {k}" for k in range(10))
        self.signals = ("loss", "phi", "correct", "mentr")
        self.failed: dict[int, str] = {}
        self.member = half_split(samples, models=models, seed=seed).member
        self.labels = rng.integers(0, 10, samples)
        self.ids = np.array([f"pool/{i:05d}" for i in range(samples)])
        self.weight = np.where(rng.random(samples) < 0.1, 1.0, 0.08).astype(np.float32)
        self.manifest: dict[str, Any] = {"data": {"name": "synthetic"}, "plan": {"seed": seed}}
        pictures = torch.from_numpy(rng.integers(0, 256, (samples, 1, 28, 28), dtype=np.uint8))
        self.pool = Dataset(
            pictures, torch.from_numpy(self.labels), self.ids, self.classes, "synthetic", "image"
        )

    def signal_at(self, name: str, t: int, /) -> np.ndarray[Any, np.dtype[np.float32]]:
        rng = np.random.default_rng([self.seed, t])
        grown = np.float32(self.checkpoints[t] / self.checkpoints[-1])
        phi = rng.standard_normal(self.member.shape, dtype=np.float32)
        phi += grown * (3 - 3 * self.weight + 3.5 * self.weight * self.member)
        if name == "correct":
            return (phi > 0).astype(np.float32)
        return phi if name == "phi" else np.logaddexp(np.float32(0), -phi)

    def data(self) -> Dataset:
        return self.pool


def _in_browser(path: Path, tries: int = 5) -> dict[str, Any] | None:
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        return None
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        chrome = webdriver.Chrome(options=options, service=Service(driver))
        try:
            chrome.set_script_timeout(120)
            paints, readies = [], []
            for _ in range(tries):
                chrome.get("about:blank")
                chrome.get(path.resolve().as_uri())
                WebDriverWait(chrome, 120).until(
                    lambda c: c.execute_script(
                        "return document.getElementById('stage').dataset.ready"
                    )
                )
                entries = chrome.execute_script(
                    "return performance.getEntriesByType('paint').map(e => [e.name, e.startTime])"
                )
                paints.append(dict(entries)["first-contentful-paint"])
                readies.append(
                    chrome.execute_script(
                        "return Number(document.getElementById('stage').dataset.readyAt)"
                    )
                )
            frames = chrome.execute_async_script(FRAMES)
        finally:
            chrome.quit()
    return {
        "first_contentful_paint_ms": sorted(paints),
        "plane_ready_ms": sorted(readies),
        "slider_step_ms": sorted(frames),
        "browser": chrome.capabilities["browserVersion"],
    }  # fmt: skip


# Each step: the slider moved, until the frame after the one that drew it.
FRAMES = """
const done = arguments[0], slider = document.getElementById('plane-time'), times = [];
const next = (k) => {
  if (k < 0) return done(times);
  const start = performance.now();
  slider.value = String(k);
  slider.dispatchEvent(new Event('input'));
  requestAnimationFrame(() => setTimeout(() => { times.push(performance.now() - start); next(k - 1); }));
};
next(Number(slider.max));
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=60_000)
    parser.add_argument("--models", type=int, default=32)
    parser.add_argument("--permutations", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/report.json"))
    given = parser.parse_args()
    run = Synthetic(given.samples, given.models)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        start, cpu = time.perf_counter(), time.process_time()
        findings = collect(run, permutations=given.permutations)
        collected, collected_cpu = time.perf_counter() - start, time.process_time() - cpu
        start, cpu = time.perf_counter(), time.process_time()
        write_report(run, path, findings=findings)
        written, written_cpu = time.perf_counter() - start, time.process_time() - cpu
        html = path.read_bytes()
        result = {
            "samples": given.samples,
            "models": given.models,
            "checkpoints": len(CHECKPOINTS),
            "permutations": given.permutations,
            "attacks": len(findings.attacks),
            "html_bytes": len(html),
            "html_bytes_gzip": len(gzip.compress(html)),
            "beside_bytes": {p.name: p.stat().st_size for p in sorted(Path(folder).iterdir())
                             if p.suffix != ".html"},
            "collect_seconds": {"wall": collected, "cpu": collected_cpu},
            "write_seconds": {"wall": written, "cpu": written_cpu},
            "in_browser": _in_browser(path),
            "machine": {"cpus": os.cpu_count(), "processor": platform.processor() or platform.machine(),
                        "python": platform.python_version()},
        }  # fmt: skip
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
