"""charrnn eval: bits per character of a run, beside counting and compressors; or what its samples copy."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.config import finite, resolve
from charrnn.errors import SettingsError
from charrnn.terminal import one_line, write_stdout

SHOWN_CHARS = 1000  # rows of --per-char for people
SHOWN_LINE = 66  # characters of a line beneath the table
SMOOTHINGS = {"kneser-ney": "Kneser-Ney", "witten-bell": "Witten-Bell"}
NAMES = {
    "unigram": "unigram",
    "uniform": "uniform",
    **{name: f"{name}, after the training text" for name in ("xz", "bz2", "zlib")},
}


def _what(help: str) -> Any:
    return typer.Option(help=help, rich_help_panel="What", show_default=False)


def _how(help: str, metavar: str | None = None) -> Any:
    return typer.Option(help=help, metavar=metavar, rich_help_panel="How", show_default=False)


def _show_option(name: str, help: str) -> Any:
    return typer.Option(name, help=help, rich_help_panel="Output")


def _novelty(help: str, metavar: str) -> Any:
    return typer.Option(help=help, metavar=metavar, rich_help_panel="Novelty", show_default=False)


Run = Annotated[
    Path | None,
    typer.Argument(
        help="A run directory, a model or a checkpoint (default: the newest under runs/).",
        show_default=False,
    ),
]


def evaluate(
    run: Run = None,
    file: Annotated[Path | None, _what("Score this file; - is standard input.")] = None,
    text: Annotated[str | None, _what("Score this text.")] = None,
    split: Annotated[
        str | None, _what("Score train, val or test (default: test if there is one, else val).")
    ] = None,
    protocol: Annotated[
        str | None,
        _how(
            "stateful (one stream) or windowed (each window from an empty state); default: stateful."
        ),
    ] = None,
    window: Annotated[int | None, _how("Characters of a window (default: 256).")] = None,
    cache: Annotated[
        int,
        _how("Beside it: the model looks back on the last N characters, e.g. 2000 (streams).", "N"),
    ] = 0,
    dynamic: Annotated[
        bool,
        typer.Option(
            "--dynamic",
            help="Beside it: the model learns on as it reads (streams).",
            rich_help_panel="How",
        ),
    ] = False,
    dynamic_lr: Annotated[float | None, _how("Its learning rate (default: 0.2).")] = None,
    unknown: Annotated[
        str | None,
        _how("Characters the model does not know: error, skip or replace (default: error)."),
    ] = None,
    encoding: Annotated[str | None, _how("Encoding of --file (default: the corpus's).")] = None,
    errors: Annotated[
        str | None, _how("Bytes of --file that do not decode: strict or replace (default: strict).")
    ] = None,
    baselines: Annotated[
        bool | None,
        typer.Option(
            "--baselines/--no-baselines",
            help="Score counting and compressors too (default: yes).",
            rich_help_panel="How",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str | None, _how("auto, cpu, cuda, cuda:N or mps (default: auto).")] = None,
    samples: Annotated[
        int | None, _novelty("Draw N samples: what is new, what was copied?", "N")
    ] = None,
    temp: Annotated[float | None, _novelty("Of the samples (default: 0.8).", "X")] = None,
    length: Annotated[
        int | None, _novelty("Characters of a sample (default: 500; a line: up to 1000).", "N")
    ] = None,
    seed: Annotated[int | None, _novelty("Of the samples (default: 1).", "N")] = None,
    per_char: Annotated[
        bool, _show_option("--per-char", "What each character cost, its rank, and the first guess.")
    ] = False,
    rank: Annotated[
        bool, _show_option("--rank", "Each line from an empty state, the likeliest first.")
    ] = False,
    json: Annotated[
        bool, _show_option("--json", "Strict JSON, one object a line, on standard output.")
    ] = False,
) -> None:
    """Bits per character of a run on its test text, a file or a text, beside counting and compressors; or what it copies."""
    if dynamic_lr is not None:
        finite(dynamic_lr, "--dynamic-lr", above=0)
        dynamic = True
    shows = (("--samples", samples is not None), ("--per-char", per_char), ("--rank", rank))
    asked = [name for name, is_wanted in shows if is_wanted]
    beside = [
        name for name, is_wanted in (("--cache", cache != 0), ("--dynamic", dynamic)) if is_wanted
    ]
    if asked and beside:
        what = f"{' and '.join(beside)} {'is a figure' if len(beside) == 1 else 'are figures'} beside the score"
        raise SettingsError(f"{what}, which {asked[0]} does not show; leave one out")
    if len(asked) > 1:
        raise SettingsError(f"{' and '.join(asked)} show different things; give one")
    of_a_given_text = {"--unknown": unknown, "--encoding": encoding, "--errors": errors}
    if samples is not None:
        scoring_only = {
            "--file": file,
            "--text": text,
            "--split": split,
            "--protocol": protocol,
            "--window": window,
            "--device": device,
            "--no-baselines": baselines,
            **of_a_given_text,
        }
        _refuse(scoring_only, "--samples looks at what the model writes, and scores no text")
        from charrnn.cli.novelty_view import examine_and_show

        question = {"count": samples, "temperature": temp, "length": length, "seed": seed}
        return examine_and_show(run, question, json=json)
    for name, value in (("--temp", temp), ("--length", length), ("--seed", seed)):
        if value is not None:
            raise SettingsError(f"{name} is for --samples; add --samples 1000")
    given = [
        name
        for name, value in (("--file", file), ("--text", text), ("--split", split))
        if value is not None
    ]
    if len(given) > 1:
        raise SettingsError(f"{' and '.join(given)} both say what to score; give one")
    if protocol not in (None, "stateful", "windowed"):
        raise SettingsError(f"--protocol {protocol!r}: choose stateful or windowed")
    if protocol != "windowed":
        _refuse({"--window": window}, "windows are for --protocol windowed")
    if file is None and text is None:
        _refuse(of_a_given_text, "the run's own text is read already")
    if file is None:
        _refuse({"--encoding": encoding, "--errors": errors}, "these are for --file")
    if window is not None and not 1 <= window <= 1 << 20:
        raise SettingsError(f"--window {window}: must be between 1 and {1 << 20:,}")
    if unknown not in (None, "error", "skip", "replace"):
        raise SettingsError(f"--unknown {unknown!r}: choose error, skip or replace")
    if split not in (None, "train", "val", "test"):
        raise SettingsError(f"--split {split!r}: choose train, val or test")

    from charrnn.modelfile import newest_run, read_model
    from charrnn.scoring import evaluation as scoring
    from charrnn.texts import OpenedRun

    model_file = read_model(run or newest_run(Path("runs")))
    opened = OpenedRun(model_file)
    how = scoring.How(
        protocol or "stateful", window or 256, device or "auto", dynamic, dynamic_lr, cache
    )
    if file is None and text is None:
        scored = scoring.text_of_split(opened, split)
    else:
        given_text = {
            "encoding": encoding or model_file.settings.text.encoding,
            "errors": errors or "strict",
        }
        settings, _ = resolve([("--", dataclasses.asdict(model_file.settings.text) | given_text)])
        scored = scoring.text_given(opened, file, text, settings.text, unknown or "error")
    if per_char:
        rows = scoring.characters_of(model_file, scored, how)
        _write_json(rows) if json else _show_characters(rows)
        return
    if rank:
        rows = scoring.lines_of(model_file, scored, how)
        numbered = ({"rank": place} | row for place, row in enumerate(rows, 1))
        _write_json(numbered) if json else write_stdout(_ranking(rows), raw=True)
        return
    result = scoring.evaluated(
        opened, scored, how, baselines is not False, lambda note: typer.echo(note, err=True)
    )
    result = {"run": str(model_file.path), "step": model_file.meta.get("step")} | result
    _write_json([result]) if json else _show(result)


def _refuse(options: dict[str, Any], why: str) -> None:
    """Raises SettingsError for options that were given and would do nothing."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise SettingsError(
            f"{' and '.join(given)}: {why}; leave {'it' if len(given) == 1 else 'them'} out"
        )


