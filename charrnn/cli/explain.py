"""charrnn explain: a cell's equations, a model's matrices and work, and one step in numbers.

They are shown as text, LaTeX or JSON.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from charrnn.cli.completion import cell_and_run_names, run_names
from charrnn.cli.json_lines import write_json
from charrnn.cli.options import TEXT, argument, option, switch
from charrnn.cli.train import setting_option
from charrnn.config import FIELDS, ModelSettings, Settings, flag, resolve
from charrnn.errors import SettingsError
from charrnn.terminal import one_line, visible, write_lines, write_stdout
from charrnn.values import nearest

if TYPE_CHECKING:
    import numpy as np

    from charrnn.config import ModelSettings
    from charrnn.insight.explain import WorkedStep

CELLS = ("rnn", "lstm", "gru", "gru-before")
COLUMNS = 80
FAST = 1e15  # recurrent weights times characters a second
SIZES = "Without a run"
FOR_NAMES = "as train chooses for names"


def explain(
    what: Annotated[
        str | None,
        argument(
            "CELL",
            f"{', '.join(CELLS)}; or a run, whose cell is explained",
            "gru",
            cell_and_run_names,
        ),
    ] = None,
    run: Annotated[
        Path | None,
        argument(
            "RUN",
            "A run directory, a model or a checkpoint: its sizes and weights",
            "none",
            run_names,
        ),
    ] = None,
    hidden_size: Annotated[str | None, setting_option("hidden_size", SIZES, FOR_NAMES)] = None,
    num_layers: Annotated[str | None, setting_option("num_layers", SIZES, FOR_NAMES)] = None,
    embedding_size: Annotated[
        str | None, setting_option("embedding_size", SIZES, FOR_NAMES)
    ] = None,
    skip: Annotated[str | None, setting_option("skip", SIZES)] = None,
    conv: Annotated[str | None, setting_option("conv", SIZES)] = None,
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
    sizes = {
        "hidden_size": hidden_size,
        "num_layers": num_layers,
        "embedding_size": embedding_size,
        "skip": skip,
        "conv": conv,
        "tie_weights": tie_weights or None,
    }
    given = [flag(key) for key, value in sizes.items() if value is not None]
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
    settings, _ = resolve([("--", {"cell": cell} | sizes)])

    from charrnn.insight import explain as explained
    from charrnn.insight import lecture

    # 1. The network: of a run, or of the sizes that were given.
    if run is None:
        model, vocabulary_size = _default_settings(settings)
        is_dense = model.skip == "dense"
        if model.tie_weights and (model.hidden_size != model.embedding_size or is_dense):
            raise SettingsError(
                "--tie-weights: make --embedding-size equal to --hidden-size, without --skip dense"
            )
    else:
        file = explained.run_model(run, cell)
        model = file.settings.model
        vocabulary_size = len(file.vocabulary)
    if latex:
        return write_stdout([f"{lecture.latex(model.cell)}\n".encode()])

    # 2. The step in numbers, and what it is of.
    about: dict[str, Any]
    if run is None:
        weights, step = explained.small_step(model.cell)
        lists = {name: value.tolist() for name, value in weights.items()}
        about = {"of": "small", "weights": lists}
        origin = "sizes as asked" if given else "as charrnn train makes it for names"
        heading = "a network of two units whose weights have one decimal"
        example = _matrices_in_numbers(model.cell, weights)
    else:
        characters, step = explained.step_of_model(file, text)
        about = {"of": str(file.path), "text": characters}
        origin = f"{one_line(str(run))}, step {file.step or 0:,}"
        last = _quoted(characters[-1])
        heading = f"layer 0 of this model reads {last}, after {_quoted(characters[:-1])}"
        example = []

    # 3. All of it, as JSON or as text.
    if json:
        return write_json([explained.as_dict(model, vocabulary_size, step, about)])
    lines = [
        *_overview(model, vocabulary_size, origin),
        "",
        *_equations(model),
        "",
        *_parameters(model, vocabulary_size),
        "",
        *_work(model, vocabulary_size),
        "",
        f"One step in numbers: {heading}",
        *example,
        *_in_numbers(model.cell, step),
    ]
    write_lines(lines)


def _cell_and_run(what: str | None, run: Path | None) -> tuple[str | None, Path | None]:
    """Tell a cell from a run. Raises SettingsError for a word that is neither."""
    if what is None or what in CELLS:
        return what, run
    cells = ", ".join(CELLS)
    if run is not None:
        raise SettingsError(f"{one_line(what)!r} is not one of {cells}{nearest(what, CELLS)}")
    if not Path(what).exists():
        raise SettingsError(
            f"{one_line(what)!r} is neither one of {cells} nor a run{nearest(what, CELLS)}"
        )
    return None, Path(what)


def _overview(model: ModelSettings, vocabulary_size: int, origin: str) -> Iterator[str]:
    layers = "1 layer" if model.num_layers == 1 else f"{model.num_layers} layers"
    yield (
        f"{model.cell}: {layers} of {model.hidden_size} units, {vocabulary_size} characters "
        f"({visible(origin)})"
    )
    states = "h, C" if model.cell == "lstm" else "h"
    what = "the convolution's output" if model.conv else "the character's embedding"
    yield (
        f"x  {what} ({model.embedding_size})   "
        f"{states}  the state before the step ({model.hidden_size} each)"
    )
    yield "∘  unit by unit   [h, x]  one above the other   '  after the step"
    if model.num_layers != 1:
        yield "The layers above the first read the h' of the layer below in place of x."
    if model.conv:
        yield f"The convolution sees the embeddings of the last {model.conv} characters."
    if model.skip == "residual":
        yield "Skips: a layer's output is added to its input, where both are as wide."
    if model.skip == "dense":
        yield "Skips: all above reads the embedding and every h' below, side by side."
    drops = []
    if model.dropout:
        drops.append(f"{model.dropout:.0%} of each layer's h'")
    if model.weight_drop:
        drops.append(f"{model.weight_drop:.0%} of W on h")
    if drops:
        yield f"Training drops {' and '.join(drops)}, others at each update."


def _equations(model: ModelSettings) -> Iterator[str]:
    from charrnn.insight.lecture import equations

    rows = equations(model.cell)
    width = max(_width(right) for _, right, _ in rows)
    for left, right, role in rows:
        yield f"  {_padded(left, 7)} = {_padded(right, width)}   {role}"
    if model.cell == "gru":
        yield "r acts after the product, as in torch.nn.GRU; that of textbooks is gru-before."
    if model.cell == "gru-before":
        yield "r acts before the product, as in textbooks; torch.nn.GRU is gru here."


def _parameters(model: ModelSettings, vocabulary_size: int) -> Iterator[str]:
    from charrnn.insight.explain import matrices

    table = matrices(model, vocabulary_size)
    shape = max(len(matrix.shape) for matrix in table)
    counts = [f"{matrix.numbers:,}" for matrix in table]
    numbers = max(len(text) for text in ("numbers", *counts))
    total = f"{sum(matrix.numbers for matrix in table):,}"
    yield f"{'matrix':9}  {'shape':{shape}}  {'numbers':>{numbers}}  in PyTorch"
    for matrix, count in zip(table, counts, strict=True):
        yield f"{matrix.name:9}  {matrix.shape:{shape}}  {count:>{numbers}}  {matrix.torch}"
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
    """The small example's matrices in the lecture's form, a row a unit: on h | on x, and bias."""
    from charrnn.insight.explain import SMALL_HIDDEN
    from charrnn.insight.lecture import GATES

    lines = []
    for gate in GATES[cell]:
        for unit in range(SMALL_HIDDEN):
            row = gate.block * SMALL_HIDDEN + unit
            on_h = _decimals(gate.sign * weights["weight_hh"][row])
            on_x = _decimals(gate.sign * weights["weight_ih"][row])
            # Adding 0 turns -0.0 into 0.0.
            first = gate.sign * weights["bias_ih"][row] + 0.0
            second = gate.sign * weights["bias_hh"][row] + 0.0
            if cell == "gru" and gate.letter == "h":
                row_of_both = f"U_h [{on_h}]  W_h [{on_x}]   b_h {first:4.1f}  d_h {second:4.1f}"
            else:
                matrix = f"{gate.named('W'):3} [{on_h} | {on_x}]"
                row_of_both = f"{matrix}   {gate.named('b'):3} {first + second:4.1f}"
            lines.append(f"  unit {unit}  {row_of_both}")
    return lines


def _decimals(row: np.ndarray) -> str:
    return " ".join(f"{value + 0.0:4.1f}" for value in row)


def _in_numbers(cell: str, step: WorkedStep) -> Iterator[str]:
    """The state before, every gate of the first units, and the state after."""
    from charrnn.insight.explain import SHOWN_UNITS
    from charrnn.insight.lecture import GATES

    # 1. What the step starts from.
    units = range(min(SHOWN_UNITS, len(step.h)))
    for name, values in (("x", step.x), ("h", step.h), ("C", step.c)):
        if values is not None:
            numbers = " ".join(f"{value:.4f}" for value in values[:SHOWN_UNITS])
            more = " ..." if len(values) > SHOWN_UNITS else ""
            yield f"  {name} = [{numbers}{more}]"

    # 2. The gates.
    yield f"  {'':9}{'from h':>10}{'from x':>10}{'bias':>10}{'sum':>10}   value"
    for gate in GATES[cell]:
        name = _padded(gate.value, 2)
        for line in step.lines:
            if line.gate == gate.letter and line.unit in units:
                parts = (line.from_h, line.from_x, line.bias, line.total)
                numbers = "".join(f"{part:10.4f}" for part in parts)
                value = f"{name} = {gate.squash}(sum) = {line.value:.4f}"
                yield f"  unit {line.unit}  {numbers}   {value}"
    if cell == "gru":
        yield "  from h of h̃: r (U_h h + d_h)"
    if cell == "gru-before":
        yield "  from h of h̃: W_h on r ∘ h"

    # 3. The state after.
    for unit in units:
        if cell == "lstm":
            yield from _lstm_end(step, unit)
        elif cell != "rnn":
            yield _gru_end(step, unit)


def _lstm_end(step: WorkedStep, unit: int) -> Iterator[str]:
    assert step.c is not None
    assert step.c_after is not None
    f, i, candidate, o = (f"{step.gate(letter)[unit]:.4f}" for letter in "fiCo")
    before = f"{step.c[unit]:.4f}"
    memory = f"{step.c_after[unit]:.4f}"
    after = f"{step.h_after[unit]:.4f}"
    yield f"  unit {unit}  C' = f C + i C̃ = {f} × {before} + {i} × {candidate} = {memory}"
    yield f"          h' = o tanh(C') = {o} × tanh({memory}) = {after}"


def _gru_end(step: WorkedStep, unit: int) -> str:
    u = step.gate("u")[unit]
    candidate = f"{step.gate('h')[unit]:.4f}"
    before = f"{step.h[unit]:.4f}"
    after = f"{step.h_after[unit]:.4f}"
    terms = f"{1 - u:.4f} × {before} + {u:.4f} × {candidate}"
    return f"  unit {unit}  h' = (1 − u) h + u h̃ = {terms} = {after}"


def _quoted(text: str) -> str:
    return f"'{one_line(text)}'" if text else "nothing"


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """Columns on a terminal: the tilde stands above its letter."""
    return sum(not unicodedata.combining(char) for char in text)


def _default_settings(settings: Settings) -> tuple[ModelSettings, int]:
    """The network that `charrnn train` makes for the shipped names, and their characters.

    However fast the machine is: their size bounds it.
    """
    from charrnn.text.building import survey
    from charrnn.training import recipe

    names = survey(None, settings.text, settings.split_seed)
    filled = recipe.fill(settings, names, lambda: FAST)[0]
    return filled.model, len(names.vocabulary)
