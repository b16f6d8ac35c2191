"""DP-SGD on texts: every document's own gradient is clipped, whatever the others of its batch are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage.data import from_texts
from seepage.defenses import DPSGD, LayerDPSGD
from seepage.defenses.dp import clipped_sum
from seepage.errors import InputError
from seepage.models import build
from seepage.signals.tasks import Language, next_token_logp

pytest.importorskip("opacus", reason="the opacus extra is not installed")

TINY = seepage.Model(name="gpt", options={"width": 16, "depth": 1, "heads": 2})


def texts(n: int = 40) -> seepage.Dataset:
    rng = np.random.default_rng(0)
    made = ["".join(rng.choice(list("abcd "), rng.integers(2, 13))) for _ in range(n)]
    return from_texts(made, context=12)


def test_a_documents_loss_is_the_mean_over_its_own_tokens() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 6, 9, generator=rng)
    tokens = torch.randint(9, (3, 6), generator=rng).float()
    tokens[1, 2:], tokens[2, 5:] = -1.0, -1.0
    alone = Language().losses(logits, tokens)
    torch.testing.assert_close(alone.double(), -next_token_logp(logits, tokens.long()))
    counts = (tokens[:, 1:] >= 0).sum(1)
    # The loss of a batch is their mean by length, which no document alone decides.
    together = (alone * counts).sum() / counts.sum()
    torch.testing.assert_close(Language().loss(logits, tokens), together)
    assert not torch.isclose(together, alone.mean())


@pytest.mark.parametrize("adapter", [None, seepage.LowRank(rank=2)])
def test_a_step_is_the_clipped_sum_of_the_documents_gradients(
    tmp_path: Path, adapter: seepage.LowRank | None
) -> None:
    """Without noise, by SGD: the network after one step against each document's gradient by hand."""
    if adapter is not None:
        pytest.importorskip("peft", reason="the peft extra is not installed")
    data = texts()
    plan = seepage.half_split(len(data), models=2, seed=0)
    torch.manual_seed(3)
    first = build("gpt", data.shape, len(data.classes), **dict(TINY.options))
    start = tmp_path / "start.safetensors"
    from safetensors.torch import save_model

    save_model(first, str(start))
    model = TINY.changed(weights=str(start), adapter=adapter)
    run = seepage.train(
        data, plan, out=tmp_path / "run", model=model, keep="all", checkpoints=[0, 1],
        recipe=seepage.Recipe(
            epochs=1, batch=20, lr=0.5, optimizer="sgd", momentum=0.0, schedule="constant",
            weight_decay=0.0, precision="fp32",
        ),
        defense=DPSGD(noise=0.0, max_norm=0.1, poisson=False), executor="inline",
    )  # fmt: skip
    assert run.records[0]["facts"]["steps"] == 1
    before, after = run.weights(0, 0), run.weights(0, 1)
    assert before is not None
    assert after is not None
    moved = [k for k in after if not torch.equal(after[k], before[k])]
    assert all("lora" in k for k in moved) == (adapter is not None)
    network = first if adapter is None else None
    if network is None:
        # The matrices are added to the weights: at the start B is zero, and only B has a slope.
        assert moved
        assert all("lora_B" in k for k in moved)
        return
    params = list(network.parameters())
    rows = torch.from_numpy(np.flatnonzero(run.member[0]))
    grads: list[list[torch.Tensor]] = []
    for x in data.inputs[rows].float():
        loss = Language().losses(network(x[None]), x[None])
        grads.append(list(torch.autograd.grad(loss[0], params)))
    each = [torch.stack([g[k] for g in grads]) for k in range(len(params))]
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in each]).norm(dim=0)
    assert (norms > 0.1).any()
    for (name, p), total in zip(network.named_parameters(), clipped_sum(each, 0.1), strict=True):
        expected = p.detach() - 0.5 * total / len(rows)
        torch.testing.assert_close(after[name], expected, rtol=1e-4, atol=1e-6)


def test_epsilon_is_told_where_its_conditions_were_checked(tmp_path: Path) -> None:
    data = texts()
    run = seepage.train(
        data, seepage.half_split(len(data), models=2, seed=0), out=tmp_path / "run", model=TINY,
        recipe=seepage.Recipe(epochs=1, batch=8, lr=0.1, precision="fp32"), checkpoints=[0, 1],
        defense=DPSGD(noise=2.0), executor="inline",
    )  # fmt: skip
    facts = run.records[0]["facts"]
    assert facts["epsilon_holds"] is True
    assert 0 < facts["epsilon"] < 10
    assert facts["per_sample_gradients"] == "one sample at a time"


def test_a_network_that_looks_at_other_documents_is_refused(tmp_path: Path) -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(257, 8), nn.Linear(8, 256)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.embed(x.long().clamp_min(0))
            answer: torch.Tensor = self.head(h + h.mean(0, keepdim=True))
            return answer

    data = texts()
    with pytest.raises(InputError, match="dp-sgd needs"):
        seepage.train(
            data, seepage.half_split(len(data), models=2, seed=0), out=tmp_path / "run",
            model=Mixed, recipe=seepage.Recipe(epochs=1, batch=8, precision="fp32"),
            checkpoints=[0, 1], defense=DPSGD(), executor="inline",
        )  # fmt: skip


def test_other_defences_are_refused_on_texts(tmp_path: Path) -> None:
    data = texts()
    for defense in (LayerDPSGD(risk={"norm": 0.6}), seepage.defenses.make("relaxloss")):
        with pytest.raises(InputError, match="expected the task classification"):
            seepage.train(
                data, seepage.half_split(len(data), models=2, seed=0), out=tmp_path / "run",
                model=TINY, recipe=seepage.Recipe(epochs=1), defense=defense,
            )  # fmt: skip
