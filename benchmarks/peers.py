"""Scoring beside PrivacyGuard and ART, each from its package in an environment of its own.

    python -m benchmarks.peers [--samples 50000] [--models 64] [--out peers.json]

Ours scores every model as the target once; the peers score one target, timed three times and
multiplied by the number of models. One machine, one run, the same arrays. Environments are made
beside .venv on first use (.venv-parity, .venv-art).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scoring import make, measure
from seepage import attacks
from seepage.fleet.machine import hardware

HERE = Path(__file__).resolve().parent
TORCH = "torch==2.13.0"
PEERS = {
    "privacyguard": (".venv-parity", "privacyguard-platform==0.0.2", "privacy_guard"),
    # ART imports packaging and does not ask for it.
    "art": (".venv-art", "adversarial-robustness-toolbox==1.20.1 packaging", "art"),
}


def environment(folder: str, packages: str, module: str) -> Path:
    """The interpreter of an environment that holds the peer, made if it is not there."""
    root = HERE.parent / folder
    python = root / "bin" / "python"
    there = (
        python.exists()
        and not subprocess.run(
            [python, "-c", f"import {module}"], capture_output=True, check=False
        ).returncode
    )
    if not there:
        subprocess.run([sys.executable, "-m", "venv", root], check=True)
        quiet = ["install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([python, "-m", "pip", *quiet, *packages.split(), TORCH], check=True)
    return python


def peer_seconds(name: str, arrays: dict[str, Any]) -> dict[str, float]:
    """Seconds of one target by attack, as the peer's own process measured them."""
    python = environment(*PEERS[name])
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        given, answer = Path(folder) / "arrays.npz", Path(folder) / "seconds.json"
        np.savez(given, **arrays)
        subprocess.run([python, HERE / f"peer_{name}.py", given, answer], check=True)
        found: dict[str, float] = json.loads(answer.read_text())
    return found


def answers(member: np.ndarray, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (2, N, K) of two models and labels (N,): members are answered with more confidence."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=member.shape[1])
    logits = rng.standard_normal((2, member.shape[1], classes), dtype=np.float32)
    at = np.arange(member.shape[1])
    logits[:, at, labels] += 2 + 2 * member[:2].astype(np.float32)
    return logits, labels


def rows(models: int, samples: int, repeats: int) -> list[dict[str, Any]]:
    """One row per attack that a peer has too."""
    signals, member = make(models, samples)
    logits, labels = answers(member, 10)
    signals["correct"] = signals["correct"].astype(np.float32)
    theirs = peer_seconds(
        "privacyguard", {"phi": signals["phi"], "loss": signals["loss"], "member": member}
    )
    theirs |= peer_seconds("art", {"logits": logits, "labels": labels, "member": member[:2]})
    every = attacks.RMIA(population=np.arange(samples))
    ours: dict[str, tuple[attacks.Attack, str]] = {
        "lira": (attacks.LiRA(variance=attacks.PerSample()), "PrivacyGuard 0.0.2, online LiRA"),
        "rmia": (every, "PrivacyGuard 0.0.2, online RMIA"),
        "shadow-classifier": (
            attacks.ShadowClassifier(),
            "ART 1.20.1, black-box attack by logistic regression, one shadow model",
        ),
    }
    out = []
    for name, (attack, peer) in ours.items():
        given = {key: signals[key] for key in attack.requires}
        seconds, peak = measure(lambda a=attack, g=given: a.leave_one_out(g, member), repeats)
        out.append(
            {
                "name": name,
                "seconds": seconds,
                "peak_mb": peak,
                "reference": peer,
                "reference_seconds_one_target": theirs[name],
                "reference_seconds": theirs[name] * models,
                "ratio": theirs[name] * models / seconds,
            }
        )
    return out


def main() -> None:
    """Print the table and, with --out, write it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    found = rows(a.models, a.samples, a.repeats)
    for r in found:
        print(
            f"{r['name']:20}{r['seconds']:9.3f} s{r['reference_seconds']:10.1f} s"
            f"{r['ratio']:9.0f} x  {r['reference']}"
        )
    if a.out:
        result = {
            "hardware": hardware(),
            "samples": a.samples,
            "models": a.models,
            "repeats": a.repeats,
            "rows": found,
        }
        a.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
