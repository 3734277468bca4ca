"""Settings as frozen dataclasses: every setting is named, typed, bounded and explained here, once.

The command line and the layers of layers.py (files, environment, `--set`) are all read through `resolve`, in the order
defaults < file < environment < flags. A value of None means: decided by the program (sized from the corpus, say).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from charrnn.errors import SettingsError
from charrnn.terminal import one_line

LENGTHS = ("budget", "epochs", "steps")  # the three ways to say how long to train; one is given
MAX_ORDER = 24  # of n-grams
MAX_WHOLE = 1 << 53  # of every other whole number: floats hold it exactly


def setting(default: Any, help: str, *, kind: type | None = None, **bounds: Any) -> Any:
    """A dataclass field with its documentation and its limits (min, max, below, choices)."""
    return field(default=default, metadata={"help": help, "kind": kind or type(default), **bounds})


@dataclass(frozen=True)
class TextSettings:
    """How a text becomes ids."""

    mode: str = setting(
        "auto",
        "independent short lines, one continuous stream, or see for yourself",
        choices=("auto", "lines", "stream"),
    )
    unit: str = setting(
        "char", "code points of the decoded text, or raw bytes", choices=("char", "byte")
    )
    encoding: str = setting("utf-8", "encoding of the text files (latin-1, utf-16, ...)")
    errors: str = setting(
        "strict",
        "bytes that do not decode: refuse them or write U+FFFD",
        choices=("strict", "replace"),
    )
    newlines: str = setting(
        "keep", "keep line ends exactly, or turn CRLF and CR into LF", choices=("keep", "lf")
    )
    normalize: str = setting(
        "none",
        "Unicode normalisation of corpus, prompts and evaluated text",
        choices=("none", "nfc", "nfd"),
    )
    glob: str = setting("*", "which files of a directory, joined in name order ('**/*.c')")
    deduplicate: bool = setting(True, "lines mode: keep each distinct line once, before the split")
    split: str = setting("0.9,0.05,0.05", "shares of the text for training, validation and test")
    val: str = setting("", "a validation file of its own")
    test: str = setting("", "a test file of its own")
    max_bytes: int = setting(
        2_000_000_000, "most bytes read from standard input, a pipe or a device", min=1
    )


@dataclass(frozen=True)
class ModelSettings:
    """The network. None: sized from the corpus."""

    cell: str = setting(
        "gru",
        "gru-before is the lecture's GRU, reset before the product; ngram counts instead of learning",
        choices=("rnn", "lstm", "gru", "gru-before", "ngram"),
    )
    hidden_size: int | None = setting(None, "units of each layer", kind=int, min=1, max=65536)
    num_layers: int | None = setting(None, "recurrent layers", kind=int, min=1, max=64)
    embedding_size: int | None = setting(
        None, "numbers that stand for a character", kind=int, min=1, max=65536
    )
    dropout: float | None = setting(
        None,
        "share of each layer's outputs dropped in training, also with one layer",
        kind=float,
        min=0.0,
        below=1.0,
    )
    skip: str = setting(
        "none",
        "connections around layers: sums, or everything before concatenated",
        choices=("none", "residual", "dense"),
    )
    tie_weights: bool = setting(
        False, "use the embedding as the output matrix (sizes must be equal)"
    )
    forget_bias: float = setting(
        1.0, "initial bias of the LSTM's forget gate", min=-100.0, max=100.0
    )
    weight_drop: float | None = setting(
        None,
        "share of the recurrent weights dropped, others at each update",
        kind=float,
        min=0.0,
        below=1.0,
    )
    order: str = setting(
        "auto", "ngram: characters of an n-gram, or the number that predicts validation best"
    )
    smoothing: str = setting(
        "kneser-ney",
        "ngram: what unseen n-grams get (kneser-ney: modified, interpolated)",
        choices=("kneser-ney", "witten-bell"),
    )


@dataclass(frozen=True)
class TrainingSettings:
    """How weights are learnt. None: decided by corpus and budget."""

    budget: str | None = setting(
        None,
        "how long, as 90s, 5m or 1h: the schedule is made to end on time (default 5m)",
        kind=str,
    )
    epochs: float | None = setting(
        None, "passes over the training text, instead of a budget", kind=float, min=0.0, max=1e9
    )
    steps: int | None = setting(None, "optimiser updates, instead of a budget", kind=int, min=0)
    batch_size: int | None = setting(
        None, "lines, or lanes of the stream, in one update", kind=int, min=1, max=1 << 20
    )
    seq_length: int | None = setting(
        None,
        "stream mode: characters of truncated backpropagation through time",
        kind=int,
        min=1,
        max=1 << 20,
    )
    checkpoint_every_chars: int | None = setting(
        None,
        "stream mode: recompute activations in pieces of so many characters: less memory for long windows, a third more time "
        "(more for short pieces); dropout is drawn anew for each piece",
        kind=int,
        min=1,
        max=1 << 20,
    )
    lr: float | None = setting(None, "highest learning rate", kind=float, min=0.0)
    state_reset: float | None = setting(
        None,
        "stream mode: share of the lanes, others at each update, that begin anew from an empty state",
        kind=float,
        min=0.0,
        below=1.0,
    )
    clip: float = setting(1.0, "largest gradient norm; 0 switches clipping off", min=0.0)
    optimizer: str = setting("adamw", "update rule", choices=("adamw", "sgd"))
    schedule: str = setting(
        "cosine", "learning rate after warm-up", choices=("cosine", "linear", "constant")
    )
    warmup: int = setting(50, "updates during which the learning rate rises", min=0)
    weight_decay: float | None = setting(
        None, "decoupled weight decay of matrices", kind=float, min=0.0
    )
    ema: float | None = setting(
        None,
        "decay of a running mean of the weights, which is scored and kept in their place; 0: none",
        kind=float,
        min=0.0,
        below=1.0,
    )
    init_from: str = setting(
        "",
        "run, model or checkpoint whose network and weights to start from; new characters are added",
    )
    freeze: str = setting(
        "", "with --init-from: what stays as it is, as embedding,layer0,layer1,head"
    )
    mix: float = setting(
        0.0, "with --init-from: share of a batch from the text of that run", min=0.0, below=1.0
    )
    seed: int = setting(1337, "seed of weights, split, order and dropout", min=0, max=(1 << 63) - 1)
    patience: int = setting(
        6, "evaluations without improvement before stopping early; 0: never", min=0
    )
    eval_every: str | None = setting(
        None,
        "steps or a duration (default: about 20 times a run, fewer if they would cost over 5 % of it)",
        kind=str,
    )
    save_every: str = setting("1m", "steps or a duration between checkpoints")
    sample_every: str | None = setting(
        None, "steps or a duration between samples (default: about 5 times a run)", kind=str
    )
    keep: int = setting(2, "checkpoints kept", min=1)


@dataclass(frozen=True)
class RuntimeSettings:
    """Where and how it is computed. Nothing here changes what is computed, beyond rounding."""

    backend: str = setting(
        "auto",
        "this project's cells (own), torch.nn's, or the faster of both",
        choices=("auto", "own", "torch"),
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps")
    precision: str = setting(
        "auto",
        "arithmetic of matrix products; auto: bfloat16 where the compiled cells have it (AVX512-BF16), else float32; "
        "asked for, bfloat16 needs those or torch.nn's cells on a GPU or processor that has it, tf32 needs CUDA",
        choices=("auto", "float32", "bfloat16", "tf32"),
    )
    threads: int | None = setting(
        None, "processor threads (default: all)", kind=int, min=1, max=1024
    )
    watch: bool = setting(
        False, "log the health of gradients, updates and gates at every 100th step"
    )


@dataclass(frozen=True)
class Settings:
    text: TextSettings = field(default_factory=TextSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        return dataclasses.asdict(self)

    def with_values(self, section: str, **values: Any) -> Settings:
        """The same settings with some values of one section replaced."""
        return dataclasses.replace(
            self, **{section: dataclasses.replace(getattr(self, section), **values)}
        )


SECTIONS: dict[str, type[Any]] = {
    "text": TextSettings,
    "model": ModelSettings,
    "training": TrainingSettings,
    "runtime": RuntimeSettings,
}
FIELDS = {item.name: (section, item) for section, kind in SECTIONS.items() for item in fields(kind)}


def flag(key: str) -> str:
    """The option that sets this key: hidden_size -> --hidden-size."""
    return "--" + key.replace("_", "-")


def settings_from_dict(values: Mapping[str, Any], where: str) -> Settings:
    """Settings written by to_dict, checked as if a person had typed them."""
    resolved, _ = resolve([(where, flatten(values, where))])
    return resolved


def resolve(layers: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[Settings, dict[str, str]]:
    """Apply layers of (origin, {key: value}) in order, later ones winning.

    origin "--" names the flag itself in messages. A None value is not set. Returns the settings and, for each key
    that a layer set, where its value came from. Raises SettingsError.
    """
    chosen: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    origins: dict[str, str] = {}
    for origin, values in layers:
        if any(
            values.get(key) is not None for key in LENGTHS
        ):  # a later layer's length replaces an earlier one's
            for key in LENGTHS:
                chosen["training"].pop(key, None)
                origins.pop(key, None)
        for key, value in values.items():
            if value is None:
                continue
            where = {"--": flag(key), "environment": f"CHARRNN_{key.upper()}"}.get(
                origin, f"{origin}: {key}"
            )
            section, item = _known(key, where)
            chosen[section][key] = checked(item, value, where)
            origins[key] = flag(key) if origin == "--" else origin
    settings = Settings(**{name: kind(**chosen[name]) for name, kind in SECTIONS.items()})
    _check_together(settings)
    return settings, origins


def flatten(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """{section: {key: value}} -> {key: value}. Raises SettingsError for an unknown section or key."""
    flat: dict[str, Any] = {}
    for section, table in values.items():
        if section not in SECTIONS:
            raise SettingsError(
                f"{where}: there is no section [{one_line(section)}]{nearest(section, SECTIONS)}"
            )
        if not isinstance(table, Mapping):
            raise SettingsError(
                f"{where}: {section} must be a table: write [{section}] above its settings"
            )
        for key, value in table.items():
            if key not in FIELDS or FIELDS[key][0] != section:
                names = [item.name for item in fields(SECTIONS[section])]
                raise SettingsError(
                    f"{where}: [{section}] has no setting {one_line(key)!r}{nearest(key, names)}"
                )
            flat[key] = value
    return flat


def seconds(text: str, where: str) -> float:
    """'90s', '5m', '1.5h' or '90' -> seconds. Raises SettingsError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(s|m|h|min|sec)?\s*", text)
    value = (
        float(match[1]) * {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}[match[2] or "s"]
        if match
        else 0.0
    )
    if not 0 < value < 1e9:
        raise SettingsError(f"{where}: {one_line(text)!r} is not a duration; write 90s, 5m or 1h")
    return value


