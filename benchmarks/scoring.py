"""How fast scoring is, beside a plain reference timed in the same run.

    python -m benchmarks.scoring [--samples 50000] [--models 256] [--out scoring.json]

Every row: median seconds of `repeats` calls after one warm-up, the reference's seconds and the
ratio, and the peak of resident memory beyond what was held before the call. References named
"extrapolated" are timed on a part and scaled linearly; the row says so. Last, default and per-sample
LiRA and RMIA beside what an expert writes in NumPy, in processor seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from scipy import special
from scipy.stats import norm

from seepage import attacks, metrics
from seepage.attacks.targets import dropped
from seepage.attacks.variance import OFFSET, WIDTH, Totals, chance, prior
from seepage.native.library import level, threads
from seepage.plan import half_split

__all__ = ["attack_rows", "expert_rows", "main", "measure", "metric_rows"]

Row = dict[str, Any]
Array = NDArray[Any]


def measure(call: Callable[[], Any], repeats: int = 3) -> tuple[float, float]:
    """Median seconds and peak MB beyond the start of each call, after one warm-up."""
    call()
    process, seconds, peaks = psutil.Process(), [], []
    for _ in range(repeats):
        start, done, peak = process.memory_info().rss, threading.Event(), [0]

        def watch(start: int = start, done: threading.Event = done, peak: list[int] = peak) -> None:
            while not done.wait(0.003):
                peak[0] = max(peak[0], process.memory_info().rss - start)

        watcher = threading.Thread(target=watch)
        watcher.start()
        begin = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - begin)
        done.set()
        watcher.join()
        peaks.append(peak[0])
        del result
    return statistics.median(seconds), max(peaks) / 1e6


def make(models: int, samples: int) -> tuple[dict[str, Array], Array]:
    """Signals as a run stores them, float32, and the plan's membership."""
    rng = np.random.default_rng(0)
    member = half_split(samples, models=models, seed=0).member
    phi = rng.normal(2, 3, size=samples).astype(np.float32) + member.astype(np.float32)
    phi = phi + rng.standard_normal(member.shape, dtype=np.float32)
    loss = np.logaddexp(0, -phi).astype(np.float32)
    return {"phi": phi, "loss": loss, "mentr": loss, "correct": phi > 0}, member


def scipy_seconds(phi: Array, member: Array, part: int = 400) -> tuple[float, str]:
    """A loop over samples with scipy.stats.norm, for all targets: extrapolated from `part`."""
    models, samples = member.shape
    use = np.arange(2, models)
    x, k = phi[:, :part].astype(np.float64), member[:, :part]
    begin = time.perf_counter()
    for i in range(part):
        inside, outside = x[use[k[use, i]], i], x[use[~k[use, i]], i]
        norm.logpdf(x[0, i], inside.mean(), inside.std()) - norm.logpdf(
            x[0, i], outside.mean(), outside.std()
        )
    seconds = (time.perf_counter() - begin) * samples / part * models
    return seconds, f"scipy loop over samples, extrapolated from {part} samples of one target"


def numpy_seconds(
    attack: attacks.Attack, signals: dict[str, Array], member: Array
) -> tuple[float, str]:
    """The attack's own vectorised `run` target by target: extrapolated from two targets."""
    use = attacks.reference_rows(member)
    begin = time.perf_counter()
    for r in (0, 1):
        references = {k: v[use[r]][..., None] for k, v in signals.items()}
        attack.run({k: v[r][:, None] for k, v in signals.items()}, references, member[use[r]])
    seconds = (time.perf_counter() - begin) / 2 * len(member)
    return seconds, "numpy, target by target, extrapolated from 2 targets"


def attack_rows(models: int = 256, samples: int = 50_000, repeats: int = 3) -> list[Row]:
    """Leave-one-out over all targets, every attack."""
    signals, member = make(models, samples)
    scipy_time, scipy_note = scipy_seconds(signals["phi"], member)
    cases = {attack.name: attack for attack in attacks.usual()}
    cases["lira, PerSample"] = attacks.LiRA(variance=attacks.PerSample())
    cases["lira, Pooled"] = attacks.LiRA(variance=attacks.Pooled())
    cases["lira, Global"] = attacks.LiRA(variance=attacks.Global())
    cases["lira, Median"] = attacks.LiRA(attacks.Median(), attacks.PerSample())
    rows = []
    for name, attack in cases.items():
        if attack.trajectory or any(key not in signals for key in attack.requires):
            continue
        given = {key: signals[key] for key in attack.requires}
        seconds, peak = measure(lambda a=attack, g=given: a.leave_one_out(g, member), repeats)
        if name.startswith("lira"):
            reference, note = scipy_time, scipy_note
        elif attack.name == "attack-r":
            # Its readable form is a loop over samples: a part of them is enough.
            part = {"loss": signals["loss"][:, :2000]}
            begin = time.perf_counter()
            attack.score(part["loss"][0], part["loss"][2:], member[2:, :2000])
            reference = (time.perf_counter() - begin) * samples / 2000 * models
            note = "numpy loop over samples, extrapolated from 2000 of one target"
        else:
            reference, note = numpy_seconds(attack, given, member)
        rows.append(_row(f"leave-one-out {name}", seconds, reference, peak, note))
    return rows


