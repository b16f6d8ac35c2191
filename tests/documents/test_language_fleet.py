"""Fleets of causal models: what is recorded of every token, resumed, verified, repaired and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage.config.audit import read_config
from seepage.config.function import Function
from seepage.config.prepare import prepare
from seepage.data import from_texts, from_tokens
from seepage.errors import CorruptStore, InputError
from seepage.fleet import train_prepared
from seepage.fleet.pretrained import started
from seepage.fleet.repair import find_damage, forget
from seepage.models import build
from seepage.record import tokens as recorded
from seepage.record.tokens import token_statistics
from seepage.report.payload import texts_of
from seepage.store import Run

RECIPE = seepage.Recipe(epochs=2, batch=8, optimizer="adamw", lr=5e-3, precision="fp32")
TINY: dict[str, Any] = {"width": 16, "depth": 1, "heads": 2}


def texts(n: int = 40, seed: int = 0) -> seepage.Dataset:
    """Documents of 2 to 12 letters, of which a few are drawn twice."""
    rng = np.random.default_rng(seed)
    made = ["".join(rng.choice(list("abcd "), rng.integers(2, 13))) for _ in range(n)]
    return from_texts(made, context=12)


def causal(**options: Any) -> seepage.Model:
    return seepage.Model(name="gpt", options=TINY | options)


def fleet(out: Path, **options: Any) -> Run:
    data = options.pop("data", None) or texts()
    plan = seepage.half_split(len(data), models=6, seed=0)
    given: dict[str, Any] = {"model": causal(), "recipe": RECIPE, "checkpoints": [0, 0.5, 2]}
    given |= {"executor": "inline", "keep": "all"} | options
    return seepage.train(data, plan, out=out, **given)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fleet(tmp_path_factory.mktemp("language") / "run")


def plain(run: Run, row: int, t: int) -> list[np.ndarray]:
    """log p over the vocabulary at every token of every document, one document at a time, float64."""
    weights = run.weights(row, t)
    assert weights is not None
    network = build("gpt", (12,), 256, **TINY).double().eval()
    network.load_state_dict(weights)
    found = []
    with torch.no_grad():
        for document in texts().inputs:
            ids = document[document >= 0].long()
            answers = network.head(network.features(ids[None]))[0, :-1]
            found.append((answers.log_softmax(1).numpy(), ids[1:].numpy()))
    return found


@pytest.mark.parametrize(("row", "t"), [(0, 0), (3, 2)])
def test_every_token_is_recorded_as_a_plain_loop_says(run: Run, row: int, t: int) -> None:
    assert run.offsets is not None
    told = {name: run.token_signal(name, row, t) for name in recorded.TOKEN_SIGNALS}
    for i, (log_p, own) in enumerate(plain(run, row, t)):
        at = slice(run.offsets[i], run.offsets[i + 1])
        p, each = np.exp(log_p), log_p[np.arange(len(own)), own]
        mean = (p * log_p).sum(1)
        std = np.sqrt((p * (log_p - mean[:, None]) ** 2).sum(1))
        assert told["token_logp"][at] == pytest.approx(each, rel=1e-3)
        assert told["token_first"][at].tolist() == (log_p.argmax(1) == own).astype(int).tolist()
        assert told["token_mean"][at] == pytest.approx(mean, rel=1e-3)
        assert told["token_std"][at] == pytest.approx(std, rel=1e-3, abs=1e-6)
        assert run.signal_at("loss", t)[row, i] == pytest.approx(-each.mean(), rel=1e-5)
    assert np.array_equal(run.signal_at("logp", t), -run.signal_at("loss", t))


def test_statistics_of_tokens_do_not_cancel_where_a_model_is_certain() -> None:
    z = torch.tensor([[30.0, 0.0, -1.0], [30.0, 0.0, -torch.inf], [0.0, 60.0, 60.0]])
    y = torch.tensor([0, 1, 0])
    logp, first, mean, std = token_statistics(z, y)
    certain = np.exp(-30) + np.exp(-31)
    assert float(logp[0]) == pytest.approx(-certain, rel=1e-5)
    assert float(mean[0]) == pytest.approx(-certain - 30 * np.exp(-30) - 31 * np.exp(-31), rel=1e-5)
    assert float(std[0]) == pytest.approx(np.sqrt(900 * np.exp(-30) + 961 * np.exp(-31)), rel=1e-5)
    assert float(logp[1]) == pytest.approx(-30.0, rel=1e-6)
    assert (float(first[0]), float(first[1])) == (1.0, 0.0)
    assert float(logp[2]) == pytest.approx(-60 - np.log(2), rel=1e-6)
    assert torch.isfinite(torch.stack([logp, mean, std])).all()


def test_memory_bounds_how_many_documents_are_asked_at_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers to a few documents at a time are those to all, up to rounding of the products."""
    monkeypatch.setattr(recorded, "_LOGITS", 4 * 12 * 256 * 3)
    monkeypatch.setattr(recorded, "_WORK", 4 * 12 * 256 * 2)
    seen: list[int] = []
    see = recorded.TokenAnswers.see

    def watched(self: Any, logits: torch.Tensor, rows: torch.Tensor, first: int) -> None:
        seen.append(len(logits))
        see(self, logits, rows, first)

    monkeypatch.setattr(recorded.TokenAnswers, "see", watched)
    small = fleet(tmp_path / "run", checkpoints=[0], rows=[0])
    assert max(seen) <= 12 * 256 * 3 // (12 * ord("d"))
    held = [r.token_signal("token_logp", 0, 0).astype(float) for r in (run, small)]
    assert held[0] == pytest.approx(held[1], rel=1e-3)


