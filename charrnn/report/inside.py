"""The section of cells: held-out text for the viewer, with the cells that follow something in it.

It asks `insight` to search as much text as takes some seconds. It draws nothing.
"""

from __future__ import annotations

from charrnn.errors import CorpusError
from charrnn.insight.search import Search, Tracker, search
from charrnn.modelfile import ModelFile
from charrnn.report.results import SPLIT_NAMES, Say, parameters_of
from charrnn.report.viewer import TrackingCell, Viewer, label, viewer
from charrnn.scoring.text import cut, text_of_split
from charrnn.terminal import many
from charrnn.texts import OpenedRun

SEARCHED = 20_000  # characters
LEAST_SEARCHED = 2000
SEARCH_WORK = 1.5e10  # characters times parameters: a few seconds


def cells_of(run: OpenedRun, say: Say) -> Viewer | None:
    """The viewer, with the cells that follow something in more of its text.

    None for a run without held-out text.
    """
    model = run.model
    try:
        text = text_of_split(run, None)
    except CorpusError:
        return None
    if model.counts:
        view = viewer(model, text, [])
        view["said"] = "A model that counts has no cells; its guesses and its surprise can be read."
        return view
    most = int(min(SEARCHED, max(LEAST_SEARCHED, SEARCH_WORK / parameters_of(model))))
    ids = cut(model, text.ids, most)
    say(f"looking for cells in {many(len(ids), 'character')} of the {text.split} text")
    result = search(model, ids)
    trackers = [tracker for tracker in result.trackers if tracker.beats_luck]
    view = viewer(model, text, [_tracking_cell(tracker, model) for tracker in trackers])
    view["said"] = _introduction(result, SPLIT_NAMES[str(text.split)])
    view["missed"] = _missed(result, trackers)
    return view


def _tracking_cell(tracker: Tracker, model: ModelFile) -> TrackingCell:
    layers = model.settings.model.num_layers or 1
    accuracy = "–" if tracker.accuracy is None else f"{100 * tracker.accuracy:.0f} %"
    return {
        "title": tracker.feature,
        "array": tracker.cell,
        "unit": tracker.unit,
        "place": f"{label(tracker.cell, layers)} {tracker.unit}",
        "score": f"{tracker.score:+.2f}".replace("-", "−"),
        "luck": f"{tracker.chance:.2f}",
        "accuracy": accuracy,
    }


def _introduction(result: Search, text_name: str) -> str:
    if not result.trackers:
        return "This text has too little of what cells could be seen to follow."
    return (
        f"Each of {result.units:,} units and gates was held against what a reader could keep track "
        f"of. Picked on the first half of {result.chars:,} characters of the {text_name}, scored "
        "on the second."
    )


def _missed(result: Search, trackers: list[Tracker]) -> str:
    """The features that no cell follows, or that could not be looked at."""
    tracked = {tracker.feature for tracker in trackers}
    others = sorted({tracker.feature for tracker in result.trackers} - tracked)
    sentences = []
    if others:
        sentences.append(f"Nothing better than luck: {', '.join(others)}.")
    if result.left_out:
        sentences.append(f"Too rare in this text to tell: {', '.join(result.left_out)}.")
    return " ".join(sentences)