def _pairs(x: Array, member: Array) -> Iterator[tuple[Array, list[Array]]]:
    """Of each complementary pair its two models, and mean and squares of the R/2 − 1 OUT, then IN.

    From sums over all models, without what the pair holds.
    """
    n = len(x) // 2 - 1
    inside = np.where(member, x, 0.0)
    sums = [(k.sum(axis=0), (k * k).sum(axis=0)) for k in (x - inside, inside)]
    use = attacks.reference_rows(member)
    for r, both in enumerate(np.flatnonzero(~row) for row in use):
        if r != both[0]:
            continue
        one = inside[both].sum(axis=0)
        left = []
        for gone, (first, second) in zip((x[both].sum(axis=0) - one, one), sums, strict=True):
            mean = (first - gone) / n
            left += [mean, second - gone * gone - n * mean * mean]
        yield both, left


def numpy_lira(phi: Array, member: Array, out: Array) -> None:
    """LiRA with each sample's own variances, as an expert writes it: sums, pair by pair."""
    x = phi.astype(np.float64)
    x -= x.mean(axis=0)
    n = len(x) // 2 - 1
    for both, (m0, s0, m1, s1) in _pairs(x, member):
        term, v0, v1 = 0.5 * np.log(s0 / s1), 0.5 * n / s0, 0.5 * n / s1
        for t in both:
            out[t] = term + (x[t] - m0) ** 2 * v0 - (x[t] - m1) ** 2 * v1


def numpy_student(phi: Array, member: Array, out: Array) -> None:
    """Default LiRA the same way: counts of log s² pair by pair, the prior, then the t laws."""
    x = phi.astype(np.float64)
    ends = [
        (np.where(k, x, -np.inf).max(axis=1), np.where(k, x, np.inf).min(axis=1))
        for k in (~member, member)
    ]
    x -= x.mean(axis=0)
    n = len(x) // 2 - 1
    expected, noise = chance(n)[n]
    counts, lowest, units = [], [], []
    for both, left in _pairs(x, member):
        for s, (high, low) in zip(left[1::2], ends, strict=True):
            units.append(2 * np.log(np.delete(high, both).max() - np.delete(low, both).min()))
            at = (np.log(s) - (np.log(n - 1) + expected + units[-1] + OFFSET)) * (1 / WIDTH)
            cell = np.floor(at).astype(np.int64)
            lowest.append(cell.min())
            counts.append(np.bincount(cell - lowest[-1]))
    widest = max(len(c) for c in counts)
    cells = np.array([np.pad(c, (0, widest - len(c))) for c in counts]).reshape(-1, 2, widest)
    sums = np.zeros((*cells.shape[:2], 8))
    sums[..., 0], sums[..., 7] = x.shape[1], x.shape[1] * noise
    totals = Totals(sums, cells, np.reshape(lowest, (-1, 2)), np.reshape(units, (-1, 2)))
    law = prior(totals, attacks.StudentT())[..., 2:]
    for (both, (m0, s0, m1, s1)), own in zip(_pairs(x, member), law, strict=True):
        alpha, beta = own.T
        power = alpha + n / 2 + 0.5
        constant = special.gammaln(power) - special.gammaln(power - 0.5)
        i0, i1 = (n / ((2 * b + s) * (n + 1)) for b, s in zip(beta, (s0, s1), strict=True))
        term = constant[1] - constant[0] + 0.5 * np.log(i1 / i0)
        for t in both:
            far, near = 1 + (x[t] - m0) ** 2 * i0, 1 + (x[t] - m1) ** 2 * i1
            out[t] = term + power[0] * np.log(far) - power[1] * np.log(near)


def numpy_rmia(loss: Array, member: Array, out: Array) -> None:
    """RMIA the same way: sums of probabilities, then sort and search."""
    x = loss.astype(np.float64)
    top = x.min(axis=0)
    for both, (m0, _, m1, _) in _pairs(np.exp(top - x), member):
        reference = np.log(0.5 * (m0 + m1)) - top
        for t in both:
            ratio = -x[t] - reference
            out[t] = np.searchsorted(np.sort(ratio), ratio, side="right") / len(ratio)