def test_padding_tells_nothing_of_a_document() -> None:
    """What stands after the end of a document, and before its tokens, changes no answer."""
    network = build("gpt", (12,), 256, **TINY).eval()
    row = texts().inputs[:1]
    longer = torch.cat([row, torch.full((1, 0), -1.0)], 1)
    longer[row < 0] = 7.0
    with torch.no_grad():
        a, b = network(row), network(longer)
    count = int((row >= 0).sum())
    assert torch.equal(a[:, :count], b[:, :count])


def test_a_run_that_was_interrupted_goes_on_to_the_same_bits(run: Run, tmp_path: Path) -> None:
    fleet(tmp_path / "run", rows=[0])
    again = fleet(tmp_path / "run", rows=[0, 1])
    assert again.records[1]["digests"] == run.records[1]["digests"]
    assert again.verify() == []


def test_damage_of_tokens_and_of_where_documents_begin_is_found_and_repaired(
    run: Run, tmp_path: Path
) -> None:
    there = fleet(tmp_path / "run", rows=[1])
    for key in ("signals/token_logp/c/1/2/0", "data/offsets/c/0"):
        file = tmp_path / "run" / key
        raw = bytearray(file.read_bytes())
        raw[3] ^= 1
        file.write_bytes(bytes(raw))
    assert set(there.verify()) == {"signals/token_logp/c/1/2/0", "data/offsets/c/0"}
    with pytest.raises(CorruptStore, match="token_logp/c/1/2/0"):
        Run(tmp_path / "run").token_signal("token_logp", 0, 2)
    with pytest.raises(CorruptStore, match="data/offsets"):
        _ = Run(tmp_path / "run").offsets
    forget(str(tmp_path / "run"), find_damage(str(tmp_path / "run")))
    whole = fleet(tmp_path / "run", rows=[1])
    assert whole.verify() == []
    with pytest.raises(InputError, match=r"row: expected an index in 0..0, got 1"):
        whole.token_signal("token_logp", 1)
    with pytest.raises(InputError, match="one of tokens that was recorded"):
        whole.token_signal("loss", 0)
    assert whole.records[1]["digests"] == run.records[1]["digests"]


