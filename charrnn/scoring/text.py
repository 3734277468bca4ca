"""What is scored: a part of a run's own text, a file, or a text that somebody typed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import CheckpointError, CorpusError
from charrnn.modelfile import ModelFile
from charrnn.scoring.by_text import TextTally
from charrnn.text.corpus import Corpus
from charrnn.text.labelled import check_known
from charrnn.text.labels import first_ids, numbered
from charrnn.text.reading import encode_file, encode_text
from charrnn.text.vocabulary import Vocabulary
from charrnn.texts import OpenedRun


@dataclass(frozen=True)
class Text:
    """What is scored. ids (N,): in lines mode every line ends in the newline and none is blank.

    split: which part of the run's own text it is, if it is one.
    corpus: the run's own text, if it is at hand.
    unknown: characters that were left out or replaced because the model does not know them.
    respelt: characters in another Unicode form than they were given in, which the model knows.
    labels (lines,): 1 + the place of each line's label in the vocabulary, 0 for none; None: the
    model knows none.
    """

    ids: np.ndarray
    split: str | None
    file: str | None
    corpus: Corpus | None
    unknown: int = 0
    respelt: int = 0
    labels: np.ndarray | None = None

    def first_ids(self, vocabulary: Vocabulary) -> np.ndarray | None:
        """Return what a network reads before each line; None: the newline."""
        return None if self.labels is None else first_ids(self.labels, vocabulary)

    def by_text(self) -> TextTally | None:
        """Return what adds up the scores of several texts; None where there is one."""
        parts = self.corpus.parts if self.corpus is not None else None
        if self.split is None or not parts or not parts.segments[self.split]:
            return None
        return TextTally(parts, self.split)


def beginning(text: Text, model: ModelFile, most: int) -> Text:
    """Return a text with at most so many ids, and the labels of their lines."""
    ids = cut(model, text.ids, most)
    labels = text.labels
    if labels is not None:
        labels = labels[: int((ids == model.vocabulary.newline).sum())]
    return replace(text, ids=ids, labels=labels)


def cut(model: ModelFile, ids: np.ndarray, most: int) -> np.ndarray:
    """Return the first `most` ids of a text. In lines mode it ends with a line, and has one."""
    if len(ids) > most and model.mode == "lines":
        ends = np.flatnonzero(ids == model.vocabulary.newline) + 1
        most = max(int(ends[0]), int(ends[ends <= most].max(initial=0)))
    edges = model.vocabulary.edges(ids)
    return ids[: edges[np.searchsorted(edges, min(most, len(ids)))]]


def text_of_split(
    run: OpenedRun, split: str | None, *, advice: str = "pass --file or --text"
) -> Text:
    """A part of the run's own text.

    split: "train", "val" or "test"; None: test if there is one, else val.
    Raises CheckpointError, with this advice, if the model lies in no run with its text.
    Raises CorpusError if that part is empty.
    """
    corpus = run.own_corpus(advice)
    if split is None:
        split = "test" if len(corpus.split("test")) else "val"
    ids = corpus.split(split)
    if len(ids) < 2:
        raise CorpusError(f"this run has no {split} text; {advice}")
    return Text(ids, split, None, corpus, labels=corpus.labels_of(split))


def text_given(
    run: OpenedRun, file: Path | None, text: str | None, settings: TextSettings, unknown: str
) -> Text:
    """A file, or a text somebody typed. Raises CorpusError, VocabularyError."""
    vocabulary = run.model.vocabulary
    labels: list[str] | None = [] if vocabulary.labels and file is not None else None
    if file is not None:
        encoded = encode_file(file, settings, vocabulary, unknown, labels)
    else:
        encoded = encode_text(text or "", settings, vocabulary, unknown, "--text")
    ids, missing, respelt = encoded
    numbers = None
    if run.model.mode == "lines":
        newline = int(vocabulary.newline or 0)
        if labels:
            check_known({"": labels}, vocabulary)
            numbers = numbered(labels, vocabulary.labels)[has_text(ids, newline)]
        ids = whole_lines(ids, newline)
    if len(ids) < 2:
        raise CorpusError(
            "nothing to score: a stream needs two characters that the model knows, lines need one"
        )
    if file is None:
        return Text(ids, None, None, None, missing, respelt)
    try:
        corpus = text_of_split(run, "train").corpus
    except (CheckpointError, CorpusError):
        corpus = None  # a model that travels alone has only its own figure
    return Text(ids, None, str(file), corpus, missing, respelt, numbers)


def has_text(ids: np.ndarray, newline: int) -> np.ndarray:
    """(lines,) bool: whether each line has characters. A last one without a newline counts too."""
    ends = np.flatnonzero(ids == newline)
    if len(ids) and ids[-1] != newline:
        ends = np.append(ends, len(ids))
    filled: np.ndarray = np.diff(ends, prepend=-1) > 1
    return filled


def whole_lines(ids: np.ndarray, newline: int) -> np.ndarray:
    """The ids without blank lines, and with a newline at the end."""
    is_newline = ids == newline
    is_blank = is_newline & np.concatenate([[True], is_newline[:-1]])
    if is_blank.any():
        ids = ids[~is_blank]
    if len(ids) and ids[-1] != newline:
        ids = np.append(ids, newline).astype(ids.dtype)
    return ids
