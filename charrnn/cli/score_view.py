"""charrnn eval: prints the card of a score, the cost of each character, and ranked lines."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from charrnn.terminal import many, one_line, write_stdout

if TYPE_CHECKING:
    from charrnn.scoring.card import DynamicReading, Evaluation, Reading
    from charrnn.scoring.detail import CharacterCost, RankedLine
    from charrnn.scoring.figures import Gain

SHOWN_CHARS = 1000  # rows of --per-char for people
SHOWN_LINE = 66  # characters of a line below the table


def write_ranking(lines: Iterable[RankedLine]) -> None:
    """Write each line after its bits per character."""
    write_stdout(_ranking(lines), raw=True)


def _ranking(lines: Iterable[RankedLine]) -> Iterator[bytes]:
    return (f"{line.bits_per_char:8.4f}  {one_line(line.text)}\n".encode() for line in lines)


# Each character


def show_characters(costs: Iterator[CharacterCost], unit: str) -> None:
    """Print the first characters of a text as a table, and their mean. unit: "char" or "byte"."""
    from charrnn.tables import print_facts, print_table

    shown = list(itertools.islice(costs, SHOWN_CHARS))
    print_table(
        "What each character cost, given those before it",
        ["place", unit, "bits", "probability", "rank", "guess", "probability"],
        [_character_row(cost) for cost in shown],
    )
    bits_per_char = sum(cost.bits for cost in shown) / len(shown)
    fact = f"{bits_per_char:.4f} bits/{unit} ({bits_per_char * math.log(2):.4f} nats)"
    if next(costs, None) is not None:
        fact += "; the text goes on, --json gives all of it"
    noun = "byte" if unit == "byte" else "character"
    print_facts([(many(len(shown), noun), fact)])


def _character_row(cost: CharacterCost) -> list[str]:
    cells = [
        f"{cost.place:,}",
        _quoted(cost.char, cost.code),
        f"{cost.bits:.3f}",
        f"{cost.probability:.2%}",
    ]
    if cost.rank and cost.guess is not None and cost.guess_code is not None:
        guess = _quoted(cost.guess, cost.guess_code)
        cells += [f"{cost.rank:,}", guess, f"{cost.guess_probability:.2%}"]
    else:  # bytes have no rank among characters
        cells += ["", "", ""]
    return cells


def _quoted(char: str, code: int) -> str:
    if char == "\ufffd" and code < 256:  # a byte that is no character by itself
        return f"0x{code:02x}"
    if char.isprintable() or char in "\n\t":
        return repr(char)
    return f"'{one_line(char)}'"


# The card


def show_card(path: str, card: Evaluation) -> None:
    """Print the figure among those it is compared with, and what must stand beside it.

    path: of the model.
    """
    from charrnn.tables import print_facts, print_table

    protocol = f"windows of {card.window}" if card.window else card.protocol
    unit = card.figures.unit
    chars = many(card.figures.chars, f"predicted {card.figures.noun}")
    title = f"{one_line(path)} on {_text(card)}: {chars}, {protocol}"
    print_table(title, ["", f"bits/{unit}", f"nats/{unit}", "perplexity"], _rows(card))
    print_facts(_facts(card))
    for lines, heading in (
        (card.likeliest, "likeliest lines"),
        (card.least_likely, "least likely lines"),
    ):
        if lines:
            short = [line._replace(text=_cut(line.text)) for line in lines]
            write_stdout([f"{heading}, bits/{unit}\n".encode(), *_ranking(short)], raw=True)


def _text(card: Evaluation) -> str:
    """Which text was scored, in words."""
    if card.file:
        return "standard input" if card.file == "-" else one_line(card.file)
    return f"{card.split} text" if card.split else "the given text"


def _rows(card: Evaluation) -> list[list[str]]:
    """The model's figures, then the baselines, best first."""
    from charrnn.scoring.card import CountingModel

    name = "this run"
    if isinstance(card.model, CountingModel):
        name += f" ({card.model.order}-gram, {_smoothing(card.model.smoothing)})"
    rows = [_row(name, card.figures.bits_per_char)]
    if card.experts is not None:
        rows.append(_row("its network alone", card.experts.network))
        rows.append(_row(f"its {card.experts.order}-gram alone", card.experts.counting))
    for score in card.texts or ():
        chars = many(score.chars, card.figures.noun)
        rows.append(_row(f"this run, on {one_line(score.name)}: {chars}", score.bits_per_char))
    if card.cache is not None:
        name = f"this run, with a cache of {card.cache.length:,}"
        rows.append(_row(name, card.cache.figures.bits_per_char))
    if card.dynamic is not None:
        rows.append(_row("this run, learning on as it reads", card.dynamic.figures.bits_per_char))
    unseen = card.unseen
    if unseen is not None and card.overlap is not None and card.overlap.duplicate_lines:
        are = "line that is new" if unseen.lines == 1 else "lines that are new"
        rows.append(_row(f"this run, on the {unseen.lines:,} {are}", unseen.bits_per_char))
        if unseen.ngram is not None:
            rows.append(_row(f"{unseen.ngram_order}-gram, on those lines", unseen.ngram))
    names = _baseline_names(card)
    for key, bits in sorted(card.baselines.items(), key=lambda baseline: baseline[1]):
        rows.append(_row(names[key], bits))
    return rows


