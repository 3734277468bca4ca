"""charrnn eval: bits per character of a run, beside counting and a compressor."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.config import resolve
from charrnn.errors import SettingsError
from charrnn.terminal import write_stdout


def _what(help: str) -> Any:
    return typer.Option(help=help, rich_help_panel="What", show_default=False)


def _how(help: str) -> Any:
    return typer.Option(help=help, rich_help_panel="How")


def _novelty(help: str, metavar: str) -> Any:
    return typer.Option(help=help, metavar=metavar, rich_help_panel="Novelty", show_default=False)


Run = Annotated[
    Path | None,
    typer.Argument(
        help="A run directory, a model or a checkpoint (default: the newest under runs/).", show_default=False
    ),
]


def evaluate(
    run: Run = None,
    file: Annotated[Path | None, _what("Score this file; - is standard input.")] = None,
    text: Annotated[str | None, _what("Score this text.")] = None,
    split: Annotated[str | None, _what("Score train, val or test (default: test if there is one, else val).")] = None,
    protocol: Annotated[str, _how("stateful (one stream) or windowed (each window from an empty state).")] = "stateful",
    window: Annotated[int, _how("Characters of a window.")] = 256,
    unknown: Annotated[str, _how("Characters the model does not know: error, skip or replace.")] = "error",
    encoding: Annotated[str, _how("Encoding of --file (default: the corpus's).")] = "",
    errors: Annotated[str, _how("Bytes of --file that do not decode: strict or replace.")] = "strict",
    baselines: Annotated[bool, _how("Score counting and xz too.")] = True,
    device: Annotated[str, _how("auto, cpu, cuda, cuda:N or mps.")] = "auto",
    samples: Annotated[int | None, _novelty("Draw N samples: what is new, what was copied?", "N")] = None,
    temp: Annotated[float | None, _novelty("Of the samples (default: 0.8).", "X")] = None,
    length: Annotated[int | None, _novelty("Characters of a sample (default: 500; a line: up to 1000).", "N")] = None,
    seed: Annotated[int | None, _novelty("Of the samples (default: 1).", "N")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Bits per character of a run on its test text, a file or a text, beside n-grams and xz; or what it copies."""
    if samples is not None:
        if file is not None or text is not None or split is not None:
            raise SettingsError(
                "--samples looks at what the model writes, and scores no text: leave out --file, --text, --split"
            )
        from charrnn.cli.novelty_view import examine_and_show

        question = {"count": samples, "temperature": temp, "length": length, "seed": seed}
        return examine_and_show(run, question, json=json)
    for name, value in (("--temp", temp), ("--length", length), ("--seed", seed)):
        if value is not None:
            raise SettingsError(f"{name} is for --samples; add --samples 1000")
    given = [name for name, value in (("--file", file), ("--text", text), ("--split", split)) if value is not None]
    if len(given) > 1:
        raise SettingsError(f"{' and '.join(given)} both say what to score; give one")
    if protocol not in ("stateful", "windowed"):
        raise SettingsError(f"--protocol {protocol!r}: choose stateful or windowed")
    if not 1 <= window <= 1 << 20:
        raise SettingsError(f"--window {window}: must be between 1 and {1 << 20:,}")
    if unknown not in ("error", "skip", "replace"):
        raise SettingsError(f"--unknown {unknown!r}: choose error, skip or replace")
    if split not in (None, "train", "val", "test"):
        raise SettingsError(f"--split {split!r}: choose train, val or test")

    from charrnn.insight import scoring
    from charrnn.modelfile import newest_run, read_model

    model_file = read_model(run or newest_run(Path("runs")))
    how = scoring.How(protocol, window, unknown, device)
    if file is None and text is None:
        result = scoring.score_split(model_file, split, how, baselines, lambda note: typer.echo(note, err=True))
    else:
        asked = {"encoding": encoding or model_file.settings.text.encoding, "errors": errors}
        settings, _ = resolve([("--", dataclasses.asdict(model_file.settings.text) | asked)])
        result = scoring.score_given(model_file, file, text, settings.text, how)
    result = {"schema": 1, "run": str(model_file.path), "step": model_file.meta.get("step")} | result
    if json:
        from charrnn.storage import json_line

        write_stdout([json_line(result).encode() + b"\n"], raw=True)
    else:
        _show(result)


def _show(result: dict[str, Any]) -> None:
    from charrnn.progress import print_table

    what = result["file"] if result.get("file") else f"{result['split']} text" if result["split"] else "the given text"
    protocol = f"windows of {result['window']}" if result["window"] else result["protocol"]
    rows = [
        ["this run", f"{result['bits_per_char']:.4f}", f"{result['nats_per_char']:.4f}", f"{result['perplexity']:.3f}"]
    ]
    names = {
        "ngram": "5-gram (Witten-Bell)",
        "unigram": "unigram",
        "uniform": "uniform",
        "xz": "xz, after the training text",
    }
    for name, bits in sorted(result["baselines"].items(), key=lambda item: item[1]):
        nats = bits * math.log(2)
        rows.append([names.get(name, name), f"{bits:.4f}", f"{nats:.4f}", f"{2**bits:.3f}"])
    title = f"{result['run']} on {what}: {result['chars']:,} characters, {protocol}"
    print_table(title, ["", "bits/char", "nats/char", "perplexity"], rows)
