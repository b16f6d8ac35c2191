"""What ships: a fleet on digits judged as trained and as released.

    python -m benchmarks.variants [--models 32] [--folder FOLDER] [--page]

Trains a fleet of the default network on digits (about a minute on 2 cores; a finished one in FOLDER
is taken as it is) with logits recorded and weights kept, judges every variant, and writes
benchmarks/results/variants.json and, from it alone, the table in docs/release-variants.md (--page
writes only the table).

Exit status 1 where a variant that must be the run itself is not: rounding to 15 decimals, a
temperature of 1, a pruned share of 0, whose strongest AUC differs by more than 0.002.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import seepage
from benchmarks.stored import RESULTS, ROOT, table
from seepage.findings.variant_result import Variants, read_variants

OUT = RESULTS / "variants.json"
PAGE = ROOT / "docs" / "release-variants.md"
MARK = "<!-- measured -->"
WANTED = (
    "as-trained",
    "label-only",
    "top-1",
    "top-3",
    "rounded-2",
    "rounded-1",
    "temperature-4",
    "int8",
    "bf16",
    "pruned-0.5",
    "pruned-0.8",
    "int8+top-1",
)
SAME = ("rounded-15", "temperature-1", "pruned-0")


def measure(models: int, folder: Path) -> dict[str, object]:
    """Train or open the fleet, and judge it."""
    if (folder / "manifest.json").exists():
        run = seepage.open(folder)
    else:
        data = seepage.load("digits")
        run = seepage.train(
            data,
            seepage.half_split(len(data), models=models, seed=0),
            model="mlp",
            recipe=seepage.Recipe(epochs=40),
            checkpoints=[40],
            logits=True,
            out=folder,
        )
    began = time.process_time()
    found = seepage.variants(run, [*WANTED, *SAME])
    return {
        "models": len(run.models),
        "samples": int(run.member.shape[1]),
        "seconds": time.process_time() - began,
        "hardware": run.manifest["hardware"],
        "versions": run.manifest["provenance"]["versions"]
        if "versions" in run.manifest["provenance"]
        else run.manifest.get("versions"),
        "found": found.summary(),
    }


def page(told: dict[str, object]) -> str:
    """The measured table."""
    found: Variants = read_variants("digits", told["found"])  # type: ignore[arg-type]
    rows = []
    for v in found.found:
        best = v.strongest
        e = best.estimate
        one = v.rates[0]
        rate = (
            f"{one.tpr.mean:.3f} [{one.tpr.low:.3f}, {one.tpr.high:.3f}] (noise {one.null:.4f}, at "
            f"{one.realised:.4f})"
            if one.resolved
            else one.unresolved
        )
        rows.append(
            [
                v.name,
                f"{v.members:.3f} / {v.others:.3f}",
                best.attack,
                f"{e.mean:.4f} [{e.low:.4f}, {e.high:.4f}]",
                f"{v.null_auc:.4f}",
                rate,
                v.said,
            ]
        )
    head = ["variant", "accuracy, members / others", "strongest", "AUC", "permuted", "TPR at 1 % FPR", "verdict"]  # fmt: skip
    worst, figure = found.worst
    w = figure.estimate
    return (
        f"Written by `python -m benchmarks.variants` from `benchmarks/results/variants.json`: "
        f"{told['models']} models on digits ({told['samples']:,} samples), the default network, 40 "
        f"epochs, judged in {told['seconds']:.0f} s of processor time.\n\n{table(head, rows)}\n\n"
        f"The worst is {worst.name} by {figure.attack}: AUC {w.mean:.4f} [{w.low:.4f}, {w.high:.4f}], "
        f"strongest of {figure.compared} pairs of an attack and a variant.\n"
    )


def write_page(told: dict[str, object]) -> None:
    """Put the table behind the mark of the page."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(f"{text.partition(MARK)[0]}{MARK}\n{page(told)}", encoding="utf-8")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=32)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "variants")
    parser.add_argument("--page", action="store_true", help="write the table from stored results")
    args = parser.parse_args()
    if not args.page:
        OUT.write_text(json.dumps(measure(args.models, args.folder), indent=1) + "\n")
    told = json.loads(OUT.read_text())
    write_page(told)
    found = read_variants("digits", told["found"])
    by_name = {v.name: v.strongest.estimate.mean for v in found.found}
    off = [n for n in SAME if abs(by_name[n] - by_name["as-trained"]) > 0.002]
    if off:
        sys.exit(f"not the run itself: {', '.join(off)}")


if __name__ == "__main__":
    main()