def test_attacks_read_log_p_where_there_is_no_phi(run: Run) -> None:
    bound = seepage.attacks.LiRA().bound(run)
    assert bound.requires == ("logp",)
    found = seepage.score(run, seepage.attacks.LiRA())
    assert found.shape == run.member.shape
    assert np.isfinite(found).all()
    with pytest.raises(InputError, match="needs correct: a document is not right or wrong"):
        seepage.score(run, seepage.attacks.ATTACKS["gap"]())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"logits": True}, "record.logits: expected not to be set with the task language"),
        ({"views": ("identity", "flip")}, "record.views: expected not to be set"),
        ({"signals": ("phi",)}, "a document has many tokens"),
        ({"curvature": "exact"}, "curvature"),
        ({"layers": True}, "expected the task classification"),
        ({"backend": "stacked"}, "backend: 'stacked' needs the model 'mlp'"),
        ({"model": "mlp"}, "expected logits of shape"),
        ({"model": "cnn"}, "a CNN of 2 blocks expects images"),
        ({"model": causal(heads=3)}, "width: expected a multiple of the 3 heads"),
        ({"defense": seepage.defenses.make("hamp")}, "defense hamp: expected the task classification"),
    ],
)  # fmt: skip
def test_what_is_not_defined_on_documents_is_refused_in_one_line(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError) as told:
        fleet(tmp_path / "run", **options)
    assert says in str(told.value)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()


