"""Labels of a model that writes: a sampler for one of them, samples of several, classification."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import numpy as np

from charrnn.errors import SettingsError
from charrnn.sampling.codec import Sample
from charrnn.sampling.compiled import Compiled
from charrnn.sampling.steps import Steps
from charrnn.text.labels import check_labels, label_id
from charrnn.text.vocabulary import Vocabulary

PRIORS = ("count", "flat")
UNSEEN = 0.5  # added to the training lines of each label
LEAST_COUNT = 10  # texts of all labels together, where nobody says how many


class Labelled(ABC):
    """What a sampler does with labels. label: of what it writes; "": none."""

    vocabulary: Vocabulary
    start: int
    label: str
    _label_counts: np.ndarray
    _network: Steps | Compiled

    @abstractmethod
    def score(self, text: str | bytes, *, unknown: str = "error") -> tuple[float, int]:
        """Return the nats and the number of characters of a text under the model."""

    def labelled(self, label: str) -> Self:
        """Return this sampler for items with this label; "": without one.

        It shares the weights. Raises SettingsError for a label that the model does not know.
        """
        if label == self.label:
            return self
        start = int(self.vocabulary.newline or 0)
        number = 0
        if label:
            start = label_id(label, self.vocabulary)
            number = 1 + start - len(self.vocabulary)
        steps = self._network.for_label(number)
        twin = object.__new__(type(self))
        twin.__dict__ |= self.__dict__ | {"start": start, "label": label, "_network": steps}
        return twin

    def classify(
        self, text: str | bytes, *, prior: str = "count", unknown: str = "error"
    ) -> list[tuple[str, float]]:
        """Return each label with its probability given a text, the likeliest first.

        prior: "count" favours frequent labels, by their training lines; "flat" none.
        Raises SettingsError, VocabularyError.
        """
        check_labels("classify", self.vocabulary)
        if prior not in PRIORS:
            raise SettingsError(f"prior {prior!r}: choose count or flat")
        labels = self.vocabulary.labels
        nats = [self.labelled(label).score(text, unknown=unknown)[0] for label in labels]
        ln_p = -np.array(nats)
        if prior == "count":
            ln_p += np.log(self._label_counts + UNSEEN)
        p = np.exp(ln_p - ln_p.max())
        p /= p.sum()
        order = np.argsort(-p, kind="stable").tolist()
        return [(labels[place], float(p[place])) for place in order]


def default_count(labels: Sequence[str]) -> int:
    """Return how many texts are written where nobody says: as many for each label."""
    each = max(1, -(-LEAST_COUNT // len(labels)))
    return each * len(labels)


def in_turn(
    labels: Sequence[str], count: int, draw: Callable[[str, int], Iterator[Sample]]
) -> Iterator[Sample]:
    """Yield `count` samples, one of each label and then the next of each.

    draw: a label and how many of its samples are needed -> those; a label may have fewer.
    """
    several = len(labels)
    sources = [
        draw(label, len(range(place, count, several))) for place, label in enumerate(labels[:count])
    ]
    for number in range(count):
        place = number % several
        sample = next(sources[place], None)
        if sample is not None:
            sample.label = labels[place]
            yield sample
