"""Fine-tuning (--init-from): the network and weights of an earlier model as the start of a training on another text.

Its alphabet is extended by the characters that are new, parts of it may stay as they are (--freeze), and its own text
may be mixed in (--mix). Nothing of the earlier run is needed once the new one has begun.
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
from charrnn.terminal import one_line
from charrnn.text.building import Survey, translate
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.text.novelty import DOUBT, lines_held, read_filter
from charrnn.text.vocabulary import Vocabulary, describe
from charrnn.texts import OpenedRun
from charrnn.training.checkpoint import Checkpoint

NEW_SHARE = 5e-7  # of probability that all new characters together have at the start, after any text, at most
REGULARISERS = (
    "dropout",
    "weight_drop",
)  # of the network's settings, those that are the new training's own
INHERITED = ("normalize", "newlines")  # of the text's settings, unless asked otherwise
NAMED = 5  # new characters in the note

Layers = Iterable[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Source:
    """What a fine-tuning takes from an earlier model. text: the earlier run's, to be mixed in."""

    vocabulary: Vocabulary
    weights: dict[str, np.ndarray]
    lift: list[
        tuple[int, float]
    ]  # ids of new characters and by how much their bias rises as training begins
    note: str
    text: Corpus | None
    filters: tuple[Path, ...]  # of the texts that the earlier model learnt, for novelty

    def move_in(self, corpus: Corpus) -> tuple[Corpus | None, set[str]]:
        """Write into the new run, beside its corpus, what it needs of the old. Raises StorageError.

        Returns the text to mix in, in the new ids, and the names, without ending, of all files of texts.
        """
        folder, names = corpus.path.parent, {corpus.path.stem}
        for file in self.filters:
            if file.stem not in names:
                write_atomically(
                    folder / file.name, read_bounded(file, 64 << 20, "a filter of charrnn")
                )
                names.add(file.stem)
        if self.text is None or self.text.fingerprint == corpus.fingerprint:
            return (corpus if self.text is not None else None), names
        mixed = translate(self.text, corpus.vocabulary, folder)
        return mixed, names | {mixed.path.stem}


def leaks(source: Source, corpus: Corpus) -> list[str]:
    """Warnings for held-out texts of the new corpus that the earlier model has learnt: scores on them flatter."""
    said, unit, mode = [], corpus.vocabulary.unit, corpus.mode
    others = [path for path in source.filters if path.stem != corpus.path.stem]
    filters = [each for path in others if (each := read_filter(path, mode, unit)) is not None]
    for name in ("val", "test") if filters else ():
        held, asked = lines_held(filters, corpus.split(name), corpus.vocabulary, mode)
        if asked and held > DOUBT * asked:
            said.append(
                f"{held:,} of {asked:,} lines of the {name} text seem to be in what the earlier model learnt: scores on them "
                "flatter; with the same text, use the same --seed"
            )
    return said


def begin(layers: Layers) -> tuple[Settings, dict[str, str], ModelFile | None]:
    """Settings and where each comes from, as config.resolve, with the network of the model of --init-from, if there is one.

    Raises SettingsError where something else was asked for, CheckpointError where there is no such model.
    """
    layers = tuple(layers)
    settings, origins = resolve(layers)
    path = settings.training.init_from
    if not path:
        for key in ("freeze", "mix"):
            if getattr(settings.training, key):
                raise SettingsError(
                    f"{origins[key]}: this is for a run that starts from another; give --init-from RUN too"
                )
        return settings, origins, None
    old, source = read_model(Path(path)), f"--init-from {one_line(path)}"
    if old.settings.model.cell not in GATES:
        raise SettingsError(
            f"{source}: a model of cell {old.settings.model.cell} counts and has no weights to start from"
        )
    fixed = {
        key: value
        for key, value in dataclasses.asdict(old.settings.model).items()
        if key not in REGULARISERS
    }
    fixed["unit"] = old.settings.text.unit
    usual = {key: getattr(old.settings.text, key) for key in INHERITED}
    settings, origins = resolve(((source, fixed | usual), *layers))
    now = dataclasses.asdict(settings.model) | {"unit": settings.text.unit}
    for key, value in fixed.items():
        if now[key] != value:
            raise SettingsError(
                f"{origins[key]}: {source} has {flag(key)} {value}, not {now[key]}; leave that out, or train anew"
            )
    frozen_tensors(settings)  # a name that is none is told before the text is read
    return settings, origins, old