def _write_json(objects: Iterable[dict[str, Any]]) -> None:
    from charrnn.storage import json_line

    write_stdout((json_line({"schema": 1} | one).encode() + b"\n" for one in objects), raw=True)


def _ranking(rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    return (f"{row['bits_per_char']:8.4f}  {one_line(row['text'])}\n".encode() for row in rows)


def _show_characters(rows: Iterator[dict[str, Any]]) -> None:
    from charrnn.progress import print_facts, print_table

    shown, cells = list(itertools.islice(rows, SHOWN_CHARS)), []
    for row in shown:
        cells.append(
            [
                f"{row['place']:,}",
                _quoted(row["char"], row["code"]),
                f"{row['bits']:.3f}",
                f"{row['probability']:.2%}",
            ]
        )
        if row["rank"]:
            guess = _quoted(row["guess"], row["guess_code"])
            cells[-1] += [f"{row['rank']:,}", guess, f"{row['guess_probability']:.2%}"]
    print_table(
        "What each character cost, given those before it",
        ["place", "char", "bits", "probability", "rank", "guess", "probability"],
        cells,
    )
    bits = sum(row["bits"] for row in shown) / len(shown)
    more = "; the text goes on, --json gives all of it" if next(rows, None) else ""
    print_facts([(f"{len(shown):,} characters", f"{bits:.4f} bits/char{more}")])


def _quoted(char: str, code: int) -> str:
    if char == "\ufffd" and code < 256:  # a byte that is no character by itself
        return f"0x{code:02x}"
    return repr(char) if char.isprintable() or char in "\n\t" else f"'{one_line(char)}'"


def _show(result: dict[str, Any]) -> None:
    from charrnn.progress import print_facts, print_table

    what = (
        ("standard input" if result["file"] == "-" else one_line(result["file"]))
        if result["file"]
        else f"{result['split']} text"
        if result["split"]
        else "the given text"
    )
    protocol = f"windows of {result['window']}" if result["window"] else result["protocol"]
    model = result["model"]
    this = (
        f"this run ({model['order']}-gram, {SMOOTHINGS[model['smoothing']]})"
        if model["cell"] == "ngram"
        else "this run"
    )
    rows = [[this, *_cells(result["bits_per_char"])]]
    if result["cache"]:
        rows.append(
            [
                f"this run, with a cache of {result['cache']['length']:,}",
                *_cells(result["cache"]["bits_per_char"]),
            ]
        )
    if result["dynamic"]:
        rows.append(
            ["this run, learning on as it reads", *_cells(result["dynamic"]["bits_per_char"])]
        )
    unseen = result["unseen"]
    if unseen and result["overlap"]["duplicate_lines"]:
        are = "line that is new" if unseen["lines"] == 1 else "lines that are new"
        rows.append(
            [f"this run, on the {unseen['lines']:,} {are}", *_cells(unseen["bits_per_char"])]
        )
        if unseen["ngram"] is not None:
            rows.append([f"{unseen['ngram_order']}-gram, on those lines", *_cells(unseen["ngram"])])
    names = NAMES | (
        {"ngram": f"{result['ngram']['order']}-gram ({SMOOTHINGS[result['ngram']['smoothing']]})"}
        if result["ngram"]
        else {}
    )
    for name, bits in sorted(result["baselines"].items(), key=lambda item: item[1]):
        rows.append([names[name], *_cells(bits)])
    title = (
        f"{one_line(result['run'])} on {what}: {result['chars']:,} predicted characters, {protocol}"
    )
    print_table(title, ["", "bits/char", "nats/char", "perplexity"], rows)
    print_facts(_facts(result))
    _show_lines(result)


def _cells(bits: float) -> list[str]:
    return [f"{bits:.4f}", f"{bits * math.log(2):.4f}", f"{2 ** min(bits, 1000.0):.3f}"]


def _facts(result: dict[str, Any]) -> list[tuple[str, str]]:
    """What must stand beside the figure for somebody else to quote it."""
    from charrnn.scoring.overlap import described

    data, interval, overlap = result["data"], result["interval"], result["overlap"]
    facts = [("bytes", f"{result['bits_per_byte']:.4f} bits/byte")]
    if interval:
        low, high = interval["bits_per_char"]
        unit = "lines" if interval["unit"] == "line" else f"blocks of {interval['unit']}"
        facts.append(
            (
                "95 %",
                f"{low:.4f} to {high:.4f} bits/char: bootstrap over {interval['units']:,} {unit}",
            )
        )
    if result["gain_over_ngram"]:
        facts.append(
            ("counting", _against_counting(result["gain_over_ngram"], result["ngram"]["order"]))
        )
    for title, name in (("cache", "cache"), ("learning on", "dynamic")):
        if result[name]:
            facts.append((title, _gain(name, result[name], result["ngram"])))
    facts.append(("data", f"{one_line(data['name'])}, sha256 {data['sha256'][:16]}"))
    if result["split_rule"]:
        facts.append(("split", one_line(result["split_rule"])))
    if overlap:
        facts.append(("overlap", described(overlap)))
    facts += [("note", note) for note in result["notes"]]
    return facts + [("warning", warning) for warning in result["warnings"]]


def _gain(name: str, beside: dict[str, Any], ngram: dict[str, Any] | None) -> str:
    """What another way to read the text gains."""
    gained = beside["gain_nats_per_char"]
    text = f"{'gains' if gained >= 0 else 'loses'} {abs(gained):.4f} nats/char"
    if name == "dynamic":
        text += f": SGD, lr {beside['lr']:g}, every {beside['segment']} characters"
    if beside["gain_over_ngram"] and ngram:
        text += f"; {_against_counting(beside['gain_over_ngram'], ngram['order'])}"
    return text


def _against_counting(gain: dict[str, Any], order: int) -> str:
    """Is it better than the n-gram, and is that more than chance?"""
    bits = gain["bits_per_char"]
    text = f"{abs(bits):.4f} bits/char {'better' if bits > 0 else 'worse'} than the {order}-gram"
    if gain["interval"] is None:
        return text
    low, high = gain["interval"]["bits_per_char"]
    sure = "" if low > 0 or high < 0 else ": no difference that this text could tell"
    return f"{text} (95 %: {low:+.4f} to {high:+.4f}){sure}"


def _show_lines(result: dict[str, Any]) -> None:
    """A few lines of a file: the likeliest, and the least likely."""
    for name, title in (("likeliest", "likeliest lines"), ("least_likely", "least likely lines")):
        lines = result.get(name)
        if lines:
            short = ({**line, "text": _cut(line["text"])} for line in lines)
            write_stdout([f"{title}, bits/char\n".encode(), *_ranking(short)], raw=True)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_LINE else text[: SHOWN_LINE - 3] + "..."
