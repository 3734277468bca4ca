"""What the tests of this folder share."""

import numpy as np
import torch
from hypothesis import HealthCheck, settings

from charrnn.config import Settings
from charrnn.model.charmodel import CharModel
from charrnn.modelfile import MODEL_FILE, ModelFile
from charrnn.sampling.codec import Sample
from charrnn.sampling.engine import Sampler
from charrnn.text.building import build, survey
from charrnn.text.vocabulary import Vocabulary
from charrnn.texts import OpenedRun

reusing_files = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


SYMBOLS = tuple(map(ord, "\nabé"))


def sample(text, index=0, nats=1.0, chars=1):
    raw = text if isinstance(text, bytes) else None
    shown = text if raw is None else raw.decode("utf-8", "replace")
    return Sample(index, shown, nats, chars, (np.zeros(chars, np.int32), 0, chars), raw)


def texts(samples):
    """Not their nats: those are rounded otherwise when other texts are drawn beside them."""
    return [(one.index, one.data) for one in samples]


def sampler(mode="lines", unit="char", symbols=SYMBOLS):
    """A random small model."""
    chosen = Settings().with_values(
        "model", cell="gru", hidden_size=6, num_layers=1, embedding_size=4
    )
    torch.manual_seed(3)
    network = CharModel(chosen.model, len(symbols)).eval()
    tensors = {name: 2 * value.numpy() for name, value in network.tensors().items()}
    return Sampler.from_tensors(
        chosen.with_values("text", unit=unit), Vocabulary(unit, symbols), mode, 0, tensors
    )


# Novelty


class Run:
    """A run's model and training text, without weights."""

    def __init__(self, folder, text, options):
        self.folder, self.options = folder, options
        (folder / "text.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        self.found = survey(str(folder / "text.txt"), options, 1)
        self.corpus, _ = build(self.found, options, 1, folder / "corpus")
        vocabulary = self.corpus.vocabulary
        meta = {"fingerprint": self.found.fingerprint}
        self.model = ModelFile(
            folder / MODEL_FILE, Settings(), vocabulary, options.mode, 0, {}, meta
        )
        self.filter = self.corpus.path.with_suffix(".novel")

    def verdict(self, text):
        known = OpenedRun(self.model).novelty
        return known and known.is_novel(sample(text).data)
