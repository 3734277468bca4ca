"""A run that is read: its model, and the texts that the model has learnt from. No torch.

A text is opened, and its SHA-256 computed, when it is first needed, and only once. So
`charrnn sample` starts without its text, and a report that looks at the text in five places reads
it one time. Nothing here knows who asks, or why.
"""

from __future__ import annotations

import itertools
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.errors import CheckpointError
from charrnn.modelfile import ModelFile
from charrnn.terminal import one_line
from charrnn.text.novelty import NoveltyFilter, read_filter
from charrnn.values import is_digest

if TYPE_CHECKING:
    import numpy as np

    from charrnn.text.corpus import Corpus

# A glob: the files of a text are named by the first digits of its fingerprint.
STEM = "[0-9a-f]" * 16
# What a stranger's run may cost: a fine-tuning adds one text, and a filter has at most 32 MiB.
MOST_TEXTS = 1000
MOST_FILTER_BYTES = 1 << 30  # of all filters together


class OpenedRun:
    """A model file, and what lies beside it of the texts that the model has learnt from.

    These are the run's own text, others after --allow-corpus-change and, as filters alone, the
    texts of the model that a fine-tuning started from.
    """

    def __init__(self, model: ModelFile) -> None:
        self.model = model
        self.fingerprint: Any = model.meta.get("fingerprint")  # of its own text; not checked yet
        self._corpora: dict[str, Corpus] = {}  # by fingerprint, those opened so far

    def folder(self, advice: str) -> Path:
        """Where the texts lie.

        Raises CheckpointError, with this advice, for a model that lies in no run.
        """
        shown = one_line(str(self.model.path))
        if self.model.run is None:
            raise CheckpointError(f"{shown} lies in no run directory with its text; {advice}")
        if self.fingerprint is None:
            raise CheckpointError(f"{shown} names no text of charrnn; {advice}")
        return self.model.run / "corpus"

    def corpus(self, fingerprint: Any) -> Corpus:
        """The text with this fingerprint. Raises CheckpointError if it is missing or damaged."""
        from charrnn.text.corpus import open_corpus  # slow to load, and `sample` seldom needs it

        key = str(fingerprint)  # a file may say anything, a list too; open_corpus refuses it
        if key not in self._corpora:
            folder = self.folder("name the run")
            if self.model.is_pretrained and not (folder / f"{key[:16]}.ids").exists():
                from charrnn.text.shipped import corpus_of_shipped

                self._corpora[key] = corpus_of_shipped(folder, key)
            else:
                self._corpora[key] = open_corpus(folder, fingerprint)
        return self._corpora[key]

    def own_corpus(self, advice: str) -> Corpus:
        """The run's own text.

        Raises CheckpointError if it is missing, damaged, or, with this advice, not the model's.
        """
        folder = self.folder(advice)
        corpus = self.corpus(self.fingerprint)
        if corpus.vocabulary != self.model.vocabulary:
            raise CheckpointError(
                f"{one_line(str(folder))} is not the text of this model; {advice}"
            )
        return corpus

    @cached_property
    def corpora(self) -> list[Corpus]:
        """The run's own text first, then the others that are here. Raises CheckpointError."""
        from charrnn.text.corpus import described

        folder = self.folder("name the run")
        corpora = [self.corpus(self.fingerprint)]
        for stem in self._other_stems(folder, ".json"):
            about = described(folder / f"{stem}.json")
            corpora.append(self.corpus(about.get("fingerprint")))
        if not all(self.fits(corpus) for corpus in corpora):
            shown = one_line(str(self.model.path))
            raise CheckpointError(
                f"{one_line(str(folder))} is not the text of {shown}; use another copy of the run"
            )
        return corpora

    @cached_property
    def training_splits(self) -> list[np.ndarray]:
        """The ids of each text that the model was trained on. Raises CheckpointError."""
        return [corpus.split("train") for corpus in self.corpora]

    @property
    def filter_files(self) -> list[Path]:
        """The filter of every text that the model has learnt from, as far as it is there.

        Raises CheckpointError where they are more than a run of charrnn has.
        """
        if self.model.run is None:
            return []
        folder = self.model.run / "corpus"
        return [folder / f"{stem}.novel" for stem in _stems(folder, ".novel")]

    @cached_property
    def inherited_filters(self) -> list[NoveltyFilter]:
        """The filters of texts that are not here.

        The model that a fine-tuning started from learnt them.
        """
        mode = self.model.mode
        unit = self.model.vocabulary.unit
        filters = []
        for file in self.filter_files:
            if not file.with_suffix(".json").exists():
                filters.append(read_filter(file, mode, unit))
        return [readable for readable in filters if readable is not None]

    @cached_property
    def gaps(self) -> list[str]:
        """What cannot be told of the texts that the model has learnt, a sentence each.

        A text without its description is known by its filter at most.
        """
        if self.model.run is None or not is_digest(self.fingerprint):
            return []
        folder = self.model.run / "corpus"
        mode = self.model.mode
        unit = self.model.vocabulary.unit
        sentences = []
        for stem in self._other_stems(folder, ".ids", ".novel"):
            if (folder / f"{stem}.json").exists():
                continue
            has_filter = read_filter(folder / f"{stem}.novel", mode, unit) is not None
            is_inherited = not (folder / f"{stem}.ids").exists() and stem != self._mixed_stem
            if has_filter and is_inherited:
                continue
            means = "are known by its filter alone" if has_filter else "cannot be told"
            sentences.append(
                f"the description {stem}.json of a text that it learnt is lost: copies of that "
                f"text {means}"
            )
        others = self._other_stems(folder, ".ids", ".novel", ".json")
        if self.model.settings.training.init_from and not others:
            sentences.append(
                "nothing is here of the text that the model it began with learnt: unless it is "
                "this text, copies of it cannot be told"
            )
        return sentences

    @cached_property
    def novelty(self) -> Novelty | None:
        """The test of novelty; None where a text, and its filter, is missing or damaged."""
        if self.model.run is None or not is_digest(self.fingerprint):
            return None
        folder = self.model.run / "corpus"
        stems = self._other_stems(folder, ".json", ".novel")
        fingerprints = [self.fingerprint, *(_fingerprint(folder, stem) for stem in stems)]
        texts = [_LearntText(self, folder, fingerprint) for fingerprint in fingerprints]
        if not all(text.filter or text.corpus for text in texts):
            return None
        return Novelty(texts)

    def fits(self, corpus: Corpus) -> bool:
        """Whether the model could have learnt from a text."""
        model = self.model
        return corpus.vocabulary == model.vocabulary and corpus.mode == model.mode

    def _other_stems(self, folder: Path, *endings: str) -> list[str]:
        """The names, without endings, of the files of all texts but the run's own.

        A text that was mixed in has a name even where all its files are lost.
        """
        stems = {stem for ending in endings for stem in _stems(folder, ending)}
        if self._mixed_stem is not None and endings != (".json",):
            stems.add(self._mixed_stem)
        return sorted(stems - {str(self.fingerprint)[:16]})

    @property
    def _mixed_stem(self) -> str | None:
        """The name of the text that was mixed in, as far as the model's file says so."""
        mixed = self.model.meta.get("mixed")
        if not isinstance(mixed, str) or not re.fullmatch("[0-9a-f]{64}", mixed):
            return None
        return mixed[:16]


