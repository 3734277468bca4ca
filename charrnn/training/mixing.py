"""Counting beside a network in training: n-grams of the text, and a gate fitted at each evaluation.

The n-grams follow from the text, and the gate from the weights and the validation text: nothing
here moves a weight, and nothing depends on a clock. So a resume counts again and goes on exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from charrnn.model.charmodel import CharModel
from charrnn.scoring.counting import Baseline, counted_as_ally, counted_for_training
from charrnn.scoring.fitting import cross_fitted, halves, unfitted
from charrnn.scoring.held_out import held_out
from charrnn.scoring.mixed import CountedText
from charrnn.scoring.readers import VALIDATION, GateReader, Read, Share, read_batches
from charrnn.scoring.score import Score
from charrnn.scoring.spelled import spelled_text
from charrnn.scoring.validation import is_noise, validation, validation_batches
from charrnn.text.batches import IGNORED
from charrnn.text.compact import packed_levels
from charrnn.text.contexts import Contexts
from charrnn.text.corpus import Corpus
from charrnn.text.gate import FEATURES, Ally, features_of
from charrnn.training.listener import Tensors

LEAST_GAIN = 0.001  # of the network's nats: less is not worth the n-grams' place in the file


@dataclass(frozen=True)
class Reading:
    """What an evaluation found. share: of counting in the mixture, on average; 0: it is left out.

    val: the score that counts: the mixture's, or the network's.
    """

    val: Score
    network: Score
    share: float


class Counting:
    """The n-grams of a training's text. theta: the gate of the newest evaluation, or None."""

    def __init__(self, corpus: Corpus, mixed: Corpus | None, how: str) -> None:
        """how: "auto", "on" or "off" (--counting). Where a gate would fit noise, auto fits none."""
        self.theta: np.ndarray | None = None
        self._corpus = corpus
        self._mixed = mixed
        self._how = how
        self._is_noise = how == "auto" and is_noise(corpus)
        self._is_counted = False
        self._baseline: Baseline | None = None
        self._counted: CountedText | None = None
        self._packed: Tensors = {}

    def baseline(self) -> Baseline | None:
        """The score of counting alone; None where the text cannot be counted. Counts only once."""
        self._count()
        return self._baseline

    def tensors(self) -> Tensors:
        """What a model file holds beside the network: nothing where it stands alone."""
        if self.theta is None:
            return {}
        self._count()
        return self._packed | {"gate.theta": self.theta}

    def evaluate(
        self,
        model: CharModel,
        device: torch.device,
        deadline: float | None = None,
        most: int | None = None,
        share: Share | None = None,
    ) -> Reading:
        """Fit the gate to the network as it is, and return what both reach on the validation text.

        Where there is nothing to mix, that is the network's score.
        deadline, most: as for validation_batches. share: reads with other processes, if it can.
        """
        self._count()
        self.theta = None
        if self._counted is None:
            network = validation(model, self._corpus, "val", device, deadline, most, share)
            return Reading(network, network, 0.0)
        reader = GateReader(model, device, self._best, self._spelled)
        batches = validation_batches(self._corpus, "val", model, deadline, most)
        if share is None:
            read = read_batches(model, reader, batches)
        else:
            read = share(VALIDATION, reader, batches)
        places, features, ln_network, ln_counted = self._look(read)
        chars = self._corpus.vocabulary.chars(self._val[places])
        network = Score(-float(ln_network.sum()), chars)
        if not np.isfinite(features).all() or not np.isfinite(network.nats):
            return Reading(network, network, 0.0)  # it has diverged
        ends = None
        if self._corpus.mode == "lines":
            ends = np.flatnonzero(self._val == self._corpus.vocabulary.newline)
        if self._is_noise:
            fit = unfitted(ln_network, ln_counted)
        else:
            fit = cross_fitted(features, ln_network, ln_counted, halves(places, ends))
        mixture = Score(float(fit.nats.sum()), chars)
        if (
            self._how == "auto"
            and not self._is_noise
            and mixture.nats > (1 - LEAST_GAIN) * network.nats
        ):
            return Reading(network, network, 0.0)
        self.theta = fit.theta
        return Reading(mixture, network, float(fit.w.mean()))

    def _look(self, read: Iterator[Read]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Put counting beside what the network says of the validation text (GateReader).

        Returns places (n,), features of the gate (n, F), and ln P of what came: the network's (n,),
        counting's (n,).
        """
        counted = self._counted
        assert counted is not None
        columns: list[tuple[np.ndarray, ...]] = []
        for batch, placed, (ln_target, at_best, top, entropy) in read:
            places = placed[(batch.targets != IGNORED).numpy()]
            _, signs = counted.seen(places)
            features = features_of(entropy, top, at_best, signs)
            columns.append((places, features, ln_target, counted.ln_p[places]))
        joined = [np.concatenate(column) for column in zip(*columns, strict=True)]
        return joined[0], joined[1], joined[2], joined[3]

    def _count(self) -> None:
        """Count the text, once."""
        if self._is_counted:
            return
        self._is_counted = True
        if self._how == "off":
            self._baseline = counted_for_training(self._corpus)
            return
        mixed = self._mixed
        if mixed is not None and mixed.fingerprint == self._corpus.fingerprint:
            mixed = None
        counted = counted_as_ally(self._corpus, mixed)
        if counted is None:
            return
        self._baseline, ngram, by_label = counted
        self._val, first = held_out(self._corpus, "val")
        is_stream = self._corpus.mode == "stream"
        if is_stream and len(self._val) < 2:
            return
        self._packed = packed_levels(ngram.levels, ngram.vocabulary_size)
        if by_label is not None:
            self._packed |= by_label.tensors(len(self._corpus.vocabulary.labels))
        ally = Ally(Contexts(ngram), np.zeros(FEATURES), by_label)  # no gate is asked of it
        protocol = "stateful" if is_stream else "lines"
        self._spelled = spelled_text(self._corpus.vocabulary.spelling, self._val)
        self._counted = CountedText(ally, self._val, protocol, 0, first)
        self._best, _ = self._counted.seen(np.arange(len(self._val)))
