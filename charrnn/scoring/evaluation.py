"""The score of a stored model on a text: what `charrnn eval` shows.

Everything here works on the nats that a `Scorer` yields, whatever kind of model it is. Only
`open_scorer` and the readings with a cache or with learning know networks, and only they load
torch, when they are called.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from charrnn.errors import SettingsError
from charrnn.modelfile import MISCOUNTED, ModelFile
from charrnn.scoring.baselines import Baselines, baselines_of
from charrnn.scoring.card import (
    CachedReading,
    CountingModel,
    DynamicReading,
    Evaluation,
    Experts,
    NetworkModel,
    NGramBaseline,
    Source,
    Unseen,
)
from charrnn.scoring.compressors import MAX_BASELINE_CHARS
from charrnn.scoring.counting import CountingScorer, score_of
from charrnn.scoring.detail import (
    CharacterCost,
    RankedLine,
    characters,
    likeliest_first,
    outliers,
    ranked,
)
from charrnn.scoring.figures import Figures, Gain, figures, gain, measured, split_rule, text_sha256
from charrnn.scoring.overlap import inherited, known_lines, overlap, warnings
from charrnn.scoring.score import Scorer, Tally, tallied
from charrnn.scoring.text import Text, whole_lines
from charrnn.text.words import respelt_note
from charrnn.texts import OpenedRun

if TYPE_CHECKING:
    from charrnn.scoring.cached import CachedScorer
    from charrnn.scoring.dynamic import DynamicScorer
    from charrnn.scoring.readers import Helped


@dataclass(frozen=True)
class How:
    """How a text is read.

    protocol: "stateful" or "windowed". window: the characters of a window.
    dynamic: score the text with dynamic evaluation too, at the rate dynamic_lr.
    cache: score the text with a cache of so many characters too; 0: without.
    helped: reads batches with other processes.
    """

    protocol: str = "stateful"
    window: int = 256
    device: str = "auto"
    dynamic: bool = False
    dynamic_lr: float | None = None
    cache: int = 0
    helped: Helped | None = None


def open_scorer(model: ModelFile, device_name: str, helped: Helped | None = None) -> Scorer:
    """The stored model as a scorer, helped as in How. Raises SettingsError: no such device."""
    if model.counts:
        if device_name not in ("auto", "cpu"):
            raise SettingsError(
                f"--device {device_name}: counting models are scored on the processor; leave it out"
            )
        ngram = model.ngram()
        return CountingScorer(ngram, model.label_grams(ngram))
    from charrnn.scoring.network import load_scorer

    return load_scorer(model, device_name, helped)


def protocol_of(model: ModelFile, how: How) -> str:
    """Choose "stateful", "windowed" or "lines".

    Raises SettingsError for a way to read that does not fit the model.
    """
    is_windowed = how.protocol == "windowed"
    if how.cache:
        from charrnn.sampling.cache import check

        check(how.cache, model)
        if is_windowed:
            raise SettingsError(
                "--cache looks back along one stream, which windows are not; "
                "leave out --protocol windowed"
            )
    if how.dynamic and model.counts:
        raise SettingsError(
            "--dynamic is for networks, which learn by gradients; this model counts"
        )
    if model.mode == "lines":
        if is_windowed:
            raise SettingsError(
                "--protocol windowed is for streams; "
                "this model knows lines, each from an empty state"
            )
        if how.dynamic:
            raise SettingsError(
                "--dynamic is for streams; this model knows lines, each scored by itself"
            )
        return "lines"
    if how.dynamic and is_windowed:
        raise SettingsError(
            "--dynamic learns along one stream, which windows are not; "
            "leave out --protocol windowed"
        )
    return how.protocol


def scored_alone(model: ModelFile, text: Text, how: How) -> Evaluation:
    """The card without anything that the figure could be compared with."""
    card, _ = _scored(model, text, how)
    return card


def evaluated(
    run: OpenedRun, text: Text, how: How, with_baselines: bool, note: Callable[[str], None]
) -> Evaluation:
    """The whole card. note: is told what is left out because there is too much text."""
    model = run.model
    ids = text.ids
    vocabulary = model.vocabulary
    newline = _newline(model)
    first = text.first_ids(vocabulary)
    is_own = text.split == "train"

    # 1. The score itself, and the texts that it may be compared with.
    card, tally = _scored(model, text, how)
    corpus = text.corpus
    learnt = run.training_splits if corpus is not None else []
    if sum(map(len, learnt)) + len(ids) > MAX_BASELINE_CHARS:
        note(
            f"training text and this one have over {MAX_BASELINE_CHARS:,} characters: "
            "n-grams, compressors and overlap left out"
        )
        corpus = None
        learnt = []

    # 2. Counting and compressors.
    baselines = Baselines()
    if with_baselines:
        baselines = baselines_of(model, corpus, ids, card.protocol, newline, how.window, first)
    counted = None if model.counts else baselines.counted
    ngram = gain_over_ngram = None
    if counted is not None and baselines.counting is not None:
        grams = baselines.counting.ngram
        ngram = NGramBaseline(grams.order, grams.smoothing, "validation text")
        gain_over_ngram = gain(tally, counted)

    # 3. Other ways to read the same text.
    cache = _cached(model, ids, how, tally, counted) if how.cache else None
    dynamic = _dynamic(model, ids, how, tally, counted) if how.dynamic else None

    # 4. What flatters the figure.
    shared = unseen = None
    flattery: list[str] = []
    if text.unknown:
        kind = "1 character" if text.unknown == 1 else f"{text.unknown:,} characters"
        flattery.append(
            f"{kind} that the model does not know left out or replaced: that flatters the score"
        )
    if is_own:
        flattery.append("this is the text it learnt from: the figure says nothing about new text")
    elif learnt:
        known = None
        if vocabulary.newline is not None:
            known = known_lines(learnt, ids, vocabulary, model.mode)
        shared = overlap(learnt, ids, vocabulary, model.mode, known)
        flattery += warnings(shared, model.mode)
        if newline is not None and known is not None:
            unseen = _unseen(~known.known, tally, baselines)
    if not is_own and text.corpus is not None:
        flattery += inherited(run.inherited_filters, ids, vocabulary, model.mode)
        flattery += run.gaps

    # 5. The few best and worst lines of a file.
    likeliest = least_likely = None
    if newline is not None and text.file is not None:
        likeliest, least_likely = outliers(ids, tally, newline, vocabulary)

    return dataclasses.replace(
        card,
        cache=cache,
        dynamic=dynamic,
        baselines=baselines.bits_per_char,
        ngram=ngram,
        gain_over_ngram=gain_over_ngram,
        overlap=shared,
        unseen=unseen,
        notes=card.notes + baselines.notes,
        warnings=flattery,
        likeliest=likeliest,
        least_likely=least_likely,
    )


def _scored(model: ModelFile, text: Text, how: How) -> tuple[Evaluation, Tally]:
    """The card so far, and the sums that its figures are made of."""
    protocol = protocol_of(model, how)
    scorer = open_scorer(model, how.device, how.helped)
    first = text.first_ids(model.vocabulary)
    by_text = text.by_text()
    tally = tallied(scorer, text.ids, protocol, _newline(model), how.window, first, by_text)
    experts = None
    if model.ally is not None:
        experts = _experts(model, text.ids, protocol, how, tally, first)
    size = measured(text.ids, model.vocabulary, model.mode)
    rule = window = None
    if text.split:
        rule = split_rule(model.settings, model.mode, text.split)
    if protocol == "windowed":
        window = how.window
    card = Evaluation(
        split=text.split,
        split_rule=rule,
        file=text.file,
        protocol=protocol,
        window=window,
        figures=figures(tally, size, model.mode, model.vocabulary.unit),
        model=_description(model),
        unknown=text.unknown,
        data=_source(text, size.sha256),
        experts=experts,
        texts=by_text.scores() if by_text is not None else None,
    )
    if model.ally is not None and model.ally.theta[1:].any() and text.split == "val":
        card.notes.append(
            "the gate between network and counting was fitted on this text; "
            "training showed a score of gates that were not"
        )
    if text.respelt:
        card.notes.append(respelt_note(text.respelt))
    if model.is_miscounted:
        card.notes.append(MISCOUNTED)
    return card, tally


def _newline(model: ModelFile) -> int | None:
    """The id that ends every line; None for a model of a stream."""
    return model.vocabulary.newline if model.mode == "lines" else None


def _description(model: ModelFile) -> NetworkModel | CountingModel:
    settings = model.settings.model
    if model.counts:
        return CountingModel("ngram", model.ngram().order, settings.smoothing)
    return NetworkModel(settings.cell, settings.num_layers, settings.hidden_size)


def _experts(
    model: ModelFile,
    ids: np.ndarray,
    protocol: str,
    how: How,
    mixture: Tally,
    first: np.ndarray | None,
) -> Experts:
    """What the network and the n-grams of a mixture score alone."""
    assert model.ally is not None
    alone = open_scorer(dataclasses.replace(model, ally=None), how.device, how.helped)
    network = tallied(alone, ids, protocol, _newline(model), how.window, first).score()
    ngram = model.ally.contexts.ngram
    counting = score_of(ngram, ids, protocol, how.window, model.ally.by_label, first)
    share = mixture.mean_share
    return Experts(network.bits_per_char, counting.bits_per_char, ngram.order, share)


def _source(text: Text, sha256: str) -> Source:
    """Which text was scored. sha256: of its UTF-8 bytes."""
    if text.split and text.corpus is not None:
        corpus = text.corpus
        return Source(corpus.name, sha256, text_sha256(corpus), corpus.fingerprint)
    if text.file is None:
        return Source("--text", sha256, {}, None)
    name = "standard input" if text.file == "-" else Path(text.file).name
    return Source(name, sha256, {}, None)


def _unseen(is_new: np.ndarray, tally: Tally, baselines: Baselines) -> Unseen:
    """The figure over the lines that no learnt text has; counting's too, if not all are new."""
    score = tally.score(is_new)
    counting = order = None
    if baselines.counting is not None and baselines.counted is not None:
        order = baselines.counting.ngram.order
        if not is_new.all():
            counting = baselines.counted.score(is_new).bits_per_char
    return Unseen(
        lines=int(is_new.sum()),
        chars=score.chars,
        nats_per_char=score.nats_per_char,
        bits_per_char=score.bits_per_char,
        ngram=counting,
        ngram_order=order,
    )


