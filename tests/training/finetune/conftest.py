"""The fixtures of this folder."""

import pytest
from finetune_support import BASE, NAMES, OTHER_PROSE, PLACES, PROSE, TUNE
from support import Watcher

from charrnn.training.session import Request, train


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Runs to start from, one of lines and one of a stream."""
    folder = tmp_path_factory.mktemp("bases")
    for mode, text in (("lines", NAMES), ("stream", PROSE)):
        (folder / f"{mode}.txt").write_text(text)
        settings = BASE | {"mode": mode}
        train(
            Request(str(folder / f"{mode}.txt"), (("--", settings),), run=folder / mode), Watcher()
        )
    return folder


@pytest.fixture
def tune(bases, tmp_path, one_thread):
    """tune(mode, run, **settings) -> (run, outcome, what was said)."""

    def go(mode="lines", run="tuned", watcher=None, source=None, text=None, **changes):
        path = tmp_path / "new.txt"
        path.write_text(text or (PLACES if mode == "lines" else OTHER_PROSE))
        watcher = watcher or Watcher()
        settings = TUNE | {"init_from": str(source or bases / mode), "mode": mode} | changes
        found, outcome = train(Request(str(path), (("--", settings),), run=tmp_path / run), watcher)
        return found, outcome, watcher.said

    return go
