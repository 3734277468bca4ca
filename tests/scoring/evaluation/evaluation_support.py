"""What the tests of this folder share."""

import numpy as np

from charrnn.scoring.score import Predictions
from charrnn.text.vocabulary import Vocabulary

LETTERS = Vocabulary("char", (10, *range(97, 123)))


def ids_of(text, vocabulary=LETTERS):
    return vocabulary.encode(text).astype(np.uint8)


class Fixed:
    """A scorer for which the nats of a character are its id / 10."""

    def predictions(self, ids, protocol, *, window=256, detailed=False, first=None):
        for start in range(protocol != "lines", len(ids), 3):
            places = np.arange(start, min(start + 3, len(ids)))
            yield Predictions(places, ids[places] / 10)
