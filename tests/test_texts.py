"""A run that is read: each of its texts is opened once."""

import shutil
from collections import Counter

import pytest
from support import FEW, Watcher

from charrnn.cli.eval import evaluate
from charrnn.cli.report import report
from charrnn.text import corpus
from charrnn.training.session import Request, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def changed(trained, tmp_path_factory):
    """A run that has learnt from two texts."""
    folder = tmp_path_factory.mktemp("changed")
    run = folder / "run"
    shutil.copytree(trained, run)
    (folder / "more.txt").write_text("".join(f"{name}\n" for name in FEW[::-1]))
    request = Request(
        str(folder / "more.txt"),
        (("--", {"steps": 40}),),
        run=run,
        resume=True,
        allow_corpus_change=True,
    )
    train(request, Watcher())
    return run


@pytest.fixture
def openings(monkeypatch):
    """How often each file of ids is read to its end, by name."""
    counts = Counter()
    compute = corpus._file_sha256

    def counted(path):
        counts[path.name] += 1
        return compute(path)

    monkeypatch.setattr(corpus, "_file_sha256", counted)
    return counts


@pytest.mark.parametrize(
    "command",
    [report, evaluate, lambda run: evaluate(run, samples=20)],
    ids=["report", "eval", "eval --samples"],
)
def test_a_command_opens_each_text_once(command, changed, openings):
    command(changed)
    assert len(openings) == 2
    assert set(openings.values()) == {1}
