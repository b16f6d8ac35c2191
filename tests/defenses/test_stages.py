"""Every defence through a whole run, and those with stages of their own."""

import copy

import pytest
import torch
import torch.nn.functional as F

from seepage.defenses import (
    CCEL,
    CRL,
    CWRF,
    DEFENSES,
    DMP,
    DPSGD,
    HAMP,
    PPTP,
    SELENA,
    AdversarialRegularisation,
    Chain,
    ConfidencePenalty,
    EarlyStopping,
    InTurns,
    LabelSmoothing,
    LayerDPSGD,
    MixupMMD,
    RelaxLoss,
    TwoPhase,
    Undefended,
    as_config,
    make,
)
from seepage.defenses.critical import FrozenWeights, top_fraction, vulnerability
from seepage.defenses.distillation import Distil
from seepage.defenses.networks import eval_logits, snapshot
from seepage.errors import InputError

OPTIONS = {
    "selena": {"models": 3, "out": 1},
    "layer-dp-sgd": {"risk": {"head": 0.7}},
    "pptp": {"base": "ccel", "regions": ["head"]},
    "chain": {"parts": ["label-smoothing", "early-stopping"]},
    "cwrf": {"steps": 3},
}


def example(name):
    if "dp-sgd" in name:
        pytest.importorskip("opacus", reason="the opacus extra is not installed")
    return make(name, **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", sorted(DEFENSES))
def test_every_defence_trains_and_observes_its_manners(kit, name):
    """Same seed, same bits; callers' data and global randomness untouched; nothing left behind."""
    members, reference = kit.samples(36), kit.samples(36, seed=3)
    kept = members.inputs.clone(), members.labels.clone(), reference.inputs.clone()
    outcomes = []
    for _ in range(2):
        context = kit.context(members=members, reference=reference, epochs=2)
        initial = snapshot(context.model)
        before = torch.get_rng_state()
        model, loop = kit.train(example(name), context)
        last = loop.stages[-1]
        model.eval()
        z = model(members.inputs).detach()
        drawn = context.generator.get_state()
        told = example(name).outputs(z, last)
        assert torch.equal(context.generator.get_state(), drawn)
        assert torch.equal(torch.get_rng_state(), before)
        assert told.shape == z.shape
        assert torch.equal(told.argmax(1), z.argmax(1))
        assert any(not torch.equal(initial[k], v) for k, v in model.state_dict().items())
        assert loop.recorded == 2
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        assert not any(p.grad_fn for p in model.parameters())
        outcomes.append((snapshot(model), told))
    assert all(torch.equal(outcomes[0][0][k], outcomes[1][0][k]) for k in outcomes[0][0])
    assert torch.equal(outcomes[0][1], outcomes[1][1])
    assert torch.equal(kept[0], members.inputs)
    assert torch.equal(kept[1], members.labels)
    assert torch.equal(kept[2], reference.inputs)


@pytest.mark.parametrize("name", sorted(DEFENSES))
def test_configuration_round_trip(name):
    import json

    defense = make(name, **OPTIONS.get(name, {}))
    table = json.loads(json.dumps(as_config(defense)))
    assert table["name"] == name
    again = make(table.pop("name"), **table)
    assert as_config(again) == as_config(defense)
    assert again == defense
    assert defense.source or name in ("none", "chain")
    assert type(defense).__doc__


@pytest.mark.parametrize("name", sorted(n for n in DEFENSES if DEFENSES[n].traits & {"reference"}))
def test_a_missing_reference_is_refused_before_any_work(kit, name):
    with pytest.raises(InputError, match=f"reference: {name} needs non-members set apart"):
        kit.train(example(name), kit.context(reference=None))


def test_mixup_trains_on_the_mixed_inputs_and_matching_classes(kit):
    reference = kit.samples(30, seed=2)
    context = kit.context(reference=reference)
    defense = MixupMMD()
    context.state = defense.start(context)
    plain, y = context.members.take(torch.arange(12))
    x, t = defense.mix(plain, y, context)
    torch.testing.assert_close(t.sum(1), torch.ones(12))
    assert not torch.equal(x, plain)
    rows = defense._matching(y, context)
    assert torch.equal(reference.labels[rows], y)
    assert defense.loss(context.model(x), t, y, context).requires_grad
    hard = MixupMMD(mix_shape=0, strength=0)
    assert hard.mix(plain, y, context) == (plain, y)
    torch.testing.assert_close(
        hard.loss(context.model(x), y, y, context), F.cross_entropy(context.model(x), y)
    )


def test_adversary_learns_while_the_model_gradient_stays_its_own(kit):
    members, reference = kit.samples(30), kit.samples(30, seed=9)
    context = kit.context(members=members, reference=reference)
    defense = AdversarialRegularisation(strength=1.0, attacker_steps=40, attacker_rate=1e-2)
    context.state = defense.start(context)
    h, _ = context.state
    before = copy.deepcopy(h.state_dict())
    x, y = members.take(torch.arange(30))
    defense.loss(context.model(x), y, y, context).backward()
    assert any(not torch.equal(before[k], v) for k, v in h.state_dict().items())
    grads = [p.grad for p in h.parameters()]
    for p in context.model.parameters():
        assert p.grad is not None
    # The model's step must not reach the attacker: what it holds is its own last gradient.
    defense.loss(context.model(x), y, y, context)
    assert all(p.requires_grad for p in h.parameters())
    assert all(g is not None for g in grads)


def test_crl_moves_its_centres(kit):
    context = kit.context(epochs=1)
    defense = CRL(alpha=0.0, centre_alpha=0.0)
    context.state = defense.start(context)
    centres, _ = context.state
    before = centres.detach().clone()
    x, y = context.members.take(torch.arange(16))
    context.features = context.model.features(x)
    defense.loss(context.model(x), y, y, context).backward()
    defense.parameters(context)
    assert not torch.equal(before, centres)
    assert centres.grad is None


def test_early_stopping_keeps_the_best_epoch(kit):
    members, reference = kit.samples(12), kit.samples(60, seed=3)
    swapped = type(members)(members.inputs, (members.labels + 1) % 3)
    context = kit.context(members=swapped, reference=reference, epochs=12, batch=12)
    best = []

    def keep(c):
        z, y = eval_logits(c.model, reference)
        best.append((float(F.cross_entropy(z.double(), y)), snapshot(c.model)))

    model, loop = kit.train(EarlyStopping(patience=2), context, on_step=keep)
    stage = loop.stages[0]
    assert stage.stop
    assert len(best) < 12
    at = min(range(len(best)), key=lambda i: best[i][0])
    assert context.facts["stopped_at_epoch"] == at + 1
    assert len(best) == at + 3
    final = snapshot(model)
    assert all(torch.equal(final[k], best[at][1][k]) for k in final)


def test_early_stopping_that_never_stops_still_ends_at_the_best(kit):
    """What the last epoch's checkpoint sees is what is released."""
    reference = kit.samples(48, seed=3)
    context = kit.context(reference=reference, epochs=6, batch=48)
    seen = []

    class Watching(EarlyStopping):
        def epoch_end(self, context):
            z, y = eval_logits(context.model, reference)
            seen.append(float(F.cross_entropy(z.double(), y)))
            super().epoch_end(context)
            z, y = eval_logits(context.model, reference)
            seen.append(float(F.cross_entropy(z.double(), y)))

    # A rate so high that the best epoch is not the last.
    _, loop = kit.train(Watching(patience=50), context, lr=3.0, weight_decay=0.0)
    assert not loop.stages[0].stop
    assert seen[-1] == min(seen)
    assert context.facts["stopped_at_epoch"] == seen[::2].index(min(seen)) + 1
    assert seen[-2] > seen[-1]


def test_distil_gives_each_row_its_own_target(kit):
    soft = torch.rand(48, 3).softmax(1)
    context = kit.context()
    context.rows = torch.tensor([5, 2])
    defense = Distil(soft, temperature=2.0)
    t = defense.targets(torch.tensor([0, 0]), context)
    assert torch.equal(t, soft[[5, 2]])
    z = torch.randn(2, 3)
    torch.testing.assert_close(
        defense.loss(z, t, t, context), -(t * F.log_softmax(z / 2, dim=1)).sum(1).mean()
    )


def test_dmp_trains_its_student_on_reference_inputs_only(kit):
    members, reference = kit.samples(36), kit.samples(40, seed=3)
    context = kit.context(members=members, reference=reference)
    _, loop = kit.train(DMP(share=0.5), context)
    teacher, student = loop.stages
    assert teacher.members is members
    assert len(student.members) == 20
    rows = {tuple(x) for x in reference.inputs.tolist()}
    assert all(tuple(x) in rows for x in student.members.inputs.tolist())
    assert loop.recorded == context.epochs


def test_selena_labels_come_from_sub_models_that_never_saw_the_sample(kit):
    members = kit.samples(30)
    context = kit.context(members=members, epochs=1)
    defense = SELENA(models=4, out=2)
    trained, targets = [], []

    class Watching(kit.loop):
        def __call__(self, stage, **options):
            model = super().__call__(stage, **options)
            if isinstance(stage, Distil):
                targets.append(stage.soft)
            else:
                trained.append((copy.deepcopy(model).eval(), options["samples"].inputs))
            return model

    defense.train(context, Watching(context))
    assert len(trained) == 4
    for i, x in enumerate(members.inputs):
        unseen = [m for m, xs in trained if not (xs == x).all(1).any()]
        assert len(unseen) == 2
        mean = torch.stack([m(x[None]).softmax(1)[0] for m in unseen]).mean(0)
        torch.testing.assert_close(targets[0][i], mean.detach())


def test_vulnerability_against_loops_of_plain_autograd(kit):
    members, reference = kit.samples(20), kit.samples(20, seed=4)
    model, initial = kit.fresh(1), kit.fresh(0)
    before = snapshot(model)
    options = {"weight": 0.4, "steps": 3, "rate": 0.05, "batch": 8}
    score = vulnerability(
        model, initial, members, reference,
        generator=torch.Generator().manual_seed(0), **options,
    )  # fmt: skip
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())

    g = torch.Generator().manual_seed(0)
    copy_ = copy.deepcopy(model)
    expected = {n: torch.zeros_like(p) for n, p in copy_.named_parameters()}
    for _ in range(3):
        x, y = members.draw(8, g)
        z, _ = reference.draw(8, g)
        copy_.zero_grad()
        now, then = copy_(z).log_softmax(1), initial(z).log_softmax(1).detach()
        kl = F.kl_div(then, now, reduction="batchmean", log_target=True)
        (0.6 * F.cross_entropy(copy_(x), y) + 0.4 * kl).backward()
        with torch.no_grad():
            for n, p in copy_.named_parameters():
                expected[n] += (p.grad * p).abs()
                p -= 0.05 * p.grad
    for n in expected:
        torch.testing.assert_close(score[n], expected[n], rtol=1e-4, atol=1e-7)


