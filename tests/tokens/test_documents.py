"""What tokens say of a document, against public definitions written out document by document."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from scipy.stats import norm

from seepage.attacks import LiRA, PerSample
from seepage.errors import InputError
from seepage.metrics import operating_points
from seepage.plan import partitions
from seepage.tokens import (
    DOCUMENT_SIGNALS,
    AmongOthers,
    Tokens,
    document_signal,
    exposure,
    windows,
)
from seepage.tokens.documents import WIDTHS
from unigrams import unigrams

F = np.ndarray


def tokens(
    seed: int = 0, documents: int = 60, longest: int = 90, dtype: type = np.float64
) -> Tokens:
    """Of every length from 1, several of each, in no order."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest, documents)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    logp = -rng.exponential(2.0, offsets[-1]).astype(dtype)
    return Tokens(
        offsets,
        logp,
        first=(logp > -0.7).astype(np.uint8),
        mean=(logp - rng.normal(size=len(logp))).astype(dtype),
        std=rng.gamma(2.0, size=len(logp)).astype(dtype),
        reference=(logp - rng.normal(size=len(logp))).clip(max=-1e-3).astype(dtype),
        zlib=rng.integers(20, 300, documents),
    )


def lz(symbols: list[int]) -> float:
    phrases, at, size = set(), 0, 1
    while at + size <= len(symbols):
        part = tuple(symbols[at : at + size])
        if part in phrases:
            size += 1
            continue
        phrases.add(part)
        at, size = at + size, 1
    return len(phrases) / len(symbols)


