"""The score of each of several texts, at the end of a training."""

from __future__ import annotations

from pathlib import Path

from charrnn.modelfile import read_model
from charrnn.scoring.by_text import TextScore
from charrnn.scoring.evaluation import How, open_scorer, protocol_of
from charrnn.scoring.score import tallied
from charrnn.scoring.text import beginning, text_of_split
from charrnn.texts import OpenedRun

MOST_SCORED = 100_000  # characters of validation; `charrnn eval` scores all
LEAST_SCORED = 5000
WORK = 5e10  # characters times parameters: about five seconds


def scores_of_texts(path: Path, device: str) -> list[TextScore]:
    """Return the score of each text on validation, of its beginning where that is long.

    path: of a run that has a model. Raises CheckpointError.
    """
    model = read_model(path)
    parameters = sum(tensor.size for tensor in model.tensors.values())
    most = MOST_SCORED
    if not model.counts:
        most = int(min(MOST_SCORED, max(LEAST_SCORED, WORK / parameters)))
    text = beginning(text_of_split(OpenedRun(model), "val"), model, most)
    by_text = text.by_text()
    if by_text is None:  # with --val, validation is none of the texts
        return []
    scorer = open_scorer(model, "auto" if model.counts else device)
    newline = model.vocabulary.newline if model.mode == "lines" else None
    first = text.first_ids(model.vocabulary)
    protocol = protocol_of(model, How())
    tallied(scorer, text.ids, protocol, newline, first=first, beside=by_text)
    return by_text.scores()
