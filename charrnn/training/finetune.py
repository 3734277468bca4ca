"""Fine-tuning (--init-from): an earlier model as the start of a training on another text.

Its alphabet is extended by the characters that are new, parts of it may stay as they are
(--freeze), and its own text may be mixed in (--mix). Nothing of the earlier run is needed once the
new one has begun.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config import Settings, flag, resolve
from charrnn.errors import CheckpointError, SettingsError
from charrnn.layout import GATES, PARAMETERS
from charrnn.modelfile import ModelFile, read_model
from charrnn.storage import read_bounded, write_atomically
from charrnn.terminal import many, one_line
from charrnn.text.building import Survey, translate
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.text.novelty import DOUBT, lines_held, read_filter
from charrnn.text.vocabulary import Vocabulary, describe
from charrnn.texts import OpenedRun
from charrnn.training.checkpoint import Checkpoint

# Of probability, at most, that all new characters together have at the start, after any text.
NEW_SHARE = 5e-7
REGULARISERS = ("dropout", "weight_drop")  # settings of the network that the new training chooses
INHERITED = ("normalize", "newlines")  # settings of the text that are kept unless asked otherwise
MOST_NAMED = 5  # new characters in the note
MOST_FILTER_BYTES = 64 << 20
# What nanoGPT takes for --init-from, which names a run here.
OTHER_BEGINNINGS = {
    "scratch": "leave it out: a training begins from scratch unless this names a run",
    "resume": "to go on with a training, type charrnn train --resume RUN",
}

Layers = Iterable[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Source:
    """What a fine-tuning takes from an earlier model.

    lift: ids of new characters, and by how many nats their bias rises as training begins.
    text: the earlier run's, to be mixed in.
    filters: of the texts that the earlier model learnt, for novelty.
    """

    vocabulary: Vocabulary
    weights: dict[str, np.ndarray]
    lift: list[tuple[int, float]]
    note: str
    text: Corpus | None
    filters: tuple[Path, ...]

    def move_in(self, corpus: Corpus) -> tuple[Corpus | None, set[str]]:
        """Write into the new run, beside its corpus, what it needs of the old. Raises StorageError.

        Returns the text to mix in, in the new ids, and the names, without ending, of all files of
        texts.
        """
        folder = corpus.path.parent
        names = {corpus.path.stem}
        for file in self.filters:
            if file.stem not in names:
                content = read_bounded(file, MOST_FILTER_BYTES, "a filter of charrnn")
                write_atomically(folder / file.name, content)
                names.add(file.stem)
        if self.text is None:
            return None, names
        if self.text.fingerprint == corpus.fingerprint:
            return corpus, names
        mixed = translate(self.text, corpus.vocabulary, folder)
        return mixed, names | {mixed.path.stem}


def leaks(source: Source, corpus: Corpus) -> list[str]:
    """Return warnings for held-out texts of the new corpus that the earlier model has learnt.

    Scores on them flatter.
    """
    vocabulary = corpus.vocabulary
    others = [path for path in source.filters if path.stem != corpus.path.stem]
    readable = [read_filter(path, corpus.mode, vocabulary.unit) for path in others]
    filters = [item for item in readable if item is not None]
    if not filters:
        return []
    warnings = []
    for name in ("val", "test"):
        held, lines = lines_held(filters, corpus.split(name), vocabulary, corpus.mode)
        if lines and held > DOUBT * lines:
            warnings.append(
                f"{held:,} of {lines:,} lines of the {name} text seem to be in what the earlier "
                "model learnt: scores on them flatter; with the same text, use the same --seed"
            )
    return warnings


def begin(layers: Layers) -> tuple[Settings, dict[str, str], ModelFile | None]:
    """Resolve settings, with the network of the model of --init-from, if there is one.

    Returns the settings, where each comes from (config.resolve), and that model.
    Raises SettingsError where another network was asked for, CheckpointError where there is no such
    model.
    """
    # 1. Without an earlier model
    layers = tuple(layers)
    settings, origins = resolve(layers)
    path = settings.training.init_from
    if not path:
        for key in ("freeze", "mix"):
            if getattr(settings.training, key):
                raise SettingsError(
                    f"{origins[key]}: this is for a run that starts from another; "
                    "give --init-from RUN too"
                )
        if settings.model.cell not in GATES and settings.text.rare is None:
            settings = settings.with_values("text", rare=0)  # counting is no faster with bytes
        return settings, origins, None

    # 2. The earlier model
    try:
        old = read_model(Path(path))
    except CheckpointError:
        if path in OTHER_BEGINNINGS:
            raise SettingsError(f"--init-from {path}: {OTHER_BEGINNINGS[path]}") from None
        raise
    source = f"--init-from {one_line(path)}"
    if old.settings.model.cell not in GATES:
        raise SettingsError(
            f"{source}: a model of cell {old.settings.model.cell} counts "
            "and has no weights to start from"
        )

    # 3. Its network is fixed, its treatment of text is only the default.
    fixed = dataclasses.asdict(old.settings.model)
    for key in REGULARISERS:
        del fixed[key]
    fixed["unit"] = old.settings.text.unit
    fixed["rare"] = old.settings.text.rare
    inherited = {key: getattr(old.open_reading, key) for key in INHERITED}
    settings, origins = resolve(((source, fixed | inherited), *layers))
    resolved = dataclasses.asdict(settings.model) | dataclasses.asdict(settings.text)
    for key, value in fixed.items():
        if resolved[key] != value:
            raise SettingsError(
                f"{origins[key]}: {source} has {flag(key)} {value}, not {resolved[key]}; "
                "leave that out, or start a new run"
            )
    frozen_tensors(settings)  # what is no part of a network is told before the text is read
    return settings, origins, old


def prepare(old: ModelFile, settings: Settings, survey: Survey, path: Path) -> Source:
    """Return everything to start from, in memory. path: of the new run. Writes nothing.

    Raises SettingsError, CheckpointError.
    """
    # 1. Can it start from there?
    training = settings.training
    shown = one_line(training.init_from)
    if old.run is not None and path.exists() and old.run.samefile(path):
        raise SettingsError(
            f"--init-from {shown} is the run that --overwrite would remove; choose another --run"
        )
    symbols = list(old.vocabulary.symbols)
    if old.vocabulary.spelling is None:  # else it has bytes for what is new
        symbols = sorted({*symbols, *survey.vocabulary.symbols})
    has_breaks = old.vocabulary.has_breaks or survey.vocabulary.has_breaks
    known = old.vocabulary.labels
    added = tuple(name for name in survey.vocabulary.labels if name not in set(known))
    vocabulary = Vocabulary(old.vocabulary.unit, tuple(symbols), (*known, *added), has_breaks)
    if known and survey.mode == "stream":
        raise SettingsError(
            f"--init-from {shown} knows labels, and a stream has no items: pass --mode lines"
        )
    frozen = frozen_tensors(settings)
    has_new = len(vocabulary) > len(old.vocabulary)
    if has_new and frozen & {"embedding.weight", "head.bias"}:
        raise SettingsError(
            f"--freeze {one_line(training.freeze)}: "
            f"this text has {_named(old.vocabulary, vocabulary)} that {shown} does not know "
            "and could not learn; leave embedding and head out of it"
        )

    # 2. Its texts
    text = _own_text(old, shown, survey.mode) if training.mix else None
    filters = OpenedRun(old).filter_files if old.mode == survey.mode else []

    # 3. Its weights
    weights = old.tensors
    lift: list[tuple[int, float]] = []
    if has_new:
        counts = survey.censuses["train"].counts
        shares = counts[symbols] / counts.sum() * (1 - training.mix)
        weights = extended(old, vocabulary, counts[list(old.vocabulary.symbols)])
        lift = lift_to_shares(old, vocabulary, shares)
    if added:
        weights = dict(weights) | {"labels.weight": with_rows(old, len(vocabulary.labels))}
    return Source(
        vocabulary=vocabulary,
        weights=weights,
        lift=lift,
        note=_note(old, survey, settings, vocabulary),
        text=text,
        filters=tuple(filters),
    )


def extended(old: ModelFile, vocabulary: Vocabulary, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return the old model's tensors with a row for each symbol of a larger vocabulary.

    counts (V,): how often each old symbol occurs; q are their shares.

    A new character begins as the average of the old ones: its rows of embedding and head are q's
    means of theirs, so that its logit is q's mean of the old logits, plus a constant. For every q
    (Gibbs),

        log sum_v exp(logit_v) >= sum_v q_v logit_v + H(q)

    so that a constant of H(q) + ln(share) gives it at most `share` of the probability after any
    text: none has to be scored to know. With q as in the text it gets about as much as that bound
    allows, and has the less to learn.
    """
    places = vocabulary.lookup(np.array(old.vocabulary.symbols))
    if counts.sum():
        q = counts / counts.sum()
    else:
        q = np.full(len(places), 1 / len(places))
    entropy = -float((q[q > 0] * np.log(q[q > 0])).sum())
    new = max(1, len(vocabulary) - len(places))
    constant = entropy + np.log(NEW_SHARE / new)
    tensors = dict(old.tensors)
    for name in {"embedding.weight", "head.weight", "head.bias"} & set(tensors):
        rows = old.tensors[name]
        offset = constant if name == "head.bias" else 0.0
        average = q @ rows.astype(np.float64) + offset
        size = (len(vocabulary), *rows.shape[1:])
        tensors[name] = np.broadcast_to(average, size).astype(np.float32)
        tensors[name][places] = rows
    return tensors


