"""charrnn sample: words typed by a person -> calls of sampling.engine and sampling.constraints. Never loads torch."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.errors import CheckpointError, SettingsError

if TYPE_CHECKING:
    from charrnn.sampling.codec import Sample
    from charrnn.texts import Novelty

MAX_PRIME_BYTES = 16 << 20
TEXT, RANDOMNESS, CONSTRAINTS, SPEED, OUTPUT = (
    "Text",
    "Randomness",
    "Constraints",
    "Speed",
    "Output",
)


def _option(*names: str, help: str, panel: str, metavar: str | None = None) -> Any:
    return typer.Option(
        *names, help=help, metavar=metavar, rich_help_panel=panel, show_default=False
    )


def sample(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="A run directory, a model or a checkpoint (default: newest under runs/).",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int | None,
        _option(
            "--count",
            "-n",
            help="How many texts (default: 10 lines, 1 stream).",
            metavar="N",
            panel=TEXT,
        ),
    ] = None,
    length: Annotated[
        int | None,
        _option(
            "--length",
            "-l",
            help="Characters after the prompt (default: 500; a line: up to 1000).",
            metavar="N",
            panel=TEXT,
        ),
    ] = None,
    prime: Annotated[
        str | None,
        _option(
            "--prime",
            "--starts-with",
            "-p",
            help="Begin with this text.",
            metavar="TEXT",
            panel=TEXT,
        ),
    ] = None,
    prime_file: Annotated[
        Path | None,
        _option(
            "--prime-file", help="Begin with this file; - is stdin.", metavar="FILE", panel=TEXT
        ),
    ] = None,
    until: Annotated[
        str, _option("--until", help="Stop after this text.", metavar="TEXT", panel=TEXT)
    ] = "",
    unknown: Annotated[
        str,
        _option(
            "--unknown",
            help="Unknown characters of a prompt: skip, replace (default: error).",
            metavar="WHAT",
            panel=TEXT,
        ),
    ] = "error",
    cache: Annotated[
        int,
        _option(
            "--cache",
            help="Keep to the names and words of the prompt's last N characters, e.g. 2000 (streams).",
            metavar="N",
            panel=TEXT,
        ),
    ] = 0,
    temp: Annotated[
        float,
        _option(
            "--temp",
            "-t",
            help="0: always the likeliest; 1: as learnt (default: 0.8).",
            metavar="X",
            panel=RANDOMNESS,
        ),
    ] = 0.8,
    top_k: Annotated[
        int,
        _option(
            "--top-k",
            help="Only the K likeliest characters (default: 0: all).",
            metavar="K",
            panel=RANDOMNESS,
        ),
    ] = 0,
    top_p: Annotated[
        float,
        _option(
            "--top-p",
            help="Only the fewest that reach this probability (default: 1).",
            metavar="P",
            panel=RANDOMNESS,
        ),
    ] = 1.0,
    min_p: Annotated[
        float,
        _option(
            "--min-p",
            help="Only those with this share of the likeliest's (default: 0).",
            metavar="P",
            panel=RANDOMNESS,
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
        _option(
            "--seed",
            help="Same seed, same text (default: a fresh one, told).",
            metavar="N",
            panel=RANDOMNESS,
        ),
    ] = None,
    novel: Annotated[
        bool,
        _option(
            "--novel",
            help="Only texts that are surely not in the training split.",
            panel=CONSTRAINTS,
        ),
    ] = False,
    unique: Annotated[bool, _option("--unique", help="No text twice.", panel=CONSTRAINTS)] = False,
    matching: Annotated[
        str | None,
        _option(
            "--matching",
            help="Only texts in which this is found (a Python pattern; ^ and $: the whole).",
            metavar="REGEX",
            panel=CONSTRAINTS,
        ),
    ] = None,
    min_length: Annotated[
        int,
        _option(
            "--min-length",
            help="At least N characters, with the prompt.",
            metavar="N",
            panel=CONSTRAINTS,
        ),
    ] = 0,
    max_length: Annotated[
        int | None,
        _option(
            "--max-length",
            help="At most N characters, with the prompt.",
            metavar="N",
            panel=CONSTRAINTS,
        ),
    ] = None,
    rank: Annotated[
        bool, _option("--rank", help="Likeliest first, with bits per character.", panel=CONSTRAINTS)
    ] = False,
    tries: Annotated[
        int | None,
        _option(
            "--tries",
            help="Draw so many texts at most (default: 1000 for each wanted, at least 10,000).",
            metavar="N",
            panel=CONSTRAINTS,
        ),
    ] = None,
    weights: Annotated[
        str,
        _option(
            "--weights",
            help="auto, float32 or float16 (default: auto: float16 for streams).",
            panel=SPEED,
        ),
    ] = "auto",
    threads: Annotated[
        int | None,
        _option(
            "--threads", help="Default: what pays, up to all processors.", metavar="N", panel=SPEED
        ),
    ] = None,
    device: Annotated[
        str, _option("--device", help="auto or cpu: sampling needs no other.", panel=SPEED)
    ] = "auto",
    interactive: Annotated[
        bool,
        _option(
            "--interactive",
            "-i",
            help="Read and write by turns; /help there says more.",
            panel=OUTPUT,
        ),
    ] = False,
    json: Annotated[
        bool, _option("--json", help="A JSON object a line: text, nats, novelty ...", panel=OUTPUT)
    ] = False,
    raw: Annotated[
        bool, _option("--raw", help="Exact bytes on a terminal too.", panel=OUTPUT)
    ] = False,
) -> None:
    """Write text with a trained model: lines from a model of lines, else one stream as it comes."""
    if prime is not None and prime_file is not None:
        raise SettingsError("--prime and --prime-file both say how to begin; give one")
    if device not in ("auto", "cpu"):
        raise SettingsError(
            f"--device {device!r}: sampling runs on the processor; leave it out, or say cpu"
        )
    for name, value in (
        ("--prime", prime or ""),
        ("--until", until),
        ("--matching", matching or ""),
    ):
        _check_utf8(name, value)

    from charrnn.modelfile import newest_run, read_model
    from charrnn.sampling.constraints import (
        Constraints,
        Tally,
        accepted,
        ranked,
        tries_allowed,
    )
    from charrnn.sampling.decode import Decoding, checked_seed
    from charrnn.sampling.engine import Sampler
    from charrnn.terminal import one_line, write_stdout
    from charrnn.texts import OpenedRun

    decoding = Decoding(temp, top_k, top_p, min_p, repetition_penalty)
    constraints = Constraints(novel, unique, matching, min_length, max_length)
    numbered = checked_seed(seed)
    model = read_model(run or newest_run(Path("runs")))
    lines = model.mode == "lines"
    asked_count, count = count, (10 if lines else 1) if count is None else count
    tries = tries_allowed(tries, count, temp)
    if interactive and str(prime_file) == "-":
        raise SettingsError(
            "--interactive reads standard input, and so cannot --prime-file -; name a file"
        )
    begin = _read_prime(prime_file, lines) if prime_file else prime or ""
    if cache > 0 and not interactive:
        cache = min(cache, len(begin.encode()) + 1)  # nothing else is given to read
    sampler = Sampler(model, weights=weights, cache=cache)
    if cache and not begin and not interactive:
        raise SettingsError(
            "--cache keeps to what stands in a prompt, and there is none: add --prime or --prime-file, or leave --cache out"
        )
    how: dict[str, Any] = {
        "decoding": decoding,
        "length": length,
        "prime": begin,
        "until": until,
        "seed": numbered,
        "unknown": unknown,
        "threads": threads,
    }
    if interactive:
        if json or rank or constraints or asked_count is not None:
            raise SettingsError(
                "--interactive writes one text by turns; leave out --count, --json and the constraints"
            )
        from charrnn.cli.interactive import converse

        converse(
            sampler,
            decoding=decoding,
            length=length,
            until=until,
            seed=seed,
            prime=begin,
            unknown=unknown,
            raw=raw,
            threads=threads,
        )
        return
    samples = sampler.generate(count, **how)  # says at once what is wrong with the rest
    if constraints:
        [prompt] = sampler.generate(1, **how | {"length": 0})
        how["length"] = constraints.length(model.mode, model.vocabulary.unit, prompt, until, length)
    as_it_comes = not (lines or json or rank or constraints)
    known = None if as_it_comes else OpenedRun(model).novelty
    if novel and known is None:
        place = one_line(str(model.path))
        raise CheckpointError(
            f"--novel: the training text of {place} is not beside it; sample from its run directory"
        )
    if count == 0:
        return
    if top_k > len(model.vocabulary):
        typer.echo(
            f"--top-k {top_k}: this model knows {len(model.vocabulary)} characters, so all are kept",
            err=True,
        )
    if seed is None and temp > 0:
        typer.echo(f"seed {numbered} (--seed {numbered} writes this again)", err=True)
    end_line = sys.stdout is not None and sys.stdout.isatty()
    if as_it_comes:
        streams = (sampler.stream(first=number, **how) for number in range(count))
        write_stdout(_divided(streams, end_line=end_line), raw=raw)
        return
    tally = Tally(count)
    if constraints:
        samples = accepted(
            lambda first, n: sampler.generate(n, first=first, **how),
            tally,
            tries,
            constraints,
            known,
        )
    verdicts: list[bool | None] = []
    if json:
        pieces = _objects(samples, known, numbered, rank=rank, novel=novel)
    elif rank:
        pieces = _table(ranked(samples))
    elif lines:
        pieces = _lines(samples, None if novel else known, verdicts)
    else:
        pieces = _divided(([one.data] for one in samples), end_line=end_line)
    write_stdout(pieces, raw=raw)
    if tally.ran_out:
        advice = (
            "--temp 0 always writes the same text" if temp == 0 else "loosen them or raise --tries"
        )
        counts = f"found {tally.kept:,} of {count:,} in {tally.tried:,} tries"
        raise SettingsError(f"{counts}: {tally.reasons()}; {advice}")
    if tally.refused and not json:
        typer.echo(f"kept {tally.kept:,} of {tally.tried:,} tries: {tally.reasons()}", err=True)
    if verdicts:
        typer.echo(
            f"{verdicts.count(True)} of {len(verdicts)} are not in the training text", err=True
        )


def _lines(
    samples: Iterable[Sample], known: Novelty | None, verdicts: list[bool | None]
) -> Iterator[bytes]:
    """A line for each sample. verdicts: whether each is novel, if the training text is known."""
    for one in samples:
        if known:
            verdicts.append(known.is_novel(one.data))
        yield one.data + b"\n"


def _objects(
    samples: Iterable[Sample], known: Novelty | None, seed: int, *, rank: bool, novel: bool
) -> Iterator[bytes]:
    """A JSON object for each sample; novel: all of them have been found to be."""
    from charrnn.sampling.constraints import bits_per_char, ranked
    from charrnn.storage import json_line

    for place, one in enumerate(ranked(samples) if rank else samples, 1):
        values = {
            "schema": 1,
            "text": one.text,
            "nats": one.nats,
            "chars": one.chars,
            "bits_per_char": bits_per_char(one),
            **({"rank": place} if rank else {}),
            "novel": novel or (known.is_novel(one.data) if known else None),
            "seed": seed,
            "index": one.index,
        }
        yield json_line(values).encode() + b"\n"


def _table(samples: list[Sample]) -> Iterator[bytes]:
    """`2.13  Maria`; the further lines of a text stand beneath its first."""
    from charrnn.sampling.constraints import bits_per_char

    bits = [bits_per_char(one) for one in samples]
    shown = ["-" if each is None else f"{each:.2f}" for each in bits]
    width = max(map(len, shown), default=0)
    for number, one in zip(shown, samples, strict=True):
        text = one.data.removesuffix(b"\n").replace(b"\n", b"\n" + b" " * (width + 2))
        yield f"{number:>{width}}  ".encode() + text + b"\n"


def _divided(texts: Iterable[Iterable[bytes]], *, end_line: bool) -> Iterator[bytes]:
    """Texts in pieces, as they come, a line `---` between two; end_line: a newline after the last."""
    piece = b"\n"
    for number, text in enumerate(texts):
        if number:
            yield b"---\n" if piece.endswith(b"\n") else b"\n---\n"
        piece = b"\n"
        for piece in text:
            yield piece
    if end_line and not piece.endswith(b"\n"):
        yield b"\n"


def _read_prime(path: Path, lines: bool) -> str:
    """The prompt in a file. Lines: the newline that ends the file is no part of it. Raises SettingsError."""
    from charrnn.terminal import one_line

    shown = one_line(str(path))
    try:
        if str(path) == "-" and sys.stdin is None:  # the shell's <&-
            raise SettingsError("--prime-file -: standard input is closed")
        if str(path) == "-":
            data = sys.stdin.buffer.read(MAX_PRIME_BYTES + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_PRIME_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"--prime-file {shown}: {getattr(error, 'strerror', None) or error}"
        ) from None
    if len(data) > MAX_PRIME_BYTES:
        raise SettingsError(
            f"--prime-file {shown}: more than {MAX_PRIME_BYTES >> 20} MiB; give its end only"
        )
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        raise SettingsError(
            f"--prime-file {shown}: {byte} is not UTF-8; save it as UTF-8"
        ) from None
    return text.removesuffix("\n").removesuffix("\r") if lines else text


def _check_utf8(name: str, value: str) -> None:
    """Arguments that are not UTF-8 arrive with surrogates in place of the bytes."""
    for position, character in enumerate(value):
        if 0xD800 <= ord(character) < 0xE000:
            advice = "use --prime-file" if name == "--prime" else "retype it"
            raise SettingsError(
                f"{name}: what stands at position {position} is not UTF-8; {advice}"
            )