def test_top_fraction_takes_exactly_the_highest():
    g = torch.Generator().manual_seed(0)
    score = {"a": torch.rand(4, 5, generator=g), "b": torch.rand(30, generator=g)}
    mask = top_fraction(score, 0.1)
    chosen = torch.cat([m.flatten() for m in mask.values()])
    values = torch.cat([s.flatten() for s in score.values()])
    assert int(chosen.sum()) == 5
    assert values[chosen].min() > values[~chosen].max()


def test_cwrf_rewinds_and_freezes_the_critical_weights(kit):
    context = kit.context(reference=kit.samples(40, seed=3), epochs=4)
    initial = snapshot(context.model)
    held = []

    class Watching(kit.loop):
        def __call__(self, stage, **options):
            if isinstance(stage, FrozenWeights):
                held.append((stage.mask, snapshot(options["model"])))
            return super().__call__(stage, **options)

    loop = Watching(context)
    model = CWRF(fraction=0.1, steps=4).train(context, loop)
    mask, start = held[0]
    assert loop.recorded == 4
    assert context.facts["cwrf_frozen"] == sum(int(m.sum()) for m in mask.values()) == 8
    for name, p in model.named_parameters():
        m = mask[name]
        assert torch.equal(p[m], initial[name][m])
        if (~m).any():
            assert not torch.equal(p[~m], start[name][~m])


