"""Arrays in the layout of LiRA's reference code: experiments with keep.npy and logits by epoch.

    python examples/reference_arrays.py [FOLDER]

The first part stands for that code (tensorflow/privacy, research/mi_lira_2021) and writes what it
writes, on data that comes with scikit-learn; with arrays of your own only the last lines are needed.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

import seepage

EPOCHS = (10, 40)
MODELS = 16


def run_elsewhere(folder: Path) -> None:
    """experiment-I_R/keep.npy, logits/0000000010.npy (samples, 1, views, classes), y_train.npy."""
    bunch = load_breast_cancer()
    x = StandardScaler().fit_transform(bunch.data)
    y = bunch.target
    folder.mkdir()
    np.save(folder / "y_train.npy", y)
    keep = seepage.half_split(len(y), models=MODELS, seed=0).member
    for row in range(MODELS):
        place = folder / f"experiment-{row}_{MODELS}"
        (place / "logits").mkdir(parents=True)
        np.save(place / "keep.npy", keep[row])
        model = MLPClassifier((64,), learning_rate_init=0.01, random_state=row)
        for epoch in range(1, max(EPOCHS) + 1):
            model.partial_fit(x[keep[row]], y[keep[row]], classes=[0, 1])
            if epoch in EPOCHS:
                p = np.clip(model.predict_proba(x), 1e-12, 1)
                logits = np.log(p).astype(np.float32)
                np.save(place / "logits" / f"{epoch:010d}.npy", logits[:, None, None])


if __name__ == "__main__":
    place = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    run_elsewhere(place / "experiments")
    # As the command: seepage import experiments run
    run = seepage.import_run(place / "experiments", place / "run")
    for note in run.manifest["provenance"]["notes"]:
        print(note)
    for t, epoch in enumerate(run.checkpoints):
        scores = seepage.score(run, seepage.attacks.LiRA(), checkpoint=t)
        auc = [seepage.metrics.auc(s, m) for s, m in zip(scores, run.member, strict=True)]
        print(f"epoch {epoch:g}: LiRA, AUC {np.mean(auc):.3f} over {len(auc)} models")
    print(f"report: {seepage.write_report(run, place / 'report.html')}")