def interval(text: str, where: str) -> tuple[int | None, float | None]:
    """'200' -> (200 steps, None); '30s' -> (None, 30 seconds). Raises SettingsError."""
    if re.fullmatch(r"\d{1,12}", text.strip()) and int(text) > 0:
        return int(text), None
    if text.strip()[-1:].isdigit():
        raise SettingsError(
            f"{where}: {one_line(text)!r} is not a number of steps above 0 or a duration such as 30s"
        )
    return None, seconds(text, where)


def shares(text: str, where: str = "--split") -> tuple[float, float, float]:
    """'0.9,0.1' -> (0.9, 0.1, 0.0): shares for training, validation, test. Raises SettingsError."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    good = 2 <= len(values) <= 3 and all(math.isfinite(value) and value >= 0 for value in values)
    if not good or values[0] <= 0 or abs(sum(values) - 1) > 1e-6:
        raise SettingsError(
            f"{where}: {one_line(text)!r} is not two or three shares that add up to 1, such as 0.9,0.05,0.05"
        )
    return values[0], values[1], values[2] if len(values) == 3 else 0.0


def finite(
    value: float,
    where: str,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    above: float = -math.inf,
) -> float:
    """The value, if it is a finite number within its bounds. Raises SettingsError (typer lets inf and nan through)."""
    if not math.isfinite(value):
        raise SettingsError(f"{where} {value:g}: must be a finite number")
    if value < minimum or value > maximum or value <= above:
        bounds = [f"at least {minimum:g}"] * (minimum > -math.inf) + [f"above {above:g}"] * (
            above > -math.inf
        )
        bounds += [f"at most {maximum:g}"] * (maximum < math.inf)
        raise SettingsError(f"{where} {value:g}: must be {' and '.join(bounds) or 'finite'}")
    return value


def checked(item: dataclasses.Field[Any], value: Any, where: str) -> Any:
    """The value in its field's type and within its limits. Strings are parsed: they come from a command line."""
    kind, limits = item.metadata["kind"], item.metadata
    shown = one_line(str(value))
    try:
        if kind is bool:
            value = _boolean(value)
        elif isinstance(value, bool):
            raise ValueError
        elif kind is int:
            if isinstance(value, float) or (isinstance(value, str) and len(value) > 30):
                raise ValueError
            value = int(value)
        elif kind is float:
            value = float(value)
            if not math.isfinite(value):
                raise ValueError
        elif (
            kind is str
            and isinstance(value, int)
            and (item.name.endswith("_every") or item.name == "order")
        ):
            value = str(value)
        elif not isinstance(value, str):
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        words = {
            int: "a whole number",
            float: "a finite number",
            bool: "true or false",
            str: "a text in quotes",
        }
        raise SettingsError(f"{where}: {shown!r} is not {words[kind]}") from None
    if "choices" in limits and value not in limits["choices"]:
        hint = nearest(shown, limits["choices"])
        raise SettingsError(
            f"{where}: {shown!r} is not one of {', '.join(limits['choices'])}{hint}"
        )
    if "min" in limits and value < limits["min"]:
        raise SettingsError(f"{where}: {shown} is below {limits['min']}")
    most = limits.get("max", MAX_WHOLE if kind is int else None)
    if most is not None and value > most:
        raise SettingsError(f"{where}: {shown} is above {most}")
    if "below" in limits and value >= limits["below"]:
        raise SettingsError(f"{where}: {shown} must be below {limits['below']:g}")
    if item.name == "budget":
        seconds(value, where)
    elif item.name.endswith("_every"):
        interval(value, where)
    elif item.name == "split":
        shares(value, where)
    elif (
        item.name == "order"
        and value != "auto"
        and not (re.fullmatch(r"[1-9]\d?", value) and int(value) <= MAX_ORDER)
    ):
        raise SettingsError(
            f"{where}: {shown!r} is neither auto nor a number from 1 to {MAX_ORDER}"
        )
    return value


