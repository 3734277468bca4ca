"""What the tests of this folder share: a model that knows labels, and a text that has them."""

import dataclasses

import numpy as np
from kernel_support import random_model

from charrnn.sampling.engine import Sampler
from charrnn.text.contexts import Contexts
from charrnn.text.counting import count
from charrnn.text.gate import FEATURES, Ally
from charrnn.text.labelgrams import LabelGrams, count_labels

LABELS = ("Greek", "Irish", "Norse")
TEXT = (
    "Irish\taoife\nGreek\tniko\nIrish\tniamh\nkim\nGreek\tleda\nNorse\tleif\nIrish\tkim\n"
    "Greek\teleni\nIrish\tfionn\nNorse\tnifi\nGreek\tdafne\nkai\nIrish\tdafne\n"
)


def labelled_model(cell="gru", *, conv=0, skip="none", is_mixed=False, layers=2, seed=0):
    """A random network with three labels, the embeddings of which are far apart."""
    model = random_model(cell, skip, layers, 9, seed=seed, mode="lines")
    settings = model.settings.with_values("model", conv=conv)
    generator = np.random.default_rng(seed)
    tensors = dict(model.tensors)
    tensors["labels.weight"] = 2 * generator.standard_normal((3, 5), np.float32)
    if conv:
        tensors["conv.weight"] = generator.standard_normal((5, 5, conv), np.float32)
    vocabulary = dataclasses.replace(model.vocabulary, labels=LABELS)
    ally = None
    if is_mixed:
        ids = np.array([1, 2, 0, 3, 1, 2, 4, 0, 5, 5, 1, 0] * 3)
        ngram = count(ids, len(vocabulary), 3, 0)
        by_label = count_labels(ngram, ids, np.array([1, 2, 0] * 3))  # Norse has no n-grams
        by_label = LabelGrams(ngram, by_label.owned, 3.0)
        ally = Ally(Contexts(ngram), generator.normal(size=FEATURES), by_label)
    return dataclasses.replace(
        model, settings=settings, vocabulary=vocabulary, tensors=tensors, ally=ally
    )


def labelled_sampler(engine, **more):
    return Sampler(labelled_model(**more), weights="float32", engine=engine)
