"""charrnn cells: a table, JSON and CSV of the cells it finds, and a text shaded by one cell."""

import contextlib
import csv
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from loaded import loaded_after
from support import Watcher

from charrnn.cli.cells import _print_search, row_of
from charrnn.insight.cells import held_out, named, shades, trace
from charrnn.insight.search import Search, Tracker, search
from charrnn.modelfile import read_model
from charrnn.tables import print_shaded
from charrnn.texts import OpenedRun

HOSTILE = '"a\x1b[31m b" (c\u202ed) =e\n\tf <b> \x00g\n'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network of six units, hardly trained on a text that steers terminals."""
    from charrnn.training.session import Request, train

    folder = tmp_path_factory.mktemp("cells")
    (folder / "t.txt").write_text(HOSTILE * 60)
    settings = {
        "cell": "lstm",
        "hidden_size": 6,
        "embedding_size": 3,
        "num_layers": 1,
        "steps": 2,
        "batch_size": 2,
        "seq_length": 8,
        "threads": 1,
        "mode": "stream",
        "split": "0.5,0.1,0.4",
    }
    return train(
        Request(str(folder / "t.txt"), (("--", settings),), run=folder / "runs" / "t"), Watcher()
    )[0]


def rows_of(table):
    return list(csv.DictReader(io.StringIO(table)))


def test_the_table_names_features_cells_and_how_to_look(charrnn, run):
    done = charrnn("cells", run)
    assert (done.returncode, done.stderr) == (
        0,
        f"reading {len(HOSTILE) * 24:,} characters of held-out text\n",
    )
    result = search(read_model(run), held_out(OpenedRun(read_model(run)), 50_000))
    assert f"{result.units} units" in done.stdout and result.units == 36
    for one in result.trackers:
        assert f"{one.cell}:{one.unit}  {one.score:+.3f}" in " ".join(
            done.stdout.split("\n")
        ).replace("   ", "  ")
    assert (
        f"\nnow: charrnn cells {run} --show {result.trackers[0].cell}:{result.trackers[0].unit}\n"
        in done.stdout
    )
    assert not set(done.stdout) & set("\x1b\x00\u202e")


def test_the_tables_text_is_on_one_line():
    one = Tracker(
        "in ()", True, 1, "layer0.cell", 3, 0.5, 0.4, 0.75, 0.1, "a" * 24 + "\n\x1b", "(", "b"
    )
    assert row_of(one) == [
        "in ()",
        "layer0.cell:3",
        "+0.500",
        "75.0%",
        "0.100",
        "a" * 17 + "\\n\\x1b(",
    ]


def test_json_is_the_whole_search(charrnn, run):
    said = json.loads(charrnn("cells", run, "--json", "--top", "3").stdout)
    model = read_model(run)
    result = search(model, held_out(OpenedRun(model), 50_000), top=3)
    assert (said["schema"], said["chars"], said["units"], said["dialect"]) == (
        1,
        result.chars,
        36,
        "text",
    )
    assert [Tracker(**one) for one in said["found"]] == result.trackers
    assert [one["rank"] for one in said["found"][:3]] == [1, 2, 3]


def test_csv_has_a_row_for_each_cell_and_no_text(charrnn, run):
    rows = rows_of(charrnn("cells", run, "--csv", "-", "--top", "2").stdout)
    assert [int(row["rank"]) for row in rows[:2]] == [1, 2]
    assert set(rows[0]) == set(Tracker._fields) - {"before", "peak", "after"}


def test_one_cell_by_character_as_json_and_csv(charrnn, run, tmp_path):
    done = charrnn(
        "cells", run, "--show", "layer0.forget:2", "--chars", "9", "--json", "--csv", "one.csv"
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    traced = trace(read_model(run), held_out(OpenedRun(read_model(run)), 9))
    np.testing.assert_allclose(
        [row["activation"] for row in rows], traced.activations["layer0.forget"][:, 2]
    )
    np.testing.assert_allclose([row["bits"] for row in rows[1:]], traced.surprise[1:] / np.log(2))
    assert (rows[0]["place"], rows[0]["bits"], rows[0]["guesses"]) == (0, None, [])
    assert len(rows[1]["guesses"]) == 5 and rows[1]["guesses"][0][1] == pytest.approx(
        traced.probabilities[1, 0]
    )
    text = held_out(OpenedRun(read_model(run)), 9)
    assert [row["code"] for row in rows] == [
        read_model(run).vocabulary.symbols[char] for char in text
    ]
    table = rows_of((tmp_path / "one.csv").read_text())
    assert [float(row["activation"]) for row in table] == [row["activation"] for row in rows]
    assert table[0]["bits"] == ""


def test_without_colours_a_digit_stands_beneath_each_character(charrnn, run):
    title, *lines = charrnn(
        "cells", run, "--show", "layer0.output:1", "--chars", "40"
    ).stdout.splitlines()
    assert "layer0.output:1" in title
    assert len(lines) % 2 == 0 and len(lines) >= 4
    for text, digits in zip(lines[::2], lines[1::2], strict=True):
        assert (len(text), digits.isdigit() or digits == "") == (len(digits), True)
    assert not set("".join(lines)) & set("\x1b\x00\u202e") and "\\x1b[31m" in "".join(lines[::2])


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def shaded(monkeypatch, pieces, **environment):
    for name, value in ({"TERM": "xterm-256color", "COLORTERM": "truecolor"} | environment).items():
        monkeypatch.setenv(name, value)
    with contextlib.redirect_stdout(Terminal()) as out:
        print_shaded("title", pieces)
    return out.getvalue()


def test_a_terminal_gets_black_on_white_to_green_and_blue(monkeypatch):
    shown = shaded(monkeypatch, [("a", 1.0), ("b", 0.0), ("c", -1.0), ("d", 0.5)])
    for letter, colour in (
        ("a", "70;200;90"),
        ("b", "255;255;255"),
        ("c", "110;150;255"),
        ("d", "162;228;172"),
    ):
        assert f"\x1b[38;2;0;0;0;48;2;{colour}m{letter}\x1b[0m" in shown


def test_no_color_is_obeyed(monkeypatch):
    shown = shaded(
        monkeypatch,
        [("a", 1.0), ("\x1b", -1.0), ("\n", 0.0), ("汉", 0.1), ("\t", 1.0)],
        NO_COLOR="1",
    )
    assert shown == "title\na\\x1b\\n\n9000055\n汉    \n559999\n"  # 汉 is two columns wide


def test_black_letters_are_readable_on_every_shade():
    """WCAG 2.1 AA: a contrast of 4.5 at least."""
    from charrnn import tables

    def luminance(colour):
        parts = [
            int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")
        ]
        linear = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert (
        min((luminance(tables._shade(value / 10)) + 0.05) / 0.05 for value in range(-10, 11)) > 4.5
    )


def test_shades_of_gates_states_and_cells():
    values = np.array([0, 0.5, 1, np.nan], np.float32)
    assert shades("layer0.forget", values).tolist() == [-1, 0, 1, 0]
    assert shades("layer0.hidden", values).tolist() == [0, 0.5, 1, 0]
    assert shades("layer1.cell", np.array([-4, 2, 0.0])).tolist() == [-1, 0.5, 0]
    assert shades("layer1.cell", np.array([2, np.nan, -1])).tolist() == [1, 0, -0.5]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--chars", "0"], 2, "--chars 0: must be between 1 and 1,000,000"),
        (
            ["--chars", "20001", "--show", "layer0.cell:1"],
            2,
            "must be between 1 and 20,000 with --show",
        ),
        (["--top", "101"], 2, "--top 101"),
        (["--top", "2", "--show", "layer0.cell:1"], 2, "leave one out"),
        (["--json", "--csv", "-"], 2, "both write to standard output"),
        (["--csv", "no/such/x.csv"], 5, "no directory no/such"),
        (
            ["--show", "layer1.cell:1"],
            2,
            "this model has layer 0, hidden, cell, input, forget, output, candidate, units 0 to 5",
        ),
        (["--show", "layer0.cell:6"], 2, "units 0 to 5"),
        (["--show", "layer0.cell:-1"], 2, "units 0 to 5"),
        (["--show", "\x1b[31m"], 2, "--show \\x1b[31m: this model has"),
        (["no such run"], 3, "no run or checkpoint no such run"),
    ],
)
def test_wrong_options_are_one_line(charrnn, run, arguments, code, message):
    model = [] if code == 3 else [run]
    done = charrnn("cells", *model, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert message in done.stderr


def test_a_model_that_travels_alone_has_no_text_to_read(charrnn, run, tmp_path):
    shutil.copy(run / "model.safetensors", tmp_path / "alone.safetensors")
    done = charrnn("cells", "alone.safetensors")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert (
        "in no run directory with its text; name a run that keeps some of its text for testing"
        in done.stderr
    )


def test_a_text_with_nothing_to_track_says_so(charrnn, run):
    done = charrnn("cells", run, "--chars", "10")
    assert done.returncode == 0 and "read more of the text with --chars" in done.stdout


def test_names_of_units(run):
    assert named(read_model(run), "layer0.cell:05") == ("layer0.cell", 5)


def test_torch_is_not_loaded(run, tmp_path):
    assert loaded_after(["cells", str(run)], ("torch",), tmp_path) == set()


def test_a_model_of_lines_has_cells_too(charrnn, trained):
    done = charrnn("cells", trained, "--show", "layer0.hidden:0", "--chars", "5", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[0]["bits"] is not None and rows[-1]["code"] == 10


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_early_is_no_fault(run, unbuffered):
    """As with | head, also where Python's own buffer is off."""
    command = [sys.executable, "-m", "charrnn", "cells", str(run), "--top", "9"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    ) as process:
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read().count(b"\n") == 1  # how much it reads


