"""Do the intervals cover? Fleets with known truth, for every interval that is printed.

python -m benchmarks.coverage            # all cases; writes benchmarks/results/coverage.json
python -m benchmarks.coverage --quick    # a few fleets each; writes nothing unless told where
python -m benchmarks.coverage --only "one target" --keep   # again, the other stored cases stay
python -m benchmarks.coverage --missing  # those that are not stored: goes on after an interruption
python -m benchmarks.coverage --page     # docs/coverage.md from what is stored, nothing simulated

Exit status 1 where a printed interval fails: the upper end of its coverage's 99 % interval lies
below the level. Intervals that are not printed are reported and may fail.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.coverage_cases import CASES, Case, Row, Size
from benchmarks.stored import RESULTS, ROOT, table

__all__ = ["main", "page", "run"]

Stored = dict[str, Any]
"""What is written: sizes, and of every case its rows and seconds of processor time."""

STORED = RESULTS / "coverage.json"
PAGE = ROOT / "docs" / "coverage.md"


def one(case: Case, size: Size) -> tuple[list[Row], float]:
    """Rows of a case, and its seconds of processor time."""
    began = time.process_time()
    return case.rows(size), time.process_time() - began


def run(
    cases: Sequence[Case],
    size: Size,
    workers: int,
    out: Path | None = None,
    kept: Stored | None = None,
) -> Stored:
    """Rows by the name of the case, and what was simulated; written to `out` after every case.

    kept: a stored result of the same size whose other cases stay.
    """
    same = kept is not None and all(kept[k] == getattr(size, k) for k in ("fleets", "pools"))
    done: dict[str, Any] = dict(kept["cases"]) if kept is not None and same else {}

    def result() -> Stored:
        ordered = {c.name: done[c.name] for c in CASES if c.name in done}
        return {"fleets": size.fleets, "pools": size.pools, "cases": {**ordered, **done}}

    def keep(case: Case, rows: list[Row], seconds: float) -> None:
        report(case, rows, seconds)
        done[case.name] = {"seconds": round(seconds), "rows": [asdict(r) for r in rows]}
        if out is not None:
            out.write_text(json.dumps(result(), indent=1) + "\n", encoding="utf-8")

    if workers < 2:
        for case in cases:
            keep(case, *one(case, size))
        return result()
    # One thread each: the cases are what runs at the same time.
    os.environ |= {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(one, case, size): case for case in cases}
        for future in as_completed(waiting):
            keep(waiting[future], *future.result())
    return result()


def rows_of(stored: Stored) -> list[dict[str, Any]]:
    """All rows of a stored result."""
    return [r for case in stored["cases"].values() for r in case["rows"]]


def report(case: Case, rows: Iterable[Row], seconds: float) -> None:
    """A case on the terminal."""
    print(f"== {case.name} ({seconds:.0f} s)")
    for r in rows:
        verdict = "" if r.holds else "  FAILS" if r.printed else "  fails (not printed)"
        beside = "" if r.beside is None else f"  beside {r.beside:.3f}"
        print(f"{r.figure:75s} {r.measured:.4f}  width {r.width:.4f}{beside}{verdict}", flush=True)


def failures(result: Stored) -> list[str]:
    """Printed intervals that do not hold."""
    return [
        f"{r['figure']}, {r['law']}, R = {r['models']}: {r['measured']:.4f}"
        for r in rows_of(result)
        if r["printed"] and not r["holds"]
    ]


def _number(value: float) -> str:
    return f"{value:.4f}" if value < 10 else f"{value:.2f}"


def page(result: Stored) -> str:
    """The page, from a stored result alone."""
    by_figure: dict[tuple[str, str, bool], list[dict[str, Any]]] = {}
    every = rows_of(result)
    null = [r for r in every if r["figure"].startswith("null AUC")]
    for r in every:
        if r not in null:
            by_figure.setdefault((r["figure"], r["law"], r["printed"]), []).append(r)
    parts: dict[bool, list[tuple[object, ...]]] = {True: [], False: []}
    notes: dict[str, int] = {}
    for (figure, law, printed), rows in sorted(by_figure.items()):
        mark = "".join(
            f" ({notes.setdefault(r['note'], len(notes) + 1)})" for r in rows[:1] if r["note"]
        )
        at = {r["models"]: r for r in rows}
        order = sorted(at, key=lambda m: m or 0)
        cells = []
        for models in order:
            r = at[models]
            beside = "" if r["beside"] is None else f" [{r['beside']:.3f}]"
            text = f"{r['measured']:.3f}{beside}"
            cells.append(text if r["holds"] else f"**{text}**")
        parts[printed].append(
            (
                figure + mark,
                law,
                ", ".join("–" if m is None else str(m) for m in order),
                ", ".join(cells),
                ", ".join(_number(at[m]["width"]) for m in order),
                min(r["fleets"] for r in rows),
            )
        )
    head = ("interval", "law", "models", "coverage at 95 %", "mean width", "fleets")
    failed = failures(result)
    verdict = (
        "Every printed interval holds."
        if not failed
        else "These printed intervals fail: " + "; ".join(failed) + "."
    )
    missing = [c.name for c in CASES if c.name not in result["cases"]]
    if missing:
        verdict += f" Cases not stored yet (`--missing` runs them): {'; '.join(missing)}."
    rows = [
        (r["figure"].removeprefix("null "), f"{r['measured']:.4f} ± {r['width']:.4f}",
         r["note"].split(";")[0], "yes" if r["printed"] else "no", "holds" if r["holds"] else "**fails**")
        for r in null
    ]  # fmt: skip
    return f"""# Do the intervals cover?

