"""What the proofs of scores share: three texts, models of them, and the public command.

Letters: V characters of an alphabet, L of a context, W of a block.
"""

import contextlib
import json
import tempfile
from pathlib import Path

import numpy as np

from charrnn.cli.eval import evaluate
from charrnn.config import Settings
from charrnn.layout import GATES, expected_shapes
from charrnn.modelfile import MODEL_FILE, model_meta, read_model
from charrnn.storage import write_tensors
from charrnn.text.compact import packed_levels
from charrnn.text.counting import count
from charrnn.text.gate import FEATURES
from charrnn.text.vocabulary import Vocabulary

ROOT = Path(__file__).parents[3]
RESET = b"|"  # after it a network of `write_network` knows nothing of what stood before
SHUT = np.float32(1000)  # so far below zero a gate is 0
HIDDEN = 11
EMBEDDING = 6
LONGEST_BEGINNING = 20  # of a line of prose: each beginning is scored once for every character

# Texts


def lines_text():
    """Names, in small letters."""
    return (ROOT / "corpora/names.txt").read_text().lower().encode()


def stream_text():
    """Prose with everything that stands on a keyboard."""
    pages = [ROOT / "docs" / f"{name}.md" for name in ("guide", "decisions", "lecture")]
    text = "".join(page.read_text() for page in pages)
    return text.encode().replace(RESET, b"/")


def cyrillic_text():
    """The same prose in Cyrillic letters, of which every byte is a character."""
    letters = {code: 0x430 + code - ord("a") for code in range(ord("a"), ord("z") + 1)}
    return stream_text().decode().lower().translate(letters).encode()


TEXTS = {"lines": lines_text, "stream": stream_text, "cyrillic bytes": cyrillic_text}


def folded(text, size):
    """Return a text over the newline and at most `size` other bytes of it, so that it is cheap."""
    kept = sorted(set(text) - set(b"\n"))[-size:]
    table = bytes(
        byte if byte == ord("\n") or byte in kept else kept[byte % len(kept)] for byte in range(256)
    )
    return text.translate(table)


def alphabet_of(text):
    return sorted(set(text) | set(RESET) | set(b"\n"))


def contexts_of(text, places, length, mode):
    """Return `places` different pasts of a text: of streams `length` bytes, of lines a beginning.

    Fewer where the text has fewer.
    """
    if mode == "stream":
        starts = range(0, len(text) - length, max(1, (len(text) - length) // (places * 4)))
        pasts = (text[start : start + length] for start in starts)
    else:
        lines = [line for line in text.split(b"\n") if line]
        ends = range(1, LONGEST_BEGINNING + 1)
        pasts = (line[:end] for line in lines for end in ends if end <= len(line))
    return list(dict.fromkeys(pasts))[:places]


# Models


def write_network(
    folder, alphabet, mode, *, cell="lstm", skip="dense", layers=2, tied=False, scale=1.5
):
    """Write a network of random weights, which shuts its gates at RESET. Return its file.

    Its state after RESET is the same whatever stood before: the last number of the embedding,
    which only RESET has, shuts every gate that lets the past through.
    """
    sizes = {
        "cell": cell,
        "skip": skip,
        "num_layers": layers,
        "hidden_size": HIDDEN,
        "embedding_size": HIDDEN if tied else EMBEDDING,
        "tie_weights": tied,
    }
    settings = Settings().with_values("model", **sizes).with_values("text", unit="byte")
    vocabulary = Vocabulary("byte", tuple(alphabet))
    generator = np.random.default_rng(len(alphabet))
    tensors = {}
    for name, shape in expected_shapes(settings.model, len(alphabet)).items():
        size = 1.0 if name == "embedding.weight" else scale / np.sqrt(shape[-1])
        if name == "head.weight":
            size *= 2
        tensors[name] = (size * generator.standard_normal(shape)).astype(np.float32)
    if not tied:
        _shut_at_reset(tensors, settings.model, alphabet.index(RESET[0]))
    return _written(folder, settings, vocabulary, mode, tensors)


def _shut_at_reset(tensors, model, reset):
    last = model.embedding_size - 1
    embedding = tensors["embedding.weight"]
    embedding[:, last] = 0
    embedding[reset, last] = SHUT
    if model.skip == "dense":
        tensors["head.weight"][:, last] = 0
    rows = np.arange(GATES[model.cell] * HIDDEN) // HIDDEN
    letting_through = {"rnn": (0,), "lstm": (0, 1, 3)}.get(model.cell, (0, 1))
    for k in range(model.num_layers):
        tensors[f"recurrent.weight_ih_l{k}"][:, last] = -np.isin(rows, letting_through).astype(
            np.float32
        )


def write_counts(folder, alphabet, mode, text, order=4):
    """Write the n-grams of a text. Return the model's file."""
    settings = Settings().with_values("model", cell="ngram", order=str(order))
    vocabulary = Vocabulary("byte", tuple(alphabet))
    boundary = vocabulary.newline if mode == "lines" else None
    ids = vocabulary.encode(text)
    ngram = count(ids, len(alphabet), order, boundary)
    settings = settings.with_values("text", unit="byte")
    return _written(folder, settings, vocabulary, mode, ngram.tensors())


def write_mixture(folder, alphabet, mode, text, **network):
    """Write a network of random weights with the n-grams of a text beside it. Return its file."""
    model = read_model(write_network(folder, alphabet, mode, **network))
    boundary = model.vocabulary.newline if mode == "lines" else None
    levels = count(model.vocabulary.encode(text), len(alphabet), 4, boundary).levels
    theta = np.random.default_rng(1).standard_normal(FEATURES)
    tensors = model.tensors | packed_levels(levels, len(alphabet)) | {"gate.theta": theta}
    return _written(folder, model.settings, model.vocabulary, mode, tensors)


def _written(folder, settings, vocabulary, mode, tensors):
    meta = model_meta("charrnn-model", settings, vocabulary, mode, int(vocabulary.newline))
    file = folder / MODEL_FILE
    write_tensors(file, tensors, meta | {"step": 1})
    return file


# The public command


def rows_of(model, text, **options):
    """Yield what `charrnn eval --per-char --json` prints of a text, as objects."""
    file = model.parent / "text.txt"
    file.write_bytes(text)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as page:
        with contextlib.redirect_stdout(page):
            evaluate(run=model, file=file, per_char=True, json=True, **options)
        page.seek(0)
        yield from map(json.loads, page)


def probabilities(rows, places):
    """Return the probability printed at each of these places."""
    wanted = set(places.tolist())
    by_place = {row["place"]: row["probability"] for row in rows if row["place"] in wanted}
    return np.array([by_place[place] for place in places])
