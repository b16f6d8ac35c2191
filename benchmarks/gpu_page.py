"""The parts of docs/performance.md that were measured on a GPU."""

from __future__ import annotations

from typing import Any

from benchmarks.stored import machine, stored, table

__all__ = ["gpu", "gpu_fleet"]


def gpu() -> str:
    """Models side by side on a GPU."""
    rows = [
        (
            r["model"],
            r["backend"],
            r["models_at_once"] if r["backend"] == "graphs" else 1,
            f"{r['samples_per_second']:,.0f}",
            f"{r['fraction_of_peak']:.1%}",
            f"`{name}`",
        )
        for name, result in (*stored("*h100-cnn*.json"), *stored("*h100-resnet9*.json"))
        for r in (result["side"] if isinstance(result, dict) else result)
    ]
    head = ("model", "backend", "at once", "samples /s", "of bf16 peak", "file")
    text = table(head, rows)
    for name, result in stored("*h100-cnn*.json"):
        a = result["agreement"]
        text += (
            f"\n\nBackends agree (`{name}`, cnn-2, float32, 4 epochs): the median |Δφ| between "
            f"the plain loop and graphs is {a['median_by_epoch'][-1]:.3f} against a spread of φ of "
            f"{a['spread_of_phi']:.2f}; graphs repeated: "
            f"{'bit-identical' if a['graphs_repeat_bit_identical'] else 'not bit-identical'}."
        )
    return text


def gpu_fleet() -> str:
    """A whole fleet on one GPU, as far as it was trained."""
    found = [(n, r) for n, r in stored("*gpu-fleet*.json") if not r["smoke"]]
    if not found:
        return (
            "A fleet of 64 ResNet-9 at 90 % accuracy was not measured: "
            "`python -m benchmarks.gpu_fleet` does it where there is a GPU."
        )
    name, r = found[-1]
    rows = []
    for way in ("graphs", "compiled"):
        for at_once, rate in r.get(way, {}).get("rates", {}).items():
            rows.append((way, at_once, f"{rate:,.0f}", f"{_of_peak(r, rate):.1%}"))
        if "error" in r.get(way, {}):
            rows.append((way, "", "failed", f"`{r[way]['error'][:80]}`"))
    head = ("captured step", "at once", "samples /s", "of bf16 peak")
    text = (
        f"Captured steps of {r['model']} on CIFAR-10, bf16 ({machine(r['hardware'])}; `{name}`; "
        f"bf16 matrix products {r['peak_bf16_gflops'] / 1e3:,.0f} TFLOP/s):\n\n" + table(head, rows)
    )
    for precision in ("fp32", "bf16"):
        a = r.get(f"agreement {precision}", {})
        if "median_gap_over_spread" in a:
            gaps = ", ".join(f"{g:.2g}" for g in a["median_gap_over_spread"])
            text += (
                f"\n\nMedian difference of the logits of one run between the two, in {precision}, "
                f"over their spread, after {', '.join(map(str, a['steps']))} steps: {gaps}."
            )
    f = r.get("fleet", {})
    if not f.get("models_finished"):
        return text + "\n\nNo model of the fleet was trained to the end."
    d = r["data"]
    whole = f["models_finished"] == f["models_asked"]
    return text + (
        f"\n\n**{f['models_finished']} of {f['models_asked']}** models "
        f"{'' if whole else '(the time at hand ended there) '}were trained in "
        f"{f['wall_seconds']:.0f} s, {f['wall_seconds_per_model']:.1f} s each, by {f['backend']} in "
        f"{f['precision']}: {f['recipe']['epochs']} epochs of {f['members_of_a_run']:,} images, "
        f"{len(f['checkpoints'])} checkpoints of all {d['images']:,}. Only {d['images']:,} of "
        f"CIFAR-10's {d['images_of_cifar10']:,} images were at hand; each run leaves out an eighth "
        f"of them. Accuracy on the images that a run did not see: mean "
        f"**{f['accuracy_unseen'][0]:.3f}**, lowest {f['accuracy_unseen'][1]:.3f}; "
        f"{f['share_of_runs_at_90']:.0%} of the runs reach 90 %. With the looks, which took "
        f"{f['looking_share']:.0%} of the time, {f['fraction_of_bf16_peak']:.1%} of the bf16 peak "
        f"over the whole wall time; {f['samples_per_second_training']:,.0f} samples/s while training."
    )


def _of_peak(result: dict[str, Any], rate: float) -> float:
    from benchmarks.training import flops

    return rate * flops(result["model"], (3, 32, 32), 10) / 1e9 / float(result["peak_bf16_gflops"])
