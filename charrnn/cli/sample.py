"""charrnn sample: words typed by a person -> one call of sampling.engine. Never loads torch."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.errors import CheckpointError, SettingsError

if TYPE_CHECKING:
    from charrnn.modelfile import ModelFile
    from charrnn.sampling.engine import Sample, Sampler
    from charrnn.text.corpus import Corpus

MAX_PRIME_BYTES = 16 << 20
TEXT, RANDOMNESS, OUTPUT = "Text", "Randomness", "Output"


def _option(*names: str, help: str, panel: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=panel, show_default=False)


def sample(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="A run directory, a model or a checkpoint (default: newest under runs/).", show_default=False
        ),
    ] = None,
    count: Annotated[
        int | None,
        _option("--count", "-n", help="How many texts (default: 10 lines, 1 stream).", metavar="N", panel=TEXT),
    ] = None,
    length: Annotated[
        int | None,
        _option(
            "--length",
            "-l",
            help="Characters after the prompt (default: 500; a line 1000 at most).",
            metavar="N",
            panel=TEXT,
        ),
    ] = None,
    prime: Annotated[
        str | None, _option("--prime", "-p", help="Begin with this text.", metavar="TEXT", panel=TEXT)
    ] = None,
    prime_file: Annotated[
        Path | None, _option("--prime-file", help="Begin with this file; - is stdin.", metavar="FILE", panel=TEXT)
    ] = None,
    until: Annotated[str, _option("--until", help="Stop after this text.", metavar="TEXT", panel=TEXT)] = "",
    unknown: Annotated[
        str,
        _option(
            "--unknown",
            help="Unknown characters of a prompt: skip, replace (default: error).",
            metavar="WHAT",
            panel=TEXT,
        ),
    ] = "error",
    temp: Annotated[
        float,
        _option(
            "--temp", "-t", help="0: always the likeliest; 1: as learnt (default: 0.8).", metavar="X", panel=RANDOMNESS
        ),
    ] = 0.8,
    top_k: Annotated[
        int,
        _option("--top-k", help="Only the K likeliest characters (default: 0: all).", metavar="K", panel=RANDOMNESS),
    ] = 0,
    top_p: Annotated[
        float,
        _option(
            "--top-p", help="Only the fewest that reach this probability (default: 1).", metavar="P", panel=RANDOMNESS
        ),
    ] = 1.0,
    min_p: Annotated[
        float,
        _option(
            "--min-p", help="Only those with this share of the likeliest's (default: 0).", metavar="P", panel=RANDOMNESS
        ),
    ] = 0.0,
    repetition_penalty: Annotated[
        float,
        _option(
            "--repetition-penalty",
            help="Above 1: fewer of the last 64 characters (default: 1).",
            metavar="X",
            panel=RANDOMNESS,
        ),
    ] = 1.0,
    seed: Annotated[
        int | None,
        _option("--seed", help="Same seed, same text (default: a fresh one, told).", metavar="N", panel=RANDOMNESS),
    ] = None,
    device: Annotated[str, _option("--device", help="auto or cpu: sampling needs no other.", panel=OUTPUT)] = "auto",
    json: Annotated[
        bool, _option("--json", help="A JSON object a line: text, nats, novelty ...", panel=OUTPUT)
    ] = False,
    raw: Annotated[bool, _option("--raw", help="Exact bytes on a terminal too.", panel=OUTPUT)] = False,
) -> None:
    """Write text with a trained model: lines from a model of lines, else one stream as it comes."""
    if prime is not None and prime_file is not None:
        raise SettingsError("--prime and --prime-file both say how to begin; give one")
    if device not in ("auto", "cpu"):
        raise SettingsError(f"--device {device!r}: sampling runs on the processor; leave it out, or say cpu")
    for name, value in (("--prime", prime or ""), ("--until", until)):
        _check_utf8(name, value)

    from charrnn.modelfile import newest_run, read_model
    from charrnn.sampling.decode import Decoding, checked_seed
    from charrnn.sampling.engine import Sampler
    from charrnn.terminal import write_stdout

    decoding = Decoding(temp, top_k, top_p, min_p, repetition_penalty)
    numbered = checked_seed(seed)
    model = read_model(run or newest_run(Path("runs")))
    lines = model.mode == "lines"
    count = (10 if lines else 1) if count is None else count
    begin = _read_prime(prime_file, lines) if prime_file else prime or ""
    sampler = Sampler(model)
    how: dict[str, Any] = {
        "decoding": decoding, "length": length, "prime": begin, "until": until, "seed": numbered, "unknown": unknown,
    }  # fmt: skip
    samples = sampler.generate(count, **how)  # says at once what is wrong with the rest
    if count == 0:
        return
    if top_k > len(model.vocabulary):
        typer.echo(f"--top-k {top_k}: this model knows {len(model.vocabulary)} characters, so all are kept", err=True)
    if seed is None and temp > 0:
        typer.echo(f"seed {numbered} (--seed {numbered} writes this again)", err=True)
    if not lines and not json:
        write_stdout(_streams(sampler, count, how, end_line=sys.stdout is not None and sys.stdout.isatty()), raw=raw)
        return
    corpus = _training_text(model)
    verdicts: list[bool] = []
    write_stdout(_each(samples, corpus, verdicts, numbered if json else None), raw=raw)
    if verdicts and not json:
        typer.echo(f"{sum(verdicts)} of {len(verdicts)} are not in the training text", err=True)


def _each(samples: Iterator[Sample], corpus: Corpus | None, verdicts: list[bool], seed: int | None) -> Iterator[bytes]:
    """A line for each sample: its text, or with a seed its JSON. verdicts: whether each is novel, if that is known."""
    from charrnn.storage import json_line

    for one in samples:
        novel = None if corpus is None else _is_novel(one.data, corpus)
        if novel is not None:
            verdicts.append(novel)
        if seed is None:
            yield one.data + b"\n"
            continue
        bits = one.nats / math.log(2) / one.chars if one.chars else None
        values = {
            "schema": 1, "text": one.text, "nats": one.nats, "chars": one.chars, "bits_per_char": bits,
            "novel": novel, "seed": seed, "index": one.index,
        }  # fmt: skip
        yield json_line(values).encode() + b"\n"


def _streams(sampler: Sampler, count: int, how: dict[str, Any], *, end_line: bool) -> Iterator[bytes]:
    """Streams one after the other as they come, a line `---` between them; end_line: a newline after the last."""
    for number in range(count):
        piece = b"\n"
        for piece in sampler.stream(first=number, **how):
            yield piece
        last = number == count - 1
        if not piece.endswith(b"\n") and (end_line or not last):
            yield b"\n"
        if not last:
            yield b"---\n"


def _training_text(model: ModelFile) -> Corpus | None:
    """The text the model learnt from, if its run still holds it."""
    from charrnn.text.corpus import open_corpus

    fingerprint = model.meta.get("fingerprint")
    if model.run is None or not isinstance(fingerprint, str):
        return None
    try:
        return open_corpus(model.run / "corpus", fingerprint, verify=False)
    except CheckpointError:
        return None


def _is_novel(data: bytes, corpus: Corpus) -> bool:
    ids = corpus.vocabulary.lookup(corpus.vocabulary.codes(data))
    if not len(ids):
        return False
    return bool((ids < 0).any()) or not corpus.contains(ids, whole_line=corpus.mode == "lines")


def _read_prime(path: Path, lines: bool) -> str:
    """The prompt in a file. Lines: the newline that ends the file is no part of it. Raises SettingsError."""
    from charrnn.terminal import one_line

    shown = one_line(str(path))
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(MAX_PRIME_BYTES + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_PRIME_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SettingsError(f"--prime-file {shown}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_PRIME_BYTES:
        raise SettingsError(f"--prime-file {shown}: more than {MAX_PRIME_BYTES >> 20} MiB; give its end only")
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise SettingsError(f"--prime-file {shown}: {byte} is not UTF-8; save it as UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r") if lines else text


def _check_utf8(name: str, value: str) -> None:
    """Arguments that are not UTF-8 arrive with surrogates in place of the bytes."""
    for position, character in enumerate(value):
        if 0xD800 <= ord(character) < 0xE000:
            raise SettingsError(f"{name}: what stands at position {position} is not UTF-8; use --prime-file")
