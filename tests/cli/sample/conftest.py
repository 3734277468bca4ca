"""The fixtures of this folder."""

import pytest
from sample_support import LINES, make_run


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("lines"), "lines")


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("stream"), "stream", corpus=LINES + "é\U0001f600\x1b")
