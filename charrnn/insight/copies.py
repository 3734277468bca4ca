"""A look at a model's samples: what is new, what is copied, and how much structure they keep.

Every figure of the samples stands beside that of real text which the model has not learnt from
("held out"). Real text shares lines, n-grams and long runs with the training text too, and a model
copies only as far as it shares more. No torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from charrnn.errors import CorpusError, SettingsError
from charrnn.insight import matches
from charrnn.insight.card import (
    Comparison,
    Entropy,
    Examination,
    HeldOut,
    LongestRuns,
    OtherSets,
    Structure,
    ratio,
)
from charrnn.insight.recoded import recoded
from charrnn.insight.structure import dictionary_of, distinct_report, structure_report
from charrnn.insight.verdicts import doubt_of, warnings_of
from charrnn.modelfile import ModelFile
from charrnn.sampling.bounds import LINE_LENGTH, default_length
from charrnn.sampling.codec import Sample
from charrnn.sampling.decode import Decoding, checked_seed
from charrnn.sampling.engine import Sampler
from charrnn.terminal import many
from charrnn.text.corpus import Corpus
from charrnn.text.matching import shares_found
from charrnn.texts import OpenedRun

TEMPERATURES = (0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1)
HOTTER = (1.2, 1.3, 1.5, 1.7, 2.0)  # until samples are as surprising as the validation text
LENGTHS = (*range(2, 11), 15, 20, 30, 50)  # of the n-grams
# At most this much is drawn at each further temperature: samples, and characters of streams.
FEW_STREAMS = 100
FEW_LINES = 1000
OTHER_CHARS = 100_000
DICTIONARY_CHARS = 32_000_000  # of the training text, whose words are known
MAX_SAMPLES = 100_000
MAX_CHARS = 10_000_000  # that takes 5 GB of memory
# Beyond these, a look takes some ten seconds, and what is being done is told.
LONG_WORK = 5e11  # characters times parameters, to draw
LONG_TEXT = 10_000_000  # characters of a training text, to search


@dataclass(frozen=True)
class Question:
    """Which samples are looked at. Raises SettingsError.

    length: of a stream's samples (None: 500), of lines at most (None: 1000).
    """

    count: int
    temperature: float = 0.8
    length: int | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        Decoding(self.temperature)
        checked_seed(self.seed)
        if not 1 <= self.count <= MAX_SAMPLES:
            raise SettingsError(f"--samples {self.count}: must be between 1 and {MAX_SAMPLES:,}")
        if self.length is not None and self.length < 1:
            raise SettingsError(f"--length {self.length}: must be at least 1")


def examine(
    run: OpenedRun, question: Question, note: Callable[[str], None] = lambda text: None
) -> Examination:
    """Draw samples and look at them. note: is told what is done, if that takes long.

    Raises CheckpointError, CorpusError, SettingsError.
    """
    # 1. The texts, and how much is to be done.
    run.folder("--samples compares with it: name the run")
    model = run.model
    corpora = run.corpora
    corpus = corpora[0]
    train = run.training_splits
    is_lines = model.mode == "lines"
    count = question.count
    length = question.length
    if length is None:
        length = default_length(model.mode, model.vocabulary)
    if count * length > MAX_CHARS and not (is_lines and question.length is None):
        raise SettingsError(
            f"--samples {count:,} of {length:,} characters: at most {MAX_CHARS:,} in all; "
            "ask for less"
        )
    is_long = _drawing_work(model, corpus, count, length) > LONG_WORK
    is_long = is_long or sum(map(len, train)) > LONG_TEXT

    def say(text: str) -> None:
        if is_long:
            note(text)

    # 2. The samples, and as much held-out text.
    most = "at most " if is_lines else ""
    say(f"drawing {many(count, 'sample')} of {most}{many(length, 'character')}")
    sampler = Sampler(model)
    samples = _drawn(sampler, count, length, question.temperature, question.seed)
    say("looking for them in the training text")
    held_split = "test" if len(corpus.split("test")) else "val"
    pieces = [without_newline(sample.ids, corpus) for sample in samples]
    corpora, pieces = recoded(corpora, pieces)
    corpus = corpora[0]
    held = held_out(corpus, held_split, count, length)

    # 3. What they share with the training text.
    lines = matches.lines_report(corpora, pieces, held)
    if not (model.settings.text.val or model.settings.text.test):
        expected = matches.expected_in_train(lines.counts, corpora)
        lines = replace(lines, expected_in_train=expected)
    longest = LongestRuns(
        matches.longest_copy(corpora, pieces), matches.longest_copy(corpora, held)
    )
    ngrams = _ngrams_in([text.split("train") for text in corpora], pieces, held)
    distinct = distinct_report(pieces, held, corpus)
    nearest = matches.nearest_report(corpora, pieces, held)
    before = matches.learnt_before(corpora, run.inherited_filters, run.gaps, pieces, held)

    # 4. What they are like at other temperatures.
    few, short = other_size(count, length, is_lines)
    say(
        f"drawing {many(few, 'sample')} of at most {many(short, 'character')} "
        f"at each of {len(TEMPERATURES)} or more temperatures"
    )
    val_nats = model.val_nats_per_char

    def draw_others(temperature: float) -> list[Sample]:
        return _drawn(sampler, few, short, temperature, question.seed)

    sets = at_temperatures(draw_others, question.temperature, samples, val_nats)

    # 5. All of it, and what it means.
    card = Examination(
        samples=len(samples),
        mode=model.mode,
        temperature=question.temperature,
        seed=question.seed,
        length=length,
        chars=sum(sample.chars for sample in samples),
        other_temperatures=OtherSets(few, short),
        held_out=HeldOut(held_split, len(held), sum(map(len, held))),
        training_texts=len(corpora),
        lines=lines,
        longest_run=longest,
        ngrams_in_training=ngrams,
        distinct=distinct,
        nearest=nearest,
        structure=_structure(corpora, sets, held),
        entropy=_entropy(sets, val_nats),
        learnt_before=before,
    )
    return replace(card, warnings=warnings_of(card), doubt=doubt_of(card))


# Drawing, and what is compared with it


def _drawing_work(model: ModelFile, corpus: Corpus, count: int, length: int) -> float:
    """Characters times parameters. Lines are taken to be as long as those of the training text."""
    usual: float = length
    if model.mode == "lines":
        lines = max(1, len(corpus.lines("train")[0]))
        usual = min(length, len(corpus.split("train")) / lines)
    return count * usual * sum(tensor.size for tensor in model.tensors.values())


def _drawn(
    sampler: Sampler, count: int, length: int, temperature: float, seed: int
) -> list[Sample]:
    """Samples. Raises SettingsError for more text than can be held."""
    samples = []
    chars = 0
    decoding = Decoding(temperature)
    for sample in sampler.generate(count, decoding=decoding, length=length, seed=seed):
        samples.append(sample)
        chars += sample.chars
        if chars > MAX_CHARS:  # lines that do not end
            raise SettingsError(
                f"--samples {count:,}: over {MAX_CHARS:,} characters in all; ask for less"
            )
    return samples


def held_out(corpus: Corpus, split: str, count: int, length: int) -> list[np.ndarray]:
    """At most `count` pieces of a split, evenly spread.

    They are whole lines without their newline or, of a stream, pieces of `length` ids.
    """
    ids = corpus.split(split)
    if not len(ids):
        raise CorpusError(
            "this run has held out no text to compare with; train one with --split 0.9,0.1"
        )
    if corpus.mode == "lines":
        starts, lengths = corpus.lines(split)
    else:
        starts = np.arange(max(1, len(ids) // length)) * length
        lengths = np.full(len(starts), length)
    which = np.unique(np.linspace(0, len(starts) - 1, min(count, len(starts))).astype(np.int64))
    return [ids[starts[i] : starts[i] + lengths[i]] for i in which]


def without_newline(ids: np.ndarray, corpus: Corpus) -> np.ndarray:
    """A sample without the newline that ends it in lines mode."""
    if corpus.mode == "lines" and len(ids) and ids[-1] == corpus.vocabulary.newline:
        return ids[:-1]
    return ids


# What is compared


def _ngrams_in(
    train: list[np.ndarray], pieces: list[np.ndarray], held: list[np.ndarray]
) -> dict[str, Comparison]:
    """The shares of n-grams that stand in the training text, by their length."""
    written = shares_found(pieces, train, LENGTHS)
    real = shares_found(held, train, LENGTHS)
    return {str(n): Comparison(ratio(*written[n]), ratio(*real[n])) for n in LENGTHS}


def _structure(
    corpora: list[Corpus], sets: dict[float, list[Sample]], held: list[np.ndarray]
) -> dict[str, Structure]:
    is_lines = corpora[0].mode == "lines"
    words = None
    if not is_lines:
        words = set[str]()
        for corpus in corpora:
            words |= dictionary_of(matches.text_in_chunks(corpus, "train", DICTIONARY_CHARS))
    texts = {t: [sample.text for sample in samples] for t, samples in sets.items()}
    real = [corpora[0].vocabulary.decode(piece) for piece in held]
    return structure_report(texts, real, words, whole=is_lines)


def _entropy(sets: dict[float, list[Sample]], val_nats: float | None) -> Entropy:
    nats = {t: _nats_per_char(samples) for t, samples in sets.items()}
    matching = None if val_nats is None else matching_temperature(nats, val_nats)
    return Entropy(val_nats, {f"{t:g}": value for t, value in nats.items()}, matching)


# By temperature


def other_size(count: int, length: int, is_lines: bool) -> tuple[int, int]:
    """Samples for each further temperature, and their characters at most.

    They are as many and as long as those that were asked for, within bounds.
    """
    if is_lines:
        return min(count, FEW_LINES), min(length, LINE_LENGTH)
    return max(1, min(count, FEW_STREAMS, OTHER_CHARS // length)), min(length, OTHER_CHARS)


def at_temperatures(
    draw: Callable[[float], list[Sample]],
    temperature: float,
    samples: list[Sample],
    val_nats: float | None,
) -> dict[float, list[Sample]]:
    """Samples by temperature, the coolest first.

    A temperature that prints like that of `samples` is not drawn again. The HOTTER ones are drawn
    only while all cooler samples surprise the model less than the validation text does.
    """
    sets = {temperature: samples}
    for t in (*TEMPERATURES, *HOTTER):
        is_wanted = t in TEMPERATURES
        if not is_wanted and val_nats is not None:
            cooler = [drawn for other, drawn in sets.items() if other < t]
            is_wanted = all(_nats_per_char(drawn) < val_nats for drawn in cooler)
        if is_wanted and f"{t:g}" != f"{temperature:g}":
            sets[t] = draw(t)
    return dict(sorted(sets.items()))


def _nats_per_char(samples: list[Sample]) -> float:
    """How surprising samples are to the model itself, at temperature 1."""
    nats = sum(sample.nats for sample in samples)
    return nats / max(1, sum(sample.chars for sample in samples))


def matching_temperature(nats: dict[float, float], wanted: float) -> float | None:
    """Where the broken line through (temperature, nats) first reaches `wanted`.

    None if it never does.
    """
    points = sorted(nats.items())
    for (t, low), (later, high) in zip(points, points[1:], strict=False):
        if min(low, high) <= wanted <= max(low, high):
            if high == low:
                return t
            return t + (later - t) * ((wanted - low) / (high - low))
    return None
