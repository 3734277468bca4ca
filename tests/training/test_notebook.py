"""A training in a notebook: tqdm's bar, which is replaced here, and lines below it."""

import sys
from types import ModuleType

import pytest

from charrnn.notebook import WHOLE, NotebookBar, in_notebook
from charrnn.progress import TrainingProgress
from charrnn.training.listener import Step


class Bar:
    """Stands for tqdm.notebook.tqdm."""

    def __init__(self, total, display, **options):
        assert not display  # it is shown by NotebookBar, which can take it away again
        self.container = "the bar"
        self.total = total
        self.n = 0
        self.words = ""
        self.is_closed = False

    def set_postfix_str(self, words, refresh):
        self.words = words

    def update(self, more):
        self.n += more

    def close(self):
        self.is_closed = True


class Shown:
    """Stands for what IPython.display.display returns: a piece of a page."""

    def __init__(self, content, display_id):
        self.content = content

    def update(self, content, raw):
        self.content = content


@pytest.fixture
def bar(monkeypatch):
    page = ModuleType("IPython.display")
    page.display = Shown
    monkeypatch.setitem(sys.modules, "IPython.display", page)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: "found")
    module = ModuleType("tqdm.notebook")
    module.tqdm = Bar
    monkeypatch.setitem(sys.modules, "tqdm.notebook", module)
    return NotebookBar()


def test_the_bar_moves_with_the_steps(bar):
    progress = TrainingProgress(screen=bar)
    progress.step(Step(1, 4, 10, 2.0, 5.0))
    assert bar._bar.n == WHOLE // 4
    assert "step 1" in bar._bar.words


def test_lines_stay_below_it(bar, capsys):
    progress = TrainingProgress(screen=bar)
    progress.say("note: two lines were blank")
    # A notebook paints standard error red.
    assert capsys.readouterr() == ("note: two lines were blank\n", "")


def test_without_widgets_there_are_lines_alone(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    progress = TrainingProgress(screen=NotebookBar())
    progress.step(Step(1, 4, 10, 2.0, 5.0))
    progress.say("half of it")
    progress.close()
    assert capsys.readouterr() == ("half of it\n", "")


def test_the_bar_goes_at_the_end(bar):
    progress = TrainingProgress(screen=bar)
    progress.step(Step(1, 4, 10, 2.0, 5.0))
    progress.close()
    assert bar._bar.is_closed
    assert bar._place.content == {"text/plain": ""}


def test_outside_a_notebook_there_is_none(monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert not in_notebook()
