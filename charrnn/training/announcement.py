"""What a training says before its first step: one line for everybody, the rest with --verbose."""

from __future__ import annotations

from charrnn.kernel.library import build
from charrnn.machine import runtime
from charrnn.machine.backends import words
from charrnn.machine.malloc import tune_malloc
from charrnn.terminal import many, one_line
from charrnn.text import building
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import noun_of
from charrnn.training import recipe
from charrnn.training.counted import CountingTrainer
from charrnn.training.listener import Progress
from charrnn.training.loop import Trainer

MOST_SHARES = 4  # that the line names
LARGE_BYTES = 1_000_000_000  # of activations, said unasked


def text_line(survey: building.Survey, corpus: Corpus) -> str:
    """Return how the text is read, and how long its splits are."""
    sizes = ", ".join(f"{corpus.chars(name):,} {name}" for name in corpus.bounds)
    return f"text: {survey.name}, {survey.form} ({survey.reason}); characters: {sizes}"


def start_line(survey: building.Survey, trainer: Trainer | CountingTrainer) -> str:
    """Return what is read, what learns from it and how long: one line, for everybody."""
    census = survey.censuses["train"]
    source = survey.sources["train"]
    is_shipped = source.shown.endswith("(shipped)") and not source.parts
    if trainer.corpus.mode == "stream":
        text = f"{many(census.chars, noun_of(survey.vocabulary))} of {census.shown}"
    elif is_shipped:
        text = many(census.lines, survey.name.removesuffix("s"))
    else:
        text = f"{many(census.lines, survey.form.removesuffix('s'))} of {census.shown}"
    if isinstance(trainer, CountingTrainer):
        return f"reading {text}; counting n-grams"
    parts = trainer.corpus.parts
    if 0 < len(parts.shares) <= MOST_SHARES:
        shares = zip(parts.names, parts.shares, strict=True)
        text += f" ({', '.join(f'{share:.0%} {one_line(name)}' for name, share in shares)})"
    cell = trainer.settings.model.cell.upper()
    weights = many(trainer.model.parameter_count(), "weight")
    return f"reading {text}; {cell}, {weights}; {_length(trainer)}"


def _length(trainer: Trainer) -> str:
    """Return how long a training is meant to be, in words."""
    training = trainer.settings.training
    if training.budget is not None:
        return f"about {training.budget}"
    if training.epochs is not None:
        return "1 epoch" if training.epochs == 1 else f"{training.epochs:g} epochs"
    return many(training.steps or 0, "step")


def say_network(trainer: Trainer, filled: recipe.Filled, progress: Progress) -> None:
    """Say what is trained and why, with which cells and how."""
    training = trainer.settings.training
    parts = trainer.parts
    parameters = trainer.model.parameter_count()
    progress.say(
        f"network: {filled.network} ({filled.reason}); {_length(trainer)} on {parts.device}"
    )
    shape = f"{training.batch_size} x {training.seq_length}"
    if trainer.corpus.mode == "lines":
        shape = many(training.batch_size or 0, "line")
    progress.say(
        f"training: {parameters:,} parameters; {words(parts.backend, parts.precision)}; "
        f"batches of {shape}, lr {training.lr:.2g}"
    )


def say_surroundings(trainer: Trainer, is_verbose: bool, progress: Progress) -> None:
    """Say what a training runs on and its memory, if asked; large activations unasked."""
    parts = trainer.parts
    memory = parts.expected_memory
    piece = trainer.settings.training.checkpoint_every_chars
    activations = f"activations {memory.activations / 1e6:,.0f} MB"
    if piece:
        activations += f", recomputed in pieces of {piece:,} characters"
    if is_verbose:
        here = runtime.surroundings(parts.device, parts.backend, parts.precision)
        progress.say(
            f"torch {here['torch']} on {here['device']}, {here['cpu']}, {here['precision']}; "
            f"threads: {here['threads']}"
        )
        progress.say(
            f"cells: {here['backend']} ({parts.why_backend}); kernel: {build() or 'none'}; "
            f"malloc: {tune_malloc()}"
        )
        progress.say(
            f"memory expected: weights and gradients {memory.weights / 1e6:,.1f} MB, "
            f"optimiser {memory.optimizer / 1e6:,.1f} MB, {activations}"
        )
    elif memory.activations > LARGE_BYTES:
        progress.say(f"memory expected: {activations}")