class Narrow(nn.Module):
    """A model of fewer pieces than the tokenizer of the data has."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = build("gpt", (12,), 64, **TINY)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answers: torch.Tensor = self.inner(x.clamp_max(63))
        return answers


def test_another_tokenizer_than_the_models_is_refused(tmp_path: Path) -> None:
    model = seepage.Model(name="narrow", factory=Narrow)
    with pytest.raises(InputError, match=r"got 64 pieces: the vocabulary of the data is another"):
        fleet(tmp_path / "run", model=model)


def test_rows_that_are_no_documents_are_refused() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(InputError, match=r"make them by seepage\.data\.from_texts"):
        seepage.data.from_arrays(rows, [0, 1], task="language")
    data = from_tokens([[1, 2], [3, 4]], vocabulary=8)
    data.inputs[0] = torch.tensor([-1.0, 2.0])
    with pytest.raises(InputError, match="at least 2 tokens"):
        data.take(np.array([0, 1]))


TOML = """
[data]
name = "texts.txt"
task = "language"
context = 12
[start]
samples = 16
[start.recipe]
epochs = 1
batch = 8
precision = "fp32"
[plan]
models = 6
[model]
name = "gpt"
options = { width = 16, depth = 1, heads = 2 }
[recipe]
epochs = 1
batch = 8
precision = "fp32"
[record]
checkpoints = [0, 1]
[execution]
executor = "inline"
"""


def test_a_start_is_trained_once_on_samples_that_no_run_counts(tmp_path: Path) -> None:
    data = texts(60, seed=3)
    lines = ["".join(map(chr, r[r >= 0].astype(int))) + "." for r in data.inputs.numpy()]
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    (tmp_path / "audit.toml").write_text(TOML)
    place = [f'data.root="{tmp_path}"', f'out="{tmp_path}/run"']
    wanted = prepare(read_config(tmp_path / "audit.toml", place))
    assert wanted.start is not None
    assert not set(wanted.start.ids) & set(wanted.data.ids)
    assert len(wanted.data) + len(wanted.start) == 60
    told: list[float] = []
    run = train_prepared(wanted, beginning=told.append)
    assert told[-1] == 1
    again = len(told)
    train_prepared(wanted, beginning=told.append)
    assert len(told) == again
    file = tmp_path / "run-start.safetensors"
    made = file.read_bytes()
    # Every run starts there: the answers at checkpoint 0 are the reference's.
    held = [run.records[r]["digests"]["token_logp"][0] for r in run.models.tolist()]
    assert held[0] == held[1]
    assert run.manifest["key"]["model"]["weights"] is not None
    file.unlink()
    c = wanted.config
    started(c.start, wanted.start, c.model, c.out, c.execution)
    assert file.read_bytes() == made
    other = c.start.changed(recipe=c.start.recipe.changed(lr=0.5))
    with pytest.raises(InputError, match=r"recipe.lr is 0.05 there, 0.5 is configured"):
        started(other, wanted.start, c.model, c.out, c.execution)
    with pytest.raises(InputError, match=r"expected none with model\.weights"):
        prepare(read_config(tmp_path / "audit.toml", [*place, f'model.weights="{file}"']))


def test_half_precision_moves_no_attack() -> None:
    """AUC by at most .001 and rank correlations from .9999 on, of what attacks make of token signals."""
    generator = torch.Generator().manual_seed(0)
    documents, length, pieces = 300, 64, 64
    own = torch.randint(pieces, (documents, length), generator=generator)
    member = np.arange(documents) < documents // 2
    z = 2 * torch.randn(documents, length, pieces, generator=generator)
    # From tokens that surprise to tokens that are certain; members' are a little surer.
    sure = 14 * torch.rand(documents, length, generator=generator)
    sure += 0.4 * torch.from_numpy(member)[:, None]
    z.scatter_add_(2, own[..., None], sure[..., None])
    found = token_statistics(z.reshape(-1, pieces), own.reshape(-1))
    stored = [v.numpy().astype(kind) for v, kind in zip(found, recorded.TOKEN_SIGNALS.values())]  # noqa: B905

    def attacks(logp: Any, first: Any, mean: Any, std: Any) -> list[np.ndarray]:
        logp, mean, std = (
            np.asarray(v, np.float64).reshape(documents, length) for v in (logp, mean, std)
        )
        plus = (logp - mean) / np.maximum(std, 1e-6)
        return [v.mean(1) for v in (logp, np.sort(logp)[:, :13], np.sort(plus)[:, :13])]

    for whole, half in zip(attacks(*(v.numpy() for v in found)), attacks(*stored), strict=True):
        assert np.corrcoef(rank(whole), rank(half))[0, 1] >= 0.9999
        moved = seepage.metrics.auc(whole, member) - seepage.metrics.auc(half, member)
        assert abs(moved) <= 0.001


def rank(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values))


def own_loop(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
    torch.manual_seed(seed)
    network = build("gpt", (12,), 256, **TINY)
    recorder.start(network, epochs=1)
    recorder.epoch_end()
    return network


def answered(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> None:
    recorder.answers(np.full((40, 256), 1 / 256), epoch=1)


def test_a_loop_of_ones_own_is_recorded_token_by_token_and_needs_a_network(tmp_path: Path) -> None:
    given = {"model": "mlp", "checkpoints": [1], "rows": [0]}
    loop = Function(function=own_loop, version="1", check=False)
    run = fleet(tmp_path / "run", function=loop, **given)
    assert run.offsets is not None
    assert run.token_signal("token_first", 0).shape == (run.offsets[-1],)
    loop = Function(function=answered, version="1", check=False)
    with pytest.raises(InputError, match="probabilities: expected a network that answers every"):
        fleet(tmp_path / "other", function=loop, **given)


def test_one_model_alone_is_not_asked_about_texts() -> None:
    network = build("gpt", (12,), 256, **TINY)
    a, b = (texts().take(np.arange(k, k + 20)) for k in (0, 20))
    with pytest.raises(InputError, match="got language; train or import models"):
        seepage.audit(network, a, b)


def test_a_report_shows_the_texts_and_what_a_token_costs(run: Run, tmp_path: Path) -> None:
    """The most exposed by their words, in blocks of the page that no parser enters."""
    page = seepage.write_report(
        run, tmp_path / "r.html", attacks=[seepage.attacks.LiRA()], data=texts()
    )
    assert "costs the models" in page.read_text()
    shown = texts_of(texts(), np.array([3, 1]))
    assert [t.encode() for t in shown] == [
        bytes(row[row >= 0].astype(np.uint8)) for row in texts().inputs.numpy()[[3, 1]]
    ]
    words = from_tokens([[1, 2]], vocabulary=["<s>", "to", "be"])
    assert texts_of(words, np.array([0])) == ["to be"]


class Overflowing(nn.Module):
    """Answers that are not finite as soon as a layer of it has moved, as after an overflow in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(256, 8), nn.Linear(8, 256)
        self.register_buffer("start", self.head.weight.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(self.embed(x.long().clamp_min(0)))
        return answer * torch.where((self.head.weight == self.start).all(), 1.0, torch.nan)


def test_answers_that_are_not_finite_end_the_run_in_one_line(tmp_path: Path) -> None:
    run = fleet(tmp_path / "run", model=Overflowing, recipe=RECIPE.changed(precision="bf16"))
    assert run.models.tolist() == []
    assert set(run.failed) == set(range(6))
    for why in run.failed.values():
        assert "not finite at step" in why
        assert "\n" not in why
