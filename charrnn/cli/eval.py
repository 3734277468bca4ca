"""charrnn eval: bits per character of a run, beside counting and a compressor."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.errors import CheckpointError, CorpusError, SettingsError
from charrnn.terminal import write_stdout


def _what(help: str) -> Any:
    return typer.Option(help=help, rich_help_panel="What", show_default=False)


def _how(help: str) -> Any:
    return typer.Option(help=help, rich_help_panel="How")


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
    baselines: Annotated[bool, _how("Score counting and xz too.")] = True,
    device: Annotated[str, _how("auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Bits per character of a run on its test text, a file or a text, beside n-grams and xz."""
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

    from charrnn.modelfile import newest_run, read_model

    model_file = read_model(run or newest_run(Path("runs")))
    if file is not None or text is not None:
        result = _score_given(model_file, file, text, protocol, window, unknown, device)
    else:
        result = _score_split(model_file, split, protocol, window, baselines, device)
    result = {"schema": 1, "run": str(model_file.path), "step": model_file.meta.get("step")} | result
    if json:
        from charrnn.storage import json_line

        write_stdout([json_line(result).encode() + b"\n"], raw=True)
    else:
        _show(result)


def _score_split(
    model_file: Any, split: str | None, protocol: str, window: int, with_baselines: bool, device: str
) -> dict[str, Any]:
    from charrnn.insight.evaluate import baselines, evaluate_ids, evaluate_lines
    from charrnn.text.corpus import open_corpus

    if model_file.run is None or "fingerprint" not in model_file.meta:
        raise CheckpointError(f"{model_file.path} lies in no run directory with its text; pass --file or --text")
    corpus = open_corpus(model_file.run / "corpus", model_file.meta["fingerprint"])
    if corpus.vocabulary != model_file.vocabulary:
        raise CheckpointError(f"{model_file.run}/corpus is not the text of this model; pass --file or --text")
    chosen = split or ("test" if len(corpus.split("test")) else "val")
    ids = corpus.split(chosen)
    if len(ids) < 2:
        raise CorpusError(f"this run has no {chosen} text to score; choose another --split or pass --file")
    model, torch_device = _build(model_file, device)
    if corpus.mode == "lines":
        protocol = "lines"
        score = evaluate_lines(model, ids, model_file.vocabulary.newline, torch_device)
    else:
        score = evaluate_ids(model, ids, torch_device, protocol=protocol, window=window)
    against = baselines(corpus, chosen, lambda note: typer.echo(note, err=True)) if with_baselines else {}
    return _figures(score) | {
        "split": chosen, "protocol": protocol, "window": window if protocol == "windowed" else None, "baselines": against,
        "corpus": corpus.name, "fingerprint": corpus.fingerprint,
    }  # fmt: skip


def _score_given(
    model_file: Any, file: Path | None, text: str | None, protocol: str, window: int, unknown: str, device: str
) -> dict[str, Any]:
    import numpy as np

    from charrnn.insight.evaluate import evaluate_ids, evaluate_lines
    from charrnn.text.reading import encode_file, encode_text

    settings = model_file.settings.text
    if file is not None:
        ids = encode_file(file, settings, model_file.vocabulary, unknown)
    else:
        ids = encode_text(text or "", settings, model_file.vocabulary, unknown, "--text")
    model, torch_device = _build(model_file, device)
    if model_file.mode == "lines":
        protocol = "lines"
        newline = model_file.vocabulary.newline
        score = evaluate_lines(model, np.append(ids, newline).astype(ids.dtype), newline, torch_device)
    else:
        score = evaluate_ids(model, ids, torch_device, protocol=protocol, window=window)
    if not score.chars:
        raise CorpusError(
            "there is nothing to score: a stream needs at least two characters the model knows, lines at least one"
        )
    return _figures(score) | {
        "split": None, "file": str(file) if file else None, "protocol": protocol,
        "window": window if protocol == "windowed" else None, "baselines": {},
    }  # fmt: skip


def _build(model_file: Any, device_name: str) -> tuple[Any, Any]:
    import dataclasses

    import torch

    from charrnn.config import RuntimeSettings
    from charrnn.model.charmodel import CharModel
    from charrnn.training import runtime

    settings = dataclasses.replace(RuntimeSettings(), device=device_name)
    device = runtime.prepare(settings)
    backend = runtime.choose_backend(settings, model_file.settings.model.cell, device)
    model = CharModel(model_file.settings.model, len(model_file.vocabulary), backend)
    model.load_tensors({name: torch.from_numpy(value) for name, value in model_file.tensors.items()})
    return model.to(device).eval(), device


def _figures(score: Any) -> dict[str, Any]:
    names = ("nats_per_char", "bits_per_char", "perplexity", "chars")
    return {name: getattr(score, name) for name in names}


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
