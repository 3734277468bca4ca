"""What the tests of this folder share."""

from support import Watcher

from charrnn.training.session import Request, train

SMALL = {
    "hidden_size": 8,
    "embedding_size": 4,
    "num_layers": 1,
    "batch_size": 8,
    "lr": 0.02,
    "threads": 1,
    "counting": "off",  # these tests are about networks
}


def run(corpus, path, watcher=None, **changes):
    return train(Request(corpus, (("--", SMALL | changes),), run=path), watcher or Watcher())[1]


def unmeasured():
    raise AssertionError("the machine's speed was measured, and does not matter here")
