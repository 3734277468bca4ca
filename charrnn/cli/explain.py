"""charrnn explain: a cell's equations, a model's matrices and work, and one step in numbers; text, LaTeX or JSON."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from charrnn.cli.options import TEXT, argument, option, switch
from charrnn.cli.train import setting_option
from charrnn.config import FIELDS, ModelSettings, Settings, flag, resolve
from charrnn.errors import SettingsError
from charrnn.terminal import one_line, visible, write_stdout
from charrnn.values import nearest

if TYPE_CHECKING:
    import numpy as np

    from charrnn.config import ModelSettings
    from charrnn.insight.explain import Step

CELLS = ("rnn", "lstm", "gru", "gru-before")
COLUMNS = 80
SIZES = "Without a run"
FOR_NAMES = "as train chooses for names"


def explain(
    what: Annotated[
        str | None,
        argument("CELL", f"{', '.join(CELLS)}; or a run, whose cell is explained", "gru"),
    ] = None,
    run: Annotated[
        Path | None,
        argument("RUN", "A run directory, a model or a checkpoint: its sizes and weights", "none"),
    ] = None,
    hidden_size: Annotated[str | None, setting_option("hidden_size", SIZES, FOR_NAMES)] = None,
    num_layers: Annotated[str | None, setting_option("num_layers", SIZES, FOR_NAMES)] = None,
    embedding_size: Annotated[
        str | None, setting_option("embedding_size", SIZES, FOR_NAMES)
    ] = None,
    skip: Annotated[str | None, setting_option("skip", SIZES)] = None,
    tie_weights: Annotated[
        bool,
        switch("--tie-weights", help=FIELDS["tie_weights"][1].metadata["help"], panel=SIZES),
    ] = False,
    text: Annotated[
        str | None,
        option(
            "--text",
            help="With a run: show the step on the last character of this text",
            metavar=TEXT,
            default="what the model writes first",
        ),
    ] = None,
    latex: Annotated[bool, switch("--latex", help="Print only the equations, as LaTeX")] = False,
    json: Annotated[
        bool, switch("--json", help="Print one JSON object on standard output")
    ] = False,
) -> None:
    """Explain a cell by its equations, shapes and one step in numbers

    With its parameters, its work, and the names that PyTorch gives to the matrices.
    """
    cell, run = _cell_and_run(what, run)
    asked = {
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "embedding_size": embedding_size,
        "skip": skip,
        "tie_weights": tie_weights or None,
    }
    given = [flag(key) for key, value in asked.items() if value is not None]
    if latex and json:
        raise SettingsError(
            "--latex and --json both write to standard output; give one (--json has the LaTeX too)"
        )
    if run is not None and given:
        raise SettingsError(
            f"{' and '.join(given)}: a run has its own sizes; leave out the run or the sizes"
        )
    if run is None and text is not None:
        raise SettingsError("--text is read by a run's model; name a run, or leave it out")
    settings, _ = resolve([("--", {"cell": cell} | asked)])

    from charrnn.insight import explain as explained

    if run is None:
        model, vocabulary_size = _default_settings(settings)
        if model.tie_weights and (
            model.hidden_size != model.embedding_size or model.skip == "dense"
        ):
            raise SettingsError(
                "--tie-weights: make --embedding-size equal to --hidden-size, without --skip dense"
            )
    else:
        file = explained.run_model(run, cell)
        model, vocabulary_size = file.settings.model, len(file.vocabulary)
    if latex:
        return write_stdout([f"{explained.latex(model.cell)}\n".encode()])
    if run is None:
        weights, step = explained.small_step(model.cell)
        about: dict[str, Any] = {
            "of": "small",
            "weights": {name: value.tolist() for name, value in weights.items()},
        }
        origin = "as charrnn train makes it for names" if not given else "sizes as asked"
        told = (
            "a network of two units whose weights have one decimal",
            _matrices_in_numbers(model.cell, weights),
        )
    else:
        read, step = explained.step_of_model(file, text)
        about = {"of": str(file.path), "text": read}
        origin = f"{one_line(str(run))}, step {file.meta.get('step', 0):,}"
        told = (f"layer 0 of this model reads {_quoted(read[-1])}, after {_quoted(read[:-1])}", [])
    if json:
        from charrnn.storage import json_line

        found = {"schema": 1} | explained.as_dict(model, vocabulary_size, step, about)
        return write_stdout([json_line(found).encode() + b"\n"], raw=True)
    lines = [
        *_overview(model, vocabulary_size, origin),
        "",
        *_equations(model),
        "",
        *_parameters(model, vocabulary_size),
        "",
        *_work(model, vocabulary_size),
        "",
        f"One step in numbers: {told[0]}",
        *told[1],
        *_in_numbers(model.cell, step),
    ]
    write_stdout(f"{line}\n".encode("utf-8", "replace") for line in lines)


def _cell_and_run(what: str | None, run: Path | None) -> tuple[str | None, Path | None]:
    """Which cell is asked for, and of which run. Raises SettingsError for a word that is neither."""
    if what is None or what in CELLS:
        return what, run
    if run is not None:
        raise SettingsError(
            f"{one_line(what)!r} is not one of {', '.join(CELLS)}{nearest(what, CELLS)}"
        )
    if not Path(what).exists():
        raise SettingsError(
            f"{one_line(what)!r} is neither one of {', '.join(CELLS)} nor a run{nearest(what, CELLS)}"
        )
    return None, Path(what)


def _overview(model: ModelSettings, vocabulary_size: int, origin: str) -> Iterator[str]:
    layers = f"{model.num_layers} layer{'s' if model.num_layers != 1 else ''}"
    yield f"{model.cell}: {layers} of {model.hidden_size} units, {vocabulary_size} characters ({visible(origin)})"
    names = (
        "h, C  the state before the step"
        if model.cell == "lstm"
        else "h  the state before the step"
    )
    yield f"x  the character's embedding ({model.embedding_size})   {names} ({model.hidden_size} each)"
    yield "∘  unit by unit   [h, x]  one above the other   '  after the step"
    if model.num_layers != 1:
        yield "The layers above the first read the h' of the layer below in place of x."
    if model.skip == "residual":
        yield "Skips: a layer's output is added to its input, where both are as wide."
    if model.skip == "dense":
        yield "Skips: all above reads the embedding and every h' below, side by side."
    drops = [
        f"{share:.0%} of {what}"
        for share, what in ((model.dropout, "each layer's h'"), (model.weight_drop, "W on h"))
        if share
    ]
    if drops:
        yield f"Training leaves out {' and '.join(drops)}, others at each update."


def _equations(model: ModelSettings) -> Iterator[str]:
    from charrnn.insight.explain import equations

    found = equations(model.cell)
    width = max(_width(right) for _, right, _ in found)
    for left, right, role in found:
        yield f"  {_padded(left, 7)} = {_padded(right, width)}   {role}"
    if model.cell == "gru":
        yield "r acts after the product, as in torch.nn.GRU; the lecture's is gru-before."
    if model.cell == "gru-before":
        yield "r acts before the product, as in the lecture; torch.nn.GRU is gru here."


def _parameters(model: ModelSettings, vocabulary_size: int) -> Iterator[str]:
    from charrnn.insight.explain import matrices

    found = matrices(model, vocabulary_size)
    shape, numbers = (
        max(len(text) for text in column)
        for column in (
            [each.shape for each in found],
            [f"{each.numbers:,}" for each in found] + ["numbers"],
        )
    )
    total = f"{sum(each.numbers for each in found):,}"
    yield f"{'matrix':9}  {'shape':{shape}}  {'numbers':>{numbers}}  in PyTorch"
    for each in found:
        yield f"{each.name:9}  {each.shape:{shape}}  {each.numbers:>{numbers},}  {each.torch}"
    yield f"{'total':9}  {'':{shape}}  {total:>{numbers}}"
    yield "{hh,ih}: the part on h lies in hh, that on x in ih; both biases add up."
    if model.cell.startswith("gru"):
        yield "-z: PyTorch's z is 1 - u, so its rows have the opposite sign."


def _work(model: ModelSettings, vocabulary_size: int) -> Iterator[str]:
    from charrnn.insight.explain import RULE, flops_per_char

    forward = flops_per_char(model, vocabulary_size)
    yield f"FLOPs per character: {forward:,} forward, {3 * forward:,} forward and backward"
    yield from textwrap.wrap(f"({RULE})", COLUMNS)


def _matrices_in_numbers(cell: str, weights: dict[str, np.ndarray]) -> list[str]:
    """The small example's matrices in the lecture's form, a row a unit: on h | on x, and the bias."""
    from charrnn.insight.explain import GATES, SMALL_HIDDEN

    lines = []
    for gate in GATES[cell]:
        for unit in range(SMALL_HIDDEN):
            row = gate.block * SMALL_HIDDEN + unit
            on_h, on_x = (
                _decimals(gate.sign * weights[name][row]) for name in ("weight_hh", "weight_ih")
            )
            first, second = (
                gate.sign * weights[name][row] + 0.0 for name in ("bias_ih", "bias_hh")
            )
            if cell == "gru" and gate.letter == "h":
                rest = f"U_h [{on_h}]  W_h [{on_x}]   b_h {first:4.1f}  d_h {second:4.1f}"
            else:
                rest = f"{gate.named('W'):3} [{on_h} | {on_x}]   {gate.named('b'):3} {first + second:4.1f}"
            lines.append(f"  unit {unit}  {rest}")
    return lines


def _decimals(row: np.ndarray) -> str:
    return " ".join(f"{value + 0.0:4.1f}" for value in row)


def _in_numbers(cell: str, step: Step) -> Iterator[str]:
    """The state before, every gate of the first units, and the state after."""
    from charrnn.insight.explain import GATES, SHOWN_UNITS

    units = range(min(SHOWN_UNITS, len(step.h)))
    more = "" if len(step.h) == len(units) else " ..."
    for name, values in (("x", step.x), ("h", step.h), ("C", step.c)):
        if values is not None:
            shown = " ".join(f"{value:.4f}" for value in values[:SHOWN_UNITS])
            yield f"  {name} = [{shown}{more if len(values) > SHOWN_UNITS else ''}]"
    yield f"  {'':9}{'from h':>10}{'from x':>10}{'bias':>10}{'sum':>10}   value"
    for gate in GATES[cell]:
        for line in step.lines:
            if line.gate == gate.letter and line.unit in units:
                parts = "".join(
                    f"{part:10.4f}" for part in (line.from_h, line.from_x, line.bias, line.total)
                )
                yield f"  unit {line.unit}  {parts}   {_padded(gate.value, 2)} = {gate.squash}(sum) = {line.value:.4f}"
    if cell == "gru":
        yield "  from h of h̃: r (U_h h + d_h)"
    if cell == "gru-before":
        yield "  from h of h̃: W_h on r ∘ h"
    for unit in units:
        after = f"{step.h_after[unit]:.4f}"
        if cell == "lstm":
            assert step.c is not None
            assert step.c_after is not None
            f, i, candidate, o = (step.gate(letter)[unit] for letter in ("f", "i", "C", "o"))
            before, memory = f"{step.c[unit]:.4f}", f"{step.c_after[unit]:.4f}"
            yield f"  unit {unit}  C' = f C + i C̃ = {f:.4f} × {before} + {i:.4f} × {candidate:.4f} = {memory}"
            yield f"          h' = o tanh(C') = {o:.4f} × tanh({memory}) = {after}"
        elif cell != "rnn":
            u, candidate, before = step.gate("u")[unit], step.gate("h")[unit], f"{step.h[unit]:.4f}"
            yield f"  unit {unit}  h' = (1 − u) h + u h̃ = {1 - u:.4f} × {before} + {u:.4f} × {candidate:.4f} = {after}"


def _quoted(text: str) -> str:
    return f"'{one_line(text)}'" if text else "nothing"


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """Columns on a terminal: the tilde stands above its letter."""
    return sum(not unicodedata.combining(char) for char in text)


def _default_settings(settings: Settings) -> tuple[ModelSettings, int]:
    """The network that `charrnn train` would make for the shipped names, and how many characters they have."""
    from charrnn.text.building import survey
    from charrnn.training import recipe

    found = survey(None, settings.text, settings.training.seed)
    return recipe.fill(settings, found, lambda: 1.0)[0].model, len(found.vocabulary)
