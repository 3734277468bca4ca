"""Building a corpus: survey a text, then write its ids.

The first pass over a text (survey.py) finds its characters, the second writes one id per character
into the run (writing.py, corpus.py), and divides them into train, val and test (splits.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import VocabularyError
from charrnn.storage import Output
from charrnn.text.corpus import Corpus, Written, described, store
from charrnn.text.dividing import write_texts_of_lines, write_texts_of_streams
from charrnn.text.labelled import check_known
from charrnn.text.labels import numbered
from charrnn.text.reading import PIECE_BYTES
from charrnn.text.survey import Survey as Survey
from charrnn.text.survey import labels_of as labels_of
from charrnn.text.survey import learnt_chars as learnt_chars
from charrnn.text.survey import survey as survey
from charrnn.text.survey import training_chars as training_chars
from charrnn.text.survey import training_part as training_part
from charrnn.text.vocabulary import Vocabulary
from charrnn.text.writing import write_lines, write_stream


def build(
    survey: Survey,
    settings: TextSettings,
    seed: int,
    folder: Path,
    vocabulary: Vocabulary | None = None,
) -> tuple[Corpus, list[str]]:
    """Make the second pass: write the ids into folder. Return the corpus, and notes for the person.

    vocabulary: the one to use instead of the text's own (a resumed run's).
    Raises CorpusError, StorageError, VocabularyError.
    """
    settings = survey.as_read(settings)
    vocabulary = vocabulary or survey.vocabulary
    for census in survey.censuses.values():
        codes = np.flatnonzero(census.counts).astype(np.uint32)
        missing = codes[vocabulary.lookup(codes) < 0]
        if vocabulary.spelling is not None:  # it has bytes for them
            missing = missing[:0]
        if len(missing):
            raise VocabularyError(
                vocabulary.explain_unknown(missing, census.counts[missing], census.shown)
            )
    check_known(survey.labels, vocabulary)
    notes: list[str] = []

    def write(file: Output) -> Written:
        words = (file, survey, settings, vocabulary)
        is_several = bool(survey.sources["train"].parts)
        if survey.mode == "lines":
            write_items = write_texts_of_lines if is_several else write_lines
            return write_items(*words, seed, notes)
        if is_several:
            return write_texts_of_streams(*words, folder)
        return write_stream(*words)

    digests = {name: census.sha256 for name, census in survey.censuses.items()}
    corpus = store(folder, survey.name, survey.fingerprint, survey.mode, digests, vocabulary, write)
    return corpus, notes


def translate(old: Corpus, vocabulary: Vocabulary, folder: Path) -> Corpus:
    """Write a corpus into folder in the ids of another vocabulary.

    vocabulary: must hold all characters of the old one. Raises StorageError.
    """
    new_ids = vocabulary.lookup(np.array(old.vocabulary.symbols))

    def write(file: Output) -> Written:
        for start in range(0, len(old.ids), PIECE_BYTES):
            ids = new_ids[old.ids[start : start + PIECE_BYTES]]
            file.write(ids.astype(vocabulary.dtype).data)
        if old.labels is None:
            return Written(old.bounds, parts=old.parts)
        places = np.append(
            np.zeros(1, np.uint32), numbered(old.vocabulary.labels, vocabulary.labels)
        )
        return Written(old.bounds, places[old.labels], old.parts)

    digests = described(old.path).get("text_sha256", {})
    return store(folder, old.name, old.fingerprint, old.mode, digests, vocabulary, write)
