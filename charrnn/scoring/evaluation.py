"""The score of a stored model on its own text, a file or a text somebody typed: what `charrnn eval` shows.

Everything here works on the nats that a `Scorer` yields, whatever kind of model it is; `open_scorer` is the only place
that tells kinds of models apart, and the only one that loads torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import TextSettings
from charrnn.errors import CheckpointError, CorpusError, SettingsError
from charrnn.modelfile import ModelFile
from charrnn.scoring.compressors import MAX_BASELINE_CHARS, compressed, reach_note
from charrnn.scoring.counting import CountingScorer, best_ngram, score_of
from charrnn.scoring.detail import characters, likeliest_first, outliers, ranked
from charrnn.scoring.figures import figures, gain, measured, split_rule, text_sha256
from charrnn.scoring.overlap import inherited, known_lines, overlap, warnings
from charrnn.scoring.score import Scorer, Tally, tallied
from charrnn.text.corpus import Corpus
from charrnn.text.counting import count
from charrnn.text.ngram import NGram
from charrnn.text.reading import encode_file, encode_text
from charrnn.texts import OpenedRun


@dataclass(frozen=True)
class How:
    """protocol: "stateful" or "windowed" (window characters each). dynamic: dynamic evaluation too, with dynamic_lr.
    cache: the figure with a cache of so many characters too; 0: not.
    """

    protocol: str = "stateful"
    window: int = 256
    device: str = "auto"
    dynamic: bool = False
    dynamic_lr: float | None = None
    cache: int = 0


@dataclass(frozen=True)
class Text:
    """What is scored. ids (N,): in lines mode every line ends in the newline and none is blank."""

    ids: np.ndarray
    split: str | None  # of the run's own text
    file: str | None
    corpus: Corpus | None  # the run's text, where it is at hand
    unknown: int = (
        0  # characters that were left out, or replaced, because the model does not know them
    )


def text_of_split(
    run: OpenedRun, split: str | None, *, advice: str = "pass --file or --text"
) -> Text:
    """ "train", "val" or "test" (None: test if there is one, else val) of the run's own text. advice: where it is not there.

    Raises CheckpointError if the model lies in no run with its text, CorpusError if that part is empty.
    """
    corpus = run.own_corpus(advice)
    chosen = split or ("test" if len(corpus.split("test")) else "val")
    ids = corpus.split(chosen)
    if len(ids) < 2:
        raise CorpusError(f"this run has no {chosen} text; {advice}")
    return Text(ids, chosen, None, corpus)


def text_given(
    run: OpenedRun, file: Path | None, text: str | None, settings: TextSettings, unknown: str
) -> Text:
    """A file, or a text somebody typed. Raises CorpusError, VocabularyError."""
    model_file = run.model
    if file is not None:
        ids, missing = encode_file(file, settings, model_file.vocabulary, unknown)
    else:
        ids, missing = encode_text(text or "", settings, model_file.vocabulary, unknown, "--text")
    if model_file.mode == "lines":
        ids = whole_lines(ids, int(model_file.vocabulary.newline or 0))
    if len(ids) < 2:
        raise CorpusError(
            "nothing to score: a stream needs two characters that the model knows, lines need one"
        )
    corpus = None
    if file is not None:
        try:
            corpus = text_of_split(run, "train").corpus
        except (CheckpointError, CorpusError):
            corpus = None  # a model that travels alone has only its own figure
    return Text(ids, None, str(file) if file is not None else None, corpus, missing)


def whole_lines(ids: np.ndarray, newline: int) -> np.ndarray:
    """ids without blank lines, a newline at the end."""
    is_newline = ids == newline
    blank = is_newline & np.concatenate([[True], is_newline[:-1]])
    ids = ids[~blank] if blank.any() else ids
    return np.append(ids, newline).astype(ids.dtype) if len(ids) and ids[-1] != newline else ids


def open_scorer(model_file: ModelFile, device_name: str) -> Scorer:
    """The stored model, ready to predict. Raises SettingsError for a device that is not there."""
    if model_file.counts:
        if device_name not in ("auto", "cpu"):
            raise SettingsError(
                f"--device {device_name}: counting models are scored on the processor; leave it out"
            )
        return CountingScorer(model_file.ngram())
    from charrnn.scoring.network import load_scorer

    return load_scorer(model_file, device_name)


def evaluated(
    run: OpenedRun, text: Text, how: How, with_baselines: bool, note: Callable[[str], None]
) -> dict[str, Any]:
    """The whole card of figures: strict JSON, and what the table for people is made of."""
    model_file = run.model
    protocol = protocol_of(model_file, how)
    ids, mode, vocabulary = text.ids, model_file.mode, model_file.vocabulary
    newline = vocabulary.newline if mode == "lines" else None
    scorer = open_scorer(model_file, how.device)
    tally = tallied(scorer, ids, protocol, newline, how.window)
    size_bytes, sha256 = measured(ids, vocabulary, mode)
    found: dict[str, Any] = {
        "split": text.split,
        "split_rule": text.split and split_rule(model_file.settings, mode, text.split),
        "file": text.file,
        "protocol": protocol,
        "window": how.window if protocol == "windowed" else None,
        **figures(tally, size_bytes, mode),
        "model": _model(model_file),
        "unknown": text.unknown,
        "data": _about(text, sha256),
        "cache": None,
        "dynamic": None,
        "baselines": {},
        "ngram": None,
        "gain_over_ngram": None,
        "overlap": None,
        "unseen": None,
        "notes": [],
        "warnings": [],
    }
    beside: dict[str, Tally] = {}  # other ways to read the same text
    if how.cache:
        beside["cache"], found["cache"] = _cached(model_file, how, ids, tally, size_bytes)
    if how.dynamic:
        beside["dynamic"], found["dynamic"] = _dynamic(model_file, how, ids, tally, size_bytes)
    if text.unknown:
        kind = "1 character" if text.unknown == 1 else f"{text.unknown:,} characters"
        found["warnings"].append(
            f"{kind} that the model does not know left out or replaced: that flatters the score"
        )
    train = text.corpus.split("train") if text.corpus is not None else None
    learnt = run.training_splits if text.corpus is not None else []
    if sum(map(len, learnt)) + len(ids) > MAX_BASELINE_CHARS:
        note(
            f"training text and this one have over {MAX_BASELINE_CHARS:,} characters: n-grams, compressors and overlap left out"
        )
        train, learnt = None, []
    is_own = text.split == "train"
    # Of all the baselines only the lines that are new need the n-gram of a counting model.
    wants_ngram = (
        with_baselines and train is not None and (not model_file.counts or newline is not None)
    )
    ngram = best_ngram(text.corpus) if wants_ngram and text.corpus is not None else None
    if with_baselines:
        found["baselines"]["uniform"] = math.log2(len(vocabulary))
    if with_baselines and train is not None:
        unigram = count(train, len(vocabulary), 1, newline)
        found["baselines"]["unigram"] = score_of(unigram, ids, protocol, how.window).bits_per_char
        if (
            ngram is not None and not model_file.counts
        ):  # or it is that itself, or was asked to be another
            counted = tallied(CountingScorer(ngram), ids, protocol, newline, how.window)
            found["baselines"]["ngram"] = counted.score().bits_per_char
            found["gain_over_ngram"] = gain(tally, counted)
            for name, other in beside.items():
                found[name]["gain_over_ngram"] = gain(other, counted)
            found["ngram"] = {
                "order": ngram.order,
                "smoothing": ngram.smoothing,
                "picked_by": "validation text",
            }
        found["baselines"] |= compressed(train, ids, vocabulary, mode)
        reach = reach_note(measured(train, vocabulary, "lines")[0])
        whole = "compressors read the whole stream, not windows" if protocol == "windowed" else ""
        found["notes"] += filter(None, (reach, whole))
    if is_own:
        found["warnings"].append(
            "this is the text it learnt from: the figure says nothing about new text"
        )
    elif learnt:
        known = (
            known_lines(learnt, ids, vocabulary, mode) if vocabulary.newline is not None else None
        )
        found["overlap"] = overlap(learnt, ids, vocabulary, mode, known)
        found["warnings"] += warnings(found["overlap"], mode)
        if newline is not None and known is not None:
            found["unseen"] = _unseen(~known.known, ids, newline, tally, ngram)
    if not is_own and text.corpus is not None:
        found["warnings"] += inherited(run.inherited_filters, ids, vocabulary, mode)
    if newline is not None and text.file is not None:
        found |= outliers(ids, tally, newline, vocabulary)
    return found


def protocol_of(model_file: ModelFile, how: How) -> str:
    """ "stateful", "windowed" or "lines". Raises SettingsError where what is asked does not fit the model."""
    if how.cache:
        from charrnn.sampling.cache import check

        check(how.cache, model_file)
        if how.protocol == "windowed":
            raise SettingsError(
                "--cache looks back along one stream, which windows are not; leave out --protocol windowed"
            )
    if how.dynamic and model_file.counts:
        raise SettingsError(
            "--dynamic is for networks, which learn by gradients; this model counts"
        )
    if model_file.mode == "lines":
        if how.protocol == "windowed":
            raise SettingsError(
                "--protocol windowed is for streams; this model knows lines, each from an empty state"
            )
        if how.dynamic:
            raise SettingsError(
                "--dynamic is for streams; this model knows lines, each scored by itself"
            )
        return "lines"
    if how.dynamic and how.protocol == "windowed":
        raise SettingsError(
            "--dynamic learns along one stream, which windows are not; leave out --protocol windowed"
        )
    return how.protocol


def _unseen(
    is_new: np.ndarray, ids: np.ndarray, newline: int, tally: Tally, ngram: NGram | None
) -> dict[str, Any]:
    """The figure over lines that are in no text the model learnt; ngram: counting's on them, where they are not all."""
    score = tally.score(is_new)
    counting = None
    if ngram is not None and not is_new.all():
        counting = tallied(CountingScorer(ngram), ids, "lines", newline).score(is_new).bits_per_char
    return {
        "lines": int(is_new.sum()),
        "chars": score.chars,
        "nats_per_char": score.nats_per_char,
        "bits_per_char": score.bits_per_char,
        "ngram": counting,
        "ngram_order": ngram.order if ngram else None,
    }


