"""What an attack that never sees a model is given of samples: columns of numbers, and words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.data.documents import text_of

__all__ = [
    "few_pixels",
    "said_in",
    "summaries",
    "telling_columns",
    "text_columns",
    "token_texts",
    "with_missing_marked",
    "words_of",
]

# Pixels a side to which images are averaged, and signs of a text that are looked at.
_SIDE, _SIGNS = 8, 20_000
# A token number that says a text has ended (`seepage.transformers.pool`).
_ENDED = -1


def with_missing_marked(features: Float64Array) -> Float64Array:
    """NaN at its column's mean, and a column of 0 and 1 beside for each that has any.

    What is missing may tell members as well as any value.

    >>> with_missing_marked(np.array([[1.0, 2.0], [np.nan, 4.0]])).tolist()
    [[1.0, 2.0, 0.0], [1.0, 4.0, 1.0]]
    """
    absent = np.isnan(features)
    if not absent.any():
        return features
    known = np.maximum((~absent).sum(axis=0), 1)
    mean = np.where(absent, 0.0, features).sum(axis=0) / known
    marks = absent[:, absent.any(axis=0)].astype(np.float64)
    return np.concatenate([np.where(absent, mean, features), marks], axis=1)


def few_pixels(features: AnyArray) -> AnyArray:
    """Images averaged over blocks, to at most 8 × 8 pixels a channel; other arrays as they are.

    (N, C, H, W), or (N, H, W, C) of 1, 3 or 4 channels -> (N, C, h, w).

    >>> few_pixels(np.arange(256.0).reshape(1, 1, 16, 16)).shape
    (1, 1, 8, 8)
    """
    if features.ndim != 4:
        return features
    if features.shape[1] not in (1, 3, 4) and features.shape[3] in (1, 3, 4):
        features = np.moveaxis(features, 3, 1)
    for axis in (2, 3):
        size = features.shape[axis]
        if size > _SIDE:
            starts = np.arange(_SIDE) * size // _SIDE
            lengths = np.diff(np.append(starts, size))
            shape = (-1, 1) if axis == 2 else (-1,)
            total = np.add.reduceat(features, starts, axis=axis, dtype=np.float64)
            features = total / lengths.reshape(shape)
    return features


def summaries(features: Float64Array) -> Float64Array:
    """Seven numbers of all columns of a sample together: (N, D) -> (N, 7).

    Mean, standard deviation, least, largest, share of zeros, mean step from column to column, share
    that is missing: what a scanner, an exporter or a resampler leaves in every value a little.

    >>> summaries(np.array([[0.0, 2.0, 4.0, np.nan]])).round(2).tolist()
    [[2.0, 1.63, 0.0, 4.0, 0.33, 2.0, 0.25]]
    """
    absent = np.isnan(features)
    known = np.maximum((~absent).sum(axis=1), 1)
    x = np.where(absent, 0.0, features)
    mean = x.sum(axis=1) / known
    away = np.where(absent, 0.0, features - mean[:, None])
    steps = np.abs(np.diff(features, axis=1))
    stepped = np.isfinite(steps)
    none = absent.all(axis=1)
    return np.stack(
        [
            mean,
            np.sqrt((away**2).sum(axis=1) / known),
            np.where(none, 0.0, np.where(absent, np.inf, features).min(axis=1)),
            np.where(none, 0.0, np.where(absent, -np.inf, features).max(axis=1)),
            ((x == 0) & ~absent).sum(axis=1) / known,
            np.where(stepped, steps, 0.0).sum(axis=1) / np.maximum(stepped.sum(axis=1), 1),
            absent.mean(axis=1),
        ],
        axis=1,
    )


def telling_columns(features: Float64Array, member: BoolArray, most: int) -> Int64Array:
    """The `most` columns of which mean or spread differ most between both sides: (N, D), (N,) -> (k,).

    By the larger of the correlations of membership with the values and with their squared distance
    to the mean. Of samples that a classifier is fitted to, never of those it is judged on.

    >>> x = np.array([[1.0, 5.0], [1.0, -5.0], [-1.0, 0.1], [-1.0, -0.1]])
    >>> telling_columns(x, np.array([True, True, False, False]), 5).tolist()
    [0, 1]
    """
    if features.shape[1] <= most:
        return np.arange(features.shape[1])
    away = features - features.mean(axis=0)
    truth = member - member.mean()
    found = np.zeros(features.shape[1])
    for values in (away, away**2 - (away**2).mean(axis=0)):
        norm = np.sqrt((values**2).sum(axis=0))
        found = np.maximum(found, np.abs(truth @ values) / np.where(norm > 0, norm, 1.0))
    return np.sort(np.argsort(-found, kind="stable")[:most]).astype(np.int64)


# A number of four digits that is a year, and no part of a longer number.
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")


def text_columns(texts: Sequence[str]) -> Float64Array:
    """Eleven numbers of each text beside its words: (N,) -> (N, 11).

    Signs and words on a logarithmic scale, signs a word, shares of digits, capitals, spaces, other
    signs than letters, and letters outside ASCII; earliest and latest year from 1900 to 2099 that it names,
    0 where it names none, and how many on a logarithmic scale.

    >>> text_columns(["Ab 1!"]).round(2).tolist()
    [[1.79, 1.1, 2.5, 0.2, 0.2, 0.2, 0.2, 0.0, 0.0, 0.0, 0.0]]
    >>> text_columns(["1999-12-31, 2007"])[0, 8:].round(2).tolist()
    [1999.0, 2007.0, 1.1]
    """
    rows = []
    for text in texts:
        t = text[:_SIGNS]
        n, words = max(len(t), 1), len(t.split())
        digits = sum(c.isdigit() for c in t)
        spaces = sum(c.isspace() for c in t)
        letters = sum(c.isalpha() for c in t)
        years = [int(y) for y in _YEAR.findall(t)]
        rows.append(
            [
                np.log1p(len(text)),
                np.log1p(words),
                len(t) / max(words, 1),
                digits / n,
                sum(c.isupper() for c in t) / n,
                spaces / n,
                (len(t) - letters - digits - spaces) / n,
                sum(c > "\x7f" for c in t) / n,
                min(years, default=0),
                max(years, default=0),
                np.log1p(len(years)),
            ]
        )
    return np.array(rows, dtype=np.float64).reshape(len(rows), 11)


# A sign of a script without spaces is a word of its own.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
)


def words_of(text: str) -> list[str]:
    """The words of a text, and its pairs of neighbouring words, in lower case.

    >>> words_of("The end")
    ['the', 'end', 'the end']
    """
    words = _WORD.findall(text[:_SIGNS].lower())
    return words + [f"{a} {b}" for a, b in pairwise(words)]


def token_texts(features: AnyArray, *, known: bool = False) -> list[str] | None:
    """Texts of token numbers, −1 where a text has ended, each token a word; None of other arrays.

    known: whether they are token numbers in any case, so that no text need end early.

    >>> token_texts(np.array([[5.0, 6.0], [7.0, -1.0]])), token_texts(np.array([[0.5, 1.0]]))
    (['5 6', '7'], None)
    """
    if features.ndim != 2 or features.shape[1] < 2 or not features.size:
        return None
    if not (features == np.floor(features)).all() or (features.min() != _ENDED and not known):
        return None
    ended = features == _ENDED
    if (ended[:, :-1] & ~ended[:, 1:]).any():
        return None
    return [" ".join(str(int(t)) for t in row if t != _ENDED) for row in features.tolist()]


def said_in(rows: AnyArray, vocabulary: Sequence[str]) -> list[str] | None:
    """What documents (N, L) of token numbers say: words where their vocabulary is of bytes, else token by token.

    >>> from seepage.data.documents import BYTES
    >>> said_in(np.array([[104.0, 105.0], [111.0, -1.0]]), BYTES)
    ['hi', 'o']
    """
    told = [text_of(row, tuple(vocabulary)) for row in rows]
    found = [text.decode("utf-8", "replace") for text in told if text is not None]
    return found if len(found) == len(rows) else token_texts(rows, known=True)
