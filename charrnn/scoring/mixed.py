"""Logits of a network -> nats of its predictions, with the n-grams beside it where it has some.

Every way to read a text with a network (network.py, cached.py, dynamic.py) comes here.
Shapes: N characters of a text, B rows of a batch, T characters of a row, V vocabulary, n predicted
characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F

from charrnn.scoring.counting import labels_read, placed_contexts
from charrnn.scoring.score import Predictions
from charrnn.scoring.spelled import SpelledText, spelled_text
from charrnn.text.batches import IGNORED
from charrnn.text.gate import Ally, features_of, shares
from charrnn.text.labelgrams import chars_by_label
from charrnn.text.spelling import Spelling

# logits (B, T, V), targets (B, T), places (B, T), detailed -> predictions, without padding
Predict = Callable[[torch.Tensor, torch.Tensor, np.ndarray, bool], Predictions]


def predictor(
    ally: Ally | None,
    ids: np.ndarray,
    protocol: str,
    window: int,
    spelling: Spelling | None = None,
    first: np.ndarray | None = None,
) -> Predict:
    """Return what makes predictions of ids (N,) of a network's logits. ally: None: it is alone.

    spelling: where rare characters are bytes. first: as for Scorer.predictions.
    """
    predict: Predict = predictions_of
    if ally is not None:
        predict = Mixer(CountedText(ally, ids, protocol, window, first)).predictions_of
    if spelling is None:
        return predict
    return Speller(spelling, ids, protocol, predict).predictions_of


def predictions_of(
    logits: torch.Tensor, targets: torch.Tensor, places: np.ndarray, detailed: bool
) -> Predictions:
    """The predictions in logits (B, T, V) of targets (B, T) at places (B, T), without padding."""
    logits, targets, places = without_padding(logits, targets, places)
    nats = F.cross_entropy(logits, targets, reduction="none")
    # float64 before anything is summed: float32 loses digits in sums of millions.
    predictions = Predictions(places, _numpy(nats).astype(np.float64))
    if not detailed:
        return predictions
    likeliest, guesses = logits.max(1)
    ranks = 1 + (logits > logits.gather(1, targets[:, None])).sum(1)
    guess_nats = torch.logsumexp(logits, 1) - likeliest
    return predictions._replace(
        ranks=_numpy(ranks), guesses=_numpy(guesses), guess_nats=_numpy(guess_nats)
    )


class Speller:
    """The predictions of a network where rare characters are bytes.

    What may not follow gets no probability.
    """

    def __init__(
        self, spelling: Spelling, ids: np.ndarray, protocol: str, predict: Predict
    ) -> None:
        """predict: of the logits of what may follow."""
        self._text = SpelledText(spelling, ids)
        self._is_stream = protocol != "lines"
        self._predict = predict

    def predictions_of(
        self, logits: torch.Tensor, targets: torch.Tensor, places: np.ndarray, detailed: bool
    ) -> Predictions:
        """Return what the function of this name returns, of whole characters."""
        logits, targets, places = without_padding(logits, targets, places)
        logits = masked(logits, self._text, places)
        predictions = self._predict(logits[None], targets[None], places, detailed)
        return self._text.counted(predictions, is_stream=self._is_stream)


class Whole:
    """What a model says of all characters at each place of a stream: for a cache beside it."""

    def __init__(self, ally: Ally | None, ids: np.ndarray, spelling: Spelling | None) -> None:
        """ally and spelling: as for `predictor`."""
        self._counted = None if ally is None else CountedText(ally, ids, "stateful", window=0)
        self._text = spelled_text(spelling, ids)

    def ln_p(self, logits: torch.Tensor, places: np.ndarray) -> np.ndarray:
        """Return ln P (n, V), float64, at places (n,), where the network's logits are (n, V)."""
        if self._text is not None:
            logits = masked(logits, self._text, places)
        ln_p = _numpy(F.log_softmax(logits.cpu().double(), 1))  # not every device has float64
        return ln_p if self._counted is None else self._counted.mixed(ln_p, places)

    def predictions_of(
        self, ln_p: np.ndarray, targets: torch.Tensor, places: np.ndarray, detailed: bool
    ) -> Predictions:
        """Return the predictions in ln P (n, V) of targets (1, n) at places (n,)."""
        predictions = predictions_of(torch.from_numpy(ln_p)[None], targets, places, detailed)
        if self._text is None:
            return predictions
        return self._text.counted(predictions, is_stream=True)