def with_rows(old: ModelFile, labels: int) -> np.ndarray:
    """Return the old model's embedding of labels with a row for each of `labels`: new ones zero."""
    width = old.tensors["embedding.weight"].shape[1]
    rows = np.zeros((labels, width), np.float32)
    if old.vocabulary.labels:
        rows[: len(old.vocabulary.labels)] = old.tensors["labels.weight"]
    return rows


def lift_to_shares(
    old: ModelFile, vocabulary: Vocabulary, shares: np.ndarray
) -> list[tuple[int, float]]:
    """Return (id, nats) for each new character to learn: what its bias lacks of its share.

    shares (V,): of each symbol. From where `extended` leaves it, at most NEW_SHARE / (number of
    new), Adam would need hundreds of steps to get there.
    """
    new = np.flatnonzero(old.vocabulary.lookup(np.array(vocabulary.symbols)) < 0)
    lift = []
    for index in new:
        if shares[index]:
            nats = float(np.log(shares[index] * len(new) / NEW_SHARE))
            lift.append((int(index), max(0.0, nats)))
    return lift


def frozen_tensors(settings: Settings) -> set[str]:
    """Return the names of the parameters that --freeze keeps as they are.

    Tied weights are one matrix: it is frozen with the embedding and with the head.
    Raises SettingsError: no such part, or nothing is left to learn.
    """
    model = settings.model
    freeze = settings.training.freeze
    parts = {"embedding": {"embedding.weight"}}
    for k in range(model.num_layers or 1):
        parts[f"layer{k}"] = {f"recurrent.{name}_l{k}" for name in PARAMETERS}
    if model.conv:
        parts["conv"] = {"conv.weight"}
    parts["head"] = {"embedding.weight" if model.tie_weights else "head.weight", "head.bias"}
    names = [name.strip() for name in freeze.split(",") if name.strip()]
    for name in names:
        if name not in parts:
            raise SettingsError(f"--freeze {one_line(name)!r}: this network has {', '.join(parts)}")
    frozen = {tensor for name in names for tensor in parts[name]}
    if frozen == set().union(*parts.values()):
        raise SettingsError(
            f"--freeze {one_line(freeze)}: this freezes the whole network; freeze fewer parts"
        )
    return frozen