# Chains and names


def test_chain_runs_every_part(kit):
    context = kit.context(reference=kit.samples(30, seed=2), epochs=2)
    chain = Chain((LabelSmoothing(), ConfidencePenalty(), EarlyStopping()))
    alone, _ = kit.train(LabelSmoothing(), kit.context(epochs=2))
    model, _ = kit.train(chain, context)
    assert "stopped_at_epoch" in context.facts
    assert not torch.equal(model.head.weight, alone.head.weight)
    assert chain.needs_reference
    assert not chain.needs_features
    one, _ = kit.train(Chain((RelaxLoss(),)), kit.context())
    same, _ = kit.train(RelaxLoss(), kit.context())
    assert torch.equal(one.head.weight, same.head.weight)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((RelaxLoss(), CCEL()), "'relaxloss' and 'ccel' both replace the loss"),
        ((LabelSmoothing(), HAMP()), "'label-smoothing' and 'hamp' both replace the targets"),
        ((LabelSmoothing(), RelaxLoss()), "'relaxloss' reads hard labels and would ignore"),
        ((DPSGD(), RelaxLoss()), "its ε would be void"),
        ((DPSGD(), LayerDPSGD(risk={"head": 0.6})), "both replace the gradients"),
        ((SELENA(), RelaxLoss()), "'selena' rules over whole stages and cannot be a part"),
        ((), "parts: expected a list of defences"),
        (("relaxloss",), "parts: expected a list of defences"),
    ],
)
def test_contradictory_chains_are_refused(parts, message):
    with pytest.raises(InputError, match=message):
        Chain(parts)