class CountedText:
    """What counting says of each character of a text, and where it stands there.

    It takes 16 bytes for each character, and 4 more where lines have labels.
    """

    def __init__(
        self,
        ally: Ally,
        ids: np.ndarray,
        protocol: str,
        window: int,
        first: np.ndarray | None = None,
    ) -> None:
        """first: as for Scorer.predictions."""
        self.ally = ally
        self._labels: np.ndarray | None = None  # (N,) of the line of each character
        self.nodes = np.zeros(len(ids), np.int64)  # (N,) the context of each character
        self.ln_p = np.zeros(len(ids))  # (N,)
        boundary = ally.contexts.ngram.boundary
        parts = [(0, np.arange(len(ids)))]
        if ally.by_label is not None and first is not None:
            numbers = labels_read(first, ally.contexts.vocabulary_size)
            parts = chars_by_label(ids, numbers, boundary)
            self._labels = np.zeros(len(ids), np.uint32)
        for number, here in parts:
            if self._labels is not None:
                self._labels[here] = number
            ngram = ally.of(number).contexts.ngram
            for places, p, nodes in placed_contexts(ngram, ids[here], protocol, window):
                self.nodes[here[places]] = nodes
                self.ln_p[here[places]] = np.log(p)

    def seen(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return counting's first choices (n,) and signs (n, 3) for the gate at places (n,)."""
        best = np.zeros(len(places), np.int64)
        signs = np.zeros((len(places), 3))
        for rows, ally in self._allies(places):
            nodes = self.nodes[places[rows]]
            best[rows] = ally.contexts.best[nodes]
            signs[rows] = ally.signs[nodes]
        return best, signs

    def mixed(self, ln_network: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return ln P (n, V) of the mixture at places (n,), where the network says ln_network."""
        mixed = np.empty_like(ln_network)
        for rows, ally in self._allies(places):
            mixed[rows] = ally.mixed(ln_network[rows], self.nodes[places[rows]])
        return mixed

    def _allies(self, places: np.ndarray) -> Iterator[tuple[np.ndarray | slice, Ally]]:
        """Yield which of places (n,) stand in lines of each label, and what counts there."""
        if self._labels is None:
            yield slice(None), self.ally
            return
        labels = self._labels[places]
        for number in np.unique(labels).tolist():
            yield np.flatnonzero(labels == number), self.ally.of(number)


class Mixer:
    """The predictions of a network and its ally on one text."""

    def __init__(self, counted: CountedText) -> None:
        """counted: what counting says of the text."""
        self._counted = counted

    def predictions_of(
        self, logits: torch.Tensor, targets: torch.Tensor, places: np.ndarray, detailed: bool
    ) -> Predictions:
        """Return what the function of this name returns of a network alone."""
        logits, targets, places = without_padding(logits, targets, places)
        if detailed:
            ln_network = _numpy(F.log_softmax(logits.cpu().double(), 1))
            mixed = torch.from_numpy(self._counted.mixed(ln_network, places))
            return predictions_of(mixed[None], targets.cpu()[None], places, detailed)
        best, signs = self._counted.seen(places)
        looks = Looks(logits, targets, best)
        return self._mixture(places, looks.ln_target, looks.features(signs))

    def mixture(self, places: np.ndarray, numbers: np.ndarray) -> Predictions:
        """Return the predictions at places (n,). numbers (4, n): readers.GateReader's."""
        ln_target, at_best, top, entropy = numbers
        _, signs = self._counted.seen(places)
        return self._mixture(places, ln_target, features_of(entropy, top, at_best, signs))

    def _mixture(
        self, places: np.ndarray, ln_target: np.ndarray, features: np.ndarray
    ) -> Predictions:
        w = shares(self._counted.ally.theta, features)
        return Predictions(places, nats_of(w, ln_target, self._counted.ln_p[places]), w=w)


class Looks:
    """What a network says at n places: ln P of the character that comes, and what the gate sees."""

    def __init__(self, logits: torch.Tensor, targets: torch.Tensor, best: np.ndarray) -> None:
        """logits (n, V), targets (n,); best (n,): the first choice of counting."""
        ln_p = F.log_softmax(logits, 1)  # (n, V)
        chosen = torch.stack([targets, torch.from_numpy(best).to(targets.device)], 1)
        at_chosen = _numpy(ln_p.gather(1, chosen)).astype(np.float64)  # (n, 2)
        self.ln_target = at_chosen[:, 0]
        self.at_best = at_chosen[:, 1]
        self.top = _numpy(ln_p.amax(1)).astype(np.float64)
        # x ln x is 0 where x is 0; a network that has diverged has places without any number.
        self.entropy = _numpy(torch.special.entr(ln_p.exp()).sum(1)).astype(np.float64)

    def features(self, signs: np.ndarray) -> np.ndarray:
        """Return x (n, FEATURES) of the gate. signs (n, 3): of the contexts."""
        return features_of(self.entropy, self.top, self.at_best, signs)


def nats_of(w: np.ndarray, ln_network: np.ndarray, ln_counted: np.ndarray) -> np.ndarray:
    """Return -ln ((1 - w) P_network + w P_ngram); all (n,)."""
    nats: np.ndarray = -np.logaddexp(np.log1p(-w) + ln_network, np.log(w) + ln_counted)
    return nats


def masked(logits: torch.Tensor, text: SpelledText, places: np.ndarray) -> torch.Tensor:
    """Return logits (n, V) with -inf for what may not stand at places (n,) of a text."""
    closed = torch.from_numpy(text.spelling.closed).to(logits.device)
    states = text.states(places)
    inside = np.flatnonzero(states)  # few
    allowed = torch.from_numpy(text.spelling.allowed(states[inside])).to(logits.device)
    rows = torch.from_numpy(inside).to(logits.device)
    within = logits[rows].masked_fill(~allowed, -torch.inf)
    return logits.masked_fill(closed, -torch.inf).index_copy(0, rows, within)


def without_padding(
    logits: torch.Tensor, targets: torch.Tensor, places: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Return logits (n, V), targets (n,) and places (n,) without padding."""
    logits = logits.flatten(0, 1)  # (B T, V)
    targets = targets.flatten()
    places = places.reshape(-1)
    counted = targets != IGNORED
    if not bool(counted.all()):
        places = places[_numpy(counted)]
        logits = logits[counted]
        targets = targets[counted]
    return logits, targets, places


def _numpy(values: torch.Tensor) -> np.ndarray:
    return values.cpu().numpy()