# Other ways to read the same text


def _cached(
    model: ModelFile, ids: np.ndarray, how: How, plain: Tally, counted: Tally | None
) -> CachedReading:
    from charrnn.sampling.cache import MODEL_COUNTS, SWITCH, THETA

    scorer = _cached_scorer(model, how)
    reading = _reading(model, scorer, ids, plain, counted)
    return CachedReading(*reading, how.cache, THETA, MODEL_COUNTS[1:].tolist(), SWITCH)


def _dynamic(
    model: ModelFile, ids: np.ndarray, how: How, plain: Tally, counted: Tally | None
) -> DynamicReading:
    from charrnn.scoring.dynamic import SEGMENT

    scorer = _dynamic_scorer(model, how)
    reading = _reading(model, scorer, ids, plain, counted)
    rule = scorer.rule
    return DynamicReading(*reading, "sgd", SEGMENT, rule.lr, rule.decay)


def _cached_scorer(model: ModelFile, how: How) -> CachedScorer:
    from charrnn.scoring.cached import load_scorer

    return load_scorer(model, how.device, how.cache)


def _dynamic_scorer(model: ModelFile, how: How) -> DynamicScorer:
    from charrnn.scoring.dynamic import load_scorer

    return load_scorer(model, how.device, how.dynamic_lr)