Written by `python -m benchmarks.coverage` from `benchmarks/results/coverage.json`.

Fleets are simulated from laws that are known, {result["fleets"]:,} of each kind on {result["pools"]} pools
(fewer where the column says so): samples of unlike difficulty, spread and leak, noise with heavy
tails (Student's t with 5 degrees of freedom), and models that differ in offset, sharpness and in how
much they leak. An interval *fails* where the upper end of the 99 % Clopper-Pearson interval of its
coverage lies below .95 (bold). {verdict}

What the truth is: of an AUC its expectation on this pool under this recipe; of a TPR the rate at the
stated *expected* false-positive rate, from the same samples repeated so often that the threshold is
exact, not from the estimator; of one target the rates of that model on fresh samples; of one sample
its rate over further models. In brackets: the coverage of another truth, see the notes.

## Printed

{table(head, parts[True])}

## Not printed

{table(head, parts[False])}

{chr(10).join(f"({n}) {text}." for text, n in notes.items())}

## Without leakage

Every figure called AUC lies within .5 ± .005 on data without leakage:

{table(("figure", "mean ± standard error", "from", "printed", ""), rows)}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, print, write; exit status 1 where a printed interval fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few fleets, a coarser criterion")
    parser.add_argument(
        "--page", action="store_true", help="only write the page from what is stored"
    )
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--keep", action="store_true", help="store; other stored cases stay")
    parser.add_argument(
        "--missing", action="store_true", help="--keep, and only what is not stored"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="the stored result; that of the page by default")
    a = parser.parse_args(arguments)
    keeps = a.keep or a.missing
    out = a.out or (STORED if keeps or a.page or not (a.quick or a.only) else None)
    kept = json.loads(out.read_text()) if out and out.exists() and (keeps or a.page) else None
    if a.page:
        PAGE.write_text(page(kept), encoding="utf-8")
        return
    chosen = [c for c in CASES if a.only in c.name]
    if a.missing and kept is not None:
        chosen = [c for c in chosen if c.name not in kept["cases"]]
    elif not chosen:
        sys.exit(f"--only: expected a part of a case's name, got {a.only!r}")
    result = run(chosen, Size.small() if a.quick else Size(), a.workers, out, kept)
    if out == STORED:
        PAGE.write_text(page(result), encoding="utf-8")
    failed = failures(result)
    if failed:
        sys.exit("printed intervals that fail:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
