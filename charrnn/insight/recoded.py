"""Texts whose rare characters are bytes, with one id for each character, to be compared exactly.

Shapes: N ids of a text.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from charrnn.text.corpus import PIECE_IDS, Bounds, Corpus
from charrnn.text.splits import SPLITS
from charrnn.text.vocabulary import Vocabulary


def recoded(
    corpora: Sequence[Corpus], pieces: Sequence[np.ndarray]
) -> tuple[list[Corpus], list[np.ndarray]]:
    """Return corpora and pieces, ids (N,) each, with a symbol for every character in them.

    They come back as they are where every id is a character.
    """
    old = corpora[0].vocabulary
    if old.spelling is None:
        return list(corpora), list(pieces)
    codes = {int(code) for piece in pieces for code in old.codes_of(piece)}
    for corpus in corpora:
        for part in old.code_pieces(corpus.ids, PIECE_IDS):
            codes.update(np.unique(part).tolist())
    vocabulary = Vocabulary("char", tuple(sorted(codes)))
    recoded_pieces = [
        vocabulary.lookup(old.codes_of(piece)).astype(vocabulary.dtype) for piece in pieces
    ]
    return [_recoded_corpus(corpus, vocabulary) for corpus in corpora], recoded_pieces


def _recoded_corpus(corpus: Corpus, vocabulary: Vocabulary) -> Corpus:
    """Return a corpus in another vocabulary, in a file that is gone when nobody reads it."""
    bounds: Bounds = {}
    at = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.ids"
        with path.open("wb") as file:
            for name in SPLITS:
                for codes in corpus.vocabulary.code_pieces(corpus.split(name), PIECE_IDS):
                    file.write(vocabulary.lookup(codes).astype(vocabulary.dtype).tobytes())
                chars = corpus.chars(name)
                bounds[name] = (at, at + chars)
                at += chars
        whole = dataclasses.replace(
            corpus, path=path, dtype=vocabulary.dtype, bounds=bounds, vocabulary=vocabulary
        )
        _ = whole.ids  # maps the file
    return whole
