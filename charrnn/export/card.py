"""The model card: what a stranger should know of a model before using it, as Markdown.

It says what the run knows, and what nobody can tell. The licence is left to the person.
"""

from __future__ import annotations

from charrnn import __version__
from charrnn.export.facts import Facts
from charrnn.export.named import corpus_name, described, escaped
from charrnn.insight.card import Comparison, Examination, Run
from charrnn.modelfile import ModelFile
from charrnn.text.vocabulary import noun_of

FRONT = """\
---
# license: yours to choose before you publish; the text may have one that binds you
library_name: charrnn
pipeline_tag: text-generation
tags:
- character-level
- {cell}
---

"""
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}
HUB_USE = """\
## Use

```
charrnn sample .            # this folder
```
"""
TENSORS = """
Without charrnn, `model.safetensors` holds the tensors under torch.nn's names:
`embedding.weight`, `recurrent.weight_ih_l0`, ..., `head.bias`. `vocabulary.json` lists the
characters; an id is a place in its list. All states are zeros before a text, and the id `start` is
read first.
"""
ONNX_USE = """\
## Use

Inputs: `ids` (batch, time) and the state, zeros before a text. Outputs: `logits`
(batch, time, characters) and the state after it. The metadata `symbols` lists the characters, an id
is a place in it, and the id `start` is read first.
"""


def card(facts: Facts, use: str) -> str:
    """Return the card without the front matter of a hub. use: HUB_USE or ONNX_USE."""
    model = facts.model
    tensors = ""
    if use == HUB_USE and not model.counts:
        tensors = TENSORS
    sections = [
        f"# {corpus_name(model)}\n",
        _summary(model, use),
        use + tensors,
        _text(facts),
        _training(model),
        _scores(facts),
        _copies(facts),
        _limits(model),
    ]
    return "\n".join(sections)


def front(model: ModelFile) -> str:
    """Return what a hub reads at the head of a card."""
    return FRONT.format(cell=model.settings.model.cell)


def _summary(model: ModelFile, use: str) -> str:
    kind = described(model)
    kind = kind[0].upper() + kind[1:]
    units = f"{noun_of(model.vocabulary)}s"
    form = "single lines" if model.mode == "lines" else "one stream of text"
    sentences = [f"{kind}. It writes {form} out of {len(model.vocabulary)} {units}."]
    if not model.counts:
        parameters = sum(tensor.size for tensor in model.tensors.values())
        sentences.append(f"It has {parameters:,} parameters.")
    if model.ally is not None:
        order = model.ally.contexts.order
        mixed = f"charrnn mixes the network with {order}-grams of its text."
        if use == ONNX_USE:
            mixed += " This file holds the network alone."
        else:
            mixed += " They are the tensors `ngram.*` and `gate.theta`."
        sentences.append(mixed)
    return " ".join(sentences) + "\n"


def _text(facts: Facts) -> str:
    model = facts.model
    lines = ["## Text\n", f"- Name: {corpus_name(model)}"]
    lines += [f"- SHA-256 of the {name} file: `{digest}`" for name, digest in _digests(facts)]
    fingerprint = escaped(str(model.meta.get("fingerprint", "not known")))
    lines.append(f"- Fingerprint of text and options: `{fingerprint}`")
    units = f"{noun_of(model.vocabulary)}s".capitalize()
    for split, size in facts.sizes.items():
        lines.append(f"- {units} of the {SPLIT_NAMES[split]} part: {size:,}")
    lines.append(f"- Split: {escaped(facts.rule)}")
    return "\n".join(lines) + "\n"


def _digests(facts: Facts) -> list[tuple[str, str]]:
    digests = {SPLIT_NAMES.get(name, "other"): value for name, value in facts.sha256.items()}
    return [(name, escaped(value)) for name, value in digests.items()]


def _training(model: ModelFile) -> str:
    settings = model.settings
    lines = ["## Training\n", f"- Program: charrnn {escaped(str(model.meta.get('charrnn')))}"]
    lines.append(f"- Exported by charrnn {__version__}")
    if not model.counts:
        lines.append(f"- Steps behind these weights: {model.step}")
        lines.append(f"- Seed: {settings.training.seed}")
        for name in ("batch_size", "seq_length", "lr", "weight_decay"):
            value = getattr(settings.training, name)
            if value is not None:
                lines.append(f"- `{name}`: {value:g}")
        lines.append(f"- `dropout`: {settings.model.dropout or 0:g}")
    if settings.training.init_from:
        lines.append("- It began with the weights of another model.")
    return "\n".join(lines) + "\n"


def _scores(facts: Facts) -> str:
    if not facts.scores:
        return "## Scores\n\nNot known: the record of the training is not beside the model.\n"
    noun = noun_of(facts.model.vocabulary)
    lines = [
        "## Scores\n",
        f"| text | scored by | bits per {noun} | {noun}s |",
        "|---|---|---|---|",
    ]
    for row in facts.scores:
        chars = "all" if row.chars is None else f"{row.chars:,}"
        lines.append(f"| {row.text} | {row.scorer} | {row.bits_per_char:.3f} | {chars} |")
    protocol = "Protocol: the text is read once, in order, and the state is carried along."
    if facts.model.mode == "lines":
        protocol = "Protocol: each line from the empty state, with the newline that ends it."
    lines += ["", f"{protocol} Validation chose the weights, so it flatters them."]
    return "\n".join(lines) + "\n"


def _copies(facts: Facts) -> str:
    copies = facts.copies
    if copies is None:
        return f"## Copies\n\nNot known: {escaped(facts.gap)}.\n"
    lines = [
        "## Copies\n",
        f"{copies.samples:,} samples at temperature {copies.temperature:g}, seed {copies.seed}, "
        "beside text that the model has not learnt:",
        "",
        "| | samples | held-out text |",
        "|---|---|---|",
    ]
    noun = noun_of(facts.model.vocabulary)
    rows = _copy_rows(copies, noun)
    lines += [f"| {name} | {one} | {other} |" for name, one, other in rows]
    lines += ["", *(f"- {escaped(warning)}" for warning in copies.warnings)]
    if not copies.warnings:
        lines.append("No sign of copying beyond what real text shares with the training text.")
    return "\n".join(lines) + "\n"


def _copy_rows(copies: Examination, noun: str) -> list[tuple[str, str, str]]:
    """Return name, value of the samples, value of held-out text."""
    rows = []
    if copies.mode == "lines":
        shares = Comparison(copies.lines.in_train, copies.lines.held_out_in_train)
        rows.append(("lines that are training lines", *_percents(shares)))
    runs = copies.longest_run
    longest = f"longest run in the training text, {noun}s"
    rows.append((longest, _length(runs.samples), _length(runs.held_out)))
    for length in ("10", "20"):
        comparison = copies.ngrams_in_training.get(length)
        if comparison is not None:
            rows.append((f"{length}-grams in the training text", *_percents(comparison)))
    return rows


def _percents(comparison: Comparison) -> tuple[str, str]:
    return _percent(comparison.samples), _percent(comparison.held_out)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _length(run: Run | None) -> str:
    return "0" if run is None else f"{run.chars:,}"


def _limits(model: ModelFile) -> str:
    lines = [
        "## Limits",
        "",
        "- It knows characters, not facts. What it writes is made up, and may be false or harmful.",
        "- It repeats the habits and prejudices of its text, and may write out parts of it.",
        f"- It knows {len(model.vocabulary)} symbols, and no others.",
        "- Who owns the text, and what it allows, is for the person who publishes to say.",
    ]
    return "\n".join(lines) + "\n"
