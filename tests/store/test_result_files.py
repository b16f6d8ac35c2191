"""Results with a digest: what was changed since is refused, whatever was changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from malformed import changed, damaged
from seepage.errors import InputError
from seepage.store.result_files import add_digests, read_result, write_result

CONTENT = {"key": "k", "values": {"auc": [0.5, 1e-9, None]}, "pair": (1, 2), "name": "é", "n": 3}
READ = {**CONTENT, "pair": [1, 2]}


@pytest.mark.parametrize("indent", [None, 1])
def test_what_is_read_is_what_was_written(tmp_path: Path, indent: int | None) -> None:
    place = tmp_path / "a.json"
    write_result(place, CONTENT, indent=indent)
    assert read_result(place) == READ
    # Written again as it was read, and by another hand with other spaces and order.
    write_result(place, read_result(place))
    place.write_text(json.dumps(json.loads(place.read_text()), sort_keys=True))
    assert read_result(place) == READ


def test_every_change_is_told(tmp_path: Path) -> None:
    place, rng = tmp_path / "a.json", np.random.default_rng(0)
    write_result(place, CONTENT)
    raw = place.read_bytes()
    same = refused = 0
    for k in range(200):
        if k % 2:
            new = damaged(raw, rng)
        else:
            content, _ = changed(json.loads(raw), rng)
            new = json.dumps(content).encode()
        place.write_bytes(new)
        try:
            found = read_result(place)
        except InputError:
            refused += 1
        else:
            # Nothing but spaces differs, or one value was exchanged for itself.
            assert found == READ
            same += 1
    assert refused > 150
    assert same < 20


def test_results_without_a_digest_can_be_given_theirs(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "a.json"
    place.parent.mkdir()
    place.write_text('{"found": 1}')
    write_result(tmp_path / "b.json", {"found": 2})
    with pytest.raises(
        InputError, match=r"a\.json: expected a result with its digest, got one with"
    ):
        read_result(place)
    assert add_digests(tmp_path) == [place]
    assert read_result(place) == {"found": 1}
    assert add_digests(tmp_path) == []
    (tmp_path / "c.json").write_text("[]")
    with pytest.raises(InputError, match=r"c\.json: expected a JSON object"):
        add_digests(tmp_path)


def test_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_result(tmp_path / "a.json", {"found": float("nan")})
    assert list(tmp_path.iterdir()) == []