def _model(model_file: ModelFile) -> dict[str, Any]:
    """What was scored."""
    settings = model_file.settings.model
    if model_file.counts:
        return {"cell": "ngram", "order": model_file.ngram().order, "smoothing": settings.smoothing}
    return {
        "cell": settings.cell,
        "num_layers": settings.num_layers,
        "hidden_size": settings.hidden_size,
    }


def _about(text: Text, sha256: str) -> dict[str, Any]:
    """Which text was scored. sha256: of its UTF-8 bytes; text_sha256: of the files the run's text was read from."""
    named = {None: "--text", "-": "standard input"}.get(text.file) or Path(str(text.file)).name
    own = text.corpus if text.split else None
    return {
        "name": own.name if own else named,
        "sha256": sha256,
        "text_sha256": text_sha256(own) if own else {},
        "fingerprint": own.fingerprint if own else None,
    }


def _cached(
    model_file: ModelFile, how: How, ids: np.ndarray, static: Tally, size_bytes: int
) -> tuple[Tally, dict[str, Any]]:
    from charrnn.sampling.cache import NETWORK_COUNT, THETA
    from charrnn.scoring import cached

    tally = tallied(cached.load_scorer(model_file, how.device, how.cache), ids, "stateful", None)
    rule = {"length": how.cache, "theta": THETA, "network_count": NETWORK_COUNT}
    return tally, _beside(tally, static, size_bytes) | rule