def test_what_is_no_better_than_luck_is_said_so(capsys):
    lucky = Tracker("digit", True, 1, "layer0.cell", 3, 0.1, 0.4, 0.75, 0.1, "a", "(", "b")
    _print_search(
        "run", Search(100, 4, "text", [lucky, lucky._replace(feature="in ()", score=-0.2)], [])
    )
    shown = capsys.readouterr().out
    assert "digit: no better than what luck can do" in shown and "in (): no" not in shown


def test_a_whole_gate_over_a_typed_text_is_its_activations(charrnn, run):
    text = "(=e\n)"
    done = charrnn("cells", run, "--text", text, "--show", "layer0.forget", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    model = read_model(run)
    expected = trace(model, model.vocabulary.encode(text)).activations["layer0.forget"]
    assert [row["code"] for row in rows] == [ord(char) for char in text]
    np.testing.assert_allclose([row["activations"] for row in rows], expected, rtol=1e-6)


def test_a_text_alone_shows_a_row_of_digits_for_each_unit(charrnn, run):
    done = charrnn("cells", run, "--text", "(=e")
    title, heading, *units = done.stdout.splitlines()
    assert "layer0.forget" in title and heading == "  (=e"
    assert [line[0] for line in units] == list("012345")
    assert all(line[2:].isdigit() and len(line) == 5 for line in units)