def prepare(old: ModelFile, settings: Settings, found: Survey, path: Path) -> Source:
    """Everything to start from, in memory; path: of the new run. Writes nothing. Raises SettingsError, CheckpointError."""
    shown = one_line(settings.training.init_from)
    if old.run is not None and path.exists() and old.run.samefile(path):
        raise SettingsError(
            f"--init-from {shown} is the run that --overwrite would remove; choose another --run"
        )
    symbols = sorted({*old.vocabulary.symbols, *found.vocabulary.symbols})
    vocabulary = Vocabulary(old.vocabulary.unit, tuple(symbols))
    frozen, added = frozen_tensors(settings), len(vocabulary) - len(old.vocabulary)
    if added and frozen & {"embedding.weight", "head.bias"}:
        raise SettingsError(
            f"--freeze {one_line(settings.training.freeze)}: this text has {_named(old.vocabulary, vocabulary)} that "
            f"{shown} does not know and could not learn; leave embedding and head out of it"
        )
    train = found.censuses["train"].counts
    text = _own_text(old, shown, found.mode) if settings.training.mix else None
    filters = OpenedRun(old).filter_files if old.mode == found.mode else []
    weights = extended(old, vocabulary, train[list(old.vocabulary.symbols)])
    shares = train[symbols] / train.sum() * (1 - settings.training.mix)
    note = _note(old, found, settings, vocabulary)
    return Source(
        vocabulary,
        weights,
        lift_to_shares(old, vocabulary, shares),
        note,
        text,
        tuple(filters),
    )


def extended(old: ModelFile, vocabulary: Vocabulary, counts: np.ndarray) -> dict[str, np.ndarray]:
    """The old model's tensors with a row for each symbol of a vocabulary that holds all of its own.

    counts (V,): how often each old symbol occurs; q are their shares. A new character begins as the average of the old
    ones: its rows of embedding and head are q's means of theirs, so that its logit is q's mean of the old logits, plus
    a constant. Since log sum_v exp(logit_v) >= sum_v q_v logit_v + H(q) for every q (Gibbs), a constant of
    H(q) + ln(share) gives it at most `share` of the probability after any text: none has to be scored to know.
    With q as in the text it gets about as much as that bound allows, and has the less to learn.
    """
    places = vocabulary.lookup(np.array(old.vocabulary.symbols))
    q = counts / counts.sum() if counts.sum() else np.full(len(places), 1 / len(places))
    entropy = -float((q[q > 0] * np.log(q[q > 0])).sum())
    constant = entropy + np.log(NEW_SHARE / max(1, len(vocabulary) - len(places)))
    tensors = dict(old.tensors)
    for name in {"embedding.weight", "head.weight", "head.bias"} & set(tensors):
        rows = old.tensors[name]
        average = q @ rows.astype(np.float64) + (constant if name == "head.bias" else 0.0)
        tensors[name] = np.broadcast_to(average, (len(vocabulary), *rows.shape[1:])).astype(
            np.float32
        )
        tensors[name][places] = rows
    return tensors


def lift_to_shares(
    old: ModelFile, vocabulary: Vocabulary, shares: np.ndarray
) -> list[tuple[int, float]]:
    """(id, nats) for each new character that is to be learnt: what its bias lacks of its share of the text.

    shares (V,): of each symbol. From where `extended` leaves it, at most NEW_SHARE / (number of new), Adam would need
    hundreds of steps to get there.
    """
    new = np.flatnonzero(old.vocabulary.lookup(np.array(vocabulary.symbols)) < 0)
    return [
        (int(i), max(0.0, float(np.log(shares[i] * len(new) / NEW_SHARE))))
        for i in new
        if shares[i]
    ]


