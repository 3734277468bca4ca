"""What the tests of several texts share."""

from pathlib import Path

from charrnn.config import resolve
from charrnn.text.building import build, survey
from charrnn.text.shares import named
from charrnn.text.sources import find_several


def found(operands, **settings):
    """Several texts as one, as the command finds them."""
    return find_several([named(str(one)) for one in operands], resolve([("--", settings)])[0].text)


def built(folder: Path, operands, seed=1, **settings):
    """The survey and the corpus of several texts, and the notes for the person."""
    text = resolve([("--", settings)])[0].text
    surveyed = survey(found(operands, **settings), text, seed)
    corpus, notes = build(surveyed, text, seed, folder / "corpus")
    return surveyed, corpus, [*surveyed.notes, *notes]
