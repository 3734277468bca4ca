"""A run that is read: the texts that its model has learnt from. No torch."""

from __future__ import annotations

from charrnn.errors import CheckpointError
from charrnn.modelfile import ModelFile
from charrnn.terminal import one_line
from charrnn.text.corpus import Corpus, described, open_corpus


def training_corpora(model: ModelFile) -> list[Corpus]:
    """The run's text, then others that it has learnt from (--allow-corpus-change). Raises CheckpointError."""
    fingerprint, shown = model.meta.get("fingerprint"), one_line(str(model.path))
    if model.run is None or not isinstance(fingerprint, str):
        raise CheckpointError(
            f"{shown} lies in no run directory with its text; --samples compares with it: name the run"
        )
    folder = model.run / "corpus"
    found = [open_corpus(folder, fingerprint)]
    for path in sorted(folder.glob("[0-9a-f]" * 16 + ".json")):
        if path.stem != fingerprint[:16]:
            found.append(open_corpus(folder, described(path).get("fingerprint")))
    if any(corpus.vocabulary != model.vocabulary or corpus.mode != model.mode for corpus in found):
        raise CheckpointError(
            f"{one_line(str(folder))} is not the text of {shown}; use another copy of the run"
        )
    return found