def _reading(
    model: ModelFile, scorer: Scorer, ids: np.ndarray, plain: Tally, counted: Tally | None
) -> tuple[Figures, float, Gain | None]:
    """The figures of another scorer of a stream, its gain over the plain one and over counting."""
    tally = tallied(scorer, ids, "stateful", None)
    size = measured(ids, model.vocabulary, "stream")
    gained = plain.score().nats_per_char - tally.score().nats_per_char
    over_counting = gain(tally, counted) if counted is not None else None
    scored = figures(tally, size, "stream", model.vocabulary.unit)
    return scored, gained, over_counting


# Each character, each line


def characters_of(model: ModelFile, text: Text, how: How) -> Iterator[CharacterCost]:
    """Every predicted character of a text, one after the other (detail.characters).

    With a cache, or while the model learns, if the text is to be read that way.
    """
    protocol = protocol_of(model, how)
    scorer: Scorer
    if how.cache:
        scorer = _cached_scorer(model, how)
    elif how.dynamic:
        scorer = _dynamic_scorer(model, how)
    else:
        scorer = open_scorer(model, how.device)
    vocabulary = model.vocabulary
    first = text.first_ids(vocabulary)
    return characters(scorer, text.ids, protocol, vocabulary, how.window, first)


def lines_of(model: ModelFile, text: Text, how: How) -> Iterator[RankedLine]:
    """The lines of a text, each from an empty state, the likeliest first.

    A model of streams scores lines too. Raises SettingsError for a model without a newline.
    """
    newline = model.vocabulary.newline
    if newline is None:
        raise SettingsError("--rank needs lines, and this model has never seen a newline")
    if how.protocol == "windowed":
        raise SettingsError(
            "--rank scores each line from an empty state; leave out --protocol windowed"
        )
    ids = whole_lines(text.ids, newline)
    first = text.first_ids(model.vocabulary)
    scorer = open_scorer(model, how.device, how.helped)
    tally = tallied(scorer, ids, "lines", newline, first=first)
    return ranked(ids, tally, newline, model.vocabulary, likeliest_first(tally))