def _dynamic(
    model_file: ModelFile, how: How, ids: np.ndarray, static: Tally, size_bytes: int
) -> tuple[Tally, dict[str, Any]]:
    from charrnn.scoring import dynamic

    scorer = dynamic.load_scorer(model_file, how.device, how.dynamic_lr)
    tally = tallied(scorer, ids, "stateful", None)
    return tally, _beside(tally, static, size_bytes) | scorer.rule.to_dict()


def _beside(tally: Tally, static: Tally, size_bytes: int) -> dict[str, Any]:
    """The figures of another way to read a text, and what it gains."""
    gained = static.score().nats_per_char - tally.score().nats_per_char
    return figures(tally, size_bytes, "stream") | {
        "gain_nats_per_char": gained,
        "gain_over_ngram": None,
    }


def characters_of(model_file: ModelFile, text: Text, how: How) -> Iterator[dict[str, Any]]:
    """Every predicted character of a text, one after the other (detail.characters)."""
    protocol = protocol_of(model_file, how)
    return characters(
        open_scorer(model_file, how.device), text.ids, protocol, model_file.vocabulary, how.window
    )


def lines_of(model_file: ModelFile, text: Text, how: How) -> Iterator[dict[str, Any]]:
    """The lines of a text, each from an empty state, the likeliest a character first. Also of a model of streams."""
    newline = model_file.vocabulary.newline
    if newline is None:
        raise SettingsError("--rank needs lines, and this model has never seen a newline")
    if how.protocol == "windowed":
        raise SettingsError(
            "--rank scores each line from an empty state; leave out --protocol windowed"
        )
    ids = whole_lines(text.ids, newline)
    tally = tallied(open_scorer(model_file, how.device), ids, "lines", newline)
    return ranked(ids, tally, newline, model_file.vocabulary, likeliest_first(tally))
