"""A lab's result: as CSV, as JSON, as a picture, as a table."""

import csv
import io
import json
import math

import pytest

from charrnn.cli import result_view
from charrnn.errors import SettingsError, StorageError
from charrnn.lab.result import Panel, Result, Series, json_objects, shown, to_csv
from charrnn.storage import json_line

BAND = Series(
    "=cmd|' /C calc'!A1", (1.0, 2.0), (0.1, math.nan), low=(0.0, 0.05), high=(0.2, math.inf)
)
PLAIN = Series("_$\\bad{$", (1, 10, 100), (1e-3, 0.0, -1.0))
RESULT = Result(
    "Norms $\\bad{$ 汉",
    ("cell", "rate", "lags"),
    (("rnn", 0.51234, 1000), ("lstm", None, 2)),
    (
        Panel("a", "lag", "norm", (BAND,)),
        Panel("+b", "lag", "norm", (PLAIN,), log_x=True, log_y=True),
    ),
    "The rnn forgets.",
    {"seed": 1},
)


def test_csv_has_every_point_and_no_formula():
    rows = list(csv.reader(io.StringIO(to_csv(RESULT).decode())))
    assert rows[0] == ["panel", "series", "x", "y", "low", "high"]
    assert rows[1] == ["a", "'=cmd|' /C calc'!A1", "1.0", "0.1", "0.0", "0.2"]
    assert rows[2][2:] == ["2.0", "", "0.05", ""]
    assert rows[5] == ["'+b", "_$\\bad{$", "100", "-1.0", "", ""]


def test_json_is_the_table_and_then_the_curves():
    lines = [json.loads(json_line(each)) for each in json_objects(RESULT)]
    assert [line["kind"] for line in lines] == ["result", "series", "series"]
    assert lines[0]["rows"] == [["rnn", 0.51234, 1000], ["lstm", None, 2]]
    assert lines[1]["y"] == [0.1, None] and lines[2]["low"] is None


def test_cells_for_people():
    assert [shown(cell) for cell in ("x", 12345, 0.123456, 1e-9, None, math.nan)] == [
        "x",
        "12,345",
        "0.1235",
        "1e-09",
        "–",
        "–",
    ]


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="length"):
        Series("s", (1, 2), (1, 2), low=(1,))
    with pytest.raises(ValueError, match="column"):
        Result("t", ("a", "b"), (("x",),), (), "s")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("format", ["png", "svg"])
def test_a_result_is_drawn_and_always_alike(format):
    """Hostile names, values that no logarithmic axis has, a gap: none warns or raises."""
    pytest.importorskip("matplotlib")
    from charrnn.picture import curves

    drawn = curves(RESULT, format)
    assert drawn.startswith(b"\x89PNG") or b"<svg" in drawn
    assert drawn == curves(RESULT, format)
    assert b"<dc:date>" not in drawn


def test_show_prints_the_table_and_what_to_see(capfd):
    result_view.show(RESULT, None, None, False)
    out = capfd.readouterr().out
    assert (
        "rnn   0.5123  1,000" in out
        and "see       The rnn forgets." in out
        and "settings  seed 1" in out
    )


def test_show_writes_pictures_and_csv(tmp_path, capfd):
    pytest.importorskip("matplotlib")
    places = [tmp_path / "a.PNG", tmp_path / "b.svg"]
    result_view.show(RESULT, places, tmp_path / "c.csv", True)
    assert places[0].read_bytes()[:4] == b"\x89PNG" and b"<svg" in places[1].read_bytes()
    assert (tmp_path / "c.csv").read_bytes() == to_csv(RESULT)
    assert [json.loads(line)["schema"] for line in capfd.readouterr().out.splitlines()] == [1, 1, 1]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"plot": "x.gif"}, SettingsError),
        ({"plot": "no/x.png"}, StorageError),
        ({"csv": "."}, SettingsError),
        ({"csv": "-", "json": True}, SettingsError),
        ({"seed": -1}, SettingsError),
    ],
)
def test_a_place_that_will_not_do_is_told_before_any_work(tmp_path, monkeypatch, given, error):
    monkeypatch.chdir(tmp_path)
    plot = [tmp_path.joinpath(given["plot"])] if "plot" in given else None
    csv_file = result_view.Path(given["csv"]) if "csv" in given else None
    with pytest.raises(error):
        result_view.check_outputs(plot, csv_file, given.get("json", False), given.get("seed", 1))


def test_names_are_spread_as_little_as_needed():
    pytest.importorskip("matplotlib")
    from charrnn.picture import spread

    assert spread([0.2, 0.5, 0.9], 0.1) == pytest.approx([0.2, 0.5, 0.9])
    assert spread([0.5, 0.5, 0.9], 0.1) == pytest.approx([0.45, 0.55, 0.9])
    assert spread([0.4, 0.45, 0.5], 0.1) == pytest.approx([0.35, 0.45, 0.55])
    assert spread([1.0, 1.0], 0.1) == pytest.approx([0.9, 1.0])
    assert spread([0.0, 0.0], 0.1) == pytest.approx([0.0, 0.1])


def test_every_curve_of_a_panel_is_named_beside_it(monkeypatch):
    """One curve alone needs no name; a curve without a point that can be drawn is named too."""
    pytest.importorskip("matplotlib")
    from charrnn import picture

    names = []
    write = picture._write_name

    def write_and_count(axes, name, looks, place):
        names.append((name, place[0] > 1))
        write(axes, name, looks, place)

    monkeypatch.setattr(picture, "_write_name", write_and_count)
    long = Series("long", (1, 2, 3), (1.0, 2.0, 3.0))
    short = Series("short", (1, 2), (2.0, 1.0))
    gone = Series("gone", (1, 2, 3), (math.nan,) * 3)
    panels = (Panel("a", "x", "y", (long, short, gone)), Panel("b", "x", "z", (long,)))
    picture.curves(Result("t", (), (), panels, "s"), "svg")
    assert sorted(names) == [("gone", True), ("long", True), ("short", False)]