def as_published(name: str, t: Tokens, i: int) -> float | list[float]:
    """mimir, mink-plus-plus, and the released code of WBC and EZ-MIA, for one document."""
    at = slice(t.offsets[i], t.offsets[i + 1])
    logp = np.asarray(t.logp[at], np.float64)
    n, k = len(logp), max(1, int(len(logp) * 0.2))
    gain = logp - np.asarray(t.reference[at], np.float64)
    match name:
        case "loss":
            return -logp.mean()
        case "logp":
            return logp.mean()
        case "zlib_ratio":
            return logp.mean() / t.zlib[i]
        case "min_k":
            return np.sort(logp)[:k].mean()
        case "min_k_pp":
            return np.sort((logp - t.mean[at]) / np.maximum(t.std[at], 1e-4))[:k].mean()
        case "reference_ratio":
            return logp.mean() - t.reference[at].mean()
        case "hard_tokens":
            return gain[np.argsort(t.reference[at], kind="stable")[:k]].mean()
        case "window_share":
            shares = []
            for w in WIDTHS if n > 1 else (1,):
                if w <= n:
                    sums = [gain[s : s + w].sum() for s in range(n - w + 1)]
                    shares.append(np.mean([s > 0 for s in sums]))
            return np.mean(shares)
        case "error_zone":
            wrong = t.first[at] == 0 if (t.first[at] == 0).any() else np.ones(n, bool)
            up = sum(d for d in gain[wrong] if d > 0)
            down = sum(-d for d in gain[wrong] if d < 0)
            return np.log((up + 1) / (down + 1))
        case _:
            slope = 0.0 if n == 1 else np.polyfit(np.arange(n), logp, 1)[0]
            low = logp.min()
            bins = [min(int(4 * (1 - x / low)), 3) for x in logp]
            cuts = [logp[: -(-n // parts)].mean() for parts in (1, 2, 4)]
            above = [(logp >= level).mean() for level in (-1, -2, -3)]
            return [*cuts, slope, *above, -lz(bins)]


@pytest.mark.parametrize("name", DOCUMENT_SIGNALS)
def test_a_signal_is_what_was_published(name: str) -> None:
    t = tokens()
    expected = np.array([as_published(name, t, i) for i in range(t.documents)])
    np.testing.assert_allclose(document_signal(t, name), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in DOCUMENT_SIGNALS if n not in ("loss", "loss_shape")])
def test_half_precision_keeps_the_order(name: str) -> None:
    """The limits of storage: rank correlation .9999 and AUC within .001.

    The reference is in 32 bits: in 16, which tokens it finds hardest changes, and HT-MIA's rank
    correlation is .9998.
    """
    rng = np.random.default_rng(1)
    exact = tokens(2, documents=600, longest=150)
    half = Tokens(
        exact.offsets,
        exact.logp.astype(np.float16),
        exact.first,
        exact.mean.astype(np.float16),
        exact.std.astype(np.float16),
        exact.reference.astype(np.float32),
        exact.zlib,
    )
    a, b = (document_signal(x, name) for x in (exact, half))
    ranks = [np.argsort(np.argsort(x)) for x in (a, b)]
    assert np.corrcoef(ranks)[0, 1] > 0.9999
    member = (a + a.std() * rng.normal(size=len(a)) > np.median(a))[None]
    areas = [operating_points(x[None], member).auc[0] for x in (a, b)]
    assert abs(areas[0] - areas[1]) < 0.001


def test_a_text_that_is_all_right_is_no_non_member() -> None:
    """The released EZ-MIA says 0 of it, the least suspicious score that there is."""
    t = Tokens(
        np.array([0, 3, 6, 9]),
        np.log([0.99, 0.99, 0.99, 0.99, 0.99, 0.99, 0.2, 0.1, 0.3]),
        first=np.array([1, 1, 1, 1, 1, 1, 0, 0, 1]),
        reference=np.log([0.01, 0.02, 0.01, 0.98, 0.99, 0.99, 0.2, 0.1, 0.3]),
    )
    learnt, easy, unlearnt = document_signal(t, "error_zone")
    assert learnt > 2 > 0.02 > easy
    assert unlearnt == 0


def test_tokens_that_are_alike_share_a_place() -> None:
    reference = np.log(np.full(5, 0.5))
    t = Tokens(np.array([0, 5]), reference + np.arange(5.0) - 4, reference=reference)
    assert document_signal(t, "hard_tokens")[0] == -2


def test_every_token_s_share_is_by_the_models_of_other_tuples() -> None:
    u = unigrams(models=6)
    tuples = partitions(u.member)
    others = AmongOthers(u.logp.__getitem__, tuples)
    for r in range(6):
        rest = np.exp(u.logp[tuples != tuples[r]]).mean(axis=0)
        np.testing.assert_allclose(others.mean_without(r), np.log(rest), rtol=1e-12)
        gain = u.logp[r] - np.log(rest)
        expected = [gain[a:b].mean() for a, b in zip(u.offsets, u.offsets[1:], strict=False)]
        np.testing.assert_allclose(others.documents(r, u.offsets), expected, atol=1e-12)


def test_a_tuple_that_outweighs_the_others_is_left_out_exactly() -> None:
    """A difference of sums would say 0 where the others say e^−60."""
    logp = np.array([[-1e-9], [-60.0], [-61.0], [-62.0]])
    others = AmongOthers(logp.__getitem__, np.array([0, 0, 1, 1]))
    expected = np.logaddexp(-61.0, -62.0) - np.log(2)
    np.testing.assert_allclose(others.mean_without(0), [expected], rtol=1e-14)
    np.testing.assert_allclose(others.mean_without(2), [-np.log(2)], rtol=1e-8)


def test_the_likelihood_of_a_unigram_model_is_that_of_its_counts() -> None:
    u = unigrams()
    for r in range(len(u.member)):
        found = document_signal(Tokens(u.offsets, u.logp[r]), "logp")
        q = np.log(u.counts[r] / u.counts[r].sum())
        np.testing.assert_allclose(found, [q[w].mean() for w in u.words], rtol=1e-12)


def test_lira_on_a_unigram_model_in_closed_form() -> None:
    u = unigrams(models=12)
    signal = np.stack([document_signal(Tokens(u.offsets, x), "logp") for x in u.logp])
    scores = LiRA(variance=PerSample(), signal="logp").leave_one_out(signal, u.member)
    apart = partitions(u.member)
    for r, i in [(0, 0), (3, 7), (11, 39)]:
        use = apart != apart[r]
        q = np.log(u.counts / u.counts.sum(axis=1, keepdims=True))[:, u.words[i]].mean(axis=1)
        inside, out = (q[use & (u.member[:, i] == side)] for side in (True, False))
        law = [norm.logpdf(q[r], g.mean(), g.std()) for g in (inside, out)]
        np.testing.assert_allclose(scores[r, i], law[0] - law[1], rtol=1e-6)


@pytest.mark.parametrize("times", [1, 2, 4, 8])
def test_exposure_of_a_canary_seen_k_times(times: int) -> None:
    """Under a unigram model of n words a canary of L new words gains L log(1 + k) nats, and its rank falls.

    Others are drawn as it was; exposure is log2 of their number over the rank, in bits.
    """
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 5, 1000).astype(float)
    texts = rng.integers(0, 1000, (4000, 4))
    counts[texts[0]] += times
    logp = np.log(counts / counts.sum())[texts].sum(axis=1)
    found = exposure(logp[:1], logp[1:])[0]
    rank = 1 + (logp[1:] > logp[0]).sum() + (logp[1:] == logp[0]).sum() / 2
    assert found == pytest.approx(np.log2(4000 / rank))
    least = {1: 2.0, 2: 6.0, 4: 11.9, 8: np.log2(4000)}[times]
    assert found >= least - 1e-9


def test_exposure_of_what_was_not_learnt() -> None:
    rng = np.random.default_rng(1)
    found = exposure(rng.normal(size=4000), rng.normal(size=4000))
    assert found.mean() == pytest.approx(np.log2(np.e), abs=0.1)
    assert (found >= 5).mean() == pytest.approx(2**-5, abs=0.015)


def test_sequences_are_documents_of_at_most_a_length() -> None:
    t = tokens(3)
    offsets, whose = windows(t.offsets, 16)
    sizes = np.diff(offsets)
    assert sizes.max() == 16
    np.testing.assert_array_equal(np.bincount(whose, weights=sizes), np.diff(t.offsets))
    whole = np.bincount(whose, weights=sizes * document_signal(Tokens(offsets, t.logp), "logp"))
    np.testing.assert_allclose(whole / np.diff(t.offsets), document_signal(t, "logp"))


@pytest.mark.parametrize(
    ("offsets", "logp", "match"),
    [
        ([0, 2, 2], [-1.0, -1.0], "at least one predicted token in every document, got 0 in"),
        ([1, 2], [-1.0, -1.0], "from 0"),
        ([0, 3], [-1.0, -1.0], r"logp: expected shape \(3,\)"),
        ([0.0, 2.0], [-1.0, -1.0], "whole numbers"),
    ],
)
def test_what_are_no_tokens(offsets: list[float], logp: list[float], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Tokens(np.array(offsets), np.array(logp))


def test_what_was_not_recorded_is_named() -> None:
    t = Tokens(np.array([0, 2]), np.array([-1.0, -2.0]), zlib=np.array([0]))
    with pytest.raises(InputError, match="record token_reference"):
        document_signal(t, "window_share")
    with pytest.raises(InputError, match="give the texts"):
        document_signal(t, "zlib_ratio")


def test_the_size_of_a_text_is_that_of_zlib() -> None:
    size = len(zlib.compress(b"abc"))
    t = Tokens(np.array([0, 2]), np.array([-1.0, -2.0]), zlib=np.array([size]))
    assert document_signal(t, "zlib_ratio")[0] == -1.5 / size
