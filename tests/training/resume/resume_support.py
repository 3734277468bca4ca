"""What the tests of this folder share."""

import json

from support import Watcher

from charrnn.training.session import Request, train

SETTINGS = {
    "hidden_size": 9,
    "embedding_size": 5,
    "num_layers": 2,
    "dropout": 0.3,
    "batch_size": 5,
    "seq_length": 7,
    "lr": 0.02,
    "steps": 60,
    "save_every": "4",
    "eval_every": "13",
    "sample_every": "20",
    "threads": 1,
    "patience": 0,
}


PROSE = (
    "A text of several lines,\n\nwith blank ones, so that it is a stream. "
    "It is 300 characters long or so.\n\n"
) * 3


def layers(**changes):
    return (("--", SETTINGS | changes),)


def straight(tmp_path, corpus, **changes):
    return train(Request(corpus, layers(**changes), run=tmp_path / "straight"), Watcher())[1]


def steps_in_metrics(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["step"] for row in rows if "event" not in row]
