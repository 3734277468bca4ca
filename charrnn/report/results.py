"""The section of results: what the run reaches on held-out text, and what that is compared with.

It asks `scoring` for the figures of at most as much text as takes some seconds. It draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypedDict

from charrnn.errors import CorpusError
from charrnn.modelfile import ModelFile
from charrnn.scoring.card import Evaluation
from charrnn.scoring.compressors import COMPRESSORS
from charrnn.scoring.evaluation import How, evaluated, scored_alone
from charrnn.scoring.figures import Figures, Gain
from charrnn.scoring.text import beginning, text_of_split
from charrnn.terminal import many
from charrnn.text.ngram import SMOOTHING_NAMES
from charrnn.texts import OpenedRun

Say = Callable[[str], None]  # tells a person what takes long

MOST_SCORED = 200_000  # characters of a split; `charrnn eval` scores all of it
LEAST_SCORED = 5000
SCORING_WORK = 1.5e11  # characters times parameters: about fifteen seconds
LARGE_TEXT = 3_000_000  # characters of training text that a page has no time to count or search
SPLIT_NAMES = {"test": "test text", "val": "validation text"}


class Row(TypedDict):
    """One predictor among those that are compared, with its bits per character on each split."""

    name: str
    bits: list[float | None]
    own: bool


class Results(TypedDict):
    """The section. said: a sentence for each split. facts: what is needed to quote its figure."""

    splits: list[str]
    rows: list[Row]
    said: list[str]
    warnings: list[str]
    facts: list[list[list[str]]]


def scores_of(run: OpenedRun, say: Say, device: str = "auto") -> list[Evaluation]:
    """The cards of the run's test and validation text, as far as it keeps any."""
    cards = [_score(run, split, say, device) for split in ("test", "val")]
    return [card for card in cards if card is not None]


def _score(run: OpenedRun, split: str, say: Say, device: str) -> Evaluation | None:
    """What `charrnn eval` finds on a split, or on its beginning if the split is large."""
    model = run.model
    try:
        text = text_of_split(run, split)
    except CorpusError:
        return None  # this run keeps no such text
    whole = text.ids
    most = MOST_SCORED
    if not model.counts:
        most = int(min(MOST_SCORED, max(LEAST_SCORED, SCORING_WORK / parameters_of(model))))
    text = beginning(text, model, most)
    say(f"scoring {many(len(text.ids), 'character')} of the {split} text")
    corpus = text.corpus
    if corpus is not None and len(corpus.split("train")) <= LARGE_TEXT:
        with_baselines = split == "test" or not len(corpus.split("test"))
        card = evaluated(run, text, How(device=device), with_baselines, say)
    else:
        card = scored_alone(model, text, How(device=device))
        card.baselines["uniform"] = math.log2(len(model.vocabulary))
        card.notes.append(
            "the training text is too large for a page to count it: charrnn eval compares"
        )
    if len(text.ids) < len(whole):
        card.notes.append(
            f"the first {len(text.ids):,} of {len(whole):,} characters; charrnn eval scores all"
        )
    return card


def parameters_of(model: ModelFile) -> int:
    """How many numbers a network has learnt."""
    return sum(tensor.size for tensor in model.tensors.values())


def split_name(card: Evaluation) -> str:
    """What the text of a card is called on the page."""
    return SPLIT_NAMES[str(card.split)]


def results_of(cards: list[Evaluation]) -> Results:
    """The run among its baselines, best first, and what somebody needs to quote a figure."""
    bits_by_name: dict[str, list[float | None]] = {}
    for place, card in enumerate(cards):
        for name, bits in _bits_of(card).items():
            bits_by_name.setdefault(name, [None] * len(cards))[place] = round(bits, 6)

    def best(item: tuple[str, list[float | None]]) -> float:
        return min(bits for bits in item[1] if bits is not None)

    in_order = sorted(bits_by_name.items(), key=best)
    warnings = cards[0].warnings if cards else []
    return {
        "splits": [split_name(card) for card in cards],
        "rows": [
            {"name": name, "bits": bits, "own": name == "this run"} for name, bits in in_order
        ],
        "said": [_sentence(card) for card in cards],
        "warnings": [f"{warning[:1].upper()}{warning[1:]}." for warning in warnings],
        "facts": [_facts(card) for card in cards],
    }


def _bits_of(card: Evaluation) -> dict[str, float]:
    """Bits per character of the run and of its baselines, by the names that the page gives them."""
    names = {"unigram": "frequencies alone", "uniform": "every character as likely"}
    names |= {name: f"{name}, after the training text" for name in COMPRESSORS}
    if card.ngram is not None:
        names["ngram"] = f"{card.ngram.order}-gram, {SMOOTHING_NAMES[card.ngram.smoothing]}"
    bits = {"this run": card.figures.bits_per_char}
    if card.experts is not None:
        bits["its network alone"] = card.experts.network
        bits[f"its {card.experts.order}-gram alone"] = card.experts.counting
    for score in card.texts or ():
        bits[f"this run, on {score.name}"] = score.bits_per_char
    return bits | {names[key]: value for key, value in card.baselines.items()}


def _sentence(card: Evaluation) -> str:
    """How sure the figure is."""
    figures = card.figures
    bits = f"{figures.bits_per_char:.3f} bits per {figures.noun}"
    parts = [f"{split_name(card).capitalize()}: {bits}"]
    if figures.interval is not None:
        low, high = figures.interval.bits_per_char
        parts.append(f"95 % of resampled texts between {low:.3f} and {high:.3f}")
    if card.gain_over_ngram is not None:
        parts.append(_gain(card.gain_over_ngram))
    return ", ".join(parts) + "."


def _in_the_other_unit(figures: Figures) -> str:
    """The bits per byte of a model of characters, or the other way round."""
    if figures.unit == "char":
        return f"{figures.bits_per_byte:.4f} bits per byte"
    if figures.bits_per_utf8_char is None:
        return "no UTF-8"
    return f"{figures.bits_per_utf8_char:.4f} bits per character, as UTF-8"


def _gain(gain: Gain) -> str:
    bits = gain.bits_per_char
    direction = "better" if bits > 0 else "worse"
    comparison = f"{abs(bits):.3f} {direction} than counting"
    if gain.may_be_chance:
        return f"{comparison}, no difference that this text could tell"
    return comparison


def _facts(card: Evaluation) -> list[list[str]]:
    figures = card.figures
    interval = figures.interval
    facts = [
        [
            "figures",
            f"{figures.nats_per_char:.4f} nats per {figures.noun}, "
            f"perplexity {figures.perplexity:.3f}, {_in_the_other_unit(figures)}",
        ],
        ["protocol", f"{card.protocol}, {figures.chars:,} predicted {figures.noun}s"],
        ["text", f"{card.data.name}, {card.split} split: {card.split_rule}"],
        ["SHA-256 of it", card.data.sha256],
    ]
    for score in card.texts or ():
        chars = many(score.chars, f"predicted {figures.noun}")
        facts.append([score.name, f"{score.nats_per_char:.4f} nats per {figures.noun}, {chars}"])
    if interval is not None:
        facts.append(["interval", f"{interval.method}, over {interval.resampled}"])
    if card.experts is not None:
        facts.append(["mixture", f"{card.experts.mean_share:.0%} counting, on average"])
    if card.overlap is not None:
        facts.append(["overlap", str(card.overlap)])
    facts += [["note", note] for note in card.notes]
    return facts + [["warning", warning] for warning in card.warnings]
