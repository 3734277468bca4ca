"""What a score stands beside: chance, counting, and the compressors of the standard library."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from charrnn.modelfile import ModelFile
from charrnn.scoring.compressors import LEAST_CHARS, compressed, reach_note
from charrnn.scoring.counting import CountingScorer, best_ngram, label_grams, score_of
from charrnn.scoring.figures import measured
from charrnn.scoring.score import Tally, tallied
from charrnn.text.corpus import Corpus
from charrnn.text.counting import count


@dataclass
class Baselines:
    """Bits per character by name, with what must be said about them.

    counting: the n-grams of the training text and of its labels, if they were counted.
    counted: their sums over the scored text.
    """

    bits_per_char: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    counting: CountingScorer | None = None
    counted: Tally | None = None


def baselines_of(
    model: ModelFile,
    corpus: Corpus | None,
    ids: np.ndarray,
    protocol: str,
    newline: int | None,
    window: int,
    first: np.ndarray | None = None,
) -> Baselines:
    """The baselines of a score of ids (N,). first: as for Scorer.predictions.

    corpus: what the model learnt from; None: without the baselines that learn from it too.
    newline: its id in lines mode; None: a stream.
    """
    vocabulary = model.vocabulary
    baselines = Baselines()
    bits_per_char = baselines.bits_per_char
    bits_per_char["uniform"] = math.log2(len(vocabulary))
    if corpus is None:
        return baselines

    train = corpus.split("train")
    unigram = count(train, len(vocabulary), 1, newline)
    unigram.spelling = vocabulary.spelling
    bits_per_char["unigram"] = score_of(unigram, ids, protocol, window).bits_per_char
    # An n-gram model is no baseline of a counting model. It is needed for the lines that are new.
    if not model.counts or newline is not None:
        ngram = best_ngram(corpus)
        by_label = None if first is None else label_grams(ngram, corpus)
        baselines.counting = CountingScorer(ngram, by_label)
    if baselines.counting is not None:
        counted = tallied(baselines.counting, ids, protocol, newline, window, first)
        baselines.counted = counted
        if not model.counts:
            bits_per_char["ngram"] = counted.score().bits_per_char

    if len(ids) < LEAST_CHARS:
        baselines.notes.append(f"no compressors: they need {LEAST_CHARS:,} characters")
        return baselines
    bits_per_char |= compressed(train, ids, vocabulary, model.mode)
    train_bytes = measured(train, vocabulary, "lines").size_bytes
    reach = reach_note(train_bytes)
    if reach:
        baselines.notes.append(reach)
    if protocol == "windowed":
        baselines.notes.append("compressors read the whole stream, not windows")
    return baselines
