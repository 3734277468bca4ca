"""charrnn eval --samples: what insight.novelty found, as JSON or as tables for a person. Never loads torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from charrnn.terminal import one_line, print_line, write_stdout

SHOWN = 70  # characters of a text in a table


def examine_and_show(run: Path | None, asked: dict[str, Any], *, json: bool) -> None:
    """asked: the fields of insight.novelty.Question, None where nothing was. Raises CharrnnError."""
    from charrnn.insight.copies import Question, examine
    from charrnn.modelfile import newest_run, read_model
    from charrnn.texts import OpenedRun

    question = Question(**{name: value for name, value in asked.items() if value is not None})
    model = read_model(run or newest_run(Path("runs")))
    found = examine(OpenedRun(model), question, lambda text: typer.echo(text, err=True))
    if json:
        from charrnn.storage import json_line

        result = {
            "schema": 1,
            "run": str(model.path),
            "step": model.meta.get("step"),
            "novelty": found,
        }
        write_stdout([json_line(result).encode() + b"\n"], raw=True)
    else:
        show(str(model.path), found)


def show(run: str, found: dict[str, Any]) -> None:
    """Tables on stdout, and one line of verdict; warnings on stderr."""
    from charrnn.progress import print_table

    split = f"{found['held_out']['split']} text"
    title = (
        f"{run}: {found['samples']:,} samples, {found['chars']:,} characters, temperature {found['temperature']:g}, seed "
        f"{found['seed']}; beside {found['held_out']['pieces']:,} pieces of the {split}, "
        f"{found['held_out']['chars']:,} characters"
    )
    print_table(title, ["", "samples", split], _shares(found))
    for line in texts_of(found):
        print_line(line)
    temperatures, rows = _by_temperature(found)
    other = found["other_temperatures"]
    samples = "1 sample" if other["samples"] == 1 else f"{other['samples']:,} samples"
    size = f" (others than {found['temperature']:g}: {samples} of at most {other['length']:,} characters)"
    is_less = (other["samples"], other["length"]) != (found["samples"], found["length"])
    print_table(f"\nby temperature{size if is_less else ''}", ["", *temperatures, split], rows)
    print_line(_entropy(found["entropy"]))
    print_line(verdict(found))
    for warning in found["warnings"]:
        typer.echo(f"warning: {warning}", err=True)


def verdict(found: dict[str, Any]) -> str:
    """`verdict: no sign of copying: 2.1 % ...`"""
    lines, run = found["lines"], found["longest_run"]["samples"]
    facts = []
    if lines["lines"]:
        what = "samples" if found["mode"] == "lines" else "whole lines"
        expected = lines["expected_in_train"]
        beside = f"held-out text: {_percent(lines['held_out_in_train'])}"
        if expected is not None:
            beside = (
                f"{_percent(expected['share'])} if they were written as often as held-out lines"
            )
        facts.append(f"{_percent(lines['in_train'])} of the {what} are training lines ({beside})")
    longest = found["longest_run"]["held_out"]
    if run:
        facts.append(
            f"the longest run has {run['chars']:,} characters (held-out text: {longest['chars'] if longest else 0:,})"
        )
    copies = any(warning.startswith("copies") for warning in found["warnings"])
    said = "copies" if copies else found["doubt"] or "no sign of copying"
    return f"verdict: {said}: {'; '.join(facts) or 'nothing was written'}"


def _shares(found: dict[str, Any]) -> list[list[str]]:
    lines = found["lines"]
    what = "samples" if found["mode"] == "lines" else "whole lines"
    rows = [[f"{what} looked at", f"{lines['lines']:,}", f"{lines['held_out_lines']:,}"]]
    if lines["lines"]:
        rows.append(
            [
                "  in the training text",
                _percent(lines["in_train"]),
                _percent(lines["held_out_in_train"]),
            ]
        )
        rows += [
            [f"  in the {name} text", _percent(lines[f"in_{name}"]), ""] for name in ("val", "test")
        ]
        rows += [
            ["  nowhere: new", _percent(lines["new"]), ""],
            ["  repeats", _percent(lines["repeated"]), ""],
        ]
    longest = [found["longest_run"][name] for name in ("samples", "held_out")]
    rows.append(
        [
            "longest run of the training text, characters",
            *(f"{one['chars']:,}" if one else "0" for one in longest),
        ]
    )
    for n, both in found["ngrams_in_training"].items():
        if both["samples"] is not None:
            rows.append(
                [
                    f"{n}-grams in the training text",
                    _percent(both["samples"]),
                    _percent(both["held_out"]),
                ]
            )
    for name, both in found["distinct"].items():
        if name != "chars" and both["samples"] is not None:
            unit, n = name.split("_")
            gram = {"words1": "words", "words2": "pairs of words"}.get(unit + n, f"{n}-grams")
            rows.append(
                [
                    f"different {gram} of {found['distinct']['chars']:,} characters",
                    _percent(both["samples"]),
                    _percent(both["held_out"]),
                ]
            )
    nearest = found["nearest"]
    if nearest and nearest["samples"]["lines"]:
        for key, label, form in (
            (
                "one_edit",
                f"new lines one edit from a training line (of {nearest['samples']['lines']})",
                _percent,
            ),
            ("median_edits", "edits to the nearest training line, median", str),
        ):
            rows.append([label, *(form(nearest[each][key]) for each in ("samples", "held_out"))])
    return rows


def texts_of(found: dict[str, Any]) -> list[str]:
    """Where the longest run comes from, and new lines beside the training lines nearest to them."""
    shown = []
    run = found["longest_run"]["samples"]
    if run:
        place = (
            ""
            if found["mode"] == "lines"
            else f", line {run['line']:,} of {one_line(run['text_name'])}, column {run['column']:,}"
        )
        shown = [
            f"longest run, in sample {run['sample'] + 1:,}{place}:",
            f"  {_short(run['text'])}",
        ]
        if run["source"] != run["text"]:
            shown.append(f"  of {_short(run['source'])}")
    examples = found["nearest"]["samples"]["examples"] if found["nearest"] else []
    if examples:
        shown.append("new lines <- the nearest training line (edits):")
        shown += [
            f"  {_short(one['text'])} <- {_short(one['nearest'])} ({one['edits']})"
            for one in examples
        ]
    return shown


def _by_temperature(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    nats = found["entropy"]["nats_per_char"]
    val = found["entropy"]["val_nats_per_char"]
    rows = [
        [
            "nats a character",
            *(f"{value:.2f}" for value in nats.values()),
            "" if val is None else f"{val:.2f} (val)",
        ]
    ]
    names = {
        "crossed": "brackets that cross",
        "environments": "\\begin and \\end with a partner",
        "environments_closed": "environments that close",
        "functions": "functions that balance",
        "words": "words of the training text",
    } | {sign: f"paragraphs with {sign} paired" for sign in '"$'}
    for name, each in found["structure"].items():
        cells = [_percent(one["share"]) for one in each["by_temperature"].values()]
        rows.append([names.get(name, f"{name} with a partner"), *cells, _percent(each["held_out"])])
    return list(nats), rows


def _entropy(entropy: dict[str, Any]) -> str:
    val, temperature = entropy["val_nats_per_char"], entropy["matching_temperature"]
    if val is None:
        return "this file does not say its validation loss, so no temperature can be matched to it"
    if temperature is None:
        return f"at none of these temperatures are samples as surprising to the model as real text ({val:.2f} nats)"
    return f"at temperature {temperature:.2f} samples are as surprising to the model as real text ({val:.2f} nats)"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _short(text: str) -> str:
    shown = one_line(text)
    return shown if len(shown) <= SHOWN else shown[: SHOWN - 4] + " ..."