def frozen_tensors(settings: Settings) -> set[str]:
    """Names of the parameters that --freeze keeps as they are. Raises SettingsError: no such part, or nothing is left.

    Tied weights are one matrix: it is frozen with the embedding and with the head.
    """
    model = settings.model
    parts = {"embedding": {"embedding.weight"}}
    for k in range(model.num_layers or 1):
        parts[f"layer{k}"] = {f"recurrent.{name}_l{k}" for name in PARAMETERS}
    parts["head"] = {"embedding.weight" if model.tie_weights else "head.weight", "head.bias"}
    asked = [name.strip() for name in settings.training.freeze.split(",") if name.strip()]
    for name in asked:
        if name not in parts:
            raise SettingsError(f"--freeze {one_line(name)!r}: this network has {', '.join(parts)}")
    frozen = {tensor for name in asked for tensor in parts[name]}
    if frozen == set().union(*parts.values()):
        raise SettingsError(
            f"--freeze {one_line(settings.training.freeze)}: nothing is left to learn; leave a part out"
        )
    return frozen


def recorded_mix(checkpoint: Checkpoint, corpus: Corpus, folder: Path) -> Corpus | None:
    """The text that a resumed run mixes in, from the run's own copy. Raises CheckpointError."""
    if not checkpoint.model.settings.training.mix:
        return None
    fingerprint = checkpoint.meta.get("mixed")
    if fingerprint == corpus.fingerprint:
        return corpus
    mixed = open_corpus(folder, fingerprint)
    if mixed.vocabulary != corpus.vocabulary or mixed.mode != corpus.mode:
        raise CheckpointError(
            f"{one_line(str(mixed.path))} does not belong to this run's checkpoint; start the run anew"
        )
    return mixed


def _own_text(old: ModelFile, shown: str, mode: str) -> Corpus:
    try:
        if old.run is None:
            raise CheckpointError("it lies in no run")
        text = OpenedRun(old).corpus(old.meta.get("fingerprint"))
        if text.vocabulary != old.vocabulary:
            raise CheckpointError(f"{one_line(str(text.path))} has another vocabulary")
    except CheckpointError as error:
        raise CheckpointError(
            f"--mix needs the text of --init-from {shown} ({error}); name its run directory, or leave out --mix"
        ) from None
    if text.mode != mode:
        raise SettingsError(
            f"--mix: {shown} learnt a text of {text.mode}, and this one is read as {mode}; pass --mode {text.mode}, or "
            "leave out --mix"
        )
    return text


def _note(old: ModelFile, found: Survey, settings: Settings, vocabulary: Vocabulary) -> str:
    """What is taken and what has changed, on one line."""
    training, shown = settings.training, one_line(settings.training.init_from)
    unused = len(vocabulary) - len(found.vocabulary)
    note = f"starting from {shown}: {_named(old.vocabulary, vocabulary)} added"
    if unused:
        note += f", {unused:,} of the old {'does' if unused == 1 else 'do'} not occur in this text"
    if old.mode != found.mode:
        note += f"; it learnt {old.mode}, and this text is read as {found.mode}"
    if training.freeze:
        note += f"; frozen: {one_line(training.freeze)}"
    if training.mix:
        note += f"; {training.mix:.0%} of each batch is its own text"
    return note


def _named(old: Vocabulary, vocabulary: Vocabulary) -> str:
    """3 characters ('é' U+00E9 LATIN SMALL LETTER E WITH ACUTE, ...)."""
    known = set(old.symbols)
    added = [code for code in vocabulary.symbols if code not in known]
    if not added:
        return "no character"
    named = ", ".join(describe(code, vocabulary.unit) for code in added[:NAMED])
    more = f" and {len(added) - NAMED:,} more" if len(added) > NAMED else ""
    return f"{len(added):,} {'character' if len(added) == 1 else 'characters'} ({named}{more})"
