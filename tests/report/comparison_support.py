"""Small comparisons for the tests of their page."""

from pathlib import Path

from support import Watcher

from charrnn.lab.asked import ask
from charrnn.lab.compare import prepare, train_all

SMALL = {
    "hidden_size": "12",
    "steps": "12",
    "batch_size": "8",
    "threads": "1",
    "eval_every": "3",
    "seed": "3",
    "lr": "0.02",
}


class Bar(Watcher):
    def close(self):
        pass


def compared_in(folder, text, vary=("cell=gru,rnn",), seeds=2, turns=None, **more):
    """Train a comparison in a folder, or some of its turns. Returns its plan."""
    request = ask(str(text), (("--set", SMALL | more),), vary, None, seeds)
    plan, _ = prepare(request, folder, Path("none"), Watcher())
    if turns is None or turns:
        train_all(plan, folder, Bar, lambda text: None, turns)
    return plan
