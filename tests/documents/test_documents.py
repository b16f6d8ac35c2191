"""Texts and token numbers as documents: what is cut, what is refused, and in which words."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

import seepage
from seepage.data import Dataset, from_texts, from_tokens, reload
from seepage.data.documents import BYTES, cut_documents, zlib_lengths
from seepage.errors import InputError
from seepage.record.tokens import offsets_of


def ended(data: Dataset) -> list[bytes]:
    return [bytes(row[row >= 0].astype(np.uint8)) for row in data.inputs.numpy()]


def test_bytes_are_the_text_itself_and_name_themselves():
    data = from_texts(["né à", "\n<>"], context=9)
    assert [text.decode() for text in ended(data)] == ["né à", "\n<>"]
    assert len(BYTES) == len(set(BYTES)) == 256
    assert [BYTES[k] for k in (10, 32, 65, 255)] == ["<0x0A>", "<0x20>", "A", "<0xFF>"]
    assert zlib_lengths(data.inputs.numpy(), data.classes).min() > 8
    assert data.member_scale(np.arange(2))[0].tolist() == [1.0] * data.shape[0]


@pytest.mark.parametrize(
    ("long", "texts", "ids", "groups"),
    [
        ("window", ["abc", "def", "xy"], ["a/0", "a/1", "b"], ["a", "a", "b"]),
        ("split", ["abc", "def", "xy"], ["a/0", "a/1", "b"], None),
        ("cut", ["abc", "xy"], ["a", "b"], None),
    ],
)
def test_longer_texts_become_what_was_asked(long, texts, ids, groups):
    """The seventh byte alone predicts nothing: no window is made of it."""
    data = from_texts(["abcdefg", "xy"], context=3, long=long, ids=["a", "b"])
    assert [t.decode() for t in ended(data)] == texts
    assert data.ids.tolist() == ids
    assert (None if data.groups is None else data.groups.tolist()) == groups


def test_offsets_count_predicted_tokens():
    data = from_tokens([[1, 2, 3], [4, 5], [6, 7, 8]], vocabulary=16)
    assert offsets_of(data.inputs.numpy()).tolist() == [0, 2, 3, 5]
    assert zlib_lengths(data.inputs.numpy(), data.classes).tolist() == [0, 0, 0]


def test_windows_hold_every_token_but_a_last_one_alone():
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 9, n) for n in rng.integers(2, 40, 30)]
    table, of = cut_documents(rows, 5, "window", "t")
    for i, row in enumerate(rows):
        held = table[of == i]
        kept = len(row) - (len(row) % 5 == 1)
        assert held[held >= 0].tolist() == row[:kept].tolist()


@pytest.mark.parametrize(
    ("documents", "vocabulary", "says"),
    [
        ([[1, 2], []], 16, "at least 2 tokens in every document"),
        ([[1, 2], [3]], 16, "got 1 in document 1"),
        ([[-1, 2, 3]], 16, "without padding on the left"),
        ([[1, 2, -1]], 16, "without padding"),
        ([[1, 2, 16]], 16, "tokens of the vocabulary, 0..15"),
        ([[1.5, 2.0]], 16, "token numbers for every document, got float64"),
        ([[1, 2]], "bytes", "how many pieces there are or their names"),
        ([], 16, "at least one document"),
    ],
)
def test_what_is_no_document_is_refused(documents, vocabulary, says):
    with pytest.raises(InputError, match="expected") as told:
        from_tokens(documents, vocabulary=vocabulary)
    assert says in str(told.value)
    assert "\n" not in str(told.value)


def test_a_document_beyond_the_context_is_refused_or_cut_as_asked():
    with pytest.raises(InputError, match=r"at most 2 tokens \(data.context\), got 3 in document 0"):
        from_tokens([[1, 2, 3]], vocabulary=16, context=2)
    assert from_tokens([[1, 2, 3]], vocabulary=16, context=2, long="cut").shape == (2,)


def test_files_columns_and_folders_become_texts_and_are_found_again(tmp_path: Path):
    (tmp_path / "lines.txt").write_text("one two\n\nthree\n")
    with gzip.open(tmp_path / "paragraphs.txt.gz", "wt") as file:
        file.write("one\ntwo\n\nthree\n")
    (tmp_path / "t.csv").write_text('who,said,n\np,"hello, you",1\nq,good bye,2\n')
    for who in ("p", "q"):
        (tmp_path / "people" / who).mkdir(parents=True)
        (tmp_path / "people" / who / "a.txt").write_text(f"from {who}")
    asked = {"task": "language", "root": tmp_path}
    lines = seepage.load("lines.txt", **asked)
    assert [t.decode() for t in ended(lines)] == ["one two", "three"]
    assert lines.ids.tolist() == ["line/0", "line/2"]
    split = seepage.load("paragraphs.txt.gz", documents="paragraphs", **asked)
    assert [t.decode() for t in ended(split)] == ["one\ntwo", "three"]
    column = seepage.load("t.csv", text="said", group="who", id_column="n", **asked)
    assert [t.decode() for t in ended(column)] == ["hello, you", "good bye"]
    assert (column.groups.tolist(), column.ids.tolist()) == (["p", "q"], ["1", "2"])
    folder = seepage.load("people", group="folder", **asked)
    assert (folder.groups.tolist(), folder.ids.tolist()) == (["p", "q"], ["p/a.txt", "q/a.txt"])
    for data in (lines, split, column, folder):
        again = reload(data.source, data.digest)
        assert again is not None
        assert again.ids.tolist() == data.ids.tolist()


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("t.csv", {}, "data.text: expected the name of the column"),
        ("t.csv", {"text": "sad"}, "did you mean 'said'?"),
        ("t.csv", {"text": "said", "documents": "lines"}, "documents: expected none of a table"),
        ("a.txt", {"group": "who"}, "group: expected none of a text file"),
        ("a.txt", {"vocabulary": "wordpiece"}, "expected 'bytes' or the path of a tokenizer.json"),
        ("a.txt", {"part": "test"}, "part: expected none with task = 'language'"),
        ("empty.txt", {}, "texts, got none that holds more than white space"),
        ("bad.txt", {}, "expected UTF-8 text, got byte 0xff at position 2"),
        ("a.png", {}, "expected a text file"),
        (
            "a.txt",
            {"task": "classification", "context": 4},
            "context: expected with task = 'language'",
        ),
        ("python-topics", {"task": "classification"}, "set task = 'language'"),
    ],
)
def test_texts_that_cannot_be_read_are_refused_in_one_line(tmp_path: Path, name, options, says):
    (tmp_path / "t.csv").write_text("who,said\np,hello\n")
    (tmp_path / "a.txt").write_text("hello\nyou too\n")
    (tmp_path / "empty.txt").write_text(" \n \n")
    (tmp_path / "bad.txt").write_bytes(b"ab\xff\n")
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError) as told:
        seepage.load(name, **({"task": "language", "root": tmp_path} | options))
    assert says in str(told.value)


def test_a_tokenizer_of_a_file_names_its_pieces(tmp_path: Path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"<unk>": 0, "to": 1, "be": 2}, "<unk>")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    data = from_texts(["to be or", "be to"], context=4, vocabulary=path)
    assert data.inputs.tolist() == [[1, 2, 0], [2, 1, -1]]
    assert data.classes == ("<unk>", "to", "be")
    path.write_text(json.dumps({"model": "none"}))
    with pytest.raises(InputError, match=r"expected a tokenizer\.json"):
        from_texts(["to be"], vocabulary=path)


def test_the_topics_of_the_standard_library_are_texts_of_their_own():
    data = seepage.load("python-topics", task="language", long="split", limit=300)
    assert (len(data), data.shape, data.groups) == (300, (128,), None)
    whole = seepage.load("python-topics", task="language", context=4096)
    assert set(whole.groups.tolist()) >= {"assert", "while"}
