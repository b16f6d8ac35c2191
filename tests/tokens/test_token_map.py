"""Where the evidence lies: a planted secret is shaded, nothing else is, and no text becomes markup."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seepage.data import from_texts
from seepage.findings.token_shares import token_shares
from seepage.metrics import Subjects
from seepage.plan import half_split
from seepage.record.tokens import offsets_of
from seepage.report.html import SECTIONS, section_bodies
from seepage.report.token_map import token_values

TEXTS = ["plain words", "pin <b>4711</b> né", "other words here"]
SECRET = slice(6, 10)  # "4711", one less than in the text: the first byte is not predicted


@pytest.fixture(scope="module")
def run() -> Any:
    """Members' "4711" is known from the second checkpoint on."""
    rng = np.random.default_rng(0)
    data = from_texts(TEXTS, context=40)
    offsets = offsets_of(data.inputs.numpy())
    member = half_split(3, models=12, seed=0).member

    def token_signal(name: str, row: int, t: int) -> np.ndarray:
        logp = -3 + 0.1 * np.random.default_rng([row, t]).normal(size=offsets[-1])
        if t and member[row, 1]:
            logp[offsets[1] :][SECRET] += 2.5
        return logp.astype(np.float16)

    return SimpleNamespace(
        member=member,
        checkpoints=np.array([0.0, 4.0]),
        offsets=offsets,
        manifest={"signals": {"token_logp": {}}},
        token_signal=token_signal,
        data=data,
        rng=rng,
    )


def test_the_share_of_a_token_is_what_training_adds(run: Any) -> None:
    found = token_shares(run, np.array([1, 0]))
    assert found is not None
    assert found.rows.tolist() == [1, 0]
    assert [g.shape for g in found.gain] == [(2, len(TEXTS[1].encode()) - 1), (2, 10)]
    np.testing.assert_allclose(found.gain[0][1][SECRET], 2.5, atol=0.25)
    assert found.sure[0][1][SECRET].all()
    rest = np.delete(found.sure[0][1], np.arange(len(TEXTS[1].encode()) - 1)[SECRET])
    assert rest.mean() < 0.2
    assert np.abs(found.gain[0][0]).max() < 0.25


def test_it_is_of_a_part_as_of_the_whole_and_of_records_alone(run: Any) -> None:
    part = SimpleNamespace(**{**vars(run), "member": run.member[:, 1:], "rows": np.array([1, 2])})
    whole, some = token_shares(run, np.array([1])), token_shares(part, np.array([0]))
    np.testing.assert_array_equal(whole.gain[0], some.gain[0])  # type: ignore[union-attr]
    assert token_shares(run, np.array([1]), Subjects(np.array(["a", "a", "b"]))) is None
    assert token_shares(SimpleNamespace(member=run.member), np.array([1])) is None


def test_the_report_shades_them_and_escapes_the_text(run: Any) -> None:
    f: Any = SimpleNamespace(
        tokens=token_shares(run, np.array([1])),
        ids=np.array(["a", "b<i>", "c"]),
        checkpoints=run.checkpoints,
        clock=lambda t: f"epoch {t:g}",
        units="documents",
    )
    section = [s for s in SECTIONS if s.key == "tokens"]
    (shown,) = section_bodies(f, run.data, section, ())
    body = str(shown["body"])
    assert "b&lt;i&gt;" in body
    assert "<b>" not in re.sub(r"<b>\d", "", body)
    dark = "".join(re.findall(r'<span class="k[5-8]">(.*?)</span>', body))
    assert dark == "4711"
    levels = re.search(r'data-levels="(\d+)\|(\d+)"', body)
    assert levels is not None
    assert set(levels[1]) <= {"0", "1"}
    assert "é" in body
    assert len(levels[2]) == body.count('<span class="k')
    assert token_values(f, None) is None
