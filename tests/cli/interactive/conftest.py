"""The fixtures of this folder."""

import pytest
from interactive_support import Terminal, make_run


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("lines"), "lines", "\nabenr")


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("stream"), "stream", "\n\x1b/\\abenré")


@pytest.fixture
def terminal():
    opened = []

    def begin(*arguments, **options):
        opened.append(Terminal(*arguments, **options))
        opened[-1].wait_for("> ")
        return opened[-1]

    yield begin
    for each in opened:
        each.close()
