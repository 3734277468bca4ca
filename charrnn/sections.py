"""The sections of settings, each setting named, typed, bounded and explained once.

config.py puts them together and checks them. A value of None means that the program decides, from
the text for example.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FROM_TEXT = "from the text"
MAX_SEED = (1 << 63) - 1


def setting(default: Any, help: str, *, kind: type | None = None, **more: Any) -> Any:
    """Declare a dataclass field with its documentation and its limits (min, max, below, choices).

    auto=: what the help gives as the default of a setting that is None or empty.
    """
    return field(default=default, metadata={"help": help, "kind": kind or type(default), **more})


@dataclass(frozen=True)
class TextSettings:
    """How a text becomes ids."""

    mode: str = setting(
        "auto",
        "Decide by the text, read independent short lines, records of several lines, or one stream",
        choices=("auto", "lines", "records", "stream"),
    )
    separator: str = setting(
        "auto",
        "Records mode: the line between two records, such as --- or %, or blank for a blank line",
        auto=FROM_TEXT,
    )
    unit: str = setting(
        "char", "Learn characters (Unicode code points) or raw bytes", choices=("char", "byte")
    )
    encoding: str = setting(
        "utf-8",
        "Encoding of the text files, such as latin-1 or utf-16; of several texts one for all, or "
        "one for each, with commas",
    )
    errors: str = setting(
        "strict",
        "Refuse bytes that cannot be decoded, replace them with U+FFFD, or skip wrong rows of a "
        "table",
        choices=("strict", "replace", "skip"),
    )
    column: str = setting(
        "auto",
        "Learn one column of a CSV, TSV or JSON file, by its name or number; none: the file as it "
        "is",
    )
    strip: str = setting(
        "auto",
        "Take from each line or entry: numbering, bullets, quotes, entities, spaces (several with "
        "commas), or none",
    )
    newlines: str = setting(
        "auto", "Keep CRLF and CR, or read LF (auto: in lines mode)", choices=("auto", "keep", "lf")
    )
    normalize: str = setting(
        "none", "Unicode normalisation of every text that is read", choices=("none", "nfc", "nfd")
    )
    rare: int | None = setting(
        None, "Write characters seen fewer times as bytes", auto=FROM_TEXT, kind=int, min=0
    )
    glob: str = setting("*", "Files to read from a directory, in name order, such as '**/*.c'")
    headings: bool = setting(True, "Put a heading with its name before each file of a directory")
    label: str = setting(
        "",
        "Learn a label of each line: a table's column by its name, the name of its file (file), or "
        "what stands before --delimiter (prefix)",
        auto="none",
    )
    delimiter: str = setting(
        "\\t",
        "With --label prefix: what ends the label of a line; \\t is a tab, and of a record \\n its "
        "first line's end",
    )
    deduplicate: bool = setting(True, "Lines mode: keep each distinct line once, before the split")
    split: str = setting("0.9,0.05,0.05", "Shares of the text for training, validation and test")
    split_seed: int | None = setting(
        None,
        "Lines mode: seed that shuffles the lines before the split",
        auto="--seed",
        kind=int,
        min=0,
        max=MAX_SEED,
    )
    val: str = setting("", "Read the validation text from this file", auto="a share of the text")
    test: str = setting("", "Read the test text from this file", auto="a share of the text")
    max_bytes: int = setting(
        2_000_000_000, "Most bytes to read from standard input, a pipe or a device", min=1
    )


@dataclass(frozen=True)
class ModelSettings:
    """The network."""

    cell: str = setting(
        "gru",
        "Kind of cell; gru-before resets before the matrix product, ngram counts n-grams and "
        "trains no network",
        choices=("rnn", "lstm", "gru", "gru-before", "ngram"),
    )
    hidden_size: int | None = setting(
        None, "Units in each layer", auto=FROM_TEXT, kind=int, min=1, max=65536
    )
    num_layers: int | None = setting(
        None, "Number of recurrent layers", auto=FROM_TEXT, kind=int, min=1, max=64
    )
    embedding_size: int | None = setting(
        None, "Size of a character's embedding", auto=FROM_TEXT, kind=int, min=1, max=65536
    )
    dropout: float | None = setting(
        None,
        "Share of each layer's outputs to drop in training, also after a single layer",
        auto=FROM_TEXT,
        kind=float,
        min=0.0,
        below=1.0,
    )
    skip: str = setting(
        "none",
        "Connections around layers: add the input (residual) or concatenate all earlier outputs "
        "(dense)",
        choices=("none", "residual", "dense"),
    )
    tie_weights: bool = setting(
        False, "Use the embedding as the output matrix; both need the same size"
    )
    forget_bias: float = setting(
        1.0, "Initial bias of the LSTM's forget gate", min=-100.0, max=100.0
    )
    weight_drop: float | None = setting(
        None,
        "Share of the recurrent weights to drop, drawn for each update",
        auto=FROM_TEXT,
        kind=float,
        min=0.0,
        below=1.0,
    )
    conv: int = setting(
        0, "Characters that a convolution before the first layer sees; 0: none", min=0, max=16
    )
    order: str = setting(
        "auto",
        "With --cell ngram: characters in an n-gram; auto takes the best on the validation text",
    )
    smoothing: str = setting(
        "kneser-ney",
        "With --cell ngram: how unseen n-grams get their probability (kneser-ney: modified, "
        "interpolated)",
        choices=("kneser-ney", "witten-bell"),
    )


@dataclass(frozen=True)
class TrainingSettings:
    """How weights are learnt."""

    budget: str | None = setting(
        None,
        "Time to train, such as 90s, 5m or 1h; the schedule ends on time",
        auto="5m; less for a text under 200,000 characters",
        kind=str,
    )
    epochs: float | None = setting(
        None,
        "Passes over the training text, in place of a budget",
        auto="by budget",
        kind=float,
        min=0.0,
        max=1e9,
    )
    steps: int | None = setting(
        None, "Optimiser updates, in place of a budget", auto="by budget", kind=int, min=0
    )
    batch_size: int | None = setting(
        None,
        "Lines, or lanes of the stream, in one update",
        auto=FROM_TEXT,
        kind=int,
        min=1,
        max=1 << 20,
    )
    seq_length: int | None = setting(
        None,
        "Stream mode: characters of truncated backpropagation through time",
        auto=FROM_TEXT,
        kind=int,
        min=1,
        max=1 << 20,
    )
    checkpoint_every_chars: int | None = setting(
        None,
        "Stream mode: recompute activations in pieces of this many characters; long windows take "
        "less memory and a third more time, and dropout is drawn for each piece",
        auto="off",
        kind=int,
        min=1,
        max=1 << 20,
    )
    lr: float | None = setting(None, "Highest learning rate", auto=FROM_TEXT, kind=float, min=0.0)
    state_reset: float | None = setting(
        None,
        "Stream mode: share of the lanes that restart from an empty state, drawn for each update",
        auto=FROM_TEXT,
        kind=float,
        min=0.0,
        below=1.0,
    )
    shards: int | None = setting(
        None,
        "Parts of each batch, computed one by one, whose gradients are added in a fixed order: "
        "equal weights on any number of processes",
        auto="1; 4 with torchrun",
        kind=int,
        min=1,
        max=1024,
    )
    clip: float = setting(1.0, "Largest gradient norm; 0 turns clipping off", min=0.0)
    optimizer: str = setting("adamw", "Update rule", choices=("adamw", "sgd"))
    schedule: str = setting(
        "cosine", "Learning rate after the warm-up", choices=("cosine", "linear", "constant")
    )
    warmup: int = setting(50, "Updates over which the learning rate rises", min=0)
    weight_decay: float | None = setting(
        None, "Decoupled weight decay of the matrices", auto=FROM_TEXT, kind=float, min=0.0
    )
    ema: float | None = setting(
        None,
        "Decay of a running mean of the weights, which is evaluated and saved in their place; "
        "0 turns it off",
        auto=FROM_TEXT,
        kind=float,
        min=0.0,
        below=1.0,
    )
    init_from: str = setting(
        "",
        "Start with the network and weights of this run, model or checkpoint; new characters are "
        "added",
        auto="random weights",
    )
    freeze: str = setting(
        "",
        "With --init-from: parts to leave unchanged, such as embedding,layer0,layer1,head",
        auto="none",
    )
    mix: float = setting(
        0.0, "With --init-from: share of each batch from the text of that run", min=0.0, below=1.0
    )
    counting: str = setting(
        "auto",
        "Mix the network with the n-grams of its text; auto does where validation gains",
        choices=("auto", "on", "off"),
    )
    seed: int = setting(1337, "Seed of weights, split, order and dropout", min=0, max=MAX_SEED)
    patience: int | None = setting(
        None,
        "Evaluations without improvement before training stops at once; 0 means never",
        auto="anneal the best weights",
        kind=int,
        min=0,
    )
    eval_every: str | None = setting(
        None,
        "Evaluate every so many steps (200) or so much time (30s)",
        auto="about 20 times a run, and once a pass, in about 5 % of its time",
        kind=str,
    )
    save_every: str = setting("1m", "Save a checkpoint every so many steps or so much time")
    sample_every: str | None = setting(
        None,
        "Write samples every so many steps or so much time",
        auto="about 5 times a run",
        kind=str,
    )
    keep: int = setting(2, "Checkpoints to keep", min=1)


@dataclass(frozen=True)
class RuntimeSettings:
    """Where and how it is computed. Nothing here changes what is computed, beyond rounding."""

    backend: str = setting(
        "auto",
        "This project's cells (own), those of torch.nn, or the faster of both",
        choices=("auto", "own", "torch"),
    )
    device: str = setting("auto", "Where to compute: auto, cpu, cuda, cuda:N or mps")
    precision: str = setting(
        "auto",
        "Arithmetic of matrix products; auto is bfloat16 where the compiled cells have it "
        "(AVX512-BF16), else float32; bfloat16 also runs with torch.nn's cells where the GPU or "
        "processor has it, and tf32 needs CUDA",
        choices=("auto", "float32", "bfloat16", "tf32"),
    )
    threads: int | None = setting(None, "Processor threads", auto="all", kind=int, min=1, max=1024)
    watch: bool = setting(
        False, "Log the health of gradients, updates and gates at every 100th step"
    )
