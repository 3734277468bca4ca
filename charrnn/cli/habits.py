"""Names that hands know from other programs: char-rnn, torch-rnn, nanoGPT, makemore, textgenrnn and
Keras.

Where the meaning is the same, a foreign name works. Where the same is done otherwise here, the
error says how. Sources: the option tables of those programs (docs/options.md lists the names).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence

from charrnn.terminal import one_line

# Another name -> the name here, with the same meaning and the same values.
ALIASES = {
    "batch": "batch-size",
    "block-size": "seq-length",
    "checkpoint-every": "save-every",
    "checkpoint-name": "run",
    "dim-embeddings": "embedding-size",
    "eval-interval": "eval-every",
    "eval-val-every": "eval-every",
    "grad-clip": "clip",
    "learning-rate": "lr",
    "max-epochs": "epochs",
    "max-iters": "steps",
    "max-new-tokens": "length",
    "max-steps": "steps",
    "model-type": "cell",
    "n-embd": "hidden-size",
    "n-layer": "num-layers",
    "num-epochs": "epochs",
    "num-samples": "count",
    "num-units": "hidden-size",
    "out-dir": "run",
    "prefix": "prime",
    "primetext": "prime",
    "rnn-layers": "num-layers",
    "rnn-size": "hidden-size",
    "run-dir": "run",
    "save-dir": "run",
    "seq-len": "seq-length",
    "sequence-length": "seq-length",
    "start": "prime",
    "start-text": "prime",
    "temperature": "temp",
    "units": "hidden-size",
    "warmup-iters": "warmup",
    "wordvec-size": "embedding-size",
    "work-dir": "run",
}

NAME_THE_TEXT = "name the text itself: charrnn train FILE"
READERS = ("sample", "eval", "report", "cells", "explain", "export")  # of a run, as an argument
NAME_THE_RUN = "name the run itself: charrnn {command} RUN"
NO_ATTENTION = "a recurrent network has none; try --hidden-size and --num-layers"
# Another name -> what to type here instead.
HINTS = {
    "accurate-gpu-timing": "leave it out",
    "batchnorm": "there is none; try --skip residual",
    "beta1": "Adam's are fixed; try --lr",
    "beta2": "Adam's are fixed; try --lr",
    "category": "--label",
    "checkpoint": NAME_THE_RUN,
    "checkpoint-dir": "--run DIR",
    "class": "--label",
    "corpus": NAME_THE_TEXT,
    "data": NAME_THE_TEXT,
    "data-dir": NAME_THE_TEXT,
    "data-file": NAME_THE_TEXT,
    "dataset": NAME_THE_TEXT,
    "decay-lr": "--schedule",
    "decay-rate": "Adam's are fixed; try --lr",
    "dtype": "--precision",
    "eval-iters": "all of the validation text is read; --eval-every says how often",
    "eval-only": "charrnn eval RUN",
    "file": NAME_THE_TEXT,
    "gen-epochs": "--sample-every",
    "genre": "--label",
    "gpu": "--device cuda (the processor: --device cpu)",
    "gpu-backend": "--device cuda (the processor: --device cpu)",
    "gpuid": "--device cuda (the processor: --device cpu)",
    "gradient-accumulation-steps": "--checkpoint-every-chars, for long windows in little memory",
    "input": NAME_THE_TEXT,
    "input-file": NAME_THE_TEXT,
    "input-h5": NAME_THE_TEXT,
    "input-json": NAME_THE_TEXT,
    "input-txt": NAME_THE_TEXT,
    "iters": "--steps",
    "layers": "--num-layers",
    "learning-rate-decay": "--schedule",
    "load": NAME_THE_RUN,
    "log-interval": "--eval-every",
    "lr-decay-every": "--schedule",
    "lr-decay-factor": "--schedule",
    "lr-decay-iters": "--schedule",
    "max-length": "--length",
    "min-lr": "--schedule linear ends at 0",
    "model": "--cell (a run is named by itself: charrnn sample RUN)",
    "n-head": NO_ATTENTION,
    "new-model": "leave it out: a training begins anew unless --resume is given",
    "num-workers": "--threads",
    "opencl": "--device",
    "output": "--run DIR",
    "out": "--run DIR",
    "print-every": "--eval-every",
    "recurrent-dropout": "--weight-drop",
    "reset-iterations": "--init-from begins at step 0, --resume goes on",
    "return-as-list": "--json",
    "rnn-bidirectional": "a model that writes reads in one direction",
    "rnn-type": "--cell",
    "sample": "--temp 0 always takes the likeliest character",
    "sample-only": "charrnn sample RUN",
    "savefile": "--run DIR",
    "save-interval": "--save-every",
    "train-frac": "--split 0.9,0.05,0.05",
    "train-size": "--split 0.9,0.05,0.05",
    "type": "--cell",
    "val-frac": "--split 0.9,0.05,0.05",
    "validation-split": "--split 0.9,0.1",
    "word-level": "there are no words here, only characters",
}


# Another name of a command -> what to type here instead.
COMMANDS = {
    "complete": "sample --prime TEXT",
    "continue": "train --resume",
    "delete": "runs --delete NAME",
    "evaluate": "eval",
    "fit": "train",
    "generate": "sample",
    "list": "runs",
    "ls": "runs",
    "predict": "sample",
    "resume": "train --resume",
    "rm": "runs --delete NAME",
    "score": "eval",
    "test": "eval",
    "write": "sample",
}


def normalized(name: str) -> str:
    """Return the name of an option here: its own with - for _, or what a foreign one means."""
    dashed = name.replace("_", "-")
    return ALIASES.get(dashed, dashed)


def with_two_dashes(
    arguments: Sequence[str], valued: Iterable[str], plain: Iterable[str]
) -> list[str]:
    """Return a command's arguments with -rnn_size as --rnn_size: torch's programs take one dash.

    valued: its options that take a value, with their dashes; the word after one stays as it is.
    plain: its other options.
    """
    takes_value = set(valued)
    names = {option.removeprefix("--") for option in (*takes_value, *plain)}
    words: list[str] = []
    is_value = False
    for word in arguments:
        if is_value or not word.startswith("-"):
            words.append(word)
            is_value = False
            continue
        match = re.fullmatch(r"-([A-Za-z][\w-]+)(=.*)?", word, re.DOTALL)
        if match and (normalized(match[1]) in names or match[1].replace("_", "-") in HINTS):
            word = f"-{word}"
        words.append(word)
        is_value = _option(word) in takes_value
    return words


def empty_name(arguments: Sequence[str], valued: Iterable[str], named: Iterable[str]) -> str | None:
    """Return what was given an empty name, if anything was: "" is no folder, though Path("") is.

    valued: the options that take a value. named: those of them whose value is a file or a folder.
    """
    takes_value = set(valued)
    takes_name = set(named)
    option = ""  # the one whose value comes next
    for word in arguments:
        if option:
            if not word and option in takes_name:
                return option
            option = ""
            continue
        name, equals, value = word.partition("=")
        if not word:
            return "an argument"
        if equals and not value and _option(name) in takes_name:
            return _option(name)
        if not equals and _option(word) in takes_value:
            option = _option(word)
    return None


def _option(word: str) -> str:
    """Return the option that a word of the command line names: --hidden-size for --rnn_size."""
    if word.startswith("--"):
        return f"--{normalized(word.removeprefix('--'))}"
    return word


def typed_name(arguments: Iterable[str], name: str) -> str:
    """Return the option as the person typed it. name: as `normalized` returned it, with dashes."""
    plain = name.lstrip("-")
    for word in arguments:
        typed = word.partition("=")[0]
        if typed.startswith("-") and normalized(typed.lstrip("-")) == plain:
            return typed
    return name


def explain_missing(message: str, example_of: Callable[[str], str]) -> str | None:
    """Say what to type where an option has no value; None for any other message of Typer's.

    example_of: an option, with its dashes -> a value that it takes.
    """
    other = re.match(r"Invalid value for '(--?[\w-]+)'.*: '(-[^']*)' is not a valid", message)
    found = other or re.match(r"Option '(--?[\w-]+)' requires an argument", message)
    if found is None:
        return None
    option = found[1]
    where = f" before {one_line(other[2])}" if other else ""
    return f"{option} needs a value{where}: {option} {example_of(option)}"


def explain_unknown(
    typed: str, command: str, known: Iterable[str], others: Iterable[tuple[str, Iterable[str]]]
) -> str:
    """Say what to type for an option that a command does not have.

    typed: with its dashes. known: the options of the command. others: other commands with theirs.
    """
    name = normalized(typed.lstrip("-"))
    shown = one_line(typed)
    options = [option for option in known if option.startswith("--")]
    if name == "run" and command in READERS:
        return f"no option {shown} of {command}; here: {NAME_THE_RUN.format(command=command)}"
    for other, theirs in others:
        if f"--{name}" in theirs and typed.startswith("--"):
            return f"{command} has no {shown}; it is an option of charrnn {other}"
    dashed = typed.lstrip("-").replace("_", "-")
    if dashed in HINTS:
        hint = HINTS[dashed].format(command=command)
        return f"no option {shown}; here: {hint}"
    ours = {option: option for option in options}
    foreign = {f"--{name}": f"--{of}" for name, of in ALIASES.items() if f"--{of}" in ours}
    near = difflib.get_close_matches(f"--{dashed}", foreign | ours, 1, 0.75)
    hint = (
        f"; did you mean {(foreign | ours)[near[0]]}?"
        if near
        else f"; charrnn {command} --help lists them"
    )
    return f"no option {shown} of {command}{hint}"
