"""What the tests of this folder share."""

from pathlib import Path

from support import Watcher

from charrnn.lab.asked import ask
from charrnn.lab.compare import prepare, train_all

# What is asked


def asked(vary=(), equal=None, seeds=3, corpus=None, **chosen):
    return ask(corpus, (("--set", chosen),), vary, equal, seeds)


# Trainings


SMALL = {
    "hidden_size": "12",
    "steps": "12",
    "batch_size": "8",
    "threads": "1",
    "eval_every": "4",
    "seed": "3",
    "counting": "off",
}


VARY = ["cell=gru,rnn"]


class Bar(Watcher):
    def close(self):
        pass


def done(few, folder, seeds=2, bar=Bar, **more):
    """(plan, runs that diverged) of a small comparison in folder."""
    request = asked(VARY, corpus=str(few), seeds=seeds, **(SMALL | more))
    plan, place = prepare(request, folder, Path("none"), Watcher())
    assert place == folder
    return plan, train_all(plan, place, bar, lambda text: None)
