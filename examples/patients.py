"""Patients with several images each: who is exposed is a person, not an image.

    python examples/patients.py

The patients are made up: scikit-learn's digits, 1 to 12 of one class to a patient. Sixteen networks
are trained on random halves of the patients; then one is audited alone. Writes patients.html.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import seepage
from seepage.attacks import LiRA
from seepage.findings import Findings, collect
from seepage.metrics import Samples
from seepage.single import Recorded, RecordedReferences, SingleAudit


def patients(images: int) -> seepage.Dataset:
    """Digits of made-up patients; an array `groups` in an .npz or a column of a table says the same."""
    data = seepage.load("digits", limit=images)
    sizes = np.random.default_rng(0).integers(1, 13, images)
    whose = np.empty(images, dtype=np.int64)
    whose[np.argsort(data.labels.numpy())] = np.repeat(np.arange(images), sizes)[:images]
    return replace(data, groups=np.array([f"patient {i:03d}" for i in whose]))


def main(images: int = 1797, epochs: int = 20) -> tuple[Findings, Findings, SingleAudit]:
    data = patients(images)
    plan = seepage.half_split(len(data), models=16, groups=data.groups)  # whole patients
    recipe = seepage.Recipe(epochs=epochs, precision="fp32")
    here = {"executor": "inline", "out": "patients", "checkpoints": [1, epochs]}
    run = seepage.train(data, plan, recipe=recipe, **here)
    people = collect(run, attacks=[LiRA()])
    single = collect(run, attacks=[LiRA()], unit=Samples(), blind=False)
    x = people.subjects
    print(f"{people.samples} patients, correlation of their images {x.within.value:.2f}")
    print(f"AUC by image {single.main_attack.auc.mean:.3f}, by patient {x.whole.mean:.3f}")
    for i in people.exposure.order[:5]:
        print(f"{people.ids[i]}: {x.sizes[i]} images, AUC {people.exposure.auc[i]:.2f}")
    seepage.write_report(run, "patients.html", findings=people)

    # Run 0 alone, its members and the others, with the runs that are not of its pair.
    inside, phi = plan.member[0], run.signal_at("phi", -1)
    by = np.argsort(~inside, kind="stable")  # members first
    rest = RecordedReferences(plan.member[2:, by], signals={"phi": phi[2:, by]})
    alone = Recorded({"phi": phi[0, inside]}, {"phi": phi[0, ~inside]})
    whose = data.groups[inside], data.groups[~inside]
    one = seepage.audit(alone, None, None, groups=whose, references=rest)
    print(one)
    return people, single, one


if __name__ == "__main__":
    main()