def recorded_mix(checkpoint: Checkpoint, corpus: Corpus, folder: Path) -> Corpus | None:
    """Return the text that a resumed run mixes in, from the run's own copy.

    Raises CheckpointError.
    """
    if not checkpoint.model.settings.training.mix:
        return None
    fingerprint = checkpoint.mixed
    if fingerprint == corpus.fingerprint:
        return corpus
    mixed = open_corpus(folder, fingerprint)
    if mixed.vocabulary != corpus.vocabulary or mixed.mode != corpus.mode:
        raise CheckpointError(
            f"{one_line(str(mixed.path))} does not belong to this run's checkpoint; start a new run"
        )
    return mixed


def _own_text(old: ModelFile, shown: str, mode: str) -> Corpus:
    """Return the text that the earlier model learnt, for --mix.

    Raises CheckpointError, SettingsError.
    """
    try:
        if old.run is None:
            raise CheckpointError("the model is not inside a run directory")
        text = OpenedRun(old).corpus(old.meta.get("fingerprint"))
        if text.vocabulary != old.vocabulary:
            raise CheckpointError(f"{one_line(str(text.path))} has another vocabulary")
    except CheckpointError as error:
        raise CheckpointError(
            f"--mix needs the text of --init-from {shown} ({error}); "
            "name its run directory, or leave out --mix"
        ) from None
    if text.mode != mode:
        raise SettingsError(
            f"--mix: {shown} learnt a text of {text.mode}, and this one is read as {mode}; "
            f"pass --mode {text.mode}, or leave out --mix"
        )
    return text


def _note(old: ModelFile, survey: Survey, settings: Settings, vocabulary: Vocabulary) -> str:
    """Return what is taken and what has changed, on one line."""
    training = settings.training
    shown = one_line(training.init_from)
    unused = 0
    if vocabulary.spelling is None:
        unused = len(vocabulary) - len(survey.vocabulary)
    note = f"starting from {shown}: {_named(old.vocabulary, vocabulary)} added"
    labels = len(vocabulary.labels) - len(old.vocabulary.labels)
    if labels:
        note += f", {many(labels, 'label')} too"
    if unused:
        verb = "does" if unused == 1 else "do"
        note += f", {unused:,} of the old {verb} not occur in this text"
    if old.mode != survey.mode:
        note += f"; it learnt {old.mode}, and this text is read as {survey.mode}"
    if training.freeze:
        note += f"; frozen: {one_line(training.freeze)}"
    if training.mix:
        note += f"; {training.mix:.0%} of each batch is its own text"
    return note


def _named(old: Vocabulary, vocabulary: Vocabulary) -> str:
    """Return `3 characters ('é' U+00E9 LATIN SMALL LETTER E WITH ACUTE, ...)`: the new ones."""
    known = set(old.symbols)
    added = [code for code in vocabulary.symbols if code not in known]
    if not added:
        return "no character"
    names = ", ".join(describe(code, vocabulary.unit) for code in added[:MOST_NAMED])
    if len(added) > MOST_NAMED:
        names += f" and {len(added) - MOST_NAMED:,} more"
    noun = "character" if len(added) == 1 else "characters"
    return f"{len(added):,} {noun} ({names})"