def _boolean(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError


def _check_together(settings: Settings) -> None:
    training, model = settings.training, settings.model
    lengths = [key for key in LENGTHS if getattr(training, key) is not None]
    if len(lengths) > 1:
        raise SettingsError(
            f"{' and '.join(flag(key) for key in lengths)} both say how long to train; give one"
        )
    if model.cell == "gru-before" and settings.runtime.backend == "torch":
        raise SettingsError(
            "--backend torch has no gru-before (nn.GRU resets after the product); use --backend own"
        )
    if model.cell != "ngram" and (model.order, model.smoothing) != (
        ModelSettings().order,
        ModelSettings().smoothing,
    ):
        raise SettingsError(
            f"--order and --smoothing are for counting; add --cell ngram, or leave them out with {model.cell}"
        )
    if settings.text.unit == "byte":
        fresh = TextSettings()
        for key in ("encoding", "errors", "newlines", "normalize"):
            if getattr(settings.text, key) != getattr(fresh, key):
                raise SettingsError(
                    f"{flag(key)} is for characters; --unit byte takes bytes as they are: leave it out"
                )
    if settings.text.encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
        import codecs

        try:
            text_codec = codecs.lookup(settings.text.encoding)._is_text_encoding
        except (LookupError, ValueError):
            text_codec = False
        if not text_codec:
            raise SettingsError(
                f"--encoding {one_line(settings.text.encoding)!r} is not a text encoding Python knows"
            )


def _known(key: str, where: str) -> tuple[str, dataclasses.Field[Any]]:
    if key not in FIELDS:
        raise SettingsError(f"{one_line(where)} is not a setting{nearest(key, FIELDS)}")
    return FIELDS[key]


def nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f"; did you mean {near[0]}?" if near else ""