def test_make_reads_nested_tables():
    built = make(
        "pptp",
        base={"name": "relaxloss", "alpha": 0.2},
        regions=["head"],
        variant={"name": "two-phase", "share": 0.5},
    )
    assert built == PPTP(RelaxLoss(0.2), ("head",), TwoPhase(0.5))
    assert make("pptp", regions=["head"], variant="alternating").variant == InTurns()
    assert make("none") == Undefended()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make("relaxlos"), "defense: expected a known name.*did you mean 'relaxloss'"),
        (lambda: make("relaxloss", alfa=1.0), "did you mean 'alpha'"),
        (lambda: make("none", alpha=1.0), "it has no options"),
        (lambda: make("pptp", base=3), "base: expected the name of a defence or a table"),
        (lambda: make("pptp", variant="two-phases"), "did you mean 'two-phase'"),
        (lambda: make("pptp", variant={"name": "routed", "x": 1}), "x: unknown option of variant"),
        (lambda: make("chain"), "parts: a chain needs its defences"),
        (lambda: make("relaxloss", alpha=-1.0), "alpha: expected a number"),
        (lambda: make("relaxloss", alpha="much"), "alpha: expected a number"),
        (lambda: make("selena", models=3, out=3), "out: expected fewer than models"),
        (lambda: make("hamp", gamma=2.0), "gamma: expected a number"),
        (lambda: make("memguard", budget=3.0), "budget: expected a number"),
        (lambda: make("early-stopping", patience=0), "patience: expected"),
        (lambda: make("cwrf", fraction=0.0), r"fraction: expected a number in \(0"),
        (lambda: make("cwrf", base="memguard"), "does not act on gradients"),
        (lambda: make("dmp", share=0.0), r"share: expected a number in \(0"),
        (lambda: make("mixup-mmd", bandwidth=0.0), "bandwidth: expected"),
        (lambda: make("crl", upper=2.0), "upper: expected"),
        (lambda: make("ccel", beta=0.0), "beta: expected"),
        (lambda: make("adversarial", attacker_steps=0), "attacker_steps: expected"),
        (lambda: make("label-smoothing", smoothing=1.5), "smoothing: expected"),
        (lambda: make("confidence-penalty", strength=-1.0), "strength: expected"),
    ],
)
def test_bad_options_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_stages_too_short_or_too_small(kit):
    reference = kit.samples(20, seed=1)
    with pytest.raises(InputError, match="epochs: cwrf needs at least 2"):
        kit.train(CWRF(), kit.context(reference=reference, epochs=1))
    with pytest.raises(InputError, match="sub-models left one without samples"):
        kit.train(SELENA(models=9, out=8), kit.context(members=kit.samples(2)))