def expert_rows(models: int = 256, samples: int = 50_000, repeats: int = 5) -> list[Row]:
    """Against NumPy with sums, or sort and search: all targets, into arrays that are there.

    Processor seconds of each, in turn, medians; and the largest difference over 1 + the score.
    """
    signals, member = make(models, samples)
    drop = dropped(attacks.reference_rows(member))
    phi, loss = (signals[k][..., None] for k in ("phi", "loss"))
    ours, theirs = np.empty(member.shape), np.empty(member.shape)
    rmia, own = attacks.RMIA(), attacks.LiRA(variance=attacks.PerSample())

    def ranked() -> None:
        rmia.ratio_all(loss, member, drop, ours)
        rmia.compare(ours)

    cases: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        "lira, Student-t (default)": (
            lambda: attacks.LiRA().score_all(phi, member, drop, ours),
            lambda: numpy_student(phi[..., 0], member, theirs),
        ),
        "lira, PerSample": (
            lambda: own.score_all(phi, member, drop, ours),
            lambda: numpy_lira(phi[..., 0], member, theirs),
        ),
        "rmia": (ranked, lambda: numpy_rmia(loss[..., 0], member, theirs)),
    }
    rows = []
    for name, pair in cases.items():
        spent: tuple[list[float], list[float]] = ([], [])
        wall: tuple[list[float], list[float]] = ([], [])
        for _ in range(repeats + 1):
            for call, taken, clocked in zip(pair, spent, wall, strict=True):
                clock, begin = time.perf_counter(), time.process_time()
                call()
                taken.append(time.process_time() - begin)
                clocked.append(time.perf_counter() - clock)
        seconds, reference = (statistics.median(taken[1:]) for taken in spent)
        error = float((np.abs(ours - theirs) / (1 + np.abs(theirs))).max())
        rows.append(
            {
                "name": name,
                "processor_seconds": seconds,
                "reference_processor_seconds": reference,
                "ratio": reference / seconds,
                "wall_ratio": statistics.median(wall[1][1:]) / statistics.median(wall[0][1:]),
                "error": error,
            }
        )
    return rows


def metric_rows(models: int = 256, samples: int = 50_000, repeats: int = 3) -> list[Row]:
    """ROC and TPR of all targets, and per-sample AUC."""
    from sklearn.metrics import roc_auc_score, roc_curve

    signals, member = make(models, samples)
    scores = signals["phi"].astype(np.float64)
    fprs = (0.01, 0.001, 0.0001)
    rows = []
    seconds, peak = measure(lambda: metrics.operating_points(scores, member, fprs), repeats)
    begin = time.perf_counter()
    for r in (0, 1, 2):
        roc_auc_score(member[r], scores[r])
        fpr, tpr, _ = roc_curve(member[r], scores[r])
        for f in fprs:
            tpr[np.searchsorted(fpr, f, side="right") - 1]
    reference = (time.perf_counter() - begin) / 3 * models
    note = "scikit-learn, extrapolated from 3 targets"
    rows.append(_row("AUC and 3 TPRs of all targets", seconds, reference, peak, note))
    seconds, peak = measure(lambda: metrics.row_auc(scores, member), repeats)
    begin = time.perf_counter()
    for i in range(200):
        roc_auc_score(member[:, i], scores[:, i])
    reference = (time.perf_counter() - begin) / 200 * samples
    note = "scikit-learn, extrapolated from 200 samples"
    rows.append(_row("AUC per sample across models", seconds, reference, peak, note))
    return rows


def _row(name: str, seconds: float, reference: float, peak: float, note: str) -> Row:
    return {
        "name": name,
        "seconds": seconds,
        "reference_seconds": reference,
        "ratio": reference / seconds,
        "peak_mb": peak,
        "reference": note,
    }


def main(argv: list[str] | None = None) -> None:
    """Print the table and, with --out, write it as JSON with the machine it was made on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--models", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    rows = attack_rows(args.models, args.samples, args.repeats)
    rows += metric_rows(args.models, args.samples, args.repeats)
    experts = expert_rows(args.models, args.samples, args.repeats)
    print(f"{args.samples} samples x {args.models} models, {threads()} threads")
    print(f"{'':44}{'seconds':>9}{'reference':>11}{'ratio':>9}{'peak MB':>9}")
    for row in rows:
        print(
            f"{row['name']:44}{row['seconds']:9.3f}{row['reference_seconds']:11.1f}"
            f"{row['ratio']:9.0f}{row['peak_mb']:9.0f}"
        )
    print(
        f"{'processor seconds, against NumPy':44}{'seconds':>9}{'NumPy':>11}{'ratio':>9}{'error':>9}"
    )
    for row in experts:
        print(
            f"{row['name']:44}{row['processor_seconds']:9.3f}"
            f"{row['reference_processor_seconds']:11.2f}{row['ratio']:9.1f}{row['error']:9.0e}"
        )
    if args.out:
        machine = {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": threads(),
            "level": level(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "samples": args.samples,
            "models": args.models,
            "repeats": args.repeats,
        }
        args.out.write_text(
            json.dumps({"machine": machine, "rows": rows, "experts": experts}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
