"""How an exported model is named in words, whatever a stranger's file says."""

from __future__ import annotations

import re

from charrnn.errors import SettingsError
from charrnn.layout import sizes
from charrnn.modelfile import ModelFile
from charrnn.terminal import many, one_line

ARTICLES = {
    "rnn": "an RNN",
    "lstm": "an LSTM",
    "gru": "a GRU",
    "gru-before": "a GRU that resets before its matrix product",
}
MOST_NAME_CHARS = 32  # a line of an exported program holds two


def plain(name: str) -> str:
    """Return a name that means nothing to Python, YAML or Markdown: letters, digits, dot, dash.

    A model file may come from a stranger, and its names end up in programs and pages.
    """
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip(".-")[:MOST_NAME_CHARS] or "text"


def escaped(text: str) -> str:
    """Return a text for a line of Markdown: it begins no markup, and stays on the line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", one_line(text))


def described(model: ModelFile) -> str:
    """Say what a model is: `a GRU of 2 layers with 320 units`."""
    settings = model.settings.model
    if model.counts:
        return f"a model that counts n-grams of up to {model.ngram().order} characters"
    hidden, layers, _ = sizes(settings)
    return f"{ARTICLES[settings.cell]} of {many(layers, 'layer')} with {many(hidden, 'unit')}"


def corpus_name(model: ModelFile) -> str:
    """Return the name of the text that a model learnt."""
    return plain(str(model.meta.get("corpus", "text")))


def check_network(model: ModelFile, option: str) -> None:
    """Raise SettingsError for a model that counts, which has no cells to write down."""
    if model.counts:
        raise SettingsError(f"{option} writes networks, and this model counts n-grams; use --hub")
