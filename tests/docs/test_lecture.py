"""The lecture: a picture for every idea, each small, and drawn from curves that the labs have."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LECTURE = (ROOT / "docs/lecture.md").read_text(encoding="utf-8")
OTHERS = {"cells"}  # drawn by docs/session.py


@pytest.fixture(scope="module")
def pictures():
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs/pictures.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["pictures"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["pictures"]


def test_every_picture_is_shown_once_and_can_be_drawn_again(pictures):
    shown = re.findall(r"\(pictures/(\w+)\.svg\)", LECTURE)
    assert sorted(shown) == sorted({*pictures.PICTURES, *OTHERS})
    drawn = re.findall(r"python docs/pictures\.py ([a-z ]+)", LECTURE)
    assert {name for names in drawn for name in names.split()} <= pictures.PICTURES.keys()


def test_every_picture_is_small_and_has_no_background(pictures):
    for name in pictures.PICTURES:
        svg = (ROOT / f"docs/pictures/{name}.svg").read_text(encoding="utf-8")
        assert len(svg) < 60_000, name
        assert not re.search(r"(fill|background): ?(#ffffff|white)", svg), name
