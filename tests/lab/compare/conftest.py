"""The fixtures of this folder."""

import pytest
from compare_support import done
from support import FEW

# Variants


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    place = tmp_path_factory.mktemp("few") / "few.txt"
    place.write_text("".join(f"{name}\n" for name in FEW))
    return place


@pytest.fixture(scope="module")
def finished(few, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared") / "runs"
    return (*done(few, folder), folder)
