"""What the tests of this folder share."""

import numpy as np
from support import FEW

from charrnn.config import ModelSettings, Settings
from charrnn.layout import expected_shapes
from charrnn.modelfile import ModelFile
from charrnn.text.vocabulary import Vocabulary

OLD = Vocabulary("char", tuple(map(ord, "\nbdfhj")))


NAMES = "".join(f"{name}\n" for name in FEW)


PLACES = (
    "".join(
        f"{name}ö\n"
        for name in "Rom Bonn Köln Bern Genf Wien Graz Linz Ulm Jena Trier Mainz Hof Kiel".split()
    )
    * 2
)


PROSE = (
    "A text of several lines,\n\nwith blank ones, so that it is a stream. "
    "It is 300 characters long or so.\n\n"
) * 3


OTHER_PROSE = (
    "Etwas Anderes, über vieles:\n\n  ein langer Strom von Zeichen, und nicht sehr viele davon. "
    * 4
)


def old_model(cell, layers, skip, tied, seed=0):
    """A model whose predictions are far from even, as after training."""
    settings = ModelSettings(cell, 5, layers, 5, 0.0, skip, tied)
    random = np.random.default_rng(seed)
    tensors = {
        name: (2 * random.standard_normal(shape)).astype(np.float32)
        for name, shape in expected_shapes(settings, len(OLD)).items()
    }
    return ModelFile("old", Settings(model=settings), OLD, "stream", 0, tensors, {})


# Whole trainings

BASE = {
    "cell": "lstm",
    "hidden_size": 9,
    "embedding_size": 5,
    "num_layers": 2,
    "dropout": 0.2,
    "batch_size": 5,
    "seq_length": 7,
    "lr": 0.02,
    "steps": 30,
    "save_every": "4",
    "eval_every": "13",
    "sample_every": "20",
    "threads": 1,
    "patience": 0,
}


TUNE = {
    key: value
    for key, value in BASE.items()
    if key not in ("hidden_size", "embedding_size", "num_layers")
}
