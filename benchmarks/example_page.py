"""docs/examples/fashion-mnist.md: a real audit, from figures kept of its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.stored import ROOT, machine, table

__all__ = ["EXAMPLE", "example", "store_example"]

EXAMPLE = ROOT / "docs" / "examples" / "fashion-mnist.json"


def store_example(folder: str) -> None:
    """Keep the figures of an audit's report that the example page shows."""
    report = json.loads((Path(folder) / "report.json").read_text())
    import seepage

    run = seepage.open(folder)
    sessions = [run.storage.get_json(k) for k in run.storage.keys("sessions/")]
    rank = {str(i): n for n, i in enumerate(run.ids)}
    correct = run.signal_at("correct", -1).astype(bool)
    top = []
    for name in report["exposed"]["most_exposed"][:10]:
        i = rank[name]
        member = run.member[:, i]
        top.append(
            {
                "id": name,
                "label": run.classes[int(run.labels[i])],
                "right_when_member": float(correct[member, i].mean()),
                "right_when_not": float(correct[~member, i].mean()),
            }
        )
    kept = {k: report[k] for k in (
        "models", "samples", "checkpoints", "utility", "blind_baseline", "attacks",
        "risk_over_training", "exposed", "groups",
    )}  # fmt: skip
    kept["attacks"] = [
        {k: a[k] for k in ("name", "title", "auc", "null_auc", "per_target", "pooled")}
        for a in report["attacks"]
    ]
    kept["top"] = top
    kept["chosen"] = run.manifest["chosen"]
    kept["sessions"] = [
        {k: s[k] for k in ("seconds", "workers", "hardware")} for s in sessions if s["runs"]
    ]
    kept["key"] = {k: run.manifest["key"][k] for k in ("data", "plan", "code")}
    EXAMPLE.parent.mkdir(parents=True, exist_ok=True)
    EXAMPLE.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def _contested(top: list[dict[str, Any]]) -> str:
    wrong = sum(t["right_when_not"] == 0 for t in top)
    return (
        f"{wrong} of the ten are given another label by every network that did not train on them: "
        "what exposes an image is a label that only those know who have seen it."
    )


def _rate(p: dict[str, Any]) -> str:
    """A rate with its interval and the false-positive rate that was reached."""
    return "{mean:.4f} [{low:.4f}, {high:.4f}]".format(**p["tpr"]) + f", at {p['realised']:.5f}"


def example() -> str:
    """The page of the real audit."""
    r = json.loads(EXAMPLE.read_text())
    s = r["sessions"][0]
    rows = [
        (
            a["title"],
            "{mean:.4f} [{low:.4f}, {high:.4f}]".format(**a["auc"]),
            f"{a['null_auc']:.3f}",
            *(_rate(p) for p in a["per_target"][:2]),
        )
        for a in r["attacks"]
    ]
    others = r["samples"] // 2
    noise = [(int(f * others + 1e-9) + 1) / (others + 1) for f in (0.01, 0.001)]
    rows.insert(0, ("*noise*", "0.5000", "–", *(f"{v:.4f}" for v in noise)))
    head = ("attack", "AUC", "permuted", "TPR at 1 % FPR", "TPR at 0.1 % FPR")
    risk = r["risk_over_training"]
    over = table(
        ("epoch", "accuracy, members", "accuracy, others", "LiRA AUC", "permuted"),
        [
            (
                f"{e:g}",
                f"{r['utility']['member'][t]:.3f}",
                f"{r['utility']['other'][t]:.3f}",
                f"{risk['auc'][t]:.4f}",
                f"{risk['null'][t]:.4f}",
            )
            for t, e in enumerate(r["checkpoints"])
        ],
    )
    top = table(
        ("id", "label", "right when a member", "right when not"),
        [
            (t["id"], t["label"], f"{t['right_when_member']:.2f}", f"{t['right_when_not']:.2f}")
            for t in r["top"]
        ],
    )
    e = r["exposed"]
    return f"""# A real audit: Fashion-MNIST

    seepage audit examples/fashion-mnist.toml

{r["models"]} two-block convolutional networks on random halves of {r["samples"]:,} images, 20 epochs,
{len(r["checkpoints"])} checkpoints. Training took **{s["seconds"]:.0f} s** with {s["workers"]} workers of one
thread ({machine(s["hardware"])}), in {r["chosen"]["precision"]} as measured at start. Written by
`python -m benchmarks.pages` from `fashion-mnist.json` beside this page; data digest
`{r["key"]["data"][:16]}…`, plan `{r["key"]["plan"][:16]}…`, code `{r["key"]["code"][:16]}…`.

An attack that never sees a model reaches AUC {r["blind_baseline"]["auc"]["mean"]:.3f}
[{r["blind_baseline"]["auc"]["low"]:.3f}, {r["blind_baseline"]["auc"]["high"]:.3f}]: the split is fair.

## Who can tell members apart

Mean over the {r["models"]} targets at the last checkpoint, 95 % intervals; *permuted* is the same attack
under permuted membership; *at* is the false-positive rate that was reached among a target's
{others:,} non-members, and *noise* what scores without information read there. These figures were
stored by the rules of version 0.1.0: as many non-members pass as the rate allows, and intervals
have one degree of freedom more than they have today.

{table(head, rows)}

## When

{over}

## Who

{e["count"][-1] if isinstance(e["count"], list) else e["count"]} of {r["samples"]:,} samples can be named as
exposed, of the names at most {e["level"]:.0%} false on average over such fleets; {e["null_count_per_checkpoint"][-1]:.0f} would pass
under permuted membership. The ten most exposed:

{top}

The columns are the share of networks that give the image its label, among those trained on it and
among those that were not. {_contested(r["top"])}
"""