class Novelty:
    """The test of novelty, over all texts that a model has learnt from.

    Each of them is known by its filter, its ids, or both.
    """

    def __init__(self, texts: list[_LearntText]) -> None:
        self._texts = texts

    def is_novel(self, data: bytes) -> bool | None:
        """Whether no training text has these bytes as a whole line or, of a stream, anywhere.

        None: that cannot be told. True is never a guess. An empty text is not novel.
        """
        if not data:
            return False
        answers = [text.holds(data) for text in self._texts]
        if True in answers:
            return False
        return None if None in answers else True


class _LearntText:
    """One text. Its filter is asked first, and its ids only where the filter is in doubt."""

    def __init__(self, run: OpenedRun, folder: Path, fingerprint: str) -> None:
        """fingerprint: its first 16 digits where no more is known."""
        self._run = run
        self._fingerprint = fingerprint
        vocabulary = run.model.vocabulary
        self._vocabulary = vocabulary
        self._is_text = vocabulary.unit == "char"
        path = folder / f"{fingerprint[:16]}.novel"
        file = read_filter(path, run.model.mode, vocabulary.unit)
        is_its_own = file is not None and file.fingerprint.startswith(fingerprint)
        self.filter = file if is_its_own else None

    @cached_property
    def corpus(self) -> Corpus | None:
        """The run's copy, read to its end: a damaged copy must not make a text look new."""
        try:
            corpus = self._run.corpus(self._fingerprint)
        except CheckpointError:
            return None
        return corpus if self._run.fits(corpus) else None

    def holds(self, data: bytes) -> bool | None:
        """Whether the text has these bytes; None where its ids are needed and not here."""
        if self.filter is not None:
            text = self._vocabulary.breaking(data.decode()) if self._is_text else data
            if not self.filter.may_hold(text):
                return False
        if self.corpus is None:
            return None
        vocabulary = self.corpus.vocabulary
        ids = vocabulary.spelled(vocabulary.codes(data))
        if not (ids >= 0).all():
            return False
        return self.corpus.contains(ids, whole_line=self.corpus.mode == "lines")


def _stems(folder: Path, ending: str) -> list[str]:
    """The names, without ending, of files of texts. Raises CheckpointError for too many of them."""
    files = sorted(itertools.islice(folder.glob(STEM + ending), MOST_TEXTS + 1))
    is_too_much = len(files) > MOST_TEXTS
    if ending == ".novel" and not is_too_much:
        is_too_much = sum(_size(file) for file in files) > MOST_FILTER_BYTES
    if is_too_much:
        raise CheckpointError(
            f"{one_line(str(folder))} holds more texts, or larger filters of them, than a run of "
            "charrnn; use another copy of the run"
        )
    return [file.stem for file in files]


def _size(file: Path) -> int:
    """The bytes of a file; none of one that cannot be looked at."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _fingerprint(folder: Path, stem: str) -> str:
    """The fingerprint in a text's description; its beginning, which is the stem, without one."""
    from charrnn.text.corpus import described

    try:
        fingerprint = described(folder / f"{stem}.json").get("fingerprint")
    except CheckpointError:
        return stem
    if isinstance(fingerprint, str) and fingerprint[:16] == stem:
        return fingerprint
    return stem
