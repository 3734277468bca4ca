"""The ids of a shipped text, made when they are needed: a model that comes with charrnn has none.

A stream's ids are its text again, and the wheel holds that text once, in corpora/.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from charrnn.errors import CheckpointError
from charrnn.layers import shipped
from charrnn.storage import storage_error, write_atomically
from charrnn.terminal import one_line
from charrnn.text.corpus import Corpus, described, open_corpus
from charrnn.text.vocabulary import Vocabulary

# Of each text one directory a process, which goes when the process does.
_folders: dict[str, tempfile.TemporaryDirectory[str]] = {}


def corpus_of_shipped(folder: Path, fingerprint: str) -> Corpus:
    """Open the corpus that a description in folder tells of, with ids made from the shipped text.

    folder: of a model that comes with charrnn; what it says is trusted. The text is a stream, read
    as it stands. Its ids are checked as those of any corpus are.
    Raises CheckpointError for another text, StorageError.
    """
    if fingerprint not in _folders:
        ids = folder / f"{fingerprint[:16]}.ids"
        about = described(ids)
        text = shipped("corpora", f"{about['name']}.txt")
        if text is None:
            raise CheckpointError(
                f"{one_line(str(ids))} is made from the corpus {about['name']}, which is not here; "
                "install charrnn again"
            )
        vocabulary = Vocabulary.from_dict(about["vocabulary"])
        codes = vocabulary.codes(text.read_bytes())
        try:
            place = tempfile.TemporaryDirectory(prefix="charrnn-", ignore_cleanup_errors=True)
        except OSError as error:
            raise storage_error(error, Path(tempfile.gettempdir())) from error
        made = Path(place.name) / ids.name
        write_atomically(made, vocabulary.lookup(codes).astype(np.dtype(about["dtype"])).tobytes())
        description = ids.with_suffix(".json")
        write_atomically(made.with_suffix(".json"), description.read_bytes())
        _folders[fingerprint] = place
    return open_corpus(Path(_folders[fingerprint].name), fingerprint)