def _smoothing(smoothing: str) -> str:
    """Name a smoothing in one or two words: a table is narrow."""
    from charrnn.text.ngram import SMOOTHING_NAMES

    return SMOOTHING_NAMES[smoothing].removeprefix("modified ")


def _baseline_names(card: Evaluation) -> dict[str, str]:
    names = {"unigram": "unigram", "uniform": "uniform"}
    for compressor in ("xz", "bz2", "zlib"):
        names[compressor] = f"{compressor}, after the training text"
    if card.ngram is not None:
        names["ngram"] = f"{card.ngram.order}-gram ({_smoothing(card.ngram.smoothing)})"
    return names


def _row(name: str, bits: float) -> list[str]:
    """A figure in bits, in nats, and as perplexity."""
    perplexity = 2 ** min(bits, 1000.0)
    return [name, f"{bits:.4f}", f"{bits * math.log(2):.4f}", f"{perplexity:.3f}"]


def _facts(card: Evaluation) -> list[tuple[str, str]]:
    """What must stand beside the figure for somebody else to quote it."""
    from charrnn.scoring.bootstrap import LEAST_UNITS
    from charrnn.scoring.score import BLOCK

    figures = card.figures
    unit = figures.unit
    facts = [("bytes", f"{figures.bits_per_byte:.4f} bits/byte")]
    if unit == "byte":
        facts = []
        if figures.bits_per_utf8_char is not None:
            facts.append(("characters", f"{figures.bits_per_utf8_char:.4f} bits/char, as UTF-8"))
    if figures.interval is None:
        least = f"{LEAST_UNITS} lines, or {LEAST_UNITS} blocks of {BLOCK:,} characters"
        facts.append(("95 %", f"no interval: it takes {least}"))
    else:
        low, high = figures.interval.bits_per_char
        resampled = figures.interval.resampled
        facts.append(("95 %", f"{low:.4f} to {high:.4f} bits/{unit}: bootstrap over {resampled}"))
    order = card.ngram.order if card.ngram is not None else None
    if card.experts is not None:
        share = card.experts.mean_share
        facts.append(("mixture", f"{share:.0%} counting, {1 - share:.0%} network, on average"))
    if card.gain_over_ngram is not None:
        facts.append(("counting", _against_counting(card.gain_over_ngram, order, unit)))
    if card.cache is not None:
        facts.append(("cache", _gain(card.cache, order, unit)))
    if card.dynamic is not None:
        facts.append(("learning on", _gain(card.dynamic, order, unit, _rule(card.dynamic))))
    facts.append(("data", f"{one_line(card.data.name)}, sha256 {card.data.sha256[:16]}"))
    if card.split_rule:
        facts.append(("split", one_line(card.split_rule)))
    if card.overlap is not None:
        facts.append(("overlap", str(card.overlap)))
    facts += [("note", note) for note in card.notes]
    return facts + [("warning", warning) for warning in card.warnings]


def _rule(dynamic: DynamicReading) -> str:
    return f": SGD, lr {dynamic.lr:g}, every {dynamic.segment} characters"


def _gain(reading: Reading, order: int | None, unit: str, rule: str = "") -> str:
    """What another way to read the text gains, over the plain way and over the n-gram."""
    gained = reading.gain_nats_per_char
    verb = "gains" if gained >= 0 else "loses"
    text = f"{verb} {abs(gained):.4f} nats/{unit}{rule}"
    if reading.gain_over_ngram is not None:
        text += f"; {_against_counting(reading.gain_over_ngram, order, unit)}"
    return text


def _against_counting(gain: Gain, order: int | None, unit: str) -> str:
    """Whether a figure is better than the n-gram's, and whether that is more than chance."""
    bits = round(gain.bits_per_char, 4)
    if not bits:
        return f"as good as the {order}-gram"
    verdict = "better" if bits > 0 else "worse"
    text = f"{abs(bits):.4f} bits/{unit} {verdict} than the {order}-gram"
    if gain.interval is None:
        return text
    low, high = gain.interval.bits_per_char
    doubt = ": no difference that this text could tell" if gain.may_be_chance else ""
    return f"{text} (95 %: {low:+.4f} to {high:+.4f}){doubt}"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_LINE else text[: SHOWN_LINE - 3] + "..."
